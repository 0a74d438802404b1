//! Pages seen without a latch.
//!
//! Owns [`PageGlimpse`] and [`PageVersion`]. Promises that a glimpse writes nothing that other
//! threads read and keeps nobody out: no latch, no pin. In return what it shows may be half of one
//! state and half of another, or of another page altogether, until [`PageGlimpse::is_current`] has
//! said that it was one state of the page (P12). Must never block by itself.

use std::fmt;

use campanile_format::planted::{self, Bug};
use campanile_format::{FileId, Lsn, PageId, Words, page};

use crate::frame::Frame;
use crate::stats::count;
use crate::{PageRead, PageStore, Result};

/// A page that may be read as long as the reader believes nothing of it: see
/// [`PageGlimpse::is_current`].
#[derive(Clone, Copy)]
#[must_use = "what was read counts only if the glimpse is still current"]
pub struct PageGlimpse<'s> {
    words: Words<'s>,
    frame: &'s Frame,
    id: PageId,
    version: PageVersion,
}

/// A state of a frame: it never comes back once the page was changed or has left its frame.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct PageVersion {
    index: u32,
    version: u64,
}

impl PageVersion {
    pub(crate) fn new(index: usize, version: u64) -> PageVersion {
        PageVersion { index: index as u32, version }
    }
}

impl<'s> PageGlimpse<'s> {
    fn new(store: &'s PageStore, index: usize, id: PageId, version: u64) -> PageGlimpse<'s> {
        let words = Words(store.arena.page(index));
        let version = PageVersion::new(index, version);
        PageGlimpse { words, frame: &store.frames[index], id, version }
    }

    /// The bytes, which may change while they are read.
    #[must_use]
    pub fn bytes(&self) -> Words<'s> {
        self.words
    }

    /// The LSN that stands on the page now.
    #[must_use]
    pub fn lsn(&self) -> Lsn {
        page::lsn(&self.words)
    }

    /// Which page this is.
    #[must_use]
    pub fn id(&self) -> PageId {
        self.id
    }

    /// The state that the glimpse began with.
    #[must_use]
    pub fn version(&self) -> PageVersion {
        self.version
    }

    /// Whether everything read so far through this glimpse was one state of this page, and still
    /// is. Before that, nothing read may decide about an error, an end, or more than a page of
    /// memory.
    ///
    /// To go from a page to one that it names: read the name, take the glimpse of the other page,
    /// and only *then* ask whether the first is current. In this order the first page named the
    /// other one when the second glimpse began.
    #[inline]
    #[must_use]
    pub fn is_current(&self) -> bool {
        self.frame.latch.is_still(self.version.version) || planted::is(Bug::GlimpseNotValidated)
    }
}

impl PageStore {
    /// The page, to be read without a latch, if it is in memory and nobody is changing it.
    #[inline]
    #[must_use]
    pub fn try_glimpse(&self, page: PageId) -> Option<PageGlimpse<'_>> {
        let (index, frame) = self.find(page)?;
        let version = frame.glimpse(page)?;
        self.counters.request();
        frame.touch();
        Some(PageGlimpse::new(self, index, page, version))
    }

    /// The page, to be read without a latch: read from disk if need be, after whoever is changing
    /// it. A caller that has latches must not wait for this one: see [`PageStore::read`].
    pub fn glimpse(&self, page: PageId) -> Result<PageGlimpse<'_>> {
        match self.try_glimpse(page) {
            Some(glimpse) => Ok(glimpse),
            None => {
                count(&self.counters.glimpses_missed, 1);
                Ok(self.read(page)?.into_glimpse())
            }
        }
    }

    /// Whether the page that had this version has it still.
    #[inline]
    #[must_use]
    pub fn has_version(&self, version: PageVersion) -> bool {
        self.frames[version.index as usize].latch.version() == version.version
    }

    /// Sends every reader away from the pages of a file, those with a latch (they are waited for)
    /// and those without: whoever found a page of the file before this call is done with it, or
    /// learns that it changed. The caller holds no latch, and no page of the file changes.
    pub fn expel_readers(&self, file: FileId) {
        for frame in &self.frames {
            let Some(page) = frame.page().filter(|page| page.file == file) else { continue };
            if let Some(_latch) = frame.write(page) {
                frame.latch.open_version();
                frame.latch.close_version();
            }
        }
    }
}

impl<'s> PageRead<'s> {
    /// Lets go of the latch, and reads on without it.
    pub fn into_glimpse(self) -> PageGlimpse<'s> {
        let (store, index) = self.place();
        PageGlimpse::new(store, index, self.id(), store.frames[index].latch.version())
    }
}

impl fmt::Debug for PageGlimpse<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PageGlimpse")
            .field("id", &self.id)
            .field("version", &self.version)
            .finish_non_exhaustive()
    }
}
