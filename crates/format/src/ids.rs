//! The names of things: log positions, pages, files, transactions, environments, histories.
//!
//! Owns the newtypes and their spelling for people (`Display`). Promises that an identifier of one
//! kind is never taken for another, and that an [`Lsn`] orders as the log does. Holds no bytes: how
//! an identifier is written to disk is the business of whoever writes it.

use std::fmt;

/// A position in the log: file number in the high half, byte offset in the low half.
///
/// Compares as an integer, which is the order of the log.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Lsn(pub u64);

impl Lsn {
    /// No position: less than every real one. A page never changed carries it.
    pub const NONE: Lsn = Lsn(0);
    /// Above every position.
    pub const MAX: Lsn = Lsn(u64::MAX);

    /// The position `offset` bytes into log file `file`.
    #[must_use]
    pub const fn new(file: u32, offset: u32) -> Lsn {
        Lsn((file as u64) << 32 | offset as u64)
    }

    /// The log file's number; real files count from 1.
    #[must_use]
    pub const fn file(self) -> u32 {
        (self.0 >> 32) as u32
    }

    /// The byte offset in that file.
    #[must_use]
    pub const fn offset(self) -> u32 {
        self.0 as u32
    }

    /// Whether this is [`Lsn::NONE`].
    #[must_use]
    pub const fn is_none(self) -> bool {
        self.0 == 0
    }
}

impl fmt::Display for Lsn {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.is_none() {
            f.write_str("none")
        } else {
            write!(f, "{}/{}", self.file(), self.offset())
        }
    }
}

impl fmt::Debug for Lsn {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Lsn({self})")
    }
}

macro_rules! number {
    ($(#[$doc:meta])* $name:ident, $int:ty, $prefix:literal) => {
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
        pub struct $name(pub $int);

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.fmt(f)
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, concat!($prefix, "({})"), self.0)
            }
        }
    };
}

number! {
    /// A page's number inside its file: its byte offset divided by the page size.
    PageNo, u32, "PageNo"
}
number! {
    /// A data file's number. Never reused within an environment.
    FileId, u32, "FileId"
}
number! {
    /// The number of a directory with data files.
    DirNo, u16, "DirNo"
}
number! {
    /// A transaction's number. Never reused within an environment.
    TxnId, u64, "TxnId"
}
number! {
    /// Which history of an environment: a new one starts whenever recovery stops short of the
    /// end of the log, so that the logs of two histories never mix.
    Timeline, u32, "Timeline"
}

impl PageNo {
    /// No page. Page 0 of every file is its meta page, which nothing points at.
    pub const NONE: PageNo = PageNo(0);

    /// Whether this is [`PageNo::NONE`].
    #[must_use]
    pub const fn is_none(self) -> bool {
        self.0 == 0
    }
}

impl FileId {
    /// The catalog: database name to file.
    pub const CATALOG: FileId = FileId(1);
    /// The graveyard: pages and files to free once no one needs them.
    pub const GRAVEYARD: FileId = FileId(2);
    /// The first number given to a database of the user. Smaller ones are the environment's own.
    pub const MIN_USER: FileId = FileId(16);
}

impl DirNo {
    /// The directory `data` of the home itself.
    pub const HOME: DirNo = DirNo(0);
}

impl TxnId {
    /// The environment itself: structure changes and other redo-only records.
    pub const SYSTEM: TxnId = TxnId(0);

    /// Whether this is [`TxnId::SYSTEM`].
    #[must_use]
    pub const fn is_system(self) -> bool {
        self.0 == 0
    }
}

/// A page of a file: what latches, checksums and log records name.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Default)]
pub struct PageId {
    /// The data file.
    pub file: FileId,
    /// The page in it.
    pub page: PageNo,
}

impl PageId {
    /// Page `page` of file `file`.
    #[must_use]
    pub const fn new(file: FileId, page: PageNo) -> PageId {
        PageId { file, page }
    }
}

impl fmt::Display for PageId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "page {} of file {}", self.page, self.file)
    }
}

/// An environment's own random number, drawn when it is created. Bound into the checksum of every
/// log record, so that a log of another environment is never replayed.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct EnvironmentId(pub [u8; 16]);

impl EnvironmentId {
    /// Reads what `Display` writes: 32 hexadecimal digits.
    #[must_use]
    pub fn parse(text: &str) -> Option<EnvironmentId> {
        let all = text.len() == 32 && text.bytes().all(|byte| byte.is_ascii_hexdigit());
        let number = u128::from_str_radix(text, 16).ok().filter(|_| all)?;
        // The first digits are the first byte, on any machine.
        Some(EnvironmentId(std::array::from_fn(|at| (number >> (120 - 8 * at)) as u8)))
    }
}

impl fmt::Display for EnvironmentId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl fmt::Debug for EnvironmentId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "EnvironmentId({self})")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_environment_reads_back_from_its_text() {
        let id = EnvironmentId([0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 255]);
        assert_eq!(EnvironmentId::parse(&id.to_string()), Some(id));
        assert_eq!(EnvironmentId::parse("+00102030405060708090a0b0c0d0eff"), None);
        assert_eq!(EnvironmentId::parse("00"), None);
    }

    #[test]
    fn log_positions_order_by_file_then_offset() {
        assert!(Lsn::NONE < Lsn::new(1, 512));
        assert!(Lsn::new(1, u32::MAX) < Lsn::new(2, 0));
        assert!(Lsn::new(u32::MAX, u32::MAX) <= Lsn::MAX);
    }

    #[test]
    fn identifiers_read_well() {
        assert_eq!(Lsn::new(3, 128).to_string(), "3/128");
        assert_eq!(Lsn::NONE.to_string(), "none");
        let page = PageId::new(FileId(16), PageNo(2));
        assert_eq!(page.to_string(), "page 2 of file 16");
        let id = EnvironmentId([0xab; 16]);
        assert_eq!(id.to_string(), "ab".repeat(16));
    }
}
