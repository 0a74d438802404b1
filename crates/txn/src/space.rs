//! Which pages of a file are free.
//!
//! Owns: the search in the space maps and the hints where to begin it. Promises: finds and
//! latches; the change of a map goes through the door in the same record as whatever uses or
//! frees the page (T8), so that no page is ever lost or used twice. Must never: latch anything
//! while a map page is latched: maps come last in latch order, in ascending order among
//! themselves.

use std::collections::HashMap;

use campanile_format::map::{self, Map, Run};
use campanile_format::planted::{self, Bug};
use campanile_format::record::Undo;
use campanile_format::{FileId, Lsn, PageBytes, PageId, PageNo, PageOp, Plain, PlainMut, page_op};
use campanile_pagestore::{PageWrite, StoreError};
use campanile_sync::Mutex;

use crate::apply::{By, Change};
use crate::error::TxnError;
use crate::transaction::Txn;
use crate::transactions::Transactions;

/// A change of a space map, ready to be made part of a record: the map page, latched, and what to
/// do to it.
#[derive(Debug)]
#[must_use = "put it into the record that uses or frees the pages"]
pub struct MapChange<'s> {
    /// The map page.
    pub page: PageWrite<'s>,
    /// The operations on it.
    pub ops: Vec<PageOp<'static>>,
}

impl<'s> MapChange<'s> {
    /// This change, for the door.
    pub fn change<'p, 'a>(&'p mut self) -> Change<'p, 's, 'a> {
        Change { page: &mut self.page, ops: std::mem::take(&mut self.ops) }
    }
}

/// Free pages, and the change of the map that takes them.
#[derive(Debug)]
pub struct FreePages<'s> {
    /// The pages, in ascending order. Fetch them with `store.fresh`: their old content is void.
    pub pages: Vec<PageNo>,
    /// The map that says so.
    pub map: MapChange<'s>,
}

/// Where the last search of a file ended.
#[derive(Debug, Default)]
pub(crate) struct SpaceHints(Mutex<HashMap<FileId, Hint>>);

#[derive(Clone, Copy, Debug, Default)]
struct Hint {
    group: u32,
    bit: u32,
}

impl SpaceHints {
    fn get(&self, file: FileId) -> Hint {
        self.0.lock().get(&file).copied().unwrap_or_default()
    }

    fn set(&self, file: FileId, hint: Hint) {
        self.0.lock().insert(file, hint);
    }

    /// Pages were freed: later searches begin no higher than there.
    fn lower(&self, file: FileId, to: Hint) {
        let mut hints = self.0.lock();
        let hint = hints.entry(file).or_default();
        if (to.group, to.bit) < (hint.group, hint.bit) {
            *hint = to;
        }
    }

    /// The file is gone.
    pub fn forget(&self, file: FileId) {
        self.0.lock().remove(&file);
    }
}

impl Transactions {
    /// The maps of a file were made fresh: the search for space begins at its first page again.
    pub fn forget_space(&self, file: FileId) {
        self.space.forget(file);
    }

