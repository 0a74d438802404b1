//! A real process that works on a real disk until it is killed: this test program, run once more.

use campanile::{EnvironmentOptions, Result};
use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::thread;
use std::time::Duration;

/// Names the home; set for the child alone.
const HOME: &str = "CAMPANILE_MATRIX_CHILD";
/// Written in a transaction that never ends.
pub const HELD: &str = "held";

pub fn options() -> EnvironmentOptions {
    EnvironmentOptions::new().cache_bytes(1 << 20).log_file_bytes(256 << 10)
}

/// A child at work.
pub struct Worker {
    child: Child,
    lines: Receiver<u64>,
    /// The last number that it acknowledged.
    pub acknowledged: u64,
}

impl Worker {
    pub fn start(home: &Path) -> Worker {
        let program = std::env::current_exe().expect("this program");
        let mut child = Command::new(program)
            .args(["child::works_until_it_is_killed", "--exact", "--nocapture"])
            .env(HOME, home)
            .stdout(Stdio::piped())
            .spawn()
            .expect("a child");
        let output = child.stdout.take().expect("is piped");
        let (sender, lines) = channel();
        thread::spawn(move || {
            for line in BufReader::new(output).lines() {
                let Ok(line) = line else { return };
                let number = line.strip_prefix("A ").and_then(|text| text.parse().ok());
                if let Some(number) = number
                    && sender.send(number).is_err()
                {
                    return;
                }
            }
        });
        Worker { child, lines, acknowledged: 0 }
    }

    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Waits until so many more commits were acknowledged.
    pub fn works_on(&mut self, commits: u64) {
        for _ in 0..commits {
            let line = self.lines.recv_timeout(Duration::from_secs(60));
            self.acknowledged = line.expect("the child works");
        }
    }

    /// SIGKILL. Gives the last commit that was acknowledged.
    pub fn kill(mut self) -> u64 {
        self.child.kill().expect("is killed");
        self.child.wait().expect("has ended");
        self.lines.iter().last().unwrap_or(self.acknowledged)
    }
}

impl Drop for Worker {
    fn drop(&mut self) {
        // It has ended already, or must.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Not a test of itself: what the child runs.
#[test]
fn works_until_it_is_killed() {
    let Some(home) = std::env::var_os(HOME) else { return };
    let error = work(Path::new(&home)).expect_err("it works until it is killed");
    panic!("{error}");
}

fn work(home: &Path) -> Result<()> {
    let env = options().open(home)?;
    let names = ["ledger", "orders", "stock"];
    for name in names {
        env.create_database(name)?;
    }
    let mut held = env.begin()?;
    env.open_database(names[0])?.put(&mut held, HELD, "by a transaction that never ends")?;
    for number in 1.. {
        let mut txn = env.begin()?;
        for name in names {
            let key = format!("key{number:07}");
            env.open_database_in(&mut txn, name)?.put(&mut txn, key, number.to_string())?;
        }
        txn.commit()?;
        let mut out = std::io::stdout().lock();
        let told = writeln!(out, "A {number}").and_then(|()| out.flush());
        if told.is_err() {
            std::process::exit(1);
        }
    }
    Ok(())
}
