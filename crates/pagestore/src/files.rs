//! Data files as a whole: creating, opening, removing and listing them.
//!
//! Owns what is in the directories of data files. Promises that a file's name is durable when it
//! has been created and gone when it has been removed, that removal drops the file's pages from the
//! cache whatever is being done with them, and that an unknown name in a directory is left alone.

use std::io;
use std::sync::Arc;

use campanile_format::planted::{self, Bug};
use campanile_format::{DirNo, FileId, MetaFields, PageId, PageNo, PageOp, Plain, PlainMut, page};
use campanile_sync::thread;
use campanile_vfs::{File, Open};

use crate::data_dirs::{DataDirs, Place};
use crate::data_file::{DataFile, State};
use crate::{FileFlags, PageStore, Result, StoreError};

impl PageStore {
    /// Makes an empty data file in the home, and makes its name durable.
    pub fn create_file(&self, file: FileId, flags: FileFlags) -> Result<()> {
        self.create_file_in(file, flags, DirNo::HOME)
    }

    /// Makes an empty data file in a directory of the environment, and makes its name durable.
    pub fn create_file_in(&self, file: FileId, flags: FileFlags, directory: DirNo) -> Result<()> {
        self.poison.check()?;
        let entry = self.entry(file)?;
        let mut state = entry.state().write();
        if matches!(*state, State::Open(_)) {
            return Err(StoreError::FileExists { file });
        }
        if !entry.put_into(directory) {
            return Err(StoreError::NoSuchDirectory { file, directory });
        }
        let path = entry.path();
        let handle = match self.host.vfs.open(&path, Open::CreateNew) {
            Ok(handle) => handle,
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
                return Err(StoreError::FileExists { file });
            }
            Err(source) => return Err(entry.io("create", source)),
        };
        if !flags.durable {
            self.mark_not_durable(entry, &handle)?;
        }
        self.sync_dir_of(entry)?;
        entry.set_flags(flags);
        entry.set_pages(u64::from(!flags.durable));
        *state = State::Open(self.handles.adopt(&path, handle));
        Ok(())
    }

    /// Writes a meta page that says so, durably: nothing in the log will tell after a crash.
    fn mark_not_durable(&self, entry: &DataFile, handle: &Arc<dyn File>) -> Result<()> {
        let id = PageId::new(entry.id, PageNo(0));
        let fields = MetaFields::new(self.options.environment, self.page_bytes(), false);
        let mut meta = vec![0; self.page_bytes()];
        PageOp::FormatMeta(fields).apply(id, &mut PlainMut(&mut meta));
        page::seal(&mut meta, id);
        handle.write_all_at(&meta, 0).map_err(|source| self.strike(entry.io("write", source)))?;
        self.sync(&**handle).map_err(|source| self.strike(entry.io("sync", source)))
    }

    /// Looks for a data file. True if it is there; it is open then. Reading a page of it does
    /// this too.
    pub fn open_file(&self, file: FileId) -> Result<bool> {
        match self.opened(file) {
            Ok(_) => Ok(true),
            Err(StoreError::NoSuchFile { .. }) => Ok(false),
            Err(error) => Err(error),
        }
    }

    /// What the file is. As its meta page says, or as it was created; durable if its meta page is
    /// not there yet.
    pub fn file_flags(&self, file: FileId) -> Result<FileFlags> {
        Ok(self.opened(file)?.flags())
    }

    /// Whole pages in the file, those that were never written included.
    pub fn page_count(&self, file: FileId) -> Result<u32> {
        Ok(u32::try_from(self.opened(file)?.pages()).unwrap_or(u32::MAX))
    }

    /// Removes a data file and all its pages, changed or not. It is no error if it is gone already.
    ///
    /// The caller holds no latch on a page of it; others that do, or want one, are waited for, or
    /// told that there is no such file.
    pub fn remove_file(&self, file: FileId) -> Result<()> {
        self.poison.check()?;
        let entry = self.entry(file)?;
        // From here on no page of it finds a way into the cache.
        *entry.state().write() = State::Absent;
        loop {
            // With the batch in hand none is under way that holds a page of the file. Latches are
            // tried and not awaited: who has one may wait for the batch (P7).
            let batch = self.hurried_batch();
            if self.drop_frames(file) {
                self.translation.release(&entry.directory);
                entry.set_pages(0);
                entry.take_unsynced();
                break;
            }
            drop(batch);
            thread::yield_now();
        }
        match self.host.vfs.remove(&entry.path()) {
            Ok(()) => self.sync_dir_of(entry),
            // Removed before, perhaps by somebody who could not sync the directory any more.
            Err(error) if error.kind() == io::ErrorKind::NotFound => self.sync_dir_of(entry),
            Err(source) => Err(entry.io("remove", source)),
        }
    }

    /// The data files that are there, in the order of their numbers.
    pub fn files(&self) -> Result<Vec<FileId>> {
        Ok(self.dirs.files(&*self.host.vfs)?.into_keys().collect())
    }

    /// The directories that data files are in.
    #[must_use]
    pub fn dirs(&self) -> &Arc<DataDirs> {
        &self.dirs
    }

    /// The directory of a file that is there.
    pub fn directory_of(&self, file: FileId) -> Result<DirNo> {
        Ok(self.opened(file)?.place().number)
    }

    /// Empties the frames of a removed file. False if one of them is latched, or may be one of
    /// them: the clock shows a frame without its page for a moment, and may put the page back.
    fn drop_frames(&self, file: FileId) -> bool {
        let mut all = true;
        for (index, frame) in self.frames.iter().enumerate() {
            if frame.page().is_some_and(|page| page.file != file) {
                continue;
            }
            let Some(latch) = frame.latch.try_write() else {
                all = false;
                continue;
            };
            // Certain now. A page of the file that comes later is refused its cell.
            if let Some(page) = frame.page().filter(|page| page.file == file) {
                frame.latch.open_version();
                self.vacate(index, page, latch);
            }
        }
        all
    }

    /// The entry of a file that is open, opening it if nobody has asked for it yet.
    pub(crate) fn opened(&self, file: FileId) -> Result<&DataFile> {
        let entry = self.entry(file)?;
        if entry.hold().is_ok() {
            return Ok(entry);
        }
        let mut state = entry.state().write();
        match &*state {
            State::Open(_) => return Ok(entry),
            State::Absent => return Err(StoreError::NoSuchFile { file }),
            State::Unknown => {}
        }
        let path = entry.path();
        let handle = match self.host.vfs.open(&path, Open::ReadWrite) {
            Ok(handle) => handle,
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                return Err(StoreError::NoSuchFile { file });
            }
            Err(source) => return Err(entry.io("open", source)),
        };
        let len = handle.len().map_err(|source| entry.io("measure", source))?;
        let pages = (len / self.page_bytes() as u64).min(u64::from(u32::MAX));
        let flags = match pages {
            0 => FileFlags::default(),
            _ => self.flags_on_disk(entry, &*handle)?,
        };
        entry.set_flags(flags);
        entry.set_pages(pages);
        *state = State::Open(self.handles.adopt(&path, handle));
        Ok(entry)
    }

    /// The flags in a file's meta page. A meta page that is damaged or not there yet is that of a
    /// durable file, as far as writing goes: a file that is not durable is made anew by recovery.
    /// The pages of a file that was put in from another environment would all look right.
    fn flags_on_disk(&self, entry: &DataFile, handle: &dyn File) -> Result<FileFlags> {
        let mut buffer = vec![0; self.page_bytes()];
        handle.read_exact_at(&mut buffer, 0).map_err(|source| entry.io("read", source))?;
        let id = PageId::new(entry.id, PageNo(0));
        if page::check(&buffer, id).is_err() {
            return Ok(FileFlags::default());
        }
        let Ok(fields) = MetaFields::read(&Plain(&buffer)) else { return Ok(FileFlags::default()) };
        let (theirs, ours) = (fields.environment, self.options.environment);
        if theirs != ours {
            let (file, path) = (entry.id, entry.path());
            return Err(StoreError::Foreign { file, path, theirs, ours });
        }
        Ok(FileFlags { durable: fields.durable })
    }

    /// Makes the names of all data files durable.
    pub fn sync_data_dirs(&self) -> Result<()> {
        self.dirs.all().try_for_each(|place| self.sync_place(place))
    }

    /// Makes the name of a file durable, or its absence.
    fn sync_dir_of(&self, entry: &DataFile) -> Result<()> {
        self.sync_place(entry.place())
    }

    fn sync_place(&self, place: &Place) -> Result<()> {
        if place.number != DirNo::HOME && planted::is(Bug::OtherDirectoryNotSynced) {
            return Ok(());
        }
        self.host.vfs.sync_dir(&place.path).map_err(|source| {
            self.strike(StoreError::Io { what: "sync", path: place.path.clone(), source })
        })
    }
}
