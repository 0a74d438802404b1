//! Damaged trees: verify finds it, reading answers with an error, nothing hangs.

use std::sync::Arc;

use campanile_btree::{Range, Reader, TreeError};
use campanile_format::{PageId, PageNo, PageOp};
use campanile_txn::{By, Change};

use crate::rig::{Dice, Rig, Sizes, times};

fn filled() -> Rig {
    let rig = Rig::new(Sizes { frames: 64, ..Sizes::default() });
    let mut txn = rig.begin();
    for number in 0..400_u32 {
        rig.tree().put(&mut txn, format!("{number:06}").as_bytes(), &[1; 60]).unwrap();
    }
    rig.tree().put(&mut txn, b"large", &[2; 3000]).unwrap();
    rig.commit(txn);
    assert!(rig.verify().stats.depth >= 3);
    rig
}

/// Does to a page what a bug of ours might do: well-formed, but wrong.
fn plant(rig: &Rig, page: PageNo, ops: Vec<PageOp<'_>>) {
    let mut latched = rig.txns.store().write(PageId::new(rig.file, page)).unwrap();
    let mut changes = [Change::new(&mut latched, ops)];
    rig.txns.apply(By::System, &mut changes, campanile_format::record::Undo::None).unwrap();
}

fn findings(rig: &Rig) -> String {
    let report = rig.tree().verify().unwrap();
    assert!(!report.is_clean(), "verify must find what was planted");
    report.findings.iter().map(|finding| format!("{finding}\n")).collect()
}

/// Reading everything ends, with an error or not, and never with a page too much.
fn read_everything(rig: &Rig) -> Result<usize, TreeError> {
    let tree = rig.tree();
    let mut range = Range::all();
    let mut count = 0;
    while range.next(&tree, Reader::Uncommitted)?.is_some() {
        count += 1;
        assert!(count < 10_000, "the scan does not end");
    }
    Ok(count)
}

fn child(rig: &Rig, page: PageNo, slot: Option<usize>) -> PageNo {
    let latched = rig.txns.store().read(PageId::new(rig.file, page)).unwrap();
    campanile_format::Node::new(latched.bytes()).child_at(slot)
}

const ROOT: PageNo = PageNo(2);

#[test]
fn a_child_named_twice_is_found() {
    let rig = filled();
    let first = child(&rig, ROOT, None);
    plant(&rig, ROOT, vec![PageOp::InnerSetChild { slot: Some(0), child: first }]);
    let found = findings(&rig);
    assert!(found.contains("another use"), "{found}");
    assert!(read_everything(&rig).unwrap_err().is_corruption());
}

#[test]
fn levels_that_do_not_fall_are_found_and_end_a_descent() {
    let rig = filled();
    let inner = child(&rig, ROOT, None);
    let leaf = child(&rig, inner, None);
    plant(&rig, ROOT, vec![PageOp::InnerSetChild { slot: None, child: leaf }]);
    let found = findings(&rig);
    assert!(found.contains("its level is 0, its parent makes it"), "{found}");
    assert!(read_everything(&rig).unwrap_err().is_corruption());
    let mut txn = rig.begin();
    assert!(rig.tree().put(&mut txn, b"000000", b"x").unwrap_err().is_corruption());
    rig.commit(txn);
}

#[test]
fn a_page_that_names_itself_does_not_hang_anybody() {
    let rig = filled();
    let inner = child(&rig, ROOT, None);
    for name in [inner, ROOT, PageNo(1), PageNo(1 << 20)] {
        plant(&rig, inner, vec![PageOp::InnerSetChild { slot: None, child: name }]);
        findings(&rig);
        assert!(read_everything(&rig).is_err());
        let mut txn = rig.begin();
        assert!(rig.tree().put(&mut txn, b"000000", &[1; 100]).is_err());
        assert!(rig.tree().delete(&mut txn, b"000000").is_err());
        rig.commit(txn);
    }
}

#[test]
fn children_in_the_wrong_order_are_found_by_their_fences() {
    let rig = filled();
    let inner = child(&rig, ROOT, None);
    let (first, second) = (child(&rig, inner, None), child(&rig, inner, Some(0)));
    plant(
        &rig,
        inner,
        vec![
            PageOp::InnerSetChild { slot: None, child: second },
            PageOp::InnerSetChild { slot: Some(0), child: first },
        ],
    );
    let found = findings(&rig);
    assert!(found.contains("its fences are"), "{found}");
    assert!(read_everything(&rig).unwrap_err().is_corruption());
}

#[test]
fn lost_and_doubly_free_pages_are_found() {
    let rig = filled();
    let inner = child(&rig, ROOT, None);
    let leaf = child(&rig, inner, None);
    let map = PageNo(1);
    let bit = |page: PageNo, allocated| PageOp::MapSet { first: page.0, count: 1, allocated };
    plant(&rig, map, vec![bit(leaf, false)]);
    let found = findings(&rig);
    assert!(found.contains("in use, but the map calls it free"), "{found}");
    plant(&rig, map, vec![bit(leaf, true), bit(PageNo(3000), true)]);
    let found = findings(&rig);
    assert!(found.contains("page 3000") && found.contains("nothing leads to it"), "{found}");
}

