//! Crashes: at every call that changes the disk, with every choice of what survives.
//!
//! A life is a run of appends, flushes, steps and recyclings on a simulated disk, which keeps a
//! copy of itself before each call that changes it. From each copy, for each choice of what
//! survives, the log is read as recovery would read it and held against what the life was promised:
//!
//! * every record flushed before the crash is there, in order, byte for byte;
//! * what else is there is what was appended next, without a gap;
//! * after the death of the process alone, what was written is there too;
//! * nothing that was proven durable is cut, and a crash is never called damage.
//!
//! From a part of these, a second life begins and is crashed in the same way, opening included.

use std::sync::Arc;

use campanile_format::Lsn;
use campanile_vfs::Host;
use campanile_vfs::sim::{Counters, CrashChoice, CrashPolicy, Rule, SimDisk, SimOptions};
use campanile_wal::{Start, Tail, Wal, WalOptions, find_end};

use super::records::*;

/// What a reader may count on from some call on.
#[derive(Clone, Debug)]
struct Promise {
    /// Index of the next call when it was made.
    call: u64,
    /// So many records are durable.
    flushed: usize,
    /// So many survive the death of the process.
    written: usize,
    /// Where reading begins, and which record stands there: what a control file would say.
    from: Lsn,
    from_index: usize,
    /// What the control file says is durable.
    known: Lsn,
}

struct Life {
    disk: Arc<SimDisk>,
    options: WalOptions,
    wal: Wal,
    records: Vec<(Lsn, Vec<u8>)>,
    promises: Vec<Promise>,
    dice: u64,
}

impl Life {
    /// Opens the log on `disk`, where `records` were found.
    fn begin(
        disk: &Arc<SimDisk>,
        options: &WalOptions,
        start: Start,
        records: Vec<(Lsn, Vec<u8>)>,
        before: Promise,
        dice: u64,
    ) -> Life {
        let host = disk.host();
        let wal = reopen(&host, options, start).unwrap();
        assert_eq!(wal.durable(), wal.end());
        let (disk, options) = (Arc::clone(disk), options.clone());
        let mut life = Life { disk, options, wal, records, promises: vec![before], dice };
        life.promise(|life, promise| {
            promise.flushed = life.records.len();
            promise.written = life.records.len();
        });
        life
    }

    fn roll(&mut self, below: u64) -> u64 {
        self.dice = self.dice.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
        (self.dice >> 33) % below
    }

    fn promise(&mut self, change: impl FnOnce(&Life, &mut Promise)) {
        let mut promise = self.promises.last().unwrap().clone();
        promise.call = self.disk.calls();
        change(self, &mut promise);
        self.promises.push(promise);
    }

    /// How many records start before `lsn`.
    fn before(&self, lsn: Lsn) -> usize {
        self.records.iter().take_while(|(at, _)| *at < lsn).count()
    }

    fn act(&mut self) {
        match self.roll(12) {
            0..=5 => self.append(),
            6 | 7 => self.flush(),
            8 => {
                self.wal.write(self.wal.end()).unwrap();
                self.promise(|life, promise| promise.written = life.records.len());
            }
            9 | 10 => {
                self.wal.step().unwrap();
                self.promise(|life, promise| promise.flushed = life.before(life.wal.durable()));
            }
            _ => self.recycle(),
        }
    }

    fn append(&mut self) {
        let len = [8, 30, 90, 250, 500, 1500][self.roll(6) as usize];
        let content = content(self.records.len() as u64, len);
        let lsn = self.wal.append(&record(&content)).unwrap();
        self.records.push((lsn, content));
        self.promise(|life, promise| {
            promise.flushed = life.before(life.wal.durable());
            promise.written = promise.written.max(life.before(life.wal.written()));
        });
    }

    fn flush(&mut self) {
        if self.records.is_empty() {
            return;
        }
        let back = self.roll(3).min(self.records.len() as u64 - 1) as usize;
        let (lsn, _) = self.records[self.records.len() - 1 - back];
        self.wal.flush(lsn).unwrap();
        assert!(self.wal.durable() > lsn);
        self.promise(|life, promise| {
            promise.flushed = life.before(life.wal.durable());
            promise.written = promise.written.max(promise.flushed);
        });
    }

