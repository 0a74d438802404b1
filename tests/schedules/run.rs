//! One schedule: a prepared home, threads, perhaps a crash, the next life, the judgement.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use campanile::{Environment, EnvironmentOptions};
use campanile_sync::plain::{AtomicU64, Ordering};
use campanile_sync::thread;
use campanile_tests::explore::{choose, open_and_read};
use campanile_tests::life::{End, HOME, read_all, tiny};
use campanile_tests::oracle::{Failure, Rows};
use campanile_tests::reopen::open_and_find;
use campanile_tests::workload::Choices;
use campanile_vfs::sim::{CrashChoice, Side, SimDisk, SimOptions};
use campanile_vfs::{Background, Call, Observed, Observer, Outcome};

use crate::campaign::Tally;
use crate::ledger::{Fate, Ledger, Promise, Token, founding, gid_of, token_of};
use crate::town::{DATABASE, Notes, Town, cast, open};

/// The files of an environment that was closed in peace.
pub type Home = BTreeMap<PathBuf, Vec<u8>>;

fn options() -> EnvironmentOptions {
    tiny().cache_bytes(24 * 512).log_file_bytes(8 * 1024).lock_timeout(None)
}

/// A home with the founding rows, made once: every schedule starts from it.
pub fn prepared_home() -> Home {
    let disk = SimDisk::new(SimOptions::new(1));
    let make = || -> Result<(), campanile::Error> {
        let env = Environment::open_on(disk.host(), Path::new(HOME), options())?;
        let db = env.create_database(DATABASE)?;
        env.run(|txn| {
            founding().iter().try_for_each(|(key, value)| db.put(txn, key, value).map(drop))
        })?;
        env.close()
    };
    make().expect("nothing fails here");
    disk.snapshot_files()
}

/// Calls, or syncs, within which a crash is put.
const CALLS: u64 = 50;
const SYNCS: u64 = 8;

/// Takes the power away right before a sync: between what was promised too early and what makes
/// it true.
#[derive(Debug)]
struct CrashAtSync {
    disk: Arc<SimDisk>,
    /// Syncs until then, that one included; 0: never.
    left: AtomicU64,
}

impl Observer for CrashAtSync {
    fn before(&self, call: &Call<'_>) {
        let left = self.left.load(Ordering::Relaxed);
        if call.kind.is_sync() && left > 0 {
            self.left.store(left - 1, Ordering::Relaxed);
            if left == 1 {
                self.disk.crash();
            }
        }
    }

    fn after(&self, _call: &Call<'_>, _outcome: Outcome<'_>) {}
}

/// Runs one schedule.
///
/// # Panics
/// If anything is not as it must be.
pub fn schedule(home: &Home, seed: u64) -> Tally {
    let mut choices = Choices::new(seed);
    let disk_options =
        SimOptions { adversary: choices.one_in(3), ..SimOptions::new(choices.draw()) };
    let disk = SimDisk::from_files(disk_options, home);
    let crashes = !choices.one_in(4);
    let mut host = disk.host();
    if choices.one_in(10) {
        host.background = Background::Threads;
    }
    let at_sync = Arc::new(CrashAtSync { disk: Arc::clone(&disk), left: AtomicU64::new(0) });
    host.vfs = Observed::new(Arc::clone(&host.vfs), Arc::<CrashAtSync>::clone(&at_sync) as _);
    let mut tally = Tally { schedules: 1, ..Tally::default() };
    let env = Environment::open_on(host, Path::new(HOME), options()).expect("a sound home opens");
    let db = env.open_database(DATABASE).expect("it was made");
    if crashes && choices.one_in(2) {
        at_sync.left.store(1 + choices.below(SYNCS), Ordering::Relaxed);
    } else if crashes {
        let side = if choices.one_in(2) { Side::Before } else { Side::After };
        disk.crash_at(disk.calls() + choices.below(CALLS), side);
    }
    let notes = Arc::new(Notes::default());
    let town = Town { disk: Arc::clone(&disk), env, db, notes: Arc::clone(&notes) };
    let threads: Vec<_> = cast(&mut choices)
        .into_iter()
        .enumerate()
        .map(|(number, role)| {
            let town = town.clone();
            thread::spawn(move || town.play(number + 1, &role))
        })
        .collect();
    for thread in threads {
        thread.join().expect("a thread panicked");
    }
    let Town { env, db, .. } = town;
    drop(db);
    let closed = env.close();
    if !disk.crashed() {
        closed.expect("a close without a crash");
    }
    let wrong = std::mem::take(&mut *open(&notes.wrong));
    assert!(wrong.is_empty(), "seed {seed:#x}: {wrong:#?}");
    let ledger = open(&notes.ledger).clone();
    let judged = next_life(&disk, &ledger, &mut choices, &mut tally);
    if let Err(what) = judged {
        panic!("seed {seed:#x}: after the crash ({}): {what}", disk.crashed());
    }
    tally.retried = *open(&notes.retried);
    tally.looks = *open(&notes.looks);
    tally.kinds = *open(&notes.kinds);
    tally.calls = disk.calls();
    tally.trace = disk.trace_hash();
    tally
}

