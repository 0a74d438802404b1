//! From one log file to the next.
//!
//! Owns [`Output`], the file that is being written, and the order in which a file comes to be.
//! Promises (W2) that a file appears under its name in one step, with a durable header, after the
//! file before it is durable to its end, and that its name is durable before any record is written
//! into it. Must never touch a file that has another one behind it.
//!
//! The order, and what a crash between two steps leaves:
//!
//! 1. sync the old file: an old file, and nothing that says where it ends;
//! 2. write the header into a spare, sync it: a spare, which nobody looks at;
//! 3. rename the spare: one or the other name, with a whole header in either case;
//! 4. sync the directory: a new file without records, whose header says where the old one ends.

use std::path::Path;
use std::sync::Arc;

use campanile_format::frame::FRAME_BYTES;
use campanile_format::log_file::LogFileHeader;
use campanile_format::planted::{self, Bug};
use campanile_format::{Features, Lsn, Timeline, names};
use campanile_vfs::{File, Host, Open, Poison};

use crate::buffer::Segment;
use crate::error::WalError;
use crate::options::WalOptions;
use crate::spares::Spare;
use crate::stats::add;
use crate::wal::{Wal, fatal};

/// The file that is being written.
#[derive(Debug)]
pub(crate) struct Output {
    pub(crate) file: Arc<dyn File>,
    pub(crate) number: u32,
    /// Written up to here; the next write starts here.
    pub(crate) end: Lsn,
    /// Length of the file when it is full.
    pub(crate) file_bytes: u32,
    /// Bytes from the start that have blocks on disk: writing there changes no metadata, which
    /// makes the sync half as expensive (measured).
    pub(crate) filled: u64,
    /// From `end` to here the file is known to hold zeros.
    pub(crate) zeros_until: u64,
    /// Written without a sync since the system was last asked to start writing out.
    pub(crate) lazy_from: u32,
}

/// What the header of a new file says about the one before.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Predecessor {
    /// Where the log ended in it.
    pub(crate) end: Lsn,
    /// Its history.
    pub(crate) timeline: Timeline,
}

/// Makes `spare` the log file `number`: steps 2 to 4. A failure poisons.
pub(crate) fn begin_file(
    host: &Host,
    poison: &Poison,
    options: &WalOptions,
    spare: Spare,
    number: u32,
    predecessor: Predecessor,
) -> Result<Output, WalError> {
    let name = names::log_file(number);
    let header = LogFileHeader {
        features: Features::NONE,
        environment: options.environment,
        timeline: options.timeline,
        file: number,
        file_bytes: options.file_bytes,
        predecessor_end: predecessor.end,
        predecessor_timeline: predecessor.timeline,
        created_us: host.clock.now_us(),
        block_bytes: options.block_bytes,
    };
    let end = header.first_record();
    let mut head = header.encode();
    // W4: a recycled file's first record is no record.
    head.resize(end.offset() as usize + FRAME_BYTES, 0);
    let failed = |action, error| fatal(poison, action, &name, error);
    spare.file.write_all_at(&head, 0).map_err(|error| failed("write", error))?;
    spare.file.sync_data().map_err(|error| failed("sync", error))?;
    let (from, to) = (options.dir.join(&spare.name), options.dir.join(&name));
    host.vfs.rename(&from, &to).map_err(|error| failed("rename", error))?;
    if !planted::is(Bug::LogDirectorySyncSkipped) {
        sync_dir(host, poison, &options.dir)?;
    }
    // By its new name from here on, so that whoever watches the disk knows it for a log file.
    let file = host.vfs.open(&to, Open::ReadWrite).map_err(|error| failed("open", error))?;
    Ok(Output {
        file,
        number,
        end,
        file_bytes: options.file_bytes,
        filled: spare.filled,
        zeros_until: if spare.fresh { spare.filled } else { head.len() as u64 },
        lazy_from: end.offset(),
    })
}

/// Syncs a directory; a failure poisons.
pub(crate) fn sync_dir(host: &Host, poison: &Poison, dir: &Path) -> Result<(), WalError> {
    let synced = host.vfs.sync_dir(dir);
    synced.map_err(|error| fatal(poison, "sync", &dir.display().to_string(), error))
}

impl Wal {
    /// Closes the present file where `segment` says that it ends, and goes on in the segment's.
    pub(crate) fn rotate(&self, output: &mut Output, segment: &Segment) -> Result<(), WalError> {
        let (end, number) = (segment.predecessor_end, segment.start.file());
        assert_eq!(output.end, end, "the file is written to its end before the next one begins");
        assert_eq!(output.number + 1, number, "log files follow each other");
        self.sync(&output.file, output.number, end)?;
        assert!(self.durable() >= end, "W2: a file is durable before the next one says so");
        let taken = self.spares.lock().take();
        let (spare, prepared) = taken.map_err(|error| self.rotation_failed(error))?;
        let predecessor = Predecessor { end, timeline: self.options.timeline };
        let (host, poison, options) = (&self.host, &self.poison, &self.options);
        *output = begin_file(host, poison, options, spare, number, predecessor)?;
        self.files.lock().began(number, &output.file, output.file_bytes, self.identity);
        add(&self.counters.rotations, 1);
        add(&self.counters.rotations_unprepared, u64::from(!prepared));
        tracing::debug!(file = number, prepared, "log file begun");
        Ok(())
    }

    /// There is no file to go on in: records that have their positions cannot be written.
    fn rotation_failed(&self, error: WalError) -> WalError {
        self.poison.strike(error.to_string());
        error
    }
}
