//! The rounds of the drill: start a child, kill it, perhaps kill its recovery too, recover, prove.
//!
//! Owns processes and time. Promises that no child outlives the drill. Must never decide what is
//! right: that is the model's.

use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Child, ChildStdout, Command, Stdio};
use std::sync::mpsc::{self, Receiver};
use std::thread;
use std::time::{Duration, Instant};

use super::model::Model;
use super::options;
use super::report::Round;
use crate::failure::Failure;
use crate::random::Random;

/// How long a child may take to get ready, recovery included.
const READY_TIMEOUT: Duration = Duration::from_secs(60);
/// A child works at least and at most this long.
const WORK_MS: (u64, u64) = (60, 700);
/// One in so many rounds kills the recovery too.
const RECOVERY_KILL_EVERY: u64 = 2;
/// The kill comes at most so long after recovery began.
const RECOVERY_US: u64 = 60_000;
/// Said of a recovery that was faster than its killer.
pub const AFTER_RECOVERY: &str = "after it";

/// A child with what it says, killed when dropped.
#[derive(Debug)]
pub struct Worker {
    child: Child,
    lines: Receiver<String>,
}

impl Worker {
    /// Starts it on a home.
    pub fn start(home: &Path, arguments: &[String]) -> Result<Worker, Failure> {
        let program =
            std::env::current_exe().map_err(|error| Failure::io("finding this program", error))?;
        let mut child = Command::new(program)
            .arg("drill-child")
            .arg("--home")
            .arg(home)
            .args(arguments)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .spawn()
            .map_err(|error| Failure::io("starting the child process", error))?;
        let lines = listen(child.stdout.take());
        Ok(Worker { child, lines })
    }

    /// Waits until the child says `R`, or until it is silent because it died.
    pub fn wait_ready(&self) -> Result<(), Failure> {
        let end = Instant::now() + READY_TIMEOUT;
        loop {
            let left = end.saturating_duration_since(Instant::now());
            match self.lines.recv_timeout(left) {
                Ok(line) if line == "R" => return Ok(()),
                Ok(_) => {}
                Err(_) => {
                    let what = "the child process did not get ready; its own words are above";
                    return Err(Failure::Refused(crate::exit::Exit::Internal, what.into()));
                }
            }
        }
    }

    /// Kills it, as the power would be cut for a process, and returns all it has said.
    pub fn kill(mut self) -> Result<Vec<String>, Failure> {
        let killed = self.child.kill();
        killed.map_err(|error| Failure::io("killing the child process", error))?;
        self.child.wait().map_err(|error| Failure::io("waiting for the child process", error))?;
        Ok(self.lines.iter().collect())
    }
}

impl Drop for Worker {
    fn drop(&mut self) {
        // It has ended already, or must.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Reads lines on a thread of its own, so that the child never waits for us. A last line without
/// its end was cut by the kill and is not one.
fn listen(output: Option<ChildStdout>) -> Receiver<String> {
    let (sender, lines) = mpsc::channel();
    if let Some(output) = output {
        thread::spawn(move || {
            let mut reader = BufReader::new(output);
            let mut line = String::new();
            while reader.read_line(&mut line).is_ok_and(|count| count > 0) {
                if !line.ends_with('\n') || sender.send(line.trim_end().to_owned()).is_err() {
                    return;
                }
                line.clear();
            }
        });
    }
    lines
}

/// Runs one round.
pub fn run(
    number: u64,
    home: &Path,
    model: &mut Model,
    random: &mut Random,
) -> Result<Round, Failure> {
    let seed = random.next_u64().to_string();
    let worker = Worker::start(home, &["--seed".into(), seed])?;
    worker.wait_ready()?;
    let (least, most) = WORK_MS;
    let work_ms = least + random.below(most - least);
    thread::sleep(Duration::from_millis(work_ms));
    for line in worker.kill()? {
        model.hear(&line);
    }
    let second_kill = if number.is_multiple_of(RECOVERY_KILL_EVERY) {
        Some(kill_recovery(home, random)?)
    } else {
        None
    };
    let env = options().create(false).open(home)?;
    let report = env.recovery_report().cloned();
    let mut findings = model.compare(&env)?;
    let verified = env.verify()?;
    findings.violations.extend(verified.damage);
    if report.is_none() {
        findings.violations.push("the process was killed, but nothing was recovered".to_owned());
    }
    env.close()?;
    Ok(Round { number, work_ms, second_kill, findings, report })
}

/// Lets a child recover the home and kills it, most likely in the middle. Returns the phase it was
/// killed in, or [`AFTER_RECOVERY`].
fn kill_recovery(home: &Path, random: &mut Random) -> Result<String, Failure> {
    let worker = Worker::start(home, &["--open-only".into()])?;
    // Its first words, then a moment that is somewhere in a recovery of this size.
    let mut heard = worker.lines.recv_timeout(READY_TIMEOUT).unwrap_or_default();
    thread::sleep(Duration::from_micros(random.below(RECOVERY_US)));
    for line in worker.kill()? {
        heard = line;
    }
    Ok(match heard.strip_prefix("S ") {
        Some(phase) => phase.to_owned(),
        None => AFTER_RECOVERY.to_owned(),
    })
}
