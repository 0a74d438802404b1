//! Pages and files that nobody needs any more, as soon as that is certain.
//!
//! Owns: the rows of the graveyard tree (file 2) and the action that makes them true. Promises: a
//! row is inserted by the transaction that gives the pages up, and goes in the same record that
//! frees them; so nothing leaks and nothing is freed twice, whenever a crash comes. Must never:
//! touch a row on a page that is not settled: its transaction may still roll back, or a snapshot
//! may still read what it names.

use std::collections::BTreeSet;

use campanile_format::map::{pages_per_group, place_of};
use campanile_format::planted::{self, Bug};
use campanile_format::record::Undo;
use campanile_format::{FileId, Lsn, OverflowRef, PageNo, PageOp};
use campanile_pagestore::PageWrite;
use campanile_sync::atomic::Ordering;
use campanile_txn::{By, Change, MapChange, Transactions, Txn};

use crate::descend::{Target, damaged, node_of};
use crate::error::TreeError;
use crate::forest::Forest;
use crate::range::Range;
use crate::tree::Tree;
use crate::view::Reader;

/// In place of a first page: the whole file.
const WHOLE_FILE: u32 = u32::MAX;
/// Leaves of the graveyard looked at in one step of the cleaner.
const STEP_LEAVES: usize = 16;
/// Pages freed by one record at most.
const RECORD_PAGES: u64 = 65536;

/// One row.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Grave {
    pub file: FileId,
    pub first: PageNo,
    pub pages: u32,
}

impl Grave {
    /// The key: file and first page, high byte first, so that rows of a file stand together and
    /// the row of the whole file stands last.
    pub fn key(&self) -> [u8; 8] {
        let number = u64::from(self.file.0) << 32 | u64::from(self.first.0);
        let mut key = number.to_le_bytes();
        key.reverse();
        key
    }

    pub fn value(&self) -> [u8; 4] {
        self.pages.to_le_bytes()
    }

    pub fn decode(key: &[u8], value: &[u8]) -> Option<Grave> {
        let mut key: [u8; 8] = key.try_into().ok()?;
        key.reverse();
        let number = u64::from_le_bytes(key);
        let pages = u32::from_le_bytes(value.try_into().ok()?);
        let (file, first) = (FileId((number >> 32) as u32), PageNo(number as u32));
        Some(Grave { file, first, pages })
    }

    pub fn is_whole_file(&self) -> bool {
        self.first.0 == WHOLE_FILE
    }

    /// Whether it names pages that can be one extent: all under one space map.
    pub fn is_possible(&self, page_bytes: usize) -> bool {
        let (_, bit) = place_of(page_bytes, self.first);
        let end = u64::from(bit) + u64::from(self.pages);
        self.is_whole_file() || self.pages > 0 && end <= u64::from(pages_per_group(page_bytes))
    }
}

/// Where the cleaner's walk through the graveyard stands.
#[derive(Debug, Default)]
pub(crate) struct Round {
    /// Leaves below this key are done; `None` between two walks.
    next: Option<Vec<u8>>,
    /// The walk left rows where they are.
    rows_left: bool,
    /// The walk freed something.
    freed: bool,
    /// The settled LSN when the walk began.
    settled: Lsn,
}

/// What a purge of the graveyard gave back.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct PurgeReport {
    /// Rows removed.
    pub rows: u64,
    /// Pages freed in files that stay.
    pub pages: u64,
    /// Files removed.
    pub files: u64,
}

impl PurgeReport {
    fn is_nothing(&self) -> bool {
        self.rows == 0
    }
}

/// The file that the graveyard's row with this key gives up as a whole, if it does.
#[must_use]
pub fn buried_file(key: &[u8]) -> Option<FileId> {
    let grave = Grave::decode(key, &[0; 4])?;
    grave.is_whole_file().then_some(grave.file)
}

