//! Who owns a home: the lock, and the note that says who holds it.
//!
//! Owns the lock file and the note beside it. Promises that at most one process owns a home, and
//! that whoever is refused is told by whom. The lock counts, the note only explains: a note
//! without a lock is left from a process that died. Must never trust the note.

use std::fmt;
use std::io;
use std::path::{Path, PathBuf};

use campanile_format::names;
use campanile_vfs::{FileLock, Host, LockMode, Open, Vfs};
use serde::Serialize;

use crate::error::{Error, ErrorKind, Result};

/// The note, in the home.
const NOTE: &str = "campanile.owner";
/// A note is one short line.
const NOTE_BYTES_MAX: u64 = 4096;
/// Whoever asks for the state of a home holds the lock for a moment: try again a few times.
const ATTEMPTS: u32 = 5;
const PAUSE_US: u64 = 20_000;

/// The process that owns a home, by what its note says.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct Owner {
    /// Process id.
    pub pid: u32,
    /// Name of the program.
    pub program: String,
}

impl fmt::Display for Owner {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "process {} ({})", self.pid, self.program)
    }
}

fn lock_path(home: &Path) -> PathBuf {
    home.join(names::LOCK)
}

/// Takes the home for this process alone.
pub(crate) fn take(host: &Host, home: &Path) -> Result<Box<dyn FileLock>> {
    let lock = acquire(host, home, LockMode::Exclusive)?;
    // Only an explanation: that it cannot be written must not keep anybody out.
    if let Err(error) = write_note(&*host.vfs, home) {
        tracing::debug!(%error, "the note of the owner was not written");
    }
    Ok(lock)
}

/// Keeps owners out while this process reads. `None` where no lock can exist: on a medium that
/// nobody can write.
pub(crate) fn share(host: &Host, home: &Path) -> Result<Option<Box<dyn FileLock>>> {
    match acquire(host, home, LockMode::Shared) {
        Ok(lock) => Ok(Some(lock)),
        Err(error) if is_read_only_medium(&error) => Ok(None),
        Err(error) => Err(error),
    }
}

/// Whether somebody owns the home right now, and who by the note.
pub(crate) fn probe(vfs: &dyn Vfs, home: &Path) -> io::Result<Option<Option<Owner>>> {
    if !vfs.exists(&lock_path(home))? {
        return Ok(None);
    }
    match vfs.lock(&lock_path(home), LockMode::Shared) {
        Ok(Some(_free)) => Ok(None),
        Ok(None) => Ok(Some(read_note(vfs, home))),
        Err(error) if error.kind() == io::ErrorKind::ReadOnlyFilesystem => Ok(None),
        Err(error) => Err(error),
    }
}

fn is_read_only_medium(error: &Error) -> bool {
    std::error::Error::source(error)
        .and_then(|source| source.downcast_ref::<io::Error>())
        .is_some_and(|source| source.kind() == io::ErrorKind::ReadOnlyFilesystem)
}

fn acquire(host: &Host, home: &Path, mode: LockMode) -> Result<Box<dyn FileLock>> {
    for attempt in 1..=ATTEMPTS {
        let taken = host.vfs.lock(&lock_path(home), mode);
        match taken.map_err(|error| Error::io("taking the home", error))? {
            Some(lock) => return Ok(lock),
            None if attempt < ATTEMPTS => host.clock.sleep_us(PAUSE_US),
            None => {}
        }
    }
    let who = match read_note(&*host.vfs, home) {
        Some(owner) => format!("{owner} owns it"),
        None => "another process owns it or reads it".to_owned(),
    };
    let what = format!(
        "{} is in use: {who}; one process owns a home at a time, wait for it or stop it",
        home.display()
    );
    Err(Error::new(ErrorKind::Locked, what))
}

fn write_note(vfs: &dyn Vfs, home: &Path) -> io::Result<()> {
    let program = std::env::args_os().next().unwrap_or_default();
    let program = Path::new(&program).file_name().unwrap_or_default().to_string_lossy();
    let note = format!("{} {program}\n", std::process::id());
    let file = vfs.open(&home.join(NOTE), Open::OpenOrCreate)?;
    file.set_len(0)?;
    file.write_all_at(note.as_bytes(), 0)
}

fn read_note(vfs: &dyn Vfs, home: &Path) -> Option<Owner> {
    let file = vfs.open(&home.join(NOTE), Open::Read).ok()?;
    let len = usize::try_from(file.len().ok()?.min(NOTE_BYTES_MAX)).ok()?;
    let mut bytes = vec![0; len];
    file.read_exact_at(&mut bytes, 0).ok()?;
    let note = String::from_utf8_lossy(&bytes);
    let (pid, program) = note.trim_end().split_once(' ')?;
    Some(Owner { pid: pid.parse().ok()?, program: program.to_owned() })
}
