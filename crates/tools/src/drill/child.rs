//! The child of the drill: works until it is killed.
//!
//! Owns the transactions. On standard output it says `R` when it is ready, `I NUMBER DEED` before
//! a transaction commits, and `A NUMBER LSN` after the commit returned. Must never say `A` for what
//! is not durable.

use std::io::{self, Write};
use std::ops::ControlFlow;
use std::path::Path;
use std::thread;

use campanile::{Database, Environment, Error, Progress, Result, Transaction};

use super::{
    ACCOUNT_COUNT, ACCOUNTS, Deed, JOURNAL, LAST, PACKAGES, SCRATCH, STATE, account_key,
    journal_key, marked, options, unmarked,
};
use crate::failure::Failure;
use crate::random::Random;

/// Threads that work at the same time.
const THREADS: u64 = 4;
/// One in so many transactions is long, and rolled back.
const ONE_IN_ROLLED_BACK: u64 = 24;
/// What a long one writes.
const LONG_ENTRIES: u64 = 400;

/// One line to the parent, in one write. Without a parent there is nothing to work for.
fn tell(line: &str) {
    let mut out = io::stdout().lock();
    if out.write_all(line.as_bytes()).and_then(|()| out.flush()).is_err() {
        std::process::exit(1);
    }
}

/// Opens the home, which recovers it, and says so meanwhile: `S PHASE` at every step. Then waits to
/// be killed.
pub fn open_only(home: &Path) -> Result<(), Failure> {
    let progress = Progress::new(|step| {
        tell(&format!("S {}\n", step.phase));
        ControlFlow::Continue(())
    });
    tell("S open\n");
    let _env = options().create(false).progress(progress).open(home)?;
    tell("R\n");
    loop {
        thread::park();
    }
}

/// Works until killed.
pub fn work(home: &Path, seed: u64) -> Result<(), Failure> {
    let env = options().create(false).open(home)?;
    let desk = Desk::open(&env)?;
    tell("R\n");
    thread::scope(|scope| -> Result<()> {
        let threads: Vec<_> = (0..THREADS)
            .map(|thread| {
                let (env, desk) = (&env, &desk);
                let random = Random::new(seed.wrapping_mul(31).wrapping_add(thread));
                scope.spawn(move || desk.work(env, random))
            })
            .collect();
        threads.into_iter().try_for_each(|thread| match thread.join() {
            Ok(result) => result,
            Err(panic) => std::panic::resume_unwind(panic),
        })
    })?;
    Ok(())
}

/// The databases, opened.
struct Desk {
    packages: Database,
    accounts: Database,
    journal: Database,
    state: Database,
    scratch: Database,
    package_keys: Vec<Vec<u8>>,
}

impl Desk {
    fn open(env: &Environment) -> Result<Desk> {
        let packages = env.open_database(PACKAGES)?;
        let snapshot = env.snapshot()?;
        let keys: Result<Vec<_>> =
            packages.range(&snapshot, ..)?.map(|entry| entry.map(|entry| entry.0)).collect();
        Ok(Desk {
            package_keys: keys?,
            packages,
            accounts: env.open_database(ACCOUNTS)?,
            journal: env.open_database(JOURNAL)?,
            state: env.open_database(STATE)?,
            scratch: env.open_database(SCRATCH)?,
        })
    }

    fn work(&self, env: &Environment, mut random: Random) -> Result<()> {
        loop {
            let deed = self.choose(&mut random);
            let done = if random.below(ONE_IN_ROLLED_BACK) == 0 {
                self.roll_back(env, &mut random)
            } else {
                self.commit(env, deed)
            };
            match done {
                Err(error) if !error.is_retryable() => return Err(error),
                _ => {}
            }
        }
    }

    fn choose(&self, random: &mut Random) -> Deed {
        if random.below(4) == 0 {
            let package = random.below(self.package_keys.len() as u64);
            return Deed::Update { package: package as usize };
        }
        let from = random.below(ACCOUNT_COUNT);
        let to = (from + 1 + random.below(ACCOUNT_COUNT - 1)) % ACCOUNT_COUNT;
        Deed::Transfer { from, to, amount: 1 + random.below(100) as i64 }
    }

    fn commit(&self, env: &Environment, deed: Deed) -> Result<()> {
        let mut txn = env.begin()?;
        let number = 1 + number_at(&self.state, &txn, LAST)? as u64;
        match deed {
            Deed::Transfer { from, to, amount } => {
                self.add(&mut txn, from, -amount)?;
                self.add(&mut txn, to, amount)?;
            }
            Deed::Update { package } => {
                let key = &self.package_keys[package];
                let old = self.packages.get(&txn, key)?.unwrap_or_default();
                self.packages.put(&mut txn, key, marked(unmarked(&old), number))?;
            }
        }
        self.journal.put(&mut txn, journal_key(number), deed.to_string())?;
        self.state.put(&mut txn, LAST, number.to_string())?;
        tell(&format!("I {number} {deed}\n"));
        let lsn = txn.commit()?;
        tell(&format!("A {number} {lsn}\n"));
        Ok(())
    }

    fn add(&self, txn: &mut Transaction, account: u64, amount: i64) -> Result<()> {
        let key = account_key(account);
        let balance = number_at(&self.accounts, txn, &key)?;
        self.accounts.put(txn, &key, (balance + amount).to_string())?;
        Ok(())
    }

    /// A long transaction that nobody must ever see anything of.
    fn roll_back(&self, env: &Environment, random: &mut Random) -> Result<()> {
        let mut txn = env.begin()?;
        for _ in 0..LONG_ENTRIES {
            let key = format!("scratch-{}", random.below(100_000));
            let len = random.below(600) as usize;
            self.scratch.put(&mut txn, key, vec![b'x'; len])?;
        }
        self.add(&mut txn, 0, 1_000_000)?;
        txn.abort()
    }
}

/// A number written in digits.
fn number_at(database: &Database, txn: &Transaction, key: &str) -> Result<i64, Error> {
    let text = database.get(txn, key)?.unwrap_or_default();
    Ok(String::from_utf8_lossy(&text).parse().unwrap_or(0))
}
