//! What a prepared transaction of an earlier life did to the catalog.
//!
//! Owns the way back from the records of a transaction to the files that it made databases leave.
//! Promises the same answer as the transaction itself had while it ran. Must never look at
//! anything but the two trees of the environment itself.

use std::collections::{BTreeMap, BTreeSet};

use campanile_btree::{Reader, buried_file};
use campanile_format::record::Undo;
use campanile_format::{FileId, Value};

use crate::catalog::Row;
use crate::causes;
use crate::core::Core;
use crate::error::Result;
use crate::retired::{Fate, Retirement};

/// The changes of the catalog and of the graveyard, from the last to the first.
#[derive(Debug, Default)]
pub(crate) struct History {
    /// Name and the row before; `None` where there was no row.
    changes: Vec<(Vec<u8>, Option<Vec<u8>>)>,
    /// Files that were given up as a whole.
    buried: BTreeSet<FileId>,
}

impl History {
    /// Takes note of a change, told by how it would be undone.
    pub fn look(&mut self, undo: &Undo<'_>) {
        match undo {
            Undo::Insert { file: FileId::GRAVEYARD, key } => self.buried.extend(buried_file(key)),
            Undo::Insert { file: FileId::CATALOG, key } => self.changes.push((key.to_vec(), None)),
            Undo::Replace { file: FileId::CATALOG, key, old: Value::Inline(row) }
            | Undo::Delete { file: FileId::CATALOG, key, old: Value::Inline(row) } => {
                self.changes.push((key.to_vec(), Some(row.to_vec())));
            }
            _ => {}
        }
    }

    /// What became of the files that were given up.
    pub fn retirements(self, core: &Core) -> Result<Vec<Retirement>> {
        let mut fates: BTreeMap<FileId, Fate> =
            self.buried.iter().map(|file| (*file, Fate::Dropped)).collect();
        if fates.is_empty() {
            return Ok(Vec::new());
        }
        // The files of the names touched, as they were after the change that is looked at.
        let mut files: BTreeMap<Vec<u8>, Option<FileId>> = BTreeMap::new();
        for (name, before) in self.changes {
            let after = match files.get(&name) {
                Some(known) => *known,
                None => file_now(core, &name)?,
            };
            let row = before.map(|bytes| Row::decode(&name, &bytes)).transpose()?;
            let before = row.map(|row| row.file);
            // One name, another file: the database was emptied.
            if let (Some(before), Some(after)) = (before, after)
                && before != after
                && let Some(fate) = fates.get_mut(&before)
            {
                *fate = Fate::Replaced(after);
            }
            files.insert(name, before);
        }
        Ok(fates.into_iter().map(|(file, fate)| Retirement { file, fate }).collect())
    }
}

/// The file that the catalog gives a name now, committed or not: the transaction has it locked.
fn file_now(core: &Core, name: &[u8]) -> Result<Option<FileId>> {
    let catalog = core.tree(FileId::CATALOG);
    let bytes = catalog.get(Reader::Uncommitted, name).map_err(causes::tree)?;
    let row = bytes.map(|bytes| Row::decode(name, &bytes)).transpose()?;
    Ok(row.map(|row| row.file))
}
