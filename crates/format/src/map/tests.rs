//! Groups, runs and their checks.

use proptest::prelude::*;

use super::*;
use crate::access::{Plain, PlainMut};
use crate::ids::{FileId, PageId};
use crate::page_op::PageOp;

const SIZE: usize = 512;
const PAGES: u32 = 448 * 8;

fn fresh(group: u32) -> (Vec<u8>, PageId) {
    let id = PageId::new(FileId(16), map_page(SIZE, group).unwrap());
    let mut page = vec![0; SIZE];
    let op = PageOp::FormatMap { group };
    op.check(id, &Plain(&page)).unwrap();
    op.apply(id, &mut PlainMut(&mut page));
    Map::new(Plain(&page)).validate().unwrap();
    (page, id)
}

fn set(page: &mut [u8], id: PageId, first: u32, count: u32, allocated: bool) -> bool {
    let op = PageOp::MapSet { first, count, allocated };
    let may = op.check(id, &Plain(page)).is_ok();
    if may {
        op.apply(id, &mut PlainMut(page));
    }
    may
}

#[test]
fn every_page_has_its_bit_in_one_map() {
    assert_eq!(pages_per_group(SIZE), PAGES);
    assert_eq!(map_page(SIZE, 0), Some(PageNo(1)));
    assert_eq!(map_page(SIZE, 3), Some(PageNo(3 * PAGES + 1)));
    for page in [0, 1, 2, PAGES - 1, PAGES, PAGES + 1, 7 * PAGES + 9, MAX_PAGE_NO] {
        let (group, bit) = place_of(SIZE, PageNo(page));
        assert_eq!(page_of(SIZE, group, bit), Some(PageNo(page)));
        assert_eq!(is_map_page(SIZE, PageNo(page)), page % PAGES == 1);
    }
    assert_eq!(page_of(SIZE, u32::MAX, 0), None);
    assert_eq!(page_of(SIZE, 0, u32::MAX), None);
}

#[test]
fn a_new_map_has_only_the_fixed_pages() {
    let (page, _) = fresh(0);
    let map = Map::new(Plain(&page));
    assert_eq!((map.allocated(), map.free(), map.next_free(0)), (3, PAGES - 3, Some(3)));
    let (page, _) = fresh(5);
    let map = Map::new(Plain(&page));
    assert_eq!((map.group(), map.allocated(), map.next_free(0)), (5, 1, Some(0)));
    assert_eq!(map.next_free(1), Some(2));
}

#[test]
fn the_last_group_ends_with_the_last_page() {
    let (group, bit) = place_of(SIZE, PageNo(MAX_PAGE_NO));
    let (mut page, id) = fresh(group);
    assert_eq!(Map::new(Plain(&page)).bits(), bit + 1);
    assert!(set(&mut page, id, bit, 1, true));
    assert!(!set(&mut page, id, bit + 1, 1, true), "there is no such page");
    let map = Map::new(Plain(&page));
    assert!(map.is_allocated(bit + 1));
    map.validate().unwrap();
    page[SIZE - 1] = 0x80;
    assert!(Map::new(Plain(&page)).validate().is_err());
}

#[test]
fn a_page_is_not_allocated_or_freed_twice() {
    let (mut page, id) = fresh(0);
    assert!(set(&mut page, id, 10, 200, true));
    assert!(!set(&mut page, id, 209, 2, true));
    assert!(!set(&mut page, id, 209, 2, false));
    assert!(!set(&mut page, id, 10, 0, false));
    assert!(set(&mut page, id, 60, 100, false));
    assert!(!set(&mut page, id, 159, 1, false));
    assert_eq!(Map::new(Plain(&page)).allocated(), 103);
    assert!(!set(&mut page, id, PAGES - 1, 2, true), "beyond the group");
    assert!(!set(&mut page, id, u32::MAX, u32::MAX, true));
}

#[test]
fn the_fixed_pages_are_never_freed() {
    let (mut page, id) = fresh(0);
    for bit in 0..3 {
        assert!(!set(&mut page, id, bit, 1, false));
    }
    let (mut page, id) = fresh(1);
    assert!(!set(&mut page, id, MAP_BIT, 1, false));
    assert!(set(&mut page, id, 0, 1, true));
    assert!(!set(&mut page, id, 0, 2, false), "a range with the map in it");
    assert!(set(&mut page, id, 0, 1, false));
}

#[test]
fn the_first_run_long_enough_is_taken_or_else_the_longest() {
    let (mut page, id) = fresh(0);
    assert!(set(&mut page, id, 3, PAGES - 3, true));
    for (first, count) in [(10, 2), (100, 70), (400, 30)] {
        assert!(set(&mut page, id, first, count, false));
    }
    let map = Map::new(Plain(&page));
    assert_eq!(map.find_run(0, 2), Some(Run { first: 10, count: 2 }));
    assert_eq!(map.find_run(0, 3), Some(Run { first: 100, count: 3 }));
    assert_eq!(map.find_run(0, 100), Some(Run { first: 100, count: 70 }));
    assert_eq!(map.find_run(150, 25), Some(Run { first: 400, count: 25 }));
    assert_eq!(map.find_run(430, 1), None);
    assert_eq!(map.find_run(u32::MAX, 1), None);
}

proptest! {
    #[test]
    fn searching_any_bytes_ends(
        bytes in prop::collection::vec(prop_oneof![Just(0u8), Just(255u8), any::<u8>()], SIZE),
        from: u32,
        want in 0u32..100,
    ) {
        let map = Map::new(Plain(&bytes));
        let near = from % (2 * PAGES);
        for from in [0, near, from] {
            if let Some(run) = map.find_run(from, want) {
                prop_assert!(run.count >= 1 && run.count <= want.max(1));
                prop_assert_eq!(map.count_allocated(run.first, run.count), 0);
            }
        }
        let _ = map.validate();
        let _ = (map.count_allocated(from, want), map.is_allocated(from), map.free());
    }

    #[test]
    fn a_map_keeps_the_set_of_its_bits(
        steps in prop::collection::vec((0u32..PAGES, 1u32..200, any::<bool>()), 1..60),
    ) {
        let (mut page, id) = fresh(0);
        let mut model = vec![false; PAGES as usize];
        model[..3].fill(true);
        for (first, count, allocated) in steps {
            let end = first + count;
            let legal = end <= PAGES
                && model[first as usize..end as usize].iter().all(|bit| *bit != allocated)
                && (allocated || first >= 3);
            prop_assert_eq!(set(&mut page, id, first, count, allocated), legal);
            if legal {
                model[first as usize..end as usize].fill(allocated);
            }
            let map = Map::new(Plain(&page));
            map.validate().unwrap();
            prop_assert_eq!(map.allocated() as usize, model.iter().filter(|bit| **bit).count());
        }
        let map = Map::new(Plain(&page));
        for (bit, allocated) in model.iter().enumerate() {
            prop_assert_eq!(map.is_allocated(bit as u32), *allocated);
        }
    }
}
