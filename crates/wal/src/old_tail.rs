//! The tail of a log that was not closed: making sure of what was read.
//!
//! Owns [`Opening::secure`]. Promises (W5) that everything before the end is durable when it
//! returns, whatever the cache of a failed sync pretended, and that a crash on the way loses
//! nothing: the old file stays as it is until a copy takes its name in one step. Must never write
//! into a block that holds acknowledged records, unless the disk promises to spare them.

use std::ops::Range;

use campanile_format::Lsn;
use campanile_format::frame::FRAME_BYTES;
use campanile_format::names;
use campanile_vfs::File;

use crate::error::WalError;
use crate::rotate::{Output, sync_dir};
use crate::spares::{Spares, fill};
use crate::start::Opening;
use crate::wal::fatal;

/// The tail is copied in pieces of this.
const COPY_BYTES: u64 = 256 << 10;

impl Opening<'_> {
    /// Makes `old` durable up to its end, and its name; `proven` says from where on there is doubt.
    ///
    /// What was read may have come from the system's cache, where a failed sync has left it marked
    /// as if it were on disk: a sync alone would do nothing, it has to be written once more. Among
    /// it may be records that are durable and acknowledged, so not over themselves: a power cut
    /// could ruin the block (rule D6). The file is copied, and the copy renamed over it.
    pub(crate) fn secure(
        &self,
        spares: &mut Spares,
        old: &Output,
        proven: Lsn,
    ) -> Result<(), WalError> {
        let name = names::log_file(old.number);
        let failed = |action, error| fatal(self.poison, action, &name, error);
        let end = u64::from(old.end.offset());
        if proven >= old.end {
            old.file.sync_data().map_err(|error| failed("sync", error))?;
        } else if self.options.power_safe_overwrite {
            let from = if proven.file() == old.number { proven.offset().into() } else { 0 };
            self.copy(&*old.file, &*old.file, from..end, &name)?;
            old.file.sync_data().map_err(|error| failed("sync", error))?;
        } else {
            let (copy, _) = spares.take()?;
            self.copy(&*old.file, &*copy.file, 0..end, &name)?;
            // W4: a spare may have another file's content there.
            let until = (end + FRAME_BYTES as u64).min(old.file_bytes.into());
            fill(&*copy.file, end, until).map_err(|error| failed("write", error))?;
            copy.file.sync_data().map_err(|error| failed("sync", error))?;
            let (from, to) = (self.options.dir.join(&copy.name), self.options.dir.join(&name));
            let renamed = self.host.vfs.rename(&from, &to);
            renamed.map_err(|error| failed("rename", error))?;
        }
        sync_dir(self.host, self.poison, &self.options.dir)
    }

    /// Copies a stretch of a log file to the same place in another, or over itself.
    fn copy(
        &self,
        from: &dyn File,
        to: &dyn File,
        stretch: Range<u64>,
        name: &str,
    ) -> Result<(), WalError> {
        let Range { start: mut at, end } = stretch;
        let mut piece = vec![0; COPY_BYTES.min(end.saturating_sub(at)) as usize];
        while at < end {
            let len = piece.len().min((end - at) as usize);
            let Some(bytes) = piece.get_mut(..len) else { break };
            let read = from.read_exact_at(bytes, at);
            read.map_err(|error| WalError::io("read", name, error))?;
            let written = to.write_all_at(bytes, at);
            written.map_err(|error| fatal(self.poison, "write", name, error))?;
            at += len as u64;
        }
        Ok(())
    }
}