    /// A checkpoint: reading begins later from now on, and the files before may go.
    fn recycle(&mut self) {
        let last = self.promises.last().unwrap();
        let (low, high) = (last.from_index, last.flushed);
        if low + 1 >= high {
            return;
        }
        let index = low + self.roll((high - low) as u64) as usize;
        let (from, _) = self.records[index];
        let known = if self.roll(2) == 0 { self.wal.durable() } else { last_known(self) };
        self.promise(|_, promise| {
            (promise.from, promise.from_index, promise.known) = (from, index, known);
        });
        self.wal.recycle_below(from).unwrap();
        self.promise(|_, _| {});
    }

    /// What held when call `call` was made.
    fn promised(&self, call: u64) -> &Promise {
        self.promises.iter().rev().find(|promise| promise.call <= call).unwrap()
    }
}

fn last_known(life: &Life) -> Lsn {
    life.promises.last().unwrap().known
}

/// Reads the log after a crash, and holds it against the promise. Returns what was found.
fn recover(
    host: &Host,
    records: &[(Lsn, Vec<u8>)],
    promise: &Promise,
    choice: CrashChoice,
) -> (campanile_wal::LogEnd, usize) {
    let logs = log_set(host).unwrap();
    let end = match find_end(&logs, promise.from, promise.known) {
        Ok(end) => end,
        Err(error) => panic!("{choice:?}: {error}\n{promise:?}\n{:?}", host.vfs.list(&dir())),
    };
    let found = scan(&logs, promise.from, end.end).unwrap();
    let count = promise.from_index + found.len();
    assert!(count <= records.len(), "{choice:?}: more records than were ever appended");
    assert_eq!(found, records[promise.from_index..count], "{choice:?}");
    assert!(count >= promise.flushed, "{choice:?}: {count} records, {promise:?}");
    if choice == CrashChoice::ProcessCrash {
        assert!(count >= promise.written, "{count} records, {promise:?}");
    }
    (end, count)
}

/// The first life of an environment, up to where its log exists.
fn first_life(seed: u64, sim: SimOptions) -> Life {
    let disk = disk(sim);
    let options = options([4096, 8192][seed as usize % 2], [512, 1024, 3000][seed as usize % 3]);
    let promise =
        Promise { call: 0, flushed: 0, written: 0, from: FIRST, from_index: 0, known: Lsn::NONE };
    Life::begin(&disk, &options, Start::New, Vec::new(), promise, seed)
}

struct Tally {
    states: u64,
    second: u64,
    torn: u64,
    survivors: u64,
}

/// Crashes one life everywhere; begins a second one after each `stride`-th crash.
fn crash_everywhere(seed: u64, sim: SimOptions, acts: u64, stride: u64, tally: &mut Tally) {
    let mut life = first_life(seed, sim);
    life.disk.capture_crash_points();
    for _ in 0..acts {
        life.act();
    }
    for point in life.disk.take_crash_points() {
        let promise = life.promised(point.call);
        for choice in point.disk.crash_choices(&CrashPolicy::full(seed ^ point.call)) {
            let disk = point.disk.reboot(choice);
            let (end, count) = recover(&disk.host(), &life.records, promise, choice);
            tally.states += 1;
            if let Tail::Torn { survivors, .. } = end.tail {
                tally.torn += 1;
                tally.survivors += u64::from(survivors > 0);
            }
            if tally.states.is_multiple_of(stride) {
                let records = life.records[..count].to_vec();
                second_life(&disk, &life.options, end.start(), records, promise, seed, tally);
            }
        }
    }
}

