//! The place of a drill: a home, its repository, and the list of what was acknowledged.
//!
//! Owns directories and processes. Promises that a child never outlives its round, and that what
//! the archive says after the kill does not count. Must never decide what is right: that is the
//! model's.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use campanile::backup::{self, BackupOptions, Compression};
use campanile::{Error, ErrorKind, Lsn, Progress, inspect};

use super::blows::Disaster;
use super::{Work, place};
use crate::drill::model::{Findings, Model};
use crate::drill::rounds::Worker;
use crate::drill::{self, options};
use crate::exit::Exit;
use crate::failure::Failure;
use crate::random::Random;

/// A repository serves so many rounds, and so many histories.
const ROUNDS_A_REPOSITORY: u64 = 8;
/// A child works at least and at most this long.
const WORK_MS: (u64, u64) = (300, 1500);
/// Between two looks at the log of the running process.
const PAUSE: Duration = Duration::from_millis(40);
/// Between two hot backups.
const BACKUP_EVERY: Duration = Duration::from_millis(500);
/// One in so many hot backups is full; the others hold what changed since the one before.
const FULL_EVERY: u64 = 3;
/// How long the log may take to reach as many files as a disaster needs.
const LOG_TIMEOUT: Duration = Duration::from_secs(60);

/// What a home shows.
#[derive(Debug)]
pub enum Seen {
    /// It opens, every page is sound; this is how it compares.
    Whole(Findings),
    /// It does not open, or something in it is damaged: in its own words.
    Damaged(String),
}

/// A home and its repository.
#[derive(Debug)]
pub struct Site {
    dir: PathBuf,
    home: PathBuf,
    homes: u64,
    repository: PathBuf,
    /// The history that the home writes: a repository holds those of the homes before, too.
    timeline: u32,
    model: Model,
}

/// What is known of the safety of a running process.
#[derive(Clone, Copy, Debug, Default)]
struct Safe {
    archived: Option<Lsn>,
    backups: u64,
}

impl Site {
    /// A filled home in a directory of the drill's own.
    pub fn new(dir: &Path) -> Result<Site, Failure> {
        let home = place(dir, "home", 0);
        let env = options().open(&home)?;
        drill::fill(&env)?;
        let model = Model::new(&env)?;
        env.close()?;
        let repository = place(dir, "repository", 0);
        Ok(Site { dir: dir.to_owned(), home, homes: 0, repository, timeline: 1, model })
    }

    /// What must be there.
    pub fn model(&self) -> &Model {
        &self.model
    }

    /// The home.
    pub fn home(&self) -> &Path {
        &self.home
    }

    /// The repository.
    pub fn repository(&self) -> &Path {
        &self.repository
    }

    /// The history that the home writes.
    pub fn timeline(&self) -> u32 {
        self.timeline
    }

    /// Gives the home its archive and makes a full backup.
    pub fn prepare(&mut self, round: u64) -> Result<(), Failure> {
        if round > 1 && round % ROUNDS_A_REPOSITORY == 1 {
            let old = self.repository.clone();
            self.repository = place(&self.dir, "repository", round / ROUNDS_A_REPOSITORY);
            backup::archive(&self.home, &self.repository)?;
            fs::remove_dir_all(&old)
                .map_err(|e| Failure::io(format!("removing {}", old.display()), e))?;
        } else {
            backup::archive(&self.home, &self.repository)?;
        }
        backup::back_up(&self.home, &self.repository, &Progress::none())?;
        self.timeline = inspect::home(&self.home)?.timeline;
        Ok(())
    }

