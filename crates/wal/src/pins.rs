//! What keeps old log files where they are, besides the needs of recovery.
//!
//! Owns the two holds on log files: that of whoever reads the log from outside, in any process
//! (a shared file lock, which a dead process lets go of), and that of an archive (a number, which
//! the owner raises as files are safe). Promises (W14) that no log file is given up while a
//! [`LogPin`] is held, nor while its number is held back. Must never wait for a reader: whoever
//! gives up files does it another time.

use campanile_sync::atomic::Ordering;
use std::io::ErrorKind;
use std::path::Path;

use campanile_format::names;
use campanile_format::planted::{self, Bug};
use campanile_vfs::{FileLock, Host, LockMode};

use crate::error::WalError;
use crate::wal::Wal;

/// Whoever gives files up holds the lock for a moment: try again for a while.
const ATTEMPTS: u32 = 250;
const PAUSE_US: u64 = 20_000;

/// While this lives, no file of a log is given up: by its owner, in whatever process.
#[derive(Debug)]
pub struct LogPin {
    _lock: Box<dyn FileLock>,
}

impl LogPin {
    /// Pins the log files in `dir`, those of a running owner too. Waits for a moment if files are
    /// being given up right now.
    pub fn take(host: &Host, dir: &Path) -> Result<LogPin, WalError> {
        let path = dir.join(names::LOG_READERS);
        for _ in 0..ATTEMPTS {
            let taken = host.vfs.lock(&path, LockMode::Shared);
            let taken = taken.map_err(|error| WalError::io("lock", names::LOG_READERS, error))?;
            if let Some(lock) = taken {
                return Ok(LogPin { _lock: lock });
            }
            host.clock.sleep_us(PAUSE_US);
        }
        let busy = std::io::Error::new(
            std::io::ErrorKind::WouldBlock,
            "somebody has been giving up log files for seconds",
        );
        Err(WalError::io("lock", names::LOG_READERS, busy))
    }

    /// Keeps readers out while log files go; `None` while somebody reads.
    pub fn alone(host: &Host, dir: &Path) -> Result<Option<LogPin>, WalError> {
        let taken = host.vfs.lock(&dir.join(names::LOG_READERS), LockMode::Exclusive);
        let taken = taken.map_err(|error| WalError::io("lock", names::LOG_READERS, error))?;
        Ok(taken.map(|lock| LogPin { _lock: lock }))
    }
}

/// Makes the file of the lock, so that it belongs to the owner whoever reads the log first.
pub(crate) fn make_lock_file(host: &Host, dir: &Path) {
    // Somebody reads already, or nothing can be made here: either way there is nothing to do.
    if let Err(error) = LogPin::alone(host, dir) {
        tracing::warn!(%error, "the lock of those who read the log cannot be made");
    }
}

impl Wal {
    /// From now on log files with this number and later ones are kept, whatever recovery needs;
    /// `u32::MAX` keeps none back. An archive raises it as files are safe.
    pub fn hold_from(&self, file: u32) {
        self.held_from.store(file, Ordering::Release);
    }

    /// The oldest file that is held back; `u32::MAX` if none is.
    #[must_use]
    pub fn held_from(&self) -> u32 {
        self.held_from.load(Ordering::Acquire)
    }

    /// The right to give up files before `below`, if there are any and nobody reads.
    pub(crate) fn right_to_give_up(&self, below: u32) -> Result<Option<LogPin>, WalError> {
        if self.oldest_file() >= below {
            return Ok(None);
        }
        let alone = match LogPin::alone(&self.host, &self.options.dir) {
            // A backup by another user made the lock file: files stay, and nothing else fails.
            Err(WalError::Io { source, .. }) if source.kind() == ErrorKind::PermissionDenied => {
                let file = names::LOG_READERS;
                tracing::warn!(%source, file, "log files are kept: give its owner the lock file");
                return Ok(None);
            }
            alone => alone?,
        };
        if alone.is_none() {
            tracing::debug!(below, "log files are kept: somebody reads them");
            if planted::is(Bug::LogPinIgnored) {
                return LogPin::take(&self.host, &self.options.dir).map(Some);
            }
        }
        Ok(alone)
    }
}