    /// Finds `count` free pages of a file, all under one map, for a structure change. Nothing is
    /// taken until the map change goes through the door, in the record that uses the pages.
    pub fn find_free(&self, file: FileId, count: usize) -> Result<FreePages<'_>, TxnError> {
        let page_bytes = self.store().page_bytes();
        assert!(count > 0 && count * 2 < map::pages_per_group(page_bytes) as usize);
        let mut hint = self.space.get(file);
        loop {
            let mut map = self.latch_map(file, hint.group)?;
            let picked =
                map.search(|bits| pick(bits, hint.bit, count).or_else(|| pick(bits, 0, count)));
            let Some(picked) = picked else {
                drop(map);
                hint = self.next_group(file, hint)?;
                continue;
            };
            for run in picked.chunk_by(|a, b| a + 1 == *b) {
                let op = PageOp::MapSet { first: run[0], count: run.len() as u32, allocated: true };
                map.ops.push(op);
            }
            hint.bit = picked.last().map_or(0, |last| last + 1);
            self.space.set(file, hint);
            let pages = picked.iter().filter_map(|bit| map::page_of(page_bytes, hint.group, *bit));
            return Ok(FreePages { pages: pages.collect(), map });
        }
    }

    /// The map changes that free `pages`, which must be allocated: one for each map, latched in
    /// ascending order. They take effect in the record that gives the pages up.
    pub fn release(&self, file: FileId, pages: &[PageNo]) -> Result<Vec<MapChange<'_>>, TxnError> {
        let page_bytes = self.store().page_bytes();
        let mut places: Vec<(u32, u32)> =
            pages.iter().map(|page| map::place_of(page_bytes, *page)).collect();
        places.sort_unstable();
        let mut changes = Vec::new();
        for group in places.chunk_by(|a, b| a.0 == b.0) {
            let mut map = self.latch_map(file, group[0].0)?;
            for run in group.chunk_by(|a, b| a.1 + 1 == b.1) {
                let count = run.len() as u32;
                map.ops.push(PageOp::MapSet { first: run[0].1, count, allocated: false });
            }
            self.space.lower(file, Hint { group: group[0].0, bit: group[0].1 });
            changes.push(map);
        }
        Ok(changes)
    }

    /// The map change that frees a run of pages: an extent never leaves its group.
    pub fn release_extent(
        &self,
        file: FileId,
        first: PageNo,
        count: u32,
    ) -> Result<MapChange<'_>, TxnError> {
        let (group, bit) = map::place_of(self.store().page_bytes(), first);
        let mut map = self.latch_map(file, group)?;
        map.ops.push(PageOp::MapSet { first: bit, count, allocated: false });
        self.space.lower(file, Hint { group, bit });
        Ok(map)
    }

    /// Allocates up to `want` consecutive pages for a large value; fewer if no run is as long.
    /// A rollback frees them again.
    pub fn allocate_extent(
        &self,
        txn: &mut Txn,
        file: FileId,
        want: u32,
    ) -> Result<(PageNo, u32), TxnError> {
        self.poison().check()?;
        txn.check_open()?;
        assert!(want > 0, "an extent has at least one page");
        let page_bytes = self.store().page_bytes();
        let mut hint = self.space.get(file);
        loop {
            let mut map = self.latch_map(file, hint.group)?;
            let run = map.search(|bits| bits.find_run(0, want));
            let place =
                run.and_then(|run| Some((run, map::page_of(page_bytes, hint.group, run.first)?)));
            let Some((Run { first: bit, count }, first)) = place else {
                drop(map);
                hint = self.next_group(file, hint)?;
                continue;
            };
            map.ops.push(PageOp::MapSet { first: bit, count, allocated: true });
            let mut undo = Undo::AllocExtent { file, first, count };
            if planted::is(Bug::AllocationNotUndone) {
                undo = Undo::None;
            }
            self.apply(By::Txn(txn), &mut [map.change()], undo)?;
            self.space.set(file, Hint { group: hint.group, bit: bit + count });
            return Ok((first, count));
        }
    }

    pub(crate) fn undo_extent(
        &self,
        txn: &mut Txn,
        file: FileId,
        first: PageNo,
        count: u32,
        undo_next: Lsn,
    ) -> Result<(), TxnError> {
        let mut map = self.release_extent(file, first, count)?;
        let by = By::Compensate { txn, undo_next };
        self.apply(by, &mut [map.change()], Undo::None).map(|_| ())
    }

    fn next_group(&self, file: FileId, full: Hint) -> Result<Hint, TxnError> {
        let hint = Hint { group: full.group + 1, bit: 0 };
        let page_bytes = self.store().page_bytes();
        // A group needs its map and at least one page behind it.
        if map::page_of(page_bytes, hint.group, map::MAP_BIT + 1).is_none() {
            return Err(TxnError::FileFull { file });
        }
        self.space.set(file, hint);
        Ok(hint)
    }

    /// Latches the map of a group; one that does not exist yet is made by the same record.
    fn latch_map(&self, file: FileId, group: u32) -> Result<MapChange<'_>, TxnError> {
        let page = map::map_page(self.store().page_bytes(), group);
        let id = PageId::new(file, page.ok_or(TxnError::FileFull { file })?);
        match self.store().write(id) {
            Ok(page) => Ok(MapChange { page, ops: Vec::new() }),
            Err(StoreError::NeverWritten { .. }) if group > 0 => {
                let page = self.store().fresh(id)?;
                Ok(MapChange { page, ops: vec![PageOp::FormatMap { group }] })
            }
            Err(error) => Err(error.into()),
        }
    }
}

impl MapChange<'_> {
    /// Searches the map as it will be after the operations so far (none, or the one that makes
    /// it).
    fn search<T>(&self, find: impl Fn(&Map<Plain<'_>>) -> T) -> T {
        let mut copy = vec![0; self.page.bytes().len()];
        if self.ops.is_empty() {
            self.page.copy_page(&mut copy);
        } else {
            let (id, lsn) = (self.page.id(), self.page.lsn());
            page_op::apply_all(&self.ops, id, &mut PlainMut(&mut copy), lsn);
        }
        find(&Map::new(Plain(&copy)))
    }
}

/// `count` free bits at or after `from`, not necessarily next to each other.
fn pick(map: &Map<Plain<'_>>, mut from: u32, count: usize) -> Option<Vec<u32>> {
    let mut picked = Vec::with_capacity(count);
    while picked.len() < count {
        let free = map.next_free(from)?;
        picked.push(free);
        from = free + 1;
    }
    Some(picked)
}