impl Tree<'_> {
    /// Hands the extents of a value that `txn` deletes or replaces over to the graveyard.
    pub(crate) fn bury_value(&self, txn: &mut Txn, overflow: OverflowRef) -> Result<(), TreeError> {
        let graveyard = Tree { file: FileId::GRAVEYARD, ..*self };
        self.walk_extents(overflow, |extent| {
            if planted::is(Bug::OverflowFreedEarly) {
                let mut map = self.txns.release_extent(self.file, extent.first, extent.pages)?;
                self.apply(By::System, &mut [map.change()], Undo::None)?;
                return Ok(());
            }
            let grave = Grave { file: self.file, first: extent.first, pages: extent.pages };
            bury(&graveyard, txn, grave)
        })
    }
}

fn bury(graveyard: &Tree<'_>, txn: &mut Txn, grave: Grave) -> Result<(), TreeError> {
    if !graveyard.insert(txn, &grave.key(), &grave.value())? {
        let leaf = graveyard.read_leaf(Target::At(&grave.key()))?;
        return Err(damaged(
            &leaf,
            format!("page {} of file {} is buried already", grave.first, grave.file),
        ));
    }
    graveyard.forest.backlog.graves.store(true, Ordering::Release);
    Ok(())
}

impl Forest {
    /// Hands a whole file that `txn` drops over to the graveyard.
    ///
    /// # Errors
    /// As [`Tree::put`].
    pub fn bury_file(
        &self,
        txns: &Transactions,
        txn: &mut Txn,
        file: FileId,
    ) -> Result<(), TreeError> {
        let graveyard = self.tree(txns, FileId::GRAVEYARD);
        bury(&graveyard, txn, Grave { file, first: PageNo(WHOLE_FILE), pages: 0 })
    }

    /// The files whose removal is in the graveyard, committed or not.
    ///
    /// # Errors
    /// Damage, I/O.
    pub fn buried_files(&self, txns: &Transactions) -> Result<BTreeSet<FileId>, TreeError> {
        let graveyard = self.tree(txns, FileId::GRAVEYARD);
        let mut range = Range::all();
        let mut files = BTreeSet::new();
        while let Some((key, value)) = range.next(&graveyard, Reader::Uncommitted)? {
            let grave = Grave::decode(&key, &value).filter(Grave::is_whole_file);
            files.extend(grave.map(|grave| grave.file));
        }
        Ok(files)
    }

    /// What recovery ends with: forgets what the graveyard has of files that are not durable
    /// (recovery has emptied them, so their pages are free already), and frees the rest.
    ///
    /// # Errors
    /// Damage, I/O.
    pub fn purge_after_recovery(&self, txns: &Transactions) -> Result<PurgeReport, TreeError> {
        let graveyard = self.tree(txns, FileId::GRAVEYARD);
        let mut from = Some(Vec::new());
        while let Some(key) = from {
            from = graveyard.forget_volatile_at(&key)?;
        }
        self.purge_graveyard(txns)
    }

    /// Frees everything in the graveyard that is settled.
    ///
    /// # Errors
    /// Damage, I/O.
    pub fn purge_graveyard(&self, txns: &Transactions) -> Result<PurgeReport, TreeError> {
        let _one_at_a_time = self.backlog.cleaning.lock();
        let mut report = PurgeReport::default();
        let graveyard = self.tree(txns, FileId::GRAVEYARD);
        let mut from = Some(Vec::new());
        while let Some(key) = from {
            loop {
                let done = graveyard.purge_graves_at(&key)?;
                report.rows += done.rows;
                report.pages += done.pages;
                report.files += done.files;
                if done.is_nothing() {
                    break;
                }
            }
            let leaf = graveyard.read_leaf(Target::At(&key))?;
            from = node_of(&leaf).fences().1;
        }
        Ok(report)
    }

