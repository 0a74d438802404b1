//! What all pages have in common: the header, the checksum, the identity.
//!
//! Owns the offsets of the header's fields, [`Kind`], [`seal`] and [`check`] (the two ends of a
//! page's way to disk and back), and [`stamp`]. Promises that a page that passes [`check`] is the
//! page that was sealed under that [`PageId`]: a write gone to another place is found, because
//! file and page number are part of the checksum.

use crate::access::{PageBytes, PageBytesMut, Plain, PlainMut};
use crate::error::Corrupt;
use crate::ids::{FileId, Lsn, PageId, PageNo};
use crate::limits::is_page_size;
use crate::planted::{self, Bug};

/// CRC-32 of the page, made by [`seal`] (u32).
pub const CRC: usize = 0;
/// [`Kind`] (u8).
pub const KIND: usize = 4;
/// Level of a node, 0 for leaves; else zero (u8).
pub const LEVEL: usize = 5;
/// Flags of the kind (u16).
pub const FLAGS: usize = 6;
/// Page LSN: start of the last record that changed the page (u64).
pub const LSN: usize = 8;
/// The page's own number (u32).
pub const PAGE_NO: usize = 16;
/// Its file's number (u32).
pub const FILE_ID: usize = 20;
/// First byte that belongs to the kind.
pub const KIND_FIELDS: usize = 24;
/// First byte reserved for encryption and compression; zero.
pub const RESERVED: usize = 44;

/// What a page is. The numbers are on disk.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(u8)]
pub enum Kind {
    /// Page 0 of a file: what the file is.
    Meta = 1,
    /// Which pages of a group are allocated.
    Map = 2,
    /// A node of a B+tree.
    Node = 3,
    /// A part of a long value.
    Overflow = 4,
}

impl Kind {
    /// The kind with this number.
    #[must_use]
    pub const fn from_number(number: u8) -> Option<Kind> {
        match number {
            1 => Some(Kind::Meta),
            2 => Some(Kind::Map),
            3 => Some(Kind::Node),
            4 => Some(Kind::Overflow),
            _ => None,
        }
    }
}

/// What the page says it is; `None` if it is nothing known, or was never written.
#[must_use]
pub fn kind<P: PageBytes>(page: &P) -> Option<Kind> {
    Kind::from_number(page.u8_at(KIND))
}

/// The LSN of the last record that changed the page.
#[must_use]
pub fn lsn<P: PageBytes>(page: &P) -> Lsn {
    Lsn(page.word(LSN / 8))
}

/// The page and file number in the header.
#[must_use]
pub fn id<P: PageBytes>(page: &P) -> PageId {
    let word = page.word(PAGE_NO / 8);
    PageId { page: PageNo(word as u32), file: FileId((word >> 32) as u32) }
}

/// Sets the page LSN: the last step of applying a record.
pub fn stamp<P: PageBytesMut>(page: &mut P, lsn: Lsn) {
    page.put_word(LSN / 8, lsn.0);
}

/// Whether nothing was ever written here: all zero.
#[must_use]
pub fn is_never_written(page: &[u8]) -> bool {
    let (chunks, rest) = page.as_chunks::<8>();
    chunks.iter().all(|chunk| *chunk == [0; 8]) && rest.iter().all(|byte| *byte == 0)
}

/// The checksum of a page: CRC-32 over file number, page number and all bytes after the checksum.
#[must_use]
pub fn crc(page: &[u8], id: PageId) -> u32 {
    let mut seed = [0; 8];
    let mut writer = PlainMut(&mut seed);
    writer.put_u32(0, id.file.0);
    writer.put_u32(4, id.page.0);
    let mut hasher = crc32fast::Hasher::new();
    hasher.update(&seed);
    hasher.update(page.get(CRC + 4..).unwrap_or(&[]));
    hasher.finalize()
}

/// Makes the page ready for its way to disk: sets the checksum.
///
/// # Panics
/// If the page does not carry the identity it is to be written under: such a page must never
/// reach the disk.
pub fn seal(page: &mut [u8], id: PageId) {
    let found = self::id(&Plain(page));
    assert!(found == id, "{found} must not be written as {id}");
    let crc = crc(page, id);
    PlainMut(page).put_u32(CRC, crc);
}

/// Checks what came from disk: checksum, identity, kind, reserved bytes.
///
/// The content is the business of the kind: [`crate::validate`].
pub fn check(page: &[u8], id: PageId) -> Result<(), Corrupt> {
    let view = Plain(page);
    let anywhere = planted::is(Bug::PageChecksumWithoutIdentity);
    let id = if anywhere { self::id(&view) } else { id };
    if !is_page_size(page.len()) {
        return Err(Corrupt::new("page size", page.len()));
    }
    if view.u32_at(CRC) != crc(page, id) {
        return Err(Corrupt::new("page checksum", CRC));
    }
    check_header(&view, id)
}

/// Checks identity, kind and reserved bytes of a header.
pub(crate) fn check_header<P: PageBytes>(page: &P, id: PageId) -> Result<(), Corrupt> {
    if self::id(page).page != id.page {
        return Err(Corrupt::new("page number", PAGE_NO));
    }
    if self::id(page).file != id.file {
        return Err(Corrupt::new("file number", FILE_ID));
    }
    let Some(kind) = kind(page) else {
        return Err(Corrupt::new("page kind", KIND));
    };
    check_common(page, kind)
}

/// What every kind keeps: the reserved bytes are zero, and what only nodes use is zero elsewhere.
pub(crate) fn check_common<P: PageBytes>(page: &P, kind: Kind) -> Result<(), Corrupt> {
    if page.u32_at(RESERVED) != 0 || page.word(6) != 0 || page.word(7) != 0 {
        return Err(Corrupt::new("reserved header bytes", RESERVED));
    }
    if kind != Kind::Node && (page.u8_at(LEVEL) != 0 || page.u16_at(FLAGS) != 0) {
        return Err(Corrupt::new("page level and flags", LEVEL));
    }
    Ok(())
}

/// Starts a page from nothing: the header of an initialising op, everything else of it zero.
pub(crate) fn put_header<P: PageBytesMut>(page: &mut P, id: PageId, kind: Kind, level: u8) {
    page.fill(0, crate::limits::PAGE_HEADER_BYTES, 0);
    page.put_u8(KIND, kind as u8);
    page.put_u8(LEVEL, level);
    put_id(page, id);
}

/// Writes the identity into a header.
pub(crate) fn put_id<P: PageBytesMut>(page: &mut P, id: PageId) {
    page.put_u32(PAGE_NO, id.page.0);
    page.put_u32(FILE_ID, id.file.0);
}

#[cfg(test)]
mod tests;
