//! The programs, one file each: command line, work, output.
//!
//! Owns the list of them and what they do alike: opening a home to read it.

pub mod archive;
pub mod backup;
pub mod bench;
pub mod checkpoint;
pub mod data_dirs;
pub mod diff;
pub mod drill;
pub mod dump;
pub mod export;
pub mod fingerprint;
pub mod hotbackup;
pub mod import;
pub mod info;
pub mod keep;
pub mod load;
pub mod printlog;
pub mod prune;
pub mod recover;
pub mod repair;
pub mod restore;
pub mod stat;
pub mod txn;
pub mod verify;
pub mod verify_backup;

use std::path::Path;

use campanile::Environment;

use crate::failure::Failure;
use crate::program::Program;
use crate::session::Session;

/// All programs, in the order `campanile --help` lists them.
pub const ALL: &[Program] = &[
    recover::PROGRAM,
    backup::PROGRAM,
    restore::PROGRAM,
    repair::PROGRAM,
    info::PROGRAM,
    verify_backup::PROGRAM,
    keep::PROGRAM,
    prune::PROGRAM,
    hotbackup::PROGRAM,
    archive::PROGRAM,
    checkpoint::PROGRAM,
    export::PROGRAM,
    import::PROGRAM,
    diff::PROGRAM,
    fingerprint::PROGRAM,
    data_dirs::PROGRAM,
    dump::PROGRAM,
    load::PROGRAM,
    verify::PROGRAM,
    stat::PROGRAM,
    txn::PROGRAM,
    printlog::PROGRAM,
    drill::PROGRAM,
    bench::PROGRAM,
    drill::CHILD,
];

/// Opens a home without changing a byte of it; says so if it shows what recovery would give.
pub(crate) fn open_to_read(session: &Session, home: &Path) -> Result<Environment, Failure> {
    let progress = session.progress(false);
    let env = Environment::options().read_only(true).progress(progress).open(home)?;
    if env.recovery_report().is_some() {
        session.note(format_args!(
            "the last owner of {} did not close it: this is the state that recovery gives; \
             nothing on disk was changed",
            home.display()
        ));
    }
    Ok(env)
}

/// Says so if opening the environment recovered it.
fn note_recovery(session: &Session, env: &Environment) {
    if env.recovery_report().is_some() {
        session.note(format_args!(
            "the last owner of {} did not close it: it was recovered first",
            env.home().display()
        ));
    }
}
