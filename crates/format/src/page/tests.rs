//! The way to disk and back.

use proptest::prelude::*;

use super::*;
use crate::page_op::PageOp;

fn sealed(id: PageId) -> Vec<u8> {
    let mut page = vec![0; 512];
    let op = PageOp::FormatNode { level: 0, lower: b"", upper: None, first_child: PageNo::NONE };
    op.apply(id, &mut PlainMut(&mut page));
    stamp(&mut PlainMut(&mut page), Lsn::new(3, 512));
    seal(&mut page, id);
    page
}

const ID: PageId = PageId::new(FileId(16), PageNo(7));

#[test]
fn a_sealed_page_passes_as_itself() {
    let page = sealed(ID);
    assert_eq!(check(&page, ID), Ok(()));
    assert_eq!(id(&Plain(&page)), ID);
    assert_eq!(lsn(&Plain(&page)), Lsn::new(3, 512));
    assert_eq!(kind(&Plain(&page)), Some(Kind::Node));
}

#[test]
fn a_page_read_from_another_place_does_not_pass() {
    let page = sealed(ID);
    for other in [PageId::new(FileId(16), PageNo(8)), PageId::new(FileId(17), PageNo(7))] {
        assert_eq!(check(&page, other), Err(Corrupt::new("page checksum", CRC)));
    }
}

#[test]
fn every_flipped_bit_is_found() {
    let page = sealed(ID);
    for bit in 0..page.len() * 8 {
        let mut damaged = page.clone();
        damaged[bit / 8] ^= 1 << (bit % 8);
        assert!(check(&damaged, ID).is_err(), "bit {bit}");
    }
}

#[test]
fn a_page_of_zeros_was_never_written() {
    let mut page = vec![0; 512];
    assert!(is_never_written(&page));
    page[511] = 1;
    assert!(!is_never_written(&page));
    assert!(!is_never_written(&sealed(ID)));
    assert!(check(&[0; 512], ID).is_err());
}

#[test]
#[should_panic(expected = "page 7 of file 16 must not be written as page 8 of file 16")]
fn a_page_is_not_sealed_under_another_name() {
    seal(&mut sealed(ID), PageId::new(FileId(16), PageNo(8)));
}

#[test]
fn a_checksum_that_fits_does_not_excuse_a_header_that_does_not() {
    let crafted = |offset: usize, value: u8| {
        let mut page = sealed(ID);
        page[offset] = value;
        let crc = crc(&page, ID);
        PlainMut(&mut page).put_u32(CRC, crc);
        check(&page, ID).map_err(|corrupt| corrupt.what)
    };
    assert_eq!(crafted(KIND, 9), Err("page kind"));
    assert_eq!(crafted(PAGE_NO, 9), Err("page number"));
    assert_eq!(crafted(FILE_ID, 9), Err("file number"));
    assert_eq!(crafted(RESERVED, 1), Err("reserved header bytes"));
    assert_eq!(crafted(63, 1), Err("reserved header bytes"));
}

proptest! {
    #[test]
    fn checking_any_bytes_ends(bytes in prop::collection::vec(any::<u8>(), 0..1100)) {
        prop_assert!(check(&bytes, ID).is_err());
        let _ = crate::validate(&Plain(&bytes));
    }
}
