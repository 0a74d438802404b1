//! Planted bugs of the page half are noticed.

use campanile_format::{FileId, PageId, PageNo, PageOp, PlainMut, page};

const ID: PageId = PageId::new(FileId(16), PageNo(7));

/// Places from which a sealed page passes its check, other than its own.
fn wrong_places_that_pass() -> usize {
    let mut bytes = vec![0; 512];
    let op = PageOp::FormatNode { level: 0, lower: b"", upper: None, first_child: PageNo::NONE };
    op.apply(ID, &mut PlainMut(&mut bytes));
    page::seal(&mut bytes, ID);
    let places = (0..20).flat_map(|file| (0..20).map(move |page| (file, page)));
    let places = places.map(|(file, page)| PageId::new(FileId(file), PageNo(page)));
    places.filter(|place| *place != ID && page::check(&bytes, *place).is_ok()).count()
}

#[test]
fn a_misdirected_write_is_noticed() {
    assert_eq!(wrong_places_that_pass(), 0);
}

#[cfg(feature = "planted-bugs")]
#[test]
fn and_would_not_be_without_the_identity() {
    use campanile_format::planted::{self, Bug};
    assert!(planted::with(Bug::PageChecksumWithoutIdentity, wrong_places_that_pass) > 0);
}