#[test]
fn a_record_on_the_wrong_leaf_is_found() {
    let rig = filled();
    let inner = child(&rig, ROOT, None);
    let (first, second) = (child(&rig, inner, None), child(&rig, inner, Some(0)));
    // The separator says one thing, the leaf's fences another.
    plant(&rig, inner, vec![PageOp::InnerRemove { slot: 0 }]);
    let found = findings(&rig);
    assert!(found.contains("its fences are"), "{found}");
    assert_ne!(first, second);
    assert!(read_everything(&rig).unwrap_err().is_corruption());
}

#[test]
fn flipped_bits_on_disk_are_named_and_the_rest_is_still_checked() {
    let rig = filled();
    let pages = rig.tree().stats().unwrap();
    let rig = rig.reopen();
    let path = rig.home.join("data").join(campanile_format::names::data_file(rig.file));
    let file = rig.host.vfs.open(&path, campanile_vfs::Open::ReadWrite).unwrap();
    let victims = [5_u64, 9, 14];
    for victim in victims {
        let mut byte = [0];
        file.read_exact_at(&mut byte, victim * 512 + 100).unwrap();
        file.write_all_at(&[byte[0] ^ 4], victim * 512 + 100).unwrap();
    }
    let report = rig.tree().verify().unwrap();
    for victim in victims {
        let named = report.findings.iter().any(|finding| u64::from(finding.page.page.0) == victim);
        assert!(named, "page {victim} is not among {:?}", report.findings);
    }
    assert!(report.incomplete);
    assert!(report.stats.leaf_pages + 5 >= pages.leaf_pages / 2);
    let error = read_everything(&rig).unwrap_err();
    assert!(error.is_corruption(), "{error}");
    drop(Arc::clone(&rig.txns));
}

/// Pages that pass every check of a single page but do not belong together: whatever they say,
/// every call ends, with an answer or a typed error.
#[test]
fn hostile_pages_neither_hang_nor_panic() {
    let mut dice = Dice::new(77 + times());
    for _ in 0..40 * times() {
        let rig = filled();
        let pages = rig.txns.store().page_count(rig.file).unwrap().min(120);
        let rig = rig.reopen();
        let path = rig.home.join("data").join(campanile_format::names::data_file(rig.file));
        let file = rig.host.vfs.open(&path, campanile_vfs::Open::ReadWrite).unwrap();
        for _ in 0..1 + dice.below(4) {
            make_hostile(&rig, &*file, pages, &mut dice);
        }
        use_everything(&rig, &mut dice);
    }
}

fn make_hostile(rig: &Rig, file: &dyn campanile_vfs::File, pages: u32, dice: &mut Dice) {
    let (mut page, mut other) = (vec![0; 512], vec![0; 512]);
    let number = 1 + dice.below(pages as usize - 1) as u32;
    file.read_exact_at(&mut page, u64::from(number) * 512).unwrap();
    let from = 1 + dice.below(pages as usize - 1) as u64;
    file.read_exact_at(&mut other, from * 512).unwrap();
    let node = campanile_format::Node::new(campanile_format::Plain(&page));
    match dice.below(5) {
        // Another page's content.
        0 => page[4..].copy_from_slice(&other[4..]),
        // Another level.
        1 => page[5] = dice.below(4) as u8,
        // Another child, or another first page of a long value.
        2 | 3 if node.is_node() => {
            let child = dice.below(pages as usize + 2) as u32;
            let at = dice.below(node.count() + 1);
            let offset = if at == node.count() || node.is_leaf() {
                40
            } else {
                // The child of an entry stands behind its suffix.
                let word = u64::from_le_bytes(page[64 + at * 8..72 + at * 8].try_into().unwrap());
                (word & 0xffff) as usize + (word >> 16 & 0x3fff) as usize
            };
            if offset + 4 <= 512 {
                page[offset..offset + 4].copy_from_slice(&child.to_le_bytes());
            }
        }
        // Any byte.
        _ => page[24 + dice.below(488)] ^= 1 << dice.below(8),
    }
    page[16..20].copy_from_slice(&number.to_le_bytes());
    page[20..24].copy_from_slice(&rig.file.0.to_le_bytes());
    campanile_format::page::seal(&mut page, PageId::new(rig.file, PageNo(number)));
    file.write_all_at(&page, u64::from(number) * 512).unwrap();
}

/// Every kind of call; errors are fine.
fn use_everything(rig: &Rig, dice: &mut Dice) {
    let tree = rig.tree();
    let _ = read_everything(rig);
    let mut back = Range::all();
    while let Ok(Some(_)) = back.next_back(&tree, Reader::Uncommitted) {}
    let _ = tree.stats();
    let _ = tree.verify().map(|report| report.findings.len());
    for _ in 0..4 {
        let mut txn = rig.begin();
        for _ in 0..60 {
            let key = format!("{:06}", dice.below(500)).into_bytes();
            let _ = tree.get(Reader::Txn(&mut txn), &key);
            let _ = match dice.below(3) {
                0 => tree.delete(&mut txn, &key).map(|_| ()),
                1 => tree.put(&mut txn, &key, &vec![3; dice.below(900)]).map(|_| ()),
                _ => tree.put(&mut txn, &key, &[4; 90]).map(|_| ()),
            };
        }
        let _ = tree.delete(&mut txn, b"large");
        if dice.one_in(2) {
            let _ = rig.txns.abort(txn);
        } else {
            let _ = rig.txns.commit(txn, campanile_txn::Durability::NoSync);
        }
        for _ in 0..50 {
            let _ = rig.forest.clean(&rig.txns);
        }
    }
}