    /// Lets a process work under full load, backed up and archived meanwhile, and kills it.
    pub fn work(&mut self, disaster: Disaster, random: &mut Random) -> Result<Work, Failure> {
        let worker = Worker::start(&self.home, &["--seed".into(), random.next_u64().to_string()])?;
        worker.wait_ready()?;
        let (least, most) = WORK_MS;
        let ms = least + random.below(most - least);
        let (stop, safe) = (AtomicBool::new(false), Mutex::new(Safe::default()));
        let (lines, known) = thread::scope(|scope| {
            let keeper = scope.spawn(|| self.keep_safe(disaster, &stop, &safe));
            thread::sleep(Duration::from_millis(ms));
            let waited = self.wait_for_log(disaster.needs_log_files());
            // Whatever it says from here on comes too late.
            let known = *safe.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
            let lines = worker.kill();
            stop.store(true, Ordering::Relaxed);
            let kept = keeper.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic));
            kept.and(waited).and(lines).map(|lines| (lines, known))
        })?;
        for line in lines {
            self.model.hear(&line);
        }
        let archived = known.archived.unwrap_or(Lsn::NONE);
        Ok(Work { ms, backups: known.backups, archived })
    }

    /// Archives all the time, and backs up now and then, until it is told to stop.
    fn keep_safe(
        &self,
        disaster: Disaster,
        stop: &AtomicBool,
        safe: &Mutex<Safe>,
    ) -> Result<(), Failure> {
        let (mut backed_up, mut count) = (Instant::now(), 0);
        while !stop.load(Ordering::Relaxed) {
            let made = if disaster.backs_up() && backed_up.elapsed() > BACKUP_EVERY {
                backed_up = Instant::now();
                count += 1;
                hot_backup(count).run(&self.home, &self.repository).map(|_| None)
            } else {
                thread::sleep(PAUSE);
                backup::archive_now(&self.home).map(Some)
            };
            // Killed in the middle of it: that is what the drill is about.
            let is_over = stop.load(Ordering::Relaxed);
            let mut safe = safe.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
            match made {
                Ok(Some(archived)) => safe.archived = safe.archived.max(Some(archived)),
                Ok(None) => safe.backups += 1,
                Err(error) if is_over || is_in_the_way(&error) => {}
                Err(error) => return Err(error.into()),
            }
        }
        Ok(())
    }

    /// Waits until the log is so many files long.
    fn wait_for_log(&self, files: usize) -> Result<(), Failure> {
        let begun = Instant::now();
        let first = newest_log(&self.home)?;
        while newest_log(&self.home)? < first + files as u32 {
            if begun.elapsed() > LOG_TIMEOUT {
                let what = format!("the log of {} does not grow", self.home.display());
                return Err(Failure::Refused(Exit::Internal, what));
            }
            thread::sleep(PAUSE);
        }
        Ok(())
    }

    /// Opens the home as anybody would, reads all of it and compares; transactions after number
    /// `must` may be gone.
    pub fn look(&mut self, must: u64) -> Result<Seen, Failure> {
        let env = match options().create(false).open(&self.home) {
            Ok(env) => env,
            Err(error) if is_damage(&error) => return Ok(Seen::Damaged(error.to_string())),
            Err(error) => return Err(error.into()),
        };
        let verified = match env.verify() {
            Ok(report) => report.damage,
            Err(error) if is_damage(&error) => vec![error.to_string()],
            Err(error) => return Err(error.into()),
        };
        if let Some(first) = verified.into_iter().next() {
            env.abandon();
            return Ok(Seen::Damaged(first));
        }
        let findings = self.model.compare_up_to(&env, must)?;
        env.close()?;
        Ok(Seen::Whole(findings))
    }

    /// The directory for the next home.
    pub fn next_home(&self) -> PathBuf {
        place(&self.dir, "home", self.homes + 1)
    }

    /// The restored home is the home from now on; the old one goes.
    pub fn move_to(&mut self, home: PathBuf) -> Result<(), Failure> {
        let old = std::mem::replace(&mut self.home, home);
        self.homes += 1;
        match fs::remove_dir_all(&old) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                Err(Failure::io(format!("removing {}", old.display()), error))
            }
            _ => Ok(()),
        }
    }
}

/// Increments, each on the one before, then a full one again; packed or not.
fn hot_backup(count: u64) -> BackupOptions {
    let packed = if count.is_multiple_of(2) { Compression::None } else { Compression::Zstd };
    BackupOptions::new().incremental(!count.is_multiple_of(FULL_EVERY)).compression(packed)
}

/// What a busy repository or home answers; the next attempt will do.
fn is_in_the_way(error: &Error) -> bool {
    matches!(error.kind(), ErrorKind::Locked | ErrorKind::Busy)
}

fn is_damage(error: &Error) -> bool {
    matches!(error.kind(), ErrorKind::Corrupt | ErrorKind::NeedsRecovery | ErrorKind::Unsupported)
}

/// The number of the newest log file.
pub fn newest_log(home: &Path) -> Result<u32, Failure> {
    let names = inspect::home(home)?.log_files;
    Ok(names.iter().filter_map(|file| log_number(&file.name)).max().unwrap_or(0))
}

/// The number in the name of a log file.
pub fn log_number(name: &str) -> Option<u32> {
    name.strip_prefix("log.")?.parse().ok()
}
