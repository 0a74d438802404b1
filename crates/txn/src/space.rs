//! Which pages of a file are free.
//!
//! Owns: the search in the space maps and the hints where to begin it. Promises: finds and
//! latches; the change of a map goes through the door in the same record as whatever uses or
//! frees the page (T8), so that no page is ever lost or used twice. Must never: latch anything
//! while a map page is latched: maps come last in latch order, in ascending order among
//! themselves.

use std::collections::HashMap;

use campanile_format::{
    FileId, Lsn, PageBytes, PageId, PageNo, PageOp, Undo, limits, planted,
};
use campanile_pagestore::{PageWrite, StoreError};
use parking_lot::Mutex;

use crate::apply::{By, Change};
use crate::error::TxnError;
use crate::transaction::Txn;
use crate::transactions::Transactions;

/// Pages that share one space map.
#[must_use]
pub fn group_pages(page_bytes: usize) -> u32 {
    limits::body_bytes(page_bytes) as u32 * 8
}

/// The space map of a group of pages.
#[must_use]
pub fn map_page(group: u32, group_pages: u32) -> PageNo {
    PageNo(group * group_pages + 1)
}

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
    /// Finds `count` free pages of a file, all under one map, for a structure change. Nothing is
    /// taken until the map change goes through the door, in the record that uses the pages.
    pub fn find_free(&self, file: FileId, count: usize) -> Result<FreePages<'_>, TxnError> {
        let groups = self.groups(file);
        assert!(count > 0 && (count as u32) < groups.pages / 2, "{count} pages at once");
        let mut hint = self.space.get(file);
        loop {
            let mut map = self.latch_map(groups, hint.group)?;
            let bits = groups.bits(hint.group, &map);
            let picked = bits.pick(hint.bit, count).or_else(|| bits.pick(0, count));
            let Some(picked) = picked else {
                drop(map);
                hint = groups.after(hint)?;
                self.space.set(file, hint);
                continue;
            };
            for (first, count) in runs(&picked) {
                map.ops.push(PageOp::MapSet { first, count, allocated: true });
            }
            hint.bit = picked.last().map_or(0, |last| last + 1);
            self.space.set(file, hint);
            let first = hint.group * groups.pages;
            let pages = picked.into_iter().map(|bit| PageNo(first + bit)).collect();
            return Ok(FreePages { pages, map });
        }
    }

    /// The map changes that free `pages`, which must be allocated: one for each map, latched in
    /// ascending order. They take effect in the record that gives the pages up.
    pub fn release(&self, file: FileId, pages: &[PageNo]) -> Result<Vec<MapChange<'_>>, TxnError> {
        let groups = self.groups(file);
        let mut sorted: Vec<u32> = pages.iter().map(|page| page.0).collect();
        sorted.sort_unstable();
        let mut changes = Vec::new();
        for group in sorted.chunk_by(|a, b| a / groups.pages == b / groups.pages) {
            let Some(number) = group.first().map(|page| page / groups.pages) else { continue };
            let bits: Vec<u32> = group.iter().map(|page| page % groups.pages).collect();
            let page = self.store().write(groups.map(number))?;
            let ops = runs(&bits)
                .map(|(first, count)| PageOp::MapSet { first, count, allocated: false })
                .collect();
            self.space.lower(file, Hint { group: number, bit: bits[0] });
            changes.push(MapChange { page, ops });
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
        let groups = self.groups(file);
        let (group, bit) = (first.0 / groups.pages, first.0 % groups.pages);
        let page = self.store().write(groups.map(group))?;
        self.space.lower(file, Hint { group, bit });
        Ok(MapChange { page, ops: vec![PageOp::MapSet { first: bit, count, allocated: false }] })
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
        let groups = self.groups(file);
        let mut hint = self.space.get(file);
        loop {
            let mut map = self.latch_map(groups, hint.group)?;
            let run = groups.bits(hint.group, &map).longest_run(want);
            let Some((bit, count)) = run else {
                drop(map);
                hint = groups.after(hint)?;
                self.space.set(file, hint);
                continue;
            };
            let first = PageNo(hint.group * groups.pages + bit);
            map.ops.push(PageOp::MapSet { first: bit, count, allocated: true });
            let mut undo = Undo::AllocExtent { file, first, count };
            if planted::is(planted::Bug::AllocationNotUndone) {
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

    fn groups(&self, file: FileId) -> Groups {
        Groups { file, pages: group_pages(self.store().page_bytes()) }
    }

    /// Latches the map of a group; one that does not exist yet is made by the same record.
    fn latch_map(&self, groups: Groups, group: u32) -> Result<MapChange<'_>, TxnError> {
        let id = groups.map(group);
        match self.store().write(id) {
            Ok(page) => Ok(MapChange { page, ops: Vec::new() }),
            Err(StoreError::NeverWritten { .. }) if group > 0 => {
                let page = self.store().fresh(id)?;
                let ops = vec![PageOp::FormatMap { group }];
                Ok(MapChange { page, ops })
            }
            Err(error) => Err(error.into()),
        }
    }
}

/// The groups of one file.
#[derive(Clone, Copy, Debug)]
struct Groups {
    file: FileId,
    pages: u32,
}

impl Groups {
    fn map(self, group: u32) -> PageId {
        PageId::new(self.file, map_page(group, self.pages))
    }

    /// The bits of a map: the last group is cut short by the highest page number.
    fn bits<'p, 's>(self, group: u32, map: &'p MapChange<'s>) -> Bits<'p, 's> {
        let first = u64::from(group) * u64::from(self.pages);
        let left = u64::from(limits::MAX_PAGE_NO) + 1 - first;
        let count = left.min(u64::from(self.pages)) as u32;
        Bits { page: &map.page, count, unformatted: !map.ops.is_empty() }
    }

    fn after(self, hint: Hint) -> Result<Hint, TxnError> {
        let next = u64::from(hint.group + 1) * u64::from(self.pages) + 1;
        if next >= u64::from(limits::MAX_PAGE_NO) {
            return Err(TxnError::FileFull { file: self.file });
        }
        Ok(Hint { group: hint.group + 1, bit: 0 })
    }
}

/// The bits of a latched map.
struct Bits<'p, 's> {
    page: &'p PageWrite<'s>,
    count: u32,
    /// The page has no content yet: all is free but what a new map reserves.
    unformatted: bool,
}

/// The bits that a search leaves out in a map that is only now being made: in group 0 the meta
/// page, the map and the root, in other groups the map (and its neighbours, for simplicity: they
/// are found by the next search).
const LEFT_OUT: u64 = 0b111;

impl Bits<'_, '_> {
    /// `count` clear bits at or after `from`.
    fn pick(&self, mut from: u32, count: usize) -> Option<Vec<u32>> {
        let mut picked = Vec::with_capacity(count);
        while picked.len() < count {
            let free = self.next_free(from)?;
            picked.push(free);
            from = free + 1;
        }
        Some(picked)
    }

    /// The first clear bit at or after `from`.
    fn next_free(&self, from: u32) -> Option<u32> {
        self.next(from, |word| !word).filter(|bit| *bit < self.count)
    }

    /// The first set bit at or after `from`, or the end.
    fn next_used(&self, from: u32) -> u32 {
        self.next(from, |word| word).map_or(self.count, |bit| bit.min(self.count))
    }

    /// The first bit at or after `from` that `wanted` turns into a one.
    fn next(&self, from: u32, wanted: impl Fn(u64) -> u64) -> Option<u32> {
        let mut word = from / 64;
        let mut found = wanted(self.word(word)) & (u64::MAX << (from % 64));
        while word * 64 < self.count {
            if found != 0 {
                return Some(word * 64 + found.trailing_zeros());
            }
            word += 1;
            found = wanted(self.word(word));
        }
        None
    }

    /// The first run of `want` free pages, or else the longest there is.
    fn longest_run(&self, want: u32) -> Option<(u32, u32)> {
        let mut best: Option<(u32, u32)> = None;
        let mut from = 0;
        while let Some(free) = self.next_free(from) {
            let end = self.next_used(free);
            let run = (free, (end - free).min(want));
            if best.is_none_or(|best| run.1 > best.1) {
                best = Some(run);
            }
            if run.1 == want {
                break;
            }
            from = end;
        }
        best
    }

    fn word(&self, word: u32) -> u64 {
        match self.unformatted {
            true if word == 0 => LEFT_OUT,
            true => 0,
            false => self.page.bytes().u64_at(limits::PAGE_HEADER_BYTES + word as usize * 8),
        }
    }
}

/// Ascending numbers as runs of (first, count).
fn runs(bits: &[u32]) -> impl Iterator<Item = (u32, u32)> + '_ {
    bits.chunk_by(|a, b| a + 1 == *b).map(|run| (run[0], run.len() as u32))
}
