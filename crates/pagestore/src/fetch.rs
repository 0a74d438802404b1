//! From a page's id to a latched frame, from disk if need be.
//!
//! Owns finding, latching and reading in. Promises that a damaged page is an error for whoever
//! asked for it and for nobody else, that it stays out of the cache, and that no latch is awaited
//! that belongs to another page than the one asked for (P6). Must never write.

use campanile_format::{PageId, Plain, page};
use campanile_sync::atomic::Ordering;
use campanile_sync::hint;
use campanile_sync::thread;

use crate::data_file::{DataFile, PageIn};
use crate::frame::Frame;
use crate::held::Held;
use crate::stats::count;
use crate::{PageRead, PageStore, PageWrite, RedoPage, Result, StoreError};

impl PageStore {
    /// The page, to be read. Waits for a writer inside.
    ///
    /// A thread never asks for a page that it has latched already.
    pub fn read(&self, page: PageId) -> Result<PageRead<'_>> {
        Held::check(self, page, false);
        self.counters.request();
        let mut patience = Patience::default();
        loop {
            if let Some((index, frame)) = self.find(page) {
                if let Some(latch) = frame.read(page) {
                    frame.touch();
                    return Ok(PageRead::new(self, index, page, latch));
                }
            } else if let Some(read) = self.page_in(page)? {
                return Ok(read.downgrade());
            }
            patience.wear();
        }
    }

    /// The page, to be read, unless a writer is inside or waits to get in.
    pub fn try_read(&self, page: PageId) -> Result<Option<PageRead<'_>>> {
        self.counters.request();
        let mut patience = Patience::default();
        loop {
            if let Some((index, frame)) = self.find(page) {
                let Some(latch) = frame.latch.try_read() else { return Ok(None) };
                if frame.holds(page) {
                    frame.touch();
                    return Ok(Some(PageRead::new(self, index, page, latch)));
                }
            } else if let Some(read) = self.page_in(page)? {
                return Ok(Some(read.downgrade()));
            }
            patience.wear();
        }
    }

    /// The page, to be changed. Waits for others inside.
    ///
    /// A thread never asks for a page that it has latched already.
    pub fn write(&self, page: PageId) -> Result<PageWrite<'_>> {
        self.poison.check()?;
        Held::check(self, page, false);
        self.counters.request();
        let mut patience = Patience::default();
        loop {
            if let Some((index, frame)) = self.find(page) {
                if let Some(latch) = frame.write(page) {
                    frame.touch();
                    return Ok(PageWrite::present(self, index, page, latch));
                }
            } else if let Some(read) = self.page_in(page)? {
                return Ok(read);
            }
            patience.wear();
        }
    }

    /// The page, to be changed, unless somebody is inside.
    pub fn try_write(&self, page: PageId) -> Result<Option<PageWrite<'_>>> {
        self.poison.check()?;
        self.counters.request();
        let mut patience = Patience::default();
        loop {
            if let Some((index, frame)) = self.find(page) {
                let Some(latch) = frame.latch.try_write() else { return Ok(None) };
                if frame.holds(page) {
                    frame.touch();
                    return Ok(Some(PageWrite::present(self, index, page, latch)));
                }
            } else if let Some(read) = self.page_in(page)? {
                return Ok(Some(read));
            }
            patience.wear();
        }
    }

    /// The page, whatever it held, to be initialised: it is not read from disk. The file grows to
    /// hold it, so lack of space is met before anything is logged.
    ///
    /// If no change follows, it is as if the page had not been asked for.
    pub fn fresh(&self, page: PageId) -> Result<PageWrite<'_>> {
        self.poison.check()?;
        Held::check(self, page, true);
        self.counters.request();
        let mut patience = Patience::default();
        loop {
            if let Some((index, frame)) = self.find(page) {
                if let Some(latch) = frame.write(page) {
                    frame.touch();
                    return Ok(PageWrite::present(self, index, page, latch).into_void());
                }
            } else {
                let file = self.opened(page.file)?;
                file.grow(page.page, self.page_bytes(), self.options.growth_pages)?;
                if let Some(blank) = self.blank(file, page)? {
                    return Ok(blank.zero());
                }
            }
            patience.wear();
        }
    }

    /// The page as redo needs it: what is wrong with it is an answer, not an error. The file
    /// grows to hold it.
    pub fn fetch_for_redo(&self, page: PageId) -> Result<RedoPage<'_>> {
        self.poison.check()?;
        Held::check(self, page, false);
        self.counters.request();
        let mut patience = Patience::default();
        loop {
            if let Some((index, frame)) = self.find(page) {
                if let Some(latch) = frame.write(page) {
                    frame.touch();
                    return Ok(RedoPage::Ready(PageWrite::present(self, index, page, latch)));
                }
            } else {
                let file = self.opened(page.file)?;
                file.grow(page.page, self.page_bytes(), self.options.growth_pages)?;
                if let Some(blank) = self.blank(file, page)? {
                    return self.read_for_redo(file, page, blank);
                }
            }
            patience.wear();
        }
    }

    fn read_for_redo<'s>(
        &'s self,
        file: &DataFile,
        page: PageId,
        blank: PageWrite<'s>,
    ) -> Result<RedoPage<'s>> {
        let mut buffer = self.buffer();
        let found = self.read_from_disk(file, page, &mut buffer);
        let answer = found.map(|found| match found {
            PageIn::Sound => RedoPage::Ready(blank.fill(&buffer)),
            PageIn::NeverWritten => RedoPage::Absent(blank.zero()),
            PageIn::Damaged(_) => RedoPage::Torn(blank.zero()),
        });
        self.buffers.lock().push(buffer);
        answer
    }

    /// The frame that probably holds the page.
    #[inline]
    pub(crate) fn find(&self, page: PageId) -> Option<(usize, &Frame)> {
        let file = self.files.get(page.file)?;
        let index = self.translation.frame(&file.directory, page.page)?;
        Some((index, &self.frames[index]))
    }

    /// Reads a page into a frame. `None` if another thread began to do so first.
    fn page_in(&self, page: PageId) -> Result<Option<PageWrite<'_>>> {
        let file = self.opened(page.file)?;
        // A page number out of a damaged page costs nothing.
        if u64::from(page.page.0) >= file.pages() {
            return Err(StoreError::NeverWritten { page });
        }
        let Some(blank) = self.blank(file, page)? else { return Ok(None) };
        let mut buffer = self.buffer();
        let found = self.read_from_disk(file, page, &mut buffer);
        let answer = found.and_then(|found| match found {
            PageIn::Sound => Ok(Some(blank.fill(&buffer))),
            PageIn::NeverWritten => Err(StoreError::NeverWritten { page }),
            PageIn::Damaged(cause) => {
                tracing::warn!(%page, %cause, "damaged page");
                Err(StoreError::Corrupt { page, path: file.path(), cause })
            }
        });
        self.buffers.lock().push(buffer);
        answer
    }

    fn read_from_disk(&self, file: &DataFile, id: PageId, buffer: &mut [u8]) -> Result<PageIn> {
        count(&self.counters.page_ins, 1);
        // Not held through the read: to remove the file one needs the frame's latch besides.
        let handle = file.hold()?.file().clone();
        let found = file.read(&*handle, id.page, buffer)?;
        if let PageIn::Sound = found
            && file.flags().durable
        {
            // The counterpart of P1: whatever is at home, the log knows.
            let lsn = page::lsn(&Plain(buffer));
            if let Some(end) = self.barrier.ended_before(lsn) {
                return Err(StoreError::BeyondLog { page: id, lsn, end });
            }
        }
        Ok(found)
    }

    /// A frame of its own for a page that is in none. `None` if another thread was faster.
    fn blank(&self, file: &DataFile, page: PageId) -> Result<Option<PageWrite<'_>>> {
        let claimed = self.claim()?;
        let frame = &self.frames[claimed.index];
        frame.latch.open_version();
        frame.set_page(Some(page));
        // The file is held while its cell is set: P5, see `remove_file`.
        let published = file
            .hold()
            .map(|_held| self.translation.publish(&file.directory, page.page, claimed.index));
        if matches!(published, Ok(true)) {
            return Ok(Some(PageWrite::blank(self, claimed.index, page, claimed.latch)));
        }
        self.vacate(claimed.index, page, claimed.latch);
        published.map(|_| None)
    }

    fn buffer(&self) -> Box<[u8]> {
        let spare = self.buffers.lock().pop();
        spare.unwrap_or_else(|| vec![0; self.page_bytes()].into_boxed_slice())
    }

    /// Whether the store reads and writes still: false once a write or a sync failed.
    #[must_use]
    pub fn is_poisoned(&self) -> bool {
        self.poison.is_poisoned()
    }

    /// Batches written so far.
    pub(crate) fn batches_done(&self) -> u64 {
        self.counters.batches.load(Ordering::SeqCst)
    }
}

/// How to wait for a few instructions of another thread: spin, then let it run.
#[derive(Default)]
struct Patience(u32);

impl Patience {
    fn wear(&mut self) {
        self.0 += 1;
        if self.0 < 16 {
            hint::spin_loop();
        } else {
            thread::yield_now();
        }
    }
}