    /// The cleaner's share: one record's worth, or a few leaves of a walk through the graveyard.
    /// False at the end of a walk that found nothing to free.
    pub(crate) fn purge_some_graves(&self, txns: &Transactions) -> Result<bool, TreeError> {
        let mut round = self.backlog.grave_round.lock();
        let settled = txns.settled_lsn();
        if round.next.is_none() {
            if round.rows_left && !round.freed && round.settled == settled {
                // The last walk freed nothing, and this one could not either.
                return Ok(false);
            }
            // Cleared first: a row that comes while we look sets it again.
            self.backlog.graves.store(false, Ordering::Release);
            *round = Round { settled, ..Round::default() };
        }
        let mut key = round.next.take().unwrap_or_default();
        let graveyard = self.tree(txns, FileId::GRAVEYARD);
        for _ in 0..STEP_LEAVES {
            let found = !graveyard.purge_graves_at(&key)?.is_nothing();
            let leaf = graveyard.read_leaf(Target::At(&key))?;
            let node = node_of(&leaf);
            round.rows_left |= (0..node.count()).any(|slot| !node.is_ghost(slot));
            if found {
                round.freed = true;
                break;
            }
            let Some(fence) = node.fences().1 else {
                let again = round.rows_left;
                self.backlog.graves.fetch_or(again, Ordering::Release);
                return Ok(false);
            };
            key = fence;
        }
        round.next = Some(key);
        self.backlog.graves.store(true, Ordering::Release);
        Ok(true)
    }
}

/// Rows of one leaf that one record can free: slots, and the pages under one space map.
struct Batch {
    slots: Vec<u16>,
    file: FileId,
    pages: Vec<PageNo>,
}

impl<'e> Tree<'e> {
    /// Makes ghosts of the rows that name pages of files that are not durable, on the leaf for
    /// `key`; gives the next leaf's lower fence. Also of rows that are not settled: should a
    /// prepared transaction still be rolled back, there is nothing left of its row to undo.
    fn forget_volatile_at(&self, key: &[u8]) -> Result<Option<Vec<u8>>, TreeError> {
        let mut leaf = self.write_leaf(key)?;
        let mut ops = Vec::new();
        for (slot, grave) in self.rows_of(&leaf)? {
            let tree = self.forest.tree(self.txns, grave.file);
            if !grave.is_whole_file() && tree.file_exists()? && !self.txns.is_durable(grave.file)? {
                ops.push(PageOp::LeafGhost { slot, ghost: true });
            }
        }
        if !ops.is_empty() {
            self.apply(By::System, &mut [Change::new(&mut leaf, ops)], Undo::None)?;
            self.forest.backlog.note(leaf.id());
        }
        Ok(node_of(&leaf).fences().1)
    }

    /// Frees what one record can free of the rows on the graveyard's leaf for `key`.
    fn purge_graves_at(&self, key: &[u8]) -> Result<PurgeReport, TreeError> {
        let mut leaf = self.write_leaf(key)?;
        if !self.is_settled(leaf.lsn()) {
            return Ok(PurgeReport::default());
        }
        let rows = self.rows_of(&leaf)?;
        if let Some(whole) = rows.iter().map(|row| row.1).find(Grave::is_whole_file) {
            drop(leaf);
            return self.purge_file(whole);
        }
        let Some(batch) = self.batch(&rows)? else { return Ok(PurgeReport::default()) };
        let report = PurgeReport {
            rows: batch.slots.len() as u64,
            pages: batch.pages.len() as u64,
            files: 0,
        };
        let mut maps = match batch.pages.is_empty() {
            true => Vec::new(),
            false => self.txns.release(batch.file, &batch.pages)?,
        };
        self.remove_rows(&mut leaf, &batch.slots, &mut maps)?;
        Ok(report)
    }

