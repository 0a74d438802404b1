//! The part of `campanile bench` about backups: how fast they are beside `cp`, how large
//! increments are, how fast restore and replay are, and what a running backup costs writers.
//!
//! Owns the workload. Promises that `cp` and the backup copy the same data files in the same run
//! (the backup the log it needs too), and that both end when what they wrote is durable. Must
//! never leave anything outside the home's directory.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use campanile::backup::{self, BackupOptions, BackupReport, Compression};
use campanile::restore::{RestoreOptions, Target};
use campanile::{Database, Durability, Environment};

use super::{Figure, VALUE_BYTES, figure};
use crate::failure::Failure;
use crate::random::Random;
use crate::stopwatch::{Stopwatch, Took};

/// The entries are in so many databases, each a file: threads copy files.
const DATABASES: u64 = 4;
/// Shares of the rows that change between two increments, in thousandths.
const CHANGED: [u64; 4] = [1, 10, 100, 500];
/// A slow backup reads so many bytes a second.
const SLOW_RATE: u64 = 20_000_000;
/// Rows are loaded and changed in transactions of this many.
const ROWS_AT_ONCE: u64 = 10_000;

/// The workload.
pub(super) struct Backups<'a> {
    /// Where everything goes.
    pub dir: &'a Path,
    /// Rows in all.
    pub entries: u64,
    /// For which data.
    pub seed: u64,
    /// How long writers are measured each time.
    pub writers: Duration,
    /// Memory for pages.
    pub cache_bytes: usize,
}

type Show<'s> = dyn FnMut(Figure) -> Result<(), Failure> + 's;

