//! A directory to try something out in, which is left as it was found.
//!
//! Owns its mark and its removal. Promises that only a directory which was empty, or missing, or is
//! what an earlier trial left, is written into; and that a trial which was cut short is recognised
//! and done away with by the next. Must never remove what it did not make.

use std::io;
use std::path::{Path, PathBuf};

use campanile_backup::sealed::{seal, unseal};
use campanile_backup::{Directory, Shelf};
use campanile_vfs::{Host, Open};
use serde::{Deserialize, Serialize};

use crate::causes;
use crate::error::{Error, ErrorKind, Result};

/// Says what the directory is.
const MARK: &str = "campanile.scratch";
/// The home in it.
const HOME: &str = "home";
/// The mark is one short line.
const MARK_BYTES_MAX: u64 = 4096;

#[derive(Serialize, Deserialize)]
struct Mark {
    /// The directory was made for this, and goes with it.
    made: bool,
}

/// A directory to try something out in.
pub(crate) struct Scratch {
    host: Host,
    dir: PathBuf,
    shelf: Directory,
    made: bool,
}

impl Scratch {
    /// Makes the directory one for trials.
    pub fn open(host: &Host, dir: &Path) -> Result<Scratch> {
        let shelf = Directory::new(host, dir);
        let found = match host.vfs.list(dir) {
            Ok(found) => Some(found),
            Err(error) if error.kind() == io::ErrorKind::NotFound => None,
            Err(error) => return Err(Error::io(format!("listing {}", dir.display()), error)),
        };
        let unfinished = |name: &String| name.starts_with(MARK);
        let (made, marked) = match &found {
            None => (true, false),
            Some(names) if names.iter().any(|name| name == MARK) => (read_mark(host, dir)?, true),
            Some(names) => match names.iter().find(|name| !unfinished(name)) {
                None => (false, false),
                Some(stranger) => {
                    let what = format!(
                        "{} is not empty (it holds {stranger}): give an empty directory, or one \
                         that is not there, to restore into",
                        dir.display()
                    );
                    return Err(Error::new(ErrorKind::InvalidArgument, what));
                }
            },
        };
        if !marked {
            let put = shelf.put(MARK).and_then(|mut put| {
                put.write(seal(&Mark { made }).as_bytes())?;
                put.finish()
            });
            put.map_err(causes::backup)?;
        }
        let scratch = Scratch { host: host.clone(), dir: dir.to_owned(), shelf, made };
        scratch.clear()?;
        Ok(scratch)
    }

    /// Where a home can be made.
    pub fn home(&self) -> PathBuf {
        self.dir.join(HOME)
    }

    /// Removes the home, for another trial.
    pub fn clear(&self) -> Result<()> {
        self.shelf.clear(HOME).map_err(causes::backup)
    }

    /// Removes everything, and the directory if it was made for this.
    pub fn remove(self) -> Result<()> {
        self.clear()?;
        self.shelf.remove(MARK).map_err(causes::backup)?;
        if !self.made {
            return Ok(());
        }
        let failed = |error| Error::io(format!("removing {}", self.dir.display()), error);
        self.host.vfs.remove_dir(&self.dir).map_err(failed)?;
        match self.dir.parent().filter(|above| !above.as_os_str().is_empty()) {
            Some(above) => self.host.vfs.sync_dir(above).map_err(failed),
            None => Ok(()),
        }
    }
}

fn read_mark(host: &Host, dir: &Path) -> Result<bool> {
    let path = dir.join(MARK);
    let read = || -> io::Result<Vec<u8>> {
        let file = host.vfs.open(&path, Open::Read)?;
        let mut bytes = vec![0; file.len()?.min(MARK_BYTES_MAX) as usize];
        file.read_exact_at(&mut bytes, 0)?;
        Ok(bytes)
    };
    let bytes = read().map_err(|error| Error::io(format!("reading {}", path.display()), error))?;
    let mark = unseal::<Mark>(&bytes).map_err(|why| {
        let what = format!("{} is damaged: {why}; remove the directory", path.display());
        Error::new(ErrorKind::Corrupt, what)
    })?;
    Ok(mark.made)
}
