//! The pages of a data file that its owner is writing.
//!
//! Owns the reading of pages. Promises (B3) that every page it gives passed its checksum in its
//! place, or is put down as never written and remembered as a suspect. Must never take half a
//! write for damage.

use std::io;
use std::sync::Arc;

use campanile_format::meta::MetaFields;
use campanile_format::planted::{self, Bug};
use campanile_format::{EnvironmentId, FileId, Lsn, PageId, PageNo, Plain, map, page};
use campanile_vfs::{File, Host};

use crate::error::BackupError;
use crate::gone_files::Gone;
use crate::suspects::Suspects;

/// A page that fails is read so many times more, with longer pauses each time: a write is under
/// way for microseconds.
const ATTEMPTS: u64 = 8;
const PAUSE_US: u64 = 500;
/// When so many pages stayed bad, the others are not waited for so long: they are old garbage.
const PATIENCE: u64 = 16;

/// What is known of the pages that were read.
#[derive(Debug, Default)]
pub(crate) struct Tally {
    /// How many.
    pub pages: u64,
    /// Those that were read more than once.
    pub read_again: u64,
    /// Those whose checksum never held.
    pub bad: u64,
    /// Those of them that may be damage.
    pub suspects: Suspects,
    /// Data files that were listed and are gone.
    pub gone: Gone,
    /// The latest change that any of them shows.
    pub highest: Lsn,
}

impl Tally {
    /// Takes in what another thread knows.
    pub fn merge(&mut self, other: Tally) {
        self.pages += other.pages;
        self.read_again += other.read_again;
        self.bad += other.bad;
        self.suspects.merge(other.suspects);
        self.gone.merge(other.gone);
        self.highest = self.highest.max(other.highest);
    }
}

/// A data file that is being copied.
pub(crate) struct DataPages<'h> {
    pub host: &'h Host,
    pub id: FileId,
    pub file: Arc<dyn File>,
    pub shown: String,
    pub page_bytes: usize,
    /// False: its changes are not logged.
    pub durable: bool,
}

impl DataPages<'_> {
    /// Whether the file's changes are not logged: recovery makes it anew.
    pub fn is_volatile(&self, environment: EnvironmentId) -> Result<bool, BackupError> {
        let mut meta = vec![0; self.page_bytes];
        if !self.read(PageNo(0), &mut meta)? {
            return Ok(false);
        }
        // Its owner may be writing it: what it says counts for the whole file.
        let sound = self.is_sound(PageNo(0), &meta) || self.read_again(PageNo(0), &mut meta, 0)?;
        if !sound {
            return Ok(false);
        }
        if page::is_never_written(&meta) {
            return Ok(false);
        }
        let damaged = |why: String| BackupError::Damaged { file: self.shown.clone(), why };
        let fields = MetaFields::read(&Plain(&meta)).map_err(|error| damaged(error.to_string()))?;
        if fields.environment != environment {
            return Err(damaged(format!("it belongs to environment {}", fields.environment)));
        }
        Ok(!fields.durable)
    }

    /// Reads neighbouring pages, as they are.
    pub fn read_piece(&self, first: u64, piece: &mut [u8]) -> Result<(), BackupError> {
        let failed = |source| BackupError::io("read", self.shown.clone(), source);
        let read = self.file.read_full_at(piece, first * self.page_bytes as u64);
        if read.map_err(failed)? < piece.len() {
            return Err(failed(io::ErrorKind::UnexpectedEof.into()));
        }
        Ok(())
    }

    /// Reads a page; false if the file ends before it.
    fn read(&self, number: PageNo, page: &mut [u8]) -> Result<bool, BackupError> {
        let offset = u64::from(number.0) * self.page_bytes as u64;
        let read = self.file.read_full_at(page, offset);
        let count = read.map_err(|error| BackupError::io("read", self.shown.clone(), error))?;
        Ok(count == page.len())
    }

    fn is_sound(&self, number: PageNo, bytes: &[u8]) -> bool {
        page::is_never_written(bytes) || page::check(bytes, PageId::new(self.id, number)).is_ok()
    }

    /// Sees to it that `bytes` are the page, or nothing: then it answers false.
    pub fn check(
        &self,
        number: PageNo,
        bytes: &mut [u8],
        tally: &mut Tally,
    ) -> Result<bool, BackupError> {
        tally.pages += 1;
        let id = PageId::new(self.id, number);
        if planted::is(Bug::BackupPagesUnchecked) {
            return Ok(true);
        }
        let mut good = self.is_sound(number, bytes);
        if !good {
            tally.read_again += 1;
            good = self.read_again(number, bytes, tally.bad)?;
        }
        if !good {
            tracing::debug!(page = %id, "a page whose checksum does not hold");
            tally.bad += 1;
            bytes.fill(0);
            if self.durable && !self.is_free(number)? {
                tally.suspects.insert(id);
            }
        }
        let lsn = page::lsn(&Plain(&*bytes));
        if self.durable && lsn > tally.highest {
            tally.highest = lsn;
        }
        Ok(good)
    }

    /// Reads a page until its checksum holds; false if it never does.
    fn read_again(
        &self,
        number: PageNo,
        bytes: &mut [u8],
        bad_before: u64,
    ) -> Result<bool, BackupError> {
        let attempts = if bad_before < PATIENCE { ATTEMPTS } else { 2 };
        for attempt in 1..=attempts {
            self.host.clock.sleep_us(PAUSE_US * attempt);
            if self.read(number, bytes)? && self.is_sound(number, bytes) {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// Whether the space map on disk says that nobody uses the page. If memory knows better, the
    /// log does too.
    fn is_free(&self, number: PageNo) -> Result<bool, BackupError> {
        let (_, bit) = map::place_of(self.page_bytes, number);
        let Some(at) = map::map_page_for(self.page_bytes, number).filter(|at| *at != number) else {
            return Ok(false);
        };
        let mut bytes = vec![0; self.page_bytes];
        if !self.read(at, &mut bytes)? {
            return Ok(true);
        }
        // A map that was never written has given out nothing; a bad one says nothing.
        let sound = self.is_sound(at, &bytes);
        let free =
            page::is_never_written(&bytes) || !map::Map::new(Plain(&bytes)).is_allocated(bit);
        Ok(sound && free)
    }
}

/// The check that no page is from after the end of the log (B2).
pub(crate) fn check_order(highest: Lsn, end: Lsn) -> Result<(), BackupError> {
    if highest < end {
        return Ok(());
    }
    let why = format!("a page shows a change at {highest}, but the log ends at {end}");
    Err(BackupError::Changed { why })
}