    /// The rows from the first on that one record can free.
    fn batch(&self, rows: &[(u16, Grave)]) -> Result<Option<Batch>, TreeError> {
        let Some((_, first)) = rows.first() else { return Ok(None) };
        let group = |grave: &Grave| place_of(self.page_bytes(), grave.first).0;
        let gone = !self.forest.tree(self.txns, first.file).file_exists()?;
        let mut batch = Batch { slots: Vec::new(), file: first.file, pages: Vec::new() };
        for (slot, grave) in rows {
            let pages = batch.pages.len() as u64 + u64::from(grave.pages);
            let same = grave.file == first.file && (gone || group(grave) == group(first));
            if !same || (pages > RECORD_PAGES && !batch.slots.is_empty()) {
                break;
            }
            batch.slots.push(*slot);
            if !gone {
                let end = grave.first.0.saturating_add(grave.pages);
                batch.pages.extend((grave.first.0..end).map(PageNo));
            }
        }
        Ok(Some(batch))
    }

    fn purge_file(&self, whole: Grave) -> Result<PurgeReport, TreeError> {
        // Nothing may be latched while files are removed. That the row is settled stays true.
        let existed = self.forest.tree(self.txns, whole.file).file_exists()?;
        if existed {
            self.txns.remove_file_now(whole.file)?;
        }
        let mut leaf = self.write_leaf(&whole.key())?;
        let Ok(slot) = node_of(&leaf).search(&whole.key()) else {
            return Ok(PurgeReport::default());
        };
        self.remove_rows(&mut leaf, &[slot as u16], &mut [])?;
        Ok(PurgeReport { rows: 1, pages: 0, files: u64::from(existed) })
    }

    fn remove_rows(
        &self,
        leaf: &mut PageWrite<'e>,
        slots: &[u16],
        maps: &mut [MapChange<'e>],
    ) -> Result<(), TreeError> {
        let mut ops: Vec<PageOp<'_>> =
            slots.iter().map(|slot| PageOp::LeafGhost { slot: *slot, ghost: true }).collect();
        ops.push(PageOp::LeafPurge { slots: slots.to_vec().into() });
        let id = leaf.id();
        let mut changes = vec![Change::new(leaf, ops)];
        changes.extend(maps.iter_mut().map(MapChange::change));
        self.apply(By::System, &mut changes, Undo::None)?;
        self.forest.backlog.note(id);
        Ok(())
    }

    /// The live rows of a leaf of the graveyard.
    fn rows_of(&self, leaf: &PageWrite<'_>) -> Result<Vec<(u16, Grave)>, TreeError> {
        let node = node_of(leaf);
        let (mut key, mut value, mut rows) = (Vec::new(), Vec::new(), Vec::new());
        for slot in (0..node.count()).filter(|slot| !node.is_ghost(*slot)) {
            node.key_into(slot, &mut key);
            let overflow = node.value_into(slot, &mut value);
            let row = Grave::decode(&key, &value).filter(|row| row.is_possible(self.page_bytes()));
            match row {
                Some(grave) if overflow.is_none() => rows.push((slot as u16, grave)),
                _ => return Err(damaged(leaf, format!("entry {slot} is no row of a graveyard"))),
            }
        }
        Ok(rows)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_of_one_file_sort_by_page_and_the_whole_file_is_last() {
        let grave = |file, first| Grave { file: FileId(file), first: PageNo(first), pages: 3 };
        let rows = [grave(16, 2), grave(16, 256), grave(16, WHOLE_FILE), grave(256, 1)];
        assert!(rows.is_sorted_by_key(Grave::key));
        for row in rows {
            assert_eq!(Grave::decode(&row.key(), &row.value()), Some(row));
        }
    }

    #[test]
    fn a_row_that_reaches_beyond_its_group_is_damage() {
        let page_bytes = 512;
        let group = pages_per_group(page_bytes);
        let row = |first, pages| Grave { file: FileId(16), first: PageNo(first), pages };
        assert!(row(2, group - 2).is_possible(page_bytes));
        assert!(!row(2, group - 1).is_possible(page_bytes));
        assert!(!row(2, u32::MAX).is_possible(page_bytes));
        assert!(!row(2, 0).is_possible(page_bytes));
        assert!(row(WHOLE_FILE, 0).is_possible(page_bytes));
    }
}
