//! Looking at what a crash left: opens the environment, which recovers, reads everything, verifies
//! every page, and resolves what was found prepared. Must never know what is expected: the oracle
//! does.

use crate::change;
use crate::life::{self, HOME};
use crate::oracle::{Failure, Found, Oracle, Promise};
use crate::workload::Choices;
use campanile::{Environment, EnvironmentOptions, ErrorKind, TransactionOptions};
use campanile_vfs::Host;
use campanile_vfs::sim::{CrashChoice, SimDisk};
use std::path::Path;
use std::sync::Arc;

/// Opens the environment through `host`, which is the disk's, and finds what it holds; then the
/// power goes before the environment can close: the next opening recovers once more.
pub fn open_and_find(
    host: Host,
    disk: &Arc<SimDisk>,
    options: &EnvironmentOptions,
) -> Result<Found, String> {
    let env = open(host, options)?;
    let found = look_at(&env)?;
    let report = env.verify().map_err(|error| format!("verify failed: {error}"))?;
    if !report.is_clean() {
        return Err(format!("verify found: {:?}", report.damage));
    }
    disk.crash();
    drop(env);
    Ok(found)
}

fn open(host: Host, options: &EnvironmentOptions) -> Result<Environment, String> {
    Environment::open_on(host, Path::new(HOME), options.clone())
        .map_err(|error| format!("does not open: {error}"))
}

/// What an open environment holds.
fn look_at(env: &Environment) -> Result<Found, String> {
    let state = life::read_all(env).map_err(|end| format!("does not read: {end:?}"))?;
    let prepared = env.prepared().into_iter().map(|known| known.gid).collect();
    Ok(Found { state, prepared })
}

/// What recovery found prepared, which is that of the oracle's state k, holds its locks, and
/// becomes whole or nothing by whichever decision, for good; some of it is left undecided.
pub fn resolve_prepared(
    hosts: impl Fn(&Arc<SimDisk>) -> Host,
    disk: &Arc<SimDisk>,
    options: &EnvironmentOptions,
    (oracle, k): (&Oracle, usize),
    choices: &mut Choices,
) -> Result<(), String> {
    let prepared = oracle.prepared(k);
    let env = open(hosts(disk), options)?;
    let mut expected = look_at(&env)?;
    for (gid, changes) in prepared.iter() {
        let name = String::from_utf8_lossy(gid);
        if let Some(row) = changes.iter().find_map(|change| change.row()) {
            is_locked(&env, row).map_err(|what| format!("{name}: {what}"))?;
        }
        let resolved = match choices.below(5) {
            0 => continue,
            1 | 2 => env.abort_prepared(gid),
            _ => {
                expected.state = change::after(&expected.state, changes);
                env.commit_prepared(gid).map(drop)
            }
        };
        resolved.map_err(|error| format!("{name} is not resolved: {error}"))?;
        expected.prepared.remove(gid);
    }
    if look_at(&env)? != expected {
        return Err("what was prepared is not resolved as decided".to_owned());
    }
    disk.crash();
    drop(env);
    let reborn = disk.reboot(CrashChoice::Nothing);
    let again = open_and_find(hosts(&reborn), &reborn, options)?;
    let mut settled = Oracle::starting_at(expected.state, oracle.volatile().to_vec());
    for gid in &expected.prepared {
        settled.issue_prepared(gid, prepared[gid].clone());
        settled.acknowledge(Promise::Durable);
    }
    let verdict = settled.judge_all(&again, Failure::Power);
    verdict.map(|_| ()).map_err(|what| format!("a decision did not last: {what}"))
}

/// Whether a row that a prepared transaction changed is kept from others.
fn is_locked(env: &Environment, (name, key): (&str, &[u8])) -> Result<(), String> {
    let attempt = || {
        let mut txn = env.begin_with(TransactionOptions::new().no_wait(true))?;
        let db = env.open_database_in(&mut txn, name)?;
        db.put(&mut txn, key, "taken")
    };
    match attempt() {
        Err(error) if error.kind() == ErrorKind::WouldBlock => Ok(()),
        // The database itself is what the transaction made, or renamed.
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(()),
        Err(error) => Err(format!("a row of it cannot be tried: {error}")),
        Ok(_) => Err("its lock is gone: another transaction changed a row of it".to_owned()),
    }
}
