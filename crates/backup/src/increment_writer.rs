//! What changed of a data file, on its way to the shelf.
//!
//! Owns the rule which pages an increment holds (B20). Promises that the file of the base with
//! these pages over it is the file as it was read. Must never leave out a page because it looks
//! the same: only because its LSN says so.

use std::collections::BTreeSet;

use campanile_format::increment::{IncrementHeader, Run};
use campanile_format::planted::{self, Bug};
use campanile_format::{Lsn, PageNo, Plain, page};

use crate::error::BackupError;
use crate::manifest::{FileEntry, Stored};
use crate::packing::Packer;

/// So many bytes of neighbouring pages become one run at most.
const RUN_BYTES_MAX: usize = 1 << 20;

/// The increment of one data file in the making.
pub(crate) struct IncrementWriter<'s> {
    packer: Packer<'s>,
    since: Lsn,
    /// Pages that the base has. What lies behind is always in.
    base_pages: u64,
    /// Pages of which the base is not sure.
    doubtful: BTreeSet<u32>,
    run: Run,
    /// The pages of the run.
    pending: Vec<u8>,
    stored: u64,
}

impl<'s> IncrementWriter<'s> {
    pub fn begin(
        mut packer: Packer<'s>,
        header: &IncrementHeader,
        base: &FileEntry,
    ) -> Result<IncrementWriter<'s>, BackupError> {
        packer.write(&header.encode())?;
        Ok(IncrementWriter {
            packer,
            since: header.since,
            base_pages: base.bytes / u64::from(header.page_bytes),
            doubtful: base.zeroed.iter().copied().collect(),
            run: Run::END,
            pending: Vec::new(),
            stored: 0,
        })
    }

    /// The next page of the file.
    pub fn page(&mut self, number: PageNo, bytes: &[u8]) -> Result<(), BackupError> {
        let never_written = page::is_never_written(bytes);
        // The base may hold something there, from before the page came to be what it is.
        let mark = never_written && !planted::is(Bug::IncrementWithoutZeroMarks);
        let behind = u64::from(number.0) >= self.base_pages;
        let changed = !never_written && page::lsn(&Plain(bytes)) >= self.since;
        if !(mark || behind || changed || self.doubtful.contains(&number.0)) {
            return Ok(());
        }
        let goes_on = self.run.end() == number.0
            && self.run.never_written == never_written
            && self.pending.len() < RUN_BYTES_MAX;
        if !goes_on {
            self.end_run()?;
            self.run = Run { first: number, count: 0, never_written };
        }
        self.run.count += 1;
        if !never_written {
            self.pending.extend_from_slice(bytes);
            self.stored += 1;
        }
        Ok(())
    }

    fn end_run(&mut self) -> Result<(), BackupError> {
        if self.run != Run::END {
            self.packer.write(&self.run.encode())?;
            self.packer.write(&self.pending)?;
            self.pending.clear();
        }
        Ok(())
    }

    /// Gives the file its name; returns what is stored, and how many pages that is.
    pub fn finish(mut self) -> Result<(Stored, u64), BackupError> {
        self.end_run()?;
        self.packer.write(&Run::END.encode())?;
        Ok((self.packer.finish()?, self.stored))
    }
}