/// Opens what is left and judges it; sometimes the first recovery is cut off, too.
fn next_life(
    disk: &Arc<SimDisk>,
    ledger: &Ledger,
    choices: &mut Choices,
    tally: &mut Tally,
) -> Result<(), String> {
    let crashed = disk.crashed();
    let (choice, failure) = choose(1, &disk.pending(), choices);
    let mut failure = if crashed { Some(failure) } else { None };
    let mut image = disk.reboot(choice);
    if crashed && choices.one_in(4) {
        image.crash_at(image.calls() + choices.below(40), Side::Before);
        let _ = open_and_read(&image, None, &options());
        let (choice, again) = choose(1, &image.pending(), choices);
        if again == Failure::Power {
            failure = Some(Failure::Power);
        }
        image = image.reboot(choice);
        tally.crashes_in_recovery += 1;
    }
    let found = open_and_find(image.host(), &image, &options())?;
    let mut ledger = ledger.clone();
    let listed = found.prepared.iter().map(|gid| token_of(gid).ok_or("a strange name".to_owned()));
    let listed = listed.collect::<Result<BTreeSet<_>, _>>()?;
    ledger.settle(&listed).map_err(|wrong| format!("{failure:?}: {wrong}"))?;
    tally.prepared_found += listed.len() as u64;
    let nothing = Arc::new(Rows::new());
    let rows = found.state.get(DATABASE).unwrap_or(&nothing);
    let promise = match failure {
        None => Promise::Order,
        Some(Failure::Process) => Promise::Process,
        Some(Failure::Power) => Promise::Power,
    };
    let must = ledger.must(promise);
    let present = ledger
        .judge(rows, &must, &ledger.may())
        .map_err(|wrong| format!("{failure:?}: {wrong}"))?;
    if !listed.is_empty() {
        resolve(&image, &mut ledger, &listed, promise, choices)?;
    }
    tally.crashes += u64::from(crashed);
    for (token, deed) in &ledger.0 {
        match deed.fate {
            Fate::Acknowledged(_) => tally.acknowledged += 1,
            Fate::Gone => tally.rolled_back += 1,
            Fate::Preparing | Fate::Prepared | Fate::Resolving { .. } => {
                return Err(format!("{token} has no end: {deed:?}"));
            }
            Fate::InDoubt => {
                tally.in_doubt += 1;
                tally.in_doubt_present += u64::from(present.contains(token));
            }
        }
    }
    Ok(())
}

/// Decides for those that wait for their coordinator, and judges what that leaves.
fn resolve(
    image: &Arc<SimDisk>,
    ledger: &mut Ledger,
    listed: &BTreeSet<Token>,
    promise: Promise,
    choices: &mut Choices,
) -> Result<(), String> {
    let disk = image.reboot(CrashChoice::Nothing);
    let mut decide = || -> Result<Rows, End> {
        let env = Environment::open_on(disk.host(), Path::new(HOME), options())?;
        for token in listed {
            let commit = choices.one_in(2);
            match commit {
                true => env.commit_prepared(&gid_of(*token)).map(drop)?,
                false => env.abort_prepared(&gid_of(*token))?,
            }
            ledger.resolve(*token, commit);
        }
        let rows = read_all(&env)?.remove(DATABASE).unwrap_or_default();
        env.close()?;
        Ok(Arc::unwrap_or_clone(rows))
    };
    let rows = decide().map_err(|end| format!("{listed:?} are not resolved: {end:?}"))?;
    let judged = ledger.judge(&rows, &ledger.must(promise), &ledger.may());
    judged.map(drop).map_err(|wrong| format!("after {listed:?} were resolved: {wrong}"))
}