impl Backups<'_> {
    /// Runs all of it.
    pub fn run(&self, show: &mut Show<'_>) -> Result<(), Failure> {
        let env = Environment::options().cache_bytes(self.cache_bytes).open(self.home())?;
        for n in 0..DATABASES {
            env.create_database(&format!("bench{n}"))?;
        }
        let databases = self.databases(&env)?;
        self.change(&env, &databases, self.entries, b'l', |n| n)?;
        env.checkpoint()?;
        self.copies(show)?;
        self.increments(&env, &databases, show)?;
        self.beside_writers(&env, &databases, show)?;
        drop(databases);
        env.close()?;
        self.replay(show)
    }

    fn home(&self) -> PathBuf {
        self.dir.join("home")
    }

    fn safe(&self) -> PathBuf {
        self.dir.join("safe")
    }

    fn back_up(&self, options: &BackupOptions) -> Result<(BackupReport, Took), Failure> {
        let watch = Stopwatch::start();
        let made = options.run(self.home(), self.safe())?;
        Ok((made, watch.stop()))
    }

    /// `cp -r` and full backups, each way.
    fn copies(&self, show: &mut Show<'_>) -> Result<(), Failure> {
        for round in 1..=2 {
            let copy = self.dir.join("copy");
            let watch = Stopwatch::start();
            let data = self.home().join("data");
            let copied = Command::new("cp").arg("-r").arg(data).arg(&copy).status();
            if copied.is_ok_and(|status| status.success()) {
                let bytes = synced(&copy)?;
                show(rate(
                    format!("cp -r of the data and sync, run {round}"),
                    bytes,
                    watch.stop(),
                ))?;
            }
            fs::remove_dir_all(&copy).map_err(|e| Failure::io("removing the copy", e))?;
            let (made, took) = self.back_up(&BackupOptions::new())?;
            show(rate(format!("full backup, run {round}"), made.bytes, took))?;
        }
        for jobs in [2, 4] {
            let (made, took) = self.back_up(&BackupOptions::new().jobs(jobs))?;
            show(rate(format!("full backup, {jobs} threads"), made.bytes, took))?;
        }
        let packed = BackupOptions::new().compression(Compression::Zstd);
        for (options, name) in [(packed.clone().level(1), "level 1"), (packed, "level 3")] {
            let (made, took) = self.back_up(&options)?;
            let what = format!("full backup, zstd {name} ({})", share(&made));
            show(rate(what, made.bytes, took))?;
            self.restore(&made, &format!("zstd {name}"), show)?;
        }
        let (made, _) = self.back_up(&BackupOptions::new())?;
        self.restore(&made, "plain", show)
    }

    fn restore(&self, made: &BackupReport, what: &str, show: &mut Show<'_>) -> Result<(), Failure> {
        let to = self.dir.join("restored");
        let watch = Stopwatch::start();
        let options = RestoreOptions::new().backup(&made.name).target(Target::BackupEnd);
        options.run(self.safe(), &to)?;
        show(rate(format!("restore, {what}"), made.bytes, watch.stop()))?;
        fs::remove_dir_all(&to).map_err(|e| Failure::io("removing the restored home", e))
    }

    /// How large an increment is, and how long it takes, after so many rows changed.
    fn increments(
        &self,
        env: &Environment,
        databases: &[Database],
        show: &mut Show<'_>,
    ) -> Result<(), Failure> {
        let mut random = Random::new(self.seed ^ 5);
        for thousandths in CHANGED {
            let rows = self.entries * thousandths / 1000;
            self.change(env, databases, rows, b'i', |_| random.below(self.entries))?;
            env.checkpoint()?;
            let (made, took) = self.back_up(&BackupOptions::new().incremental(true))?;
            let percent = thousandths as f64 / 10.0;
            let data = made.parts.iter().filter(|part| part.changed_pages.is_some());
            let (stored, whole) = data.fold((0, 0), |(stored, whole), part| {
                (stored + part.stored_bytes, whole + part.bytes)
            });
            let size = stored as f64 * 100.0 / whole as f64;
            let what = format!("increment, {percent} % of rows changed ({size:.1} % stored)");
            show(rate(what, made.bytes, took))?;
        }
        Ok(())
    }

    /// Durable commits a second, alone and beside backups.
    fn beside_writers(
        &self,
        env: &Environment,
        databases: &[Database],
        show: &mut Show<'_>,
    ) -> Result<(), Failure> {
        show(self.writers(env, databases, "no backup")?)?;
        let slow = BackupOptions::new().max_rate(SLOW_RATE);
        for (options, what) in [(BackupOptions::new(), "backups"), (slow, "backup at 20 MB/s")] {
            let stop = AtomicBool::new(false);
            let shown = thread::scope(|scope| {
                let backups = scope.spawn(|| {
                    let mut made = 0;
                    while !stop.load(Ordering::Relaxed) {
                        self.back_up(&options)?;
                        made += 1;
                    }
                    Ok::<u64, Failure>(made)
                });
                let figure = self.writers(env, databases, what);
                stop.store(true, Ordering::Relaxed);
                let made = backups.join().map_err(|_| Failure::usage("a backup panicked"))?;
                Ok::<_, Failure>((figure?, made?))
            });
            let (figure, made) = shown?;
            show(Figure { what: format!("{} ({made} made)", figure.what), ..figure })?;
        }
        show(self.writers(env, databases, "no backup, again")?)
    }

    fn writers(
        &self,
        env: &Environment,
        databases: &[Database],
        what: &str,
    ) -> Result<Figure, Failure> {
        let mut random = Random::new(self.seed ^ 6);
        let watch = Stopwatch::start();
        let mut count = 0;
        while watch.elapsed() < self.writers {
            let row = random.below(self.entries);
            let database = &databases[(row % DATABASES) as usize];
            env.run(|txn| database.put(txn, self.key(row), [b'w'; VALUE_BYTES]))?;
            count += 1;
        }
        Ok(figure(format!("durable commits beside {what}"), "commits", count, watch.stop()))
    }

    /// A restore that replays all of the log since a backup.
    fn replay(&self, show: &mut Show<'_>) -> Result<(), Failure> {
        let options = Environment::options().cache_bytes(self.cache_bytes).archive(self.safe());
        let env = options.open(self.home())?;
        let databases = self.databases(&env)?;
        let (made, _) = self.back_up(&BackupOptions::new())?;
        let mut random = Random::new(self.seed ^ 7);
        self.change(&env, &databases, self.entries / 2, b'r', |_| random.below(self.entries))?;
        drop(databases);
        env.close()?;
        backup::archive_now(self.home())?;
        for threads in [1, 2] {
            let to = self.dir.join(format!("replayed{threads}"));
            let options = Environment::options().recovery_threads(threads);
            let options = options.cache_bytes(self.cache_bytes);
            let restore = RestoreOptions::new().backup(&made.name).environment(options);
            let report = restore.run(self.safe(), &to)?;
            let Some(recovery) = report.recovery else { continue };
            let time = Duration::from_micros(recovery.total_us());
            let took = Took { time, on_processor: None };
            show(rate(format!("replay of log, {threads} threads"), recovery.log_bytes, took))?;
        }
        Ok(())
    }

    fn databases(&self, env: &Environment) -> Result<Vec<Database>, Failure> {
        let open = |n| env.open_database(&format!("bench{n}"));
        Ok((0..DATABASES).map(open).collect::<Result<_, _>>()?)
    }

    /// Writes so many rows, `ROWS_AT_ONCE` in a transaction that is not synced, but for the last.
    fn change(
        &self,
        env: &Environment,
        databases: &[Database],
        rows: u64,
        byte: u8,
        mut row: impl FnMut(u64) -> u64,
    ) -> Result<(), Failure> {
        let mut done = 0;
        while done < rows {
            let until = (done + ROWS_AT_ONCE).min(rows);
            let mut txn = env.begin()?;
            for n in done..until {
                let row = row(n);
                let database = &databases[(row % DATABASES) as usize];
                database.put(&mut txn, self.key(row), [byte; VALUE_BYTES])?;
            }
            done = until;
            let last = done == rows;
            txn.commit_with(if last { Durability::Sync } else { Durability::NoSync })?;
        }
        Ok(())
    }

    fn key(&self, row: u64) -> [u8; super::KEY_BYTES] {
        super::key(self.seed, row)
    }
}

fn rate(what: String, bytes: u64, took: Took) -> Figure {
    figure(what, "kB", bytes / 1000, Took { on_processor: None, ..took })
}

fn share(made: &BackupReport) -> String {
    format!("{:.1} %", made.stored_bytes as f64 * 100.0 / made.bytes as f64)
}

/// Makes every file of a directory durable; returns their bytes.
fn synced(dir: &Path) -> Result<u64, Failure> {
    let failed = |e| Failure::io(format!("syncing {}", dir.display()), e);
    let mut bytes = 0;
    for entry in fs::read_dir(dir).map_err(failed)? {
        let path = entry.map_err(failed)?.path();
        if path.is_dir() {
            bytes += synced(&path)?;
        } else {
            let file = fs::File::open(&path).map_err(failed)?;
            file.sync_all().map_err(failed)?;
            bytes += file.metadata().map_err(failed)?.len();
        }
    }
    Ok(bytes)
}
