//! Damaged pages: typed errors, and everything else stays usable (P10).

use std::path::Path;

use campanile_pagestore::{RedoPage, StoreError};
use campanile_vfs::{Host, Open};

use crate::fixture::{self, PAGE_BYTES, Rig, init, memory, page, place};

const PAGES: u32 = 6;

fn written(host: &Host) -> Rig {
    let mut rig = Rig::new(host, 16);
    rig.create(16);
    for number in 0..PAGES {
        rig.put(page(16, number), u64::from(number)).unwrap();
    }
    rig.store.write_back_all().unwrap();
    let (log, expected) = (rig.log.survivor(), rig.expected.clone());
    drop(rig);
    let rig = Rig::open(host, fixture::options("home", 16), log).unwrap();
    Rig { expected, ..rig }
}

fn flip(host: &Host, bit: usize) {
    let path = Path::new("home/data/data.0000000016");
    let file = host.vfs.open(path, Open::ReadWrite).unwrap();
    let (mut byte, at) = ([0], place(0) + bit as u64 / 8);
    file.read_exact_at(&mut byte, at).unwrap();
    byte[0] ^= 1 << (bit % 8);
    file.write_all_at(&byte, at).unwrap();
}

#[test]
fn p10_any_flipped_bit_is_found_and_names_its_page_and_others_stay_readable() {
    let host = memory();
    let log = written(&host).log.survivor();
    for bit in (0..PAGES as usize * PAGE_BYTES * 8).step_by(211) {
        flip(&host, bit);
        let rig = Rig::open(&host, fixture::options("home", 16), log.survivor()).unwrap();
        for number in 0..PAGES {
            let id = page(16, number);
            if number as usize == bit / 8 / PAGE_BYTES {
                let error = rig.get(id).unwrap_err();
                assert!(matches!(error, StoreError::Corrupt { .. }) && error.is_corruption());
                assert_eq!(error.page(), Some(id));
                assert!(error.to_string().contains("data.0000000016"), "{error}");
                assert!(rig.store.write(id).is_err());
                assert!(matches!(rig.store.fetch_for_redo(id), Ok(RedoPage::Torn(_))));
            } else {
                assert_eq!(rig.get(id).unwrap(), u64::from(number));
            }
        }
        assert!(!rig.poison.is_poisoned());
        flip(&host, bit);
    }
}

#[test]
fn a_damaged_page_can_be_initialised_again() {
    let host = memory();
    let mut rig = written(&host);
    flip(&host, 3 * PAGE_BYTES * 8 + 99);
    assert!(rig.get(page(16, 3)).is_err());
    init(&rig.log, rig.store.fresh(page(16, 3)).unwrap(), 77);
    rig.expected.insert(page(16, 3), 77);
    rig.check();
    rig.store.write_back_all().unwrap();
    rig.check();
}

#[test]
fn a_damaged_page_is_read_again_each_time_and_repaired_damage_is_gone() {
    let host = memory();
    let rig = written(&host);
    flip(&host, 8 * PAGE_BYTES + 3);
    assert!(rig.get(page(16, 1)).is_err());
    assert!(rig.get(page(16, 1)).is_err());
    flip(&host, 8 * PAGE_BYTES + 3);
    rig.check();
}

#[test]
fn a_page_at_another_pages_place_is_not_taken_for_it() {
    let host = memory();
    let rig = written(&host);
    let path = Path::new("home/data/data.0000000016");
    let file = host.vfs.open(path, Open::ReadWrite).unwrap();
    let mut image = vec![0; PAGE_BYTES];
    file.read_exact_at(&mut image, place(2)).unwrap();
    file.write_all_at(&image, place(4)).unwrap();
    assert!(matches!(rig.get(page(16, 4)), Err(StoreError::Corrupt { .. })));
    assert_eq!(rig.get(page(16, 2)).unwrap(), 2);
}

#[test]
fn redo_is_told_what_is_absent_and_what_is_torn() {
    let host = memory();
    let rig = written(&host);
    let path = Path::new("home/data/data.0000000016");
    let file = host.vfs.open(path, Open::ReadWrite).unwrap();
    file.write_all_at(&[0; PAGE_BYTES], place(1)).unwrap();
    file.write_all_at(&[0; 100], place(3) - 200).unwrap();
    let redo = |number| rig.store.fetch_for_redo(page(16, number)).unwrap();
    assert!(matches!(redo(0), RedoPage::Ready(_)));
    assert!(matches!(redo(1), RedoPage::Absent(_)));
    assert!(matches!(redo(2), RedoPage::Torn(_)));
    assert!(matches!(redo(3000), RedoPage::Absent(_)));
    // Asking leaves nothing behind.
    assert!(matches!(rig.get(page(16, 1)), Err(StoreError::NeverWritten { .. })));
    assert!(matches!(rig.get(page(16, 2)), Err(StoreError::Corrupt { .. })));
    assert!(matches!(rig.get(page(16, 3000)), Err(StoreError::NeverWritten { .. })));
}

#[test]
fn a_file_cut_short_lacks_its_last_pages_and_no_others() {
    let host = memory();
    for len in (0..place(PAGES)).step_by(700) {
        let name = format!("home{len}");
        host.vfs.create_dir(Path::new(&name)).unwrap();
        let mut rig =
            Rig::open(&host, fixture::options(&name, 16), fixture::FakeLog::new()).unwrap();
        rig.create(16);
        for number in 0..PAGES {
            rig.put(page(16, number), u64::from(number)).unwrap();
        }
        rig.store.write_back_all().unwrap();
        let log = rig.log.survivor();
        drop(rig);
        let path = format!("{name}/data/data.0000000016");
        host.vfs.open(Path::new(&path), Open::ReadWrite).unwrap().set_len(len).unwrap();
        let rig = Rig::open(&host, fixture::options(&name, 16), log).unwrap();
        for number in 0..PAGES {
            match rig.get(page(16, number)) {
                Ok(stamp) => {
                    assert!(place(number + 1) <= len);
                    assert_eq!(stamp, u64::from(number));
                }
                Err(error) => {
                    assert!(place(number + 1) > len);
                    assert!(error.is_corruption());
                }
            }
        }
    }
}

#[test]
fn a_page_that_is_ahead_of_the_log_is_refused() {
    let host = memory();
    drop(written(&host));
    let rig = Rig::open(&host, fixture::options("home", 16), fixture::FakeLog::new()).unwrap();
    for refused in
        [rig.get(page(16, 2)).unwrap_err(), rig.store.fetch_for_redo(page(16, 2)).unwrap_err()]
    {
        assert!(matches!(refused, StoreError::BeyondLog { .. }) && refused.is_corruption());
        assert_eq!(refused.page(), Some(page(16, 2)));
        assert!(refused.to_string().contains("log files are missing"), "{refused}");
    }
}