/// A life after a crash: opening, some work, crashed everywhere again.
fn second_life(
    disk: &Arc<SimDisk>,
    options: &WalOptions,
    start: Start,
    records: Vec<(Lsn, Vec<u8>)>,
    before: &Promise,
    seed: u64,
    tally: &mut Tally,
) {
    disk.capture_crash_points();
    // What the death of a process left may go with the power, until the log is open again.
    let before = Promise { call: 0, written: before.flushed, ..before.clone() };
    let mut life = Life::begin(disk, options, start, records, before, seed + 1);
    for _ in 0..6 {
        life.act();
    }
    for point in life.disk.take_crash_points() {
        let promise = life.promised(point.call);
        let policy = CrashPolicy {
            singles_max: 4,
            subsets: 3,
            exhaustive_items: 3,
            seed: seed ^ point.call,
        };
        for choice in point.disk.crash_choices(&policy) {
            let disk = point.disk.reboot(choice);
            let (end, count) = recover(&disk.host(), &life.records, promise, choice);
            tally.second += 1;
            if tally.second.is_multiple_of(13) {
                // Recovering once more, without trouble: the same records, and room for more.
                let wal = reopen(&disk.host(), &life.options, end.start()).unwrap();
                let lsn = wal.append(&record(&content(count as u64, 40))).unwrap();
                wal.flush(lsn).unwrap();
                let logs = log_set(&disk.host()).unwrap();
                let again = scan(&logs, promise.from, wal.end()).unwrap();
                assert_eq!(again.len(), count + 1 - promise.from_index);
                assert_eq!(again[..again.len() - 1], life.records[promise.from_index..count]);
            }
        }
    }
}

fn run(seeds: std::ops::Range<u64>, sim: impl Fn(u64) -> SimOptions) -> Tally {
    let mut tally = Tally { states: 0, second: 0, torn: 0, survivors: 0 };
    for seed in seeds {
        crash_everywhere(seed, sim(seed), 60, 40, &mut tally);
    }
    let Tally { states, second, torn, survivors } = tally;
    println!("{states} crash states, {second} in a second life; {torn} torn, {survivors} survived");
    assert!(torn > 0 && survivors > 0 && second > 0, "the crashes were harmless");
    tally
}

/// Every profile; blocks as small as those that the logs here are laid out for.
fn harsh(seed: u64) -> SimOptions {
    SimOptions { block_bytes: 512, ..SimOptions::harsh(seed) }
}

#[test]
pub fn no_crash_loses_what_was_flushed() {
    assert!(run(0..4, SimOptions::new).states > 1_000);
}

#[test]
pub fn no_crash_loses_what_was_flushed_whatever_the_disk_does_around_it() {
    let counters = Arc::new(Counters::default());
    let shared = |seed| SimOptions { counters: Arc::clone(&counters), ..harsh(seed) };
    assert!(run(10..14, shared).states > 1_000);
    for rule in [Rule::Collateral, Rule::SectorTorn] {
        assert!(counters.get(rule) > 20, "{rule:?} never happened");
    }
}

#[test]
fn no_crash_loses_what_was_flushed_while_files_and_buffers_change_early() {
    let adverse = |seed| SimOptions { adversary: true, ..harsh(seed) };
    assert!(run(30..34, adverse).states > 1_000);
}

#[test]
fn no_crash_loses_what_was_flushed_on_sectors_of_4_kib() {
    let large = |seed| SimOptions { sector_bytes: 4096, ..SimOptions::new(seed) };
    assert!(run(20..24, large).states > 400);
}

/// Creation: crashed anywhere in it, it can be done again.
#[test]
fn a_crash_in_the_creation_of_a_log_leaves_something_that_can_be_created() {
    let disk = disk(harsh(3));
    let options = options(4096, 512);
    disk.capture_crash_points();
    let wal = new_log(&disk.host(), &options);
    for number in 0..12 {
        wal.append(&record(&content(number, 900))).unwrap();
    }
    wal.flush(wal.end()).unwrap();
    let mut states = 0;
    for point in disk.take_crash_points() {
        for choice in point.disk.crash_choices(&CrashPolicy::full(point.call)) {
            let disk = point.disk.reboot(choice);
            let wal = new_log(&disk.host(), &options);
            let lsn = wal.append(&record(&content(77, 40))).unwrap();
            wal.flush(lsn).unwrap();
            for choice in [CrashChoice::Nothing, CrashChoice::All] {
                let host = disk.reboot(choice).host();
                let logs = log_set(&host).unwrap();
                let end = find_end(&logs, FIRST, Lsn::NONE).unwrap();
                let found = scan(&logs, FIRST, end.end).unwrap();
                assert_eq!(found, [(FIRST, content(77, 40))]);
                states += 1;
            }
        }
    }
    assert!(states > 50, "{states}");
}
