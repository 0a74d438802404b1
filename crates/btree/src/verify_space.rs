//! Is every page accounted for?
//!
//! Owns: the set of pages reached, and its comparison with the space maps and the graveyard (B3).
//! Promises: a page reached twice, a page in use that the map calls free, and a page that is lost
//! are all found and named. Must never: call a page lost that a damaged node may lead to.

use std::ops::Bound;

use campanile_format::map::{Map, is_map_page, map_page, pages_per_group};
use campanile_format::page::{self, Kind};
use campanile_format::{FileId, PageId, PageNo, Plain, validate};

use crate::error::TreeError;
use crate::graveyard::Grave;
use crate::range::Range;
use crate::verify::Walk;
use crate::view::Reader;

/// Pages reached so far, one bit each.
#[derive(Debug, Default)]
pub(crate) struct Space {
    reached: Vec<u64>,
}

impl Space {
    pub fn new() -> Space {
        Space::default()
    }

    /// Marks a page; `false` if it was marked before.
    fn mark(&mut self, page: PageNo) -> bool {
        let (word, bit) = (page.0 as usize / 64, page.0 % 64);
        if self.reached.len() <= word {
            self.reached.resize(word + 1, 0);
        }
        let before = self.reached[word] >> bit & 1;
        self.reached[word] |= 1 << bit;
        before == 0
    }

    fn is_reached(&self, page: PageNo) -> bool {
        let word = self.reached.get(page.0 as usize / 64).copied().unwrap_or(0);
        word >> (page.0 % 64) & 1 == 1
    }
}

impl Walk<'_> {
    /// Marks a page as in use; `false`, and a finding, if it cannot be.
    pub fn reach(&mut self, id: PageId, role: &str) -> bool {
        if is_map_page(self.tree.page_bytes(), id.page) || id.page.is_none() {
            self.lost(id, format!("it is used as {role}, but it is a fixed page"));
            return false;
        }
        if id.page.0 >= self.pages {
            self.lost(id, format!("it is used as {role}, but it lies beyond the end of the file"));
            return false;
        }
        if !self.space.mark(id.page) {
            self.lost(id, format!("it is used as {role}, but it has another use as well"));
            return false;
        }
        true
    }

    /// The pages that every file has.
    pub fn fixed_pages(&mut self) -> Result<(), TreeError> {
        let meta = self.tree.page_id(PageNo(0));
        let mut bytes = vec![0; self.tree.page_bytes()];
        self.space.mark(meta.page);
        if self.fetch(meta, &mut bytes)? {
            match validate(&Plain(&bytes)) {
                Err(why) => self.report.note(meta, why.to_string()),
                Ok(()) if page::kind(&Plain(&bytes)) != Some(Kind::Meta) => {
                    self.report.note(meta, "it is not a meta page");
                }
                Ok(()) => {}
            }
        }
        Ok(())
    }

    /// Marks what the graveyard has of this file.
    pub fn graveyard(&mut self) -> Result<(), TreeError> {
        let tree = self.tree.forest.tree(self.tree.txns, FileId::GRAVEYARD);
        if !tree.file_exists()? {
            return Ok(());
        }
        let file = self.tree.file;
        let bound = |first| Grave { file, first: PageNo(first), pages: 0 }.key();
        let (low, high) = (bound(0), bound(u32::MAX));
        let mut rows = Range::new((Bound::Included(&low[..]), Bound::Included(&high[..])));
        loop {
            let (key, value) = match rows.next(&tree, Reader::Uncommitted) {
                Ok(Some(row)) => row,
                Ok(None) => return Ok(()),
                Err(error) if error.is_corruption() => {
                    self.lost(tree.root(), format!("the graveyard cannot be read: {error}"));
                    return Ok(());
                }
                Err(error) => return Err(error),
            };
            let possible = |grave: &Grave| grave.is_possible(self.tree.page_bytes());
            match Grave::decode(&key, &value).filter(possible) {
                Some(grave) if grave.is_whole_file() => {}
                Some(grave) => {
                    self.report.stats.buried_pages += u64::from(grave.pages);
                    for page in grave.first.0..grave.first.0 + grave.pages {
                        self.reach(PageId::new(file, PageNo(page)), "a page of the graveyard");
                    }
                }
                None => self.report.note(tree.root(), "a row of the graveyard makes no sense"),
            }
        }
    }

    /// Compares what was reached with what the maps say.
    pub fn maps(&mut self) -> Result<(), TreeError> {
        let per_group = pages_per_group(self.tree.page_bytes());
        let mut bytes = vec![0; self.tree.page_bytes()];
        for group in 0..self.tree.groups()? {
            let Some(number) = map_page(self.tree.page_bytes(), group) else { break };
            self.space.mark(number);
            self.report.stats.map_pages += 1;
            let id = self.tree.page_id(number);
            if !self.fetch(id, &mut bytes)? {
                continue;
            }
            let view = Plain(&bytes);
            if page::kind(&view) != Some(Kind::Map) {
                self.lost(id, "it is not a space map");
                continue;
            }
            if let Err(why) = validate(&view) {
                self.lost(id, why.to_string());
                continue;
            }
            let map = Map::new(view);
            self.report.stats.free_pages += u64::from(map.free());
            if self.thorough {
                self.compare(&map, group * per_group);
            }
        }
        Ok(())
    }

    fn compare(&mut self, map: &Map<Plain<'_>>, first: u32) {
        let mut lost = 0_u64;
        for bit in 0..map.bits() {
            let id = self.tree.page_id(PageNo(first + bit));
            match (map.is_allocated(bit), self.space.is_reached(id.page)) {
                (true, false) if self.report.incomplete => lost += 1,
                (true, false) => {
                    self.report.note(id, "it is allocated, but nothing leads to it");
                }
                (false, true) => self.report.note(id, "it is in use, but the map calls it free"),
                _ => {}
            }
        }
        if lost > 0 {
            let what = format!(
                "{lost} pages of its group are allocated but were not reached; they may belong \
                 below the damage"
            );
            self.report.note(self.tree.page_id(PageNo(first + 1)), what);
        }
    }
}
