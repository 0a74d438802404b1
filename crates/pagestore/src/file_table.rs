//! File number to data file, without a lock.
//!
//! Owns the entries of all files ever asked for. Promises that finding one is a few dependent
//! loads, that references stay good until the store is dropped, and that memory follows the files
//! used, not their numbers. Must never do I/O.

use std::array;
use std::sync::OnceLock;

use campanile_format::FileId;

use crate::data_file::DataFile;

/// 256 places, filled when they are needed.
#[derive(Debug)]
struct Fan<T>([OnceLock<Box<T>>; 256]);

impl<T> Fan<T> {
    fn new() -> Fan<T> {
        Fan(array::from_fn(|_| OnceLock::new()))
    }

    fn get(&self, at: u32) -> Option<&T> {
        self.0[(at & 0xff) as usize].get().map(|entry| &**entry)
    }

    fn fill(&self, at: u32, make: impl FnOnce() -> T) -> &T {
        self.0[(at & 0xff) as usize].get_or_init(|| Box::new(make()))
    }

    fn iter(&self) -> impl Iterator<Item = &T> {
        self.0.iter().filter_map(|entry| entry.get().map(|entry| &**entry))
    }
}

/// One level for each byte of the number, highest first.
#[derive(Debug)]
pub(crate) struct FileTable {
    /// The files up to number 255, most often all there are: found at once.
    low: Fan<DataFile>,
    high: Fan<Fan<Fan<Fan<DataFile>>>>,
}

impl FileTable {
    pub fn new() -> FileTable {
        FileTable { low: Fan::new(), high: Fan::new() }
    }

    /// The file, if it was ever asked for.
    #[inline]
    pub fn get(&self, file: FileId) -> Option<&DataFile> {
        if file.0 < 256 {
            return self.low.get(file.0);
        }
        self.high.get(file.0 >> 24)?.get(file.0 >> 16)?.get(file.0 >> 8)?.get(file.0)
    }

    /// The file, made by `make` if it was never asked for.
    pub fn fill(&self, file: FileId, make: impl FnOnce() -> DataFile) -> &DataFile {
        if file.0 < 256 {
            return self.low.fill(file.0, make);
        }
        self.high
            .fill(file.0 >> 24, Fan::new)
            .fill(file.0 >> 16, Fan::new)
            .fill(file.0 >> 8, Fan::new)
            .fill(file.0, make)
    }

    /// All files ever asked for, in the order of their numbers.
    pub fn iter(&self) -> impl Iterator<Item = &DataFile> {
        let high = self.high.iter().flat_map(Fan::iter).flat_map(Fan::iter).flat_map(Fan::iter);
        self.low.iter().chain(high)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use campanile_format::DirNo;

    use super::*;
    use crate::DataDirs;

    #[test]
    fn files_far_apart_have_entries_of_their_own() {
        let table = FileTable::new();
        let dirs = Arc::new(DataDirs::only_home("x".as_ref()));
        let numbers = [1, 2, 255, 256, 65_536, 1 << 24, u32::MAX];
        for number in numbers {
            assert!(table.get(FileId(number)).is_none());
            let dirs = Arc::clone(&dirs);
            let file =
                table.fill(FileId(number), || DataFile::new(FileId(number), dirs, DirNo::HOME));
            assert_eq!(file.id, FileId(number));
        }
        assert_eq!(table.iter().map(|file| file.id.0).collect::<Vec<_>>(), numbers);
        assert!(table.get(FileId(3)).is_none());
    }
}
