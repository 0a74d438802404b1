//! The end of an environment while other threads are still at work, and bugs of ours: whoever gets
//! the home next must find it at rest, and whatever was half done must not be built upon.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use campanile::{Environment, EnvironmentOptions, ErrorKind, Health};
use campanile_vfs::{Adversary, Background, Host, OsClock};

const HOME: &str = "/home";

fn threads() -> Host {
    Host { background: Background::Threads, clock: Arc::new(OsClock::new()), ..Host::memory() }
}

fn tiny() -> EnvironmentOptions {
    EnvironmentOptions::new()
        .page_bytes(512)
        .cache_bytes(64 * 512)
        .log_file_bytes(16 << 10)
        .log_buffer_bytes(2 << 10)
        .checkpoint_log_bytes(8 << 10)
}

fn fill(env: &Environment, round: u32) -> campanile::Result<()> {
    let db = env.create_database("db")?;
    for part in 0..8 {
        env.run(|txn| {
            for key in 0..40u32 {
                db.put(txn, (key * 8 + part).to_le_bytes(), [round as u8; 60])?;
            }
            for key in 0..40u32 {
                if !(key + round).is_multiple_of(3) {
                    db.delete(txn, (key * 8 + part).to_le_bytes())?;
                }
            }
            Ok(())
        })?;
    }
    Ok(())
}

/// Handles are shared between threads, and all of them may close, step and take checkpoints.
#[test]
fn closing_beside_steps_and_checkpoints_leaves_a_clean_home() {
    let host = threads();
    for round in 0..30 {
        let env = Environment::open_on(host.clone(), HOME, tiny()).unwrap();
        assert!(env.recovery_report().is_none(), "round {round}: {:?}", env.recovery_report());
        let report = env.verify().unwrap();
        assert!(report.is_clean(), "round {round}: {:?}", report.damage);
        fill(&env, round).unwrap();
        let busy = |work: fn(&Environment) -> campanile::Result<()>| {
            let env = env.clone();
            std::thread::spawn(move || {
                loop {
                    if let Err(error) = work(&env) {
                        return error.kind();
                    }
                }
            })
        };
        let others = [
            busy(|env| env.step().map(|_| ())),
            busy(|env| env.checkpoint().map(|_| ())),
            busy(|env| env.clone().close()),
        ];
        let _ = env.close();
        for other in others {
            assert_eq!(other.join().unwrap(), ErrorKind::Closed);
        }
    }
}

/// Panics at one place, once, when told to.
#[derive(Debug, Default)]
struct Bug {
    site: &'static str,
    armed: AtomicBool,
    fired: AtomicU64,
}

impl Adversary for Bug {
    fn strikes(&self, site: &'static str) -> bool {
        if site == self.site && self.armed.swap(false, Ordering::SeqCst) {
            self.fired.fetch_add(1, Ordering::SeqCst);
            panic!("a bug on purpose");
        }
        false
    }
}

fn buggy(site: &'static str, background: Background) -> (Host, Arc<Bug>) {
    let bug = Arc::new(Bug { site, ..Bug::default() });
    let host = Host { background, adversary: Arc::clone(&bug) as Arc<dyn Adversary>, ..threads() };
    (host, bug)
}

#[test]
fn a_panic_between_a_record_and_its_page_poisons() {
    let (host, bug) = buggy("write the log out early", Background::Stepped);
    let env = Environment::open_on(host.clone(), HOME, tiny()).unwrap();
    let db = env.create_database("db").unwrap();
    env.run(|txn| db.put(txn, "kept", "1")).unwrap();
    let mut txn = env.begin().unwrap();
    bug.armed.store(true, Ordering::SeqCst);
    let put = catch_unwind(AssertUnwindSafe(|| db.put(&mut txn, "lost", "1")));
    assert!(put.is_err() && bug.fired.load(Ordering::SeqCst) == 1);
    assert!(matches!(env.health(), Health::Poisoned { .. }), "{:?}", env.health());
    drop(txn);
    drop((env, db));
    let env = Environment::open_on(host, HOME, tiny()).unwrap();
    let db = env.open_database("db").unwrap();
    assert_eq!(db.get(&env.snapshot().unwrap(), "kept").unwrap().as_deref(), Some(&b"1"[..]));
    assert_eq!(db.get(&env.snapshot().unwrap(), "lost").unwrap(), None);
}

#[test]
fn a_panic_in_the_background_reaches_the_user() {
    let (host, bug) = buggy("pagestore.write_back", Background::Threads);
    let env = Environment::open_on(host, HOME, tiny()).unwrap();
    bug.armed.store(true, Ordering::SeqCst);
    let mut waited = 0;
    while env.health() == Health::Running && waited < 2_000 {
        std::thread::sleep(std::time::Duration::from_millis(1));
        waited += 1;
    }
    assert!(matches!(env.health(), Health::Poisoned { .. }), "{:?}", env.health());
    assert!(env.create_database("db").unwrap_err().needs_recovery());
}

/// A rollback in a destructor, while a panic of the user's unwinds, is a rollback like any other.
#[test]
fn a_panic_of_the_user_rolls_back_and_nothing_else() {
    let env = Environment::open_on(threads(), HOME, tiny()).unwrap();
    let user = catch_unwind(AssertUnwindSafe(|| {
        let mut txn = env.begin().unwrap();
        let options = campanile::DatabaseOptions::new();
        let db = env.create_database_with(&mut txn, "db", options).unwrap();
        for key in 0..500u32 {
            db.put(&mut txn, key.to_le_bytes(), [1; 60]).unwrap();
        }
        panic!("the user's own");
    }));
    assert!(user.is_err());
    assert_eq!(env.health(), Health::Running);
    assert!(env.open_database("db").is_err());
    env.create_database("db").unwrap();
    env.close().unwrap();
}

/// A rollback must never need a log record that no log file can hold.
#[test]
fn log_files_too_small_for_the_pages_are_refused_before_anything_is_written() {
    let host = Host::memory();
    let small = || EnvironmentOptions::new().page_bytes(8192).log_file_bytes(16 << 10);
    let refused = Environment::open_on(host.clone(), HOME, small()).unwrap_err();
    assert_eq!(refused.kind(), ErrorKind::InvalidArgument, "{refused}");
    let fits = || small().log_file_bytes(32 << 10);
    Environment::open_on(host.clone(), HOME, fits()).unwrap().close().unwrap();
    // The pages of a home keep their size, whatever the options say.
    let refused = Environment::open_on(host.clone(), HOME, small().page_bytes(512)).unwrap_err();
    assert_eq!(refused.kind(), ErrorKind::InvalidArgument, "{refused}");
    let env = Environment::open_on(host, HOME, fits()).unwrap();
    assert!(env.recovery_report().is_none());
}
