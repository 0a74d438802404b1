//! Giving up old log files.
//!
//! Owns the way of a log file from its name back to the spares. Promises (W10) that a file is given
//! up only if the whole of it lies before the pin and before the durable end, and is written over
//! only after the loss of its name is durable. Must never delete a file: that stalls commits for
//! milliseconds; what is not reused is shrunk away by [`Wal::step`].

use campanile_format::log_file::{LOG_HEADER_BYTES, LogFileHeader};
use campanile_format::planted::{self, Bug};
use campanile_format::{Lsn, names};
use campanile_vfs::Open;

use crate::error::WalError;
use crate::rotate::sync_dir;
use crate::spares::Spare;
use crate::stats::add;
use crate::wal::Wal;

/// What became of old log files.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Recycled {
    /// Kept for reuse.
    pub kept: u32,
    /// Given back to the system, little by little.
    pub retired: u32,
}

impl Wal {
    /// Gives up the log files that end before `pin`: recovery will not read a record before it
    /// again, not after a crash now either. So `pin` comes from a checkpoint whose control slot is
    /// durable. Files that somebody reads, or that an archive still wants, stay (W14).
    pub fn recycle_below(&self, pin: Lsn) -> Result<Recycled, WalError> {
        self.poison.check()?;
        let mut below = pin.file().min(self.durable().file()).min(self.held_from());
        if planted::is(Bug::LogRecycledOneTooEarly) {
            below = (below + 1).min(self.durable().file());
        }
        let Some(_alone) = self.right_to_give_up(below)? else {
            return Ok(Recycled::default());
        };
        let numbers = self.files.lock().take_below(below);
        self.nearby.lock().take_if(|window| window.number() < below);
        let mut given_up = Vec::new();
        for (done, number) in numbers.iter().enumerate() {
            match self.give_up(*number) {
                Ok(spare) => given_up.extend(spare),
                Err(error) => {
                    self.files.lock().put_back(numbers.iter().skip(done).copied());
                    self.release(given_up)?;
                    return Err(error);
                }
            }
        }
        self.release(given_up)
    }

    /// Takes the name of a log file away: renames it to a spare.
    ///
    /// A file that does not say that it is what its name says is not reused, its name only goes:
    /// after a directory sync that failed, and a crash, an old name can lead to a file that is
    /// long in use under another.
    fn give_up(&self, number: u32) -> Result<Option<Spare>, WalError> {
        let old = names::log_file(number);
        let failed = |action, error| WalError::io(action, old.clone(), error);
        let path = self.options.dir.join(&old);
        let vfs = &self.host.vfs;
        let file = vfs.open(&path, Open::ReadWrite).map_err(|error| failed("open", error))?;
        let filled = file.len().map_err(|error| failed("measure", error))?;
        let mut head = vec![0; LOG_HEADER_BYTES];
        let count = file.read_full_at(&mut head, 0).map_err(|error| failed("read", error))?;
        head.truncate(count);
        if LogFileHeader::decode(&head).is_ok_and(|header| header.file == number) {
            let name = self.spares.lock().next_name();
            let renamed = vfs.rename(&path, &self.options.dir.join(&name));
            renamed.map_err(|error| failed("rename", error))?;
            return Ok(Some(Spare { name, file, filled, fresh: false }));
        }
        vfs.remove(&path).map_err(|error| failed("remove", error))?;
        Ok(None)
    }

    /// Hands renamed files over for reuse, once their old names are gone for good.
    fn release(&self, given_up: Vec<Spare>) -> Result<Recycled, WalError> {
        if given_up.is_empty() {
            return Ok(Recycled::default());
        }
        sync_dir(&self.host, &self.poison, &self.options.dir)?;
        let mut recycled = Recycled::default();
        let mut spares = self.spares.lock();
        spares.learn_demand();
        for spare in given_up {
            match spares.add(spare) {
                true => recycled.kept += 1,
                false => recycled.retired += 1,
            }
        }
        drop(spares);
        add(&self.counters.files_recycled, recycled.kept.into());
        add(&self.counters.files_retired, recycled.retired.into());
        Ok(recycled)
    }
}
