//! Pages of the home whose checksum would not hold, and what explains them.
//!
//! Owns the question whether a bad page is damage. Promises that one is called harmless only if
//! replaying the log of this backup makes it anew or gives it up. Must never guess.

use std::collections::BTreeSet;

use campanile_format::record::{Body, FileAction};
use campanile_format::{FileId, Lsn, PageId, page_op};
use campanile_wal::LogSet;

use crate::error::BackupError;

/// Bad pages that nothing has explained yet.
#[derive(Debug, Default)]
pub(crate) struct Suspects {
    pages: BTreeSet<PageId>,
}

impl Suspects {
    pub fn insert(&mut self, page: PageId) {
        self.pages.insert(page);
    }

    /// Takes in those of another thread.
    pub fn merge(&mut self, other: Suspects) {
        self.pages.extend(other.pages);
    }

    /// Reads the log for what replay would do to them; an error names the first that stays.
    pub fn explain(mut self, logs: &LogSet, redo: Lsn, end: Lsn) -> Result<(), BackupError> {
        if !self.pages.is_empty() {
            for found in logs.forward(redo, end)? {
                let (_, buffer) = found?;
                let record = buffer.record()?;
                for change in record.changes() {
                    if page_op::begins_with_init(&change.ops) {
                        self.pages.remove(&change.page);
                    }
                }
                match record.body {
                    Body::FileRemove { file }
                    | Body::Compensate { action: FileAction::RemoveFile(file), .. } => {
                        self.forget(file);
                    }
                    _ => {}
                }
            }
        }
        match self.pages.first() {
            None => Ok(()),
            Some(first) => Err(BackupError::DamagedPages {
                count: self.pages.len(),
                file: campanile_format::names::data_file(first.file),
                page: first.page.0,
            }),
        }
    }

    fn forget(&mut self, file: FileId) {
        self.pages.retain(|page| page.file != file);
    }
}
