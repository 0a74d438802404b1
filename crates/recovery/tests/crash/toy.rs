//! A toy access method: a file of four leaves, keys spread over them by a hash. Just enough to
//! change pages through the one door, and to undo.

use std::collections::BTreeMap;

use campanile_format::map::{Map, ROOT_PAGE};
use campanile_format::record::Undo;
use campanile_format::{FileId, Lsn, Node, OverflowRef, PageId, PageNo, PageOp, Value, overflow};
use campanile_txn::{By, Change, LogicalUndo, Seen, Snapshot, Transactions, Txn, TxnError};

/// The rows of a file.
pub type Rows = BTreeMap<Vec<u8>, Vec<u8>>;

/// The leaves besides the root.
const MORE_LEAVES: u32 = 3;

#[derive(Debug)]
pub struct Toy;

fn leaf_of(file: FileId, key: &[u8]) -> PageId {
    let hash = key.iter().fold(7_u32, |hash, byte| hash.wrapping_mul(31) + u32::from(*byte));
    PageId::new(file, PageNo(ROOT_PAGE.0 + hash % (MORE_LEAVES + 1)))
}

/// Makes a file ready for rows.
pub fn create(txns: &Transactions, txn: &mut Txn, durable: bool) -> Result<FileId, TxnError> {
    let file = txns.create_file(txn, durable)?;
    furnish(txns, file)?;
    Ok(file)
}

/// Adds the leaves besides the root, in one redo-only record with the map.
pub fn furnish(txns: &Transactions, file: FileId) -> Result<(), TxnError> {
    let mut found = txns.find_free(file, MORE_LEAVES as usize)?;
    assert_eq!(found.pages, [PageNo(3), PageNo(4), PageNo(5)]);
    let mut leaves = Vec::new();
    for page in &found.pages {
        leaves.push(txns.store().fresh(PageId::new(file, *page))?);
    }
    let format =
        PageOp::FormatNode { level: 0, lower: b"", upper: None, first_child: PageNo::NONE };
    let mut changes: Vec<Change<'_, '_, '_>> =
        leaves.iter_mut().map(|leaf| Change::new(leaf, vec![format.clone()])).collect();
    changes.push(found.map.change());
    txns.apply(By::System, &mut changes, Undo::None)?;
    Ok(())
}

/// What stood in a slot.
fn old_value(node: &Node<impl campanile_format::PageBytes>, slot: usize) -> Owned {
    let mut bytes = Vec::new();
    match node.value_into(slot, &mut bytes) {
        Some(overflow) => Owned::Overflow(overflow),
        None => Owned::Inline(bytes),
    }
}

enum Owned {
    Inline(Vec<u8>),
    Overflow(OverflowRef),
}

impl Owned {
    fn as_value(&self) -> Value<'_> {
        match self {
            Owned::Inline(bytes) => Value::Inline(bytes),
            Owned::Overflow(overflow) => Value::Overflow(*overflow),
        }
    }
}

/// Inserts or replaces.
pub fn put(
    txns: &Transactions,
    txn: &mut Txn,
    file: FileId,
    key: &[u8],
    value: &[u8],
) -> Result<(), TxnError> {
    put_value(txns, txn, file, key, Value::Inline(value))
}

/// Inserts a value that lives in pages of its own.
pub fn put_large(
    txns: &Transactions,
    txn: &mut Txn,
    file: FileId,
    key: &[u8],
    value: &[u8],
) -> Result<(), TxnError> {
    let capacity = overflow::capacity(txns.store().page_bytes());
    let pages = value.len().div_ceil(capacity) as u32;
    let (first, count) = txns.allocate_extent(txn, file, pages)?;
    assert_eq!(count, pages, "the toy has room");
    for (index, data) in value.chunks(capacity).enumerate() {
        let page = PageNo(first.0 + index as u32);
        let mut page = txns.store().fresh(PageId::new(file, page))?;
        let extent_pages = if index == 0 { pages } else { 0 };
        let op = PageOp::FormatOverflow { extent_pages, next_extent: PageNo::NONE, data };
        txns.apply(By::Txn(txn), &mut [Change::new(&mut page, vec![op])], Undo::None)?;
    }
    let overflow = OverflowRef { len: value.len() as u64, first };
    put_value(txns, txn, file, key, Value::Overflow(overflow))
}

fn put_value(
    txns: &Transactions,
    txn: &mut Txn,
    file: FileId,
    key: &[u8],
    value: Value<'_>,
) -> Result<(), TxnError> {
    let mut page = txns.store().write(leaf_of(file, key))?;
    make_room(txns, &mut page, key)?;
    let found = Node::new(page.bytes()).search(key);
    let (op, undo) = match found {
        Err(slot) => {
            (PageOp::LeafInsert { slot: slot as u16, key, value }, Undo::Insert { file, key })
        }
        Ok(slot) => {
            let node = Node::new(page.bytes());
            let op = PageOp::LeafReplace { slot: slot as u16, value };
            if node.is_ghost(slot) {
                (op, Undo::Insert { file, key })
            } else {
                let old = old_value(&node, slot);
                let undo = Undo::Replace { file, key, old: old.as_value() };
                txns.apply(By::Txn(txn), &mut [Change::new(&mut page, vec![op])], undo)?;
                return Ok(());
            }
        }
    };
    txns.apply(By::Txn(txn), &mut [Change::new(&mut page, vec![op])], undo)?;
    Ok(())
}

/// Purges ghosts from a settled leaf, sometimes.
fn make_room(
    txns: &Transactions,
    page: &mut campanile_pagestore::PageWrite<'_>,
    keep: &[u8],
) -> Result<(), TxnError> {
    if page.lsn() >= txns.settled_lsn() {
        return Ok(());
    }
    let node = Node::new(page.bytes());
    let ghosts: Vec<u16> = (0..node.count())
        .filter(|slot| node.is_ghost(*slot) && node.key(*slot) != keep)
        .map(|slot| slot as u16)
        .collect();
    if !ghosts.is_empty() {
        let op = PageOp::purge(&ghosts);
        txns.apply(By::System, &mut [Change::new(page, vec![op])], Undo::None)?;
    }
    Ok(())
}

/// Deletes; false if the key is not there.
pub fn delete(
    txns: &Transactions,
    txn: &mut Txn,
    file: FileId,
    key: &[u8],
) -> Result<bool, TxnError> {
    let mut page = txns.store().write(leaf_of(file, key))?;
    let node = Node::new(page.bytes());
    let Ok(slot) = node.search(key) else { return Ok(false) };
    if node.is_ghost(slot) {
        return Ok(false);
    }
    let old = old_value(&node, slot);
    let op = PageOp::LeafGhost { slot: slot as u16, ghost: true };
    let undo = Undo::Delete { file, key, old: old.as_value() };
    txns.apply(By::Txn(txn), &mut [Change::new(&mut page, vec![op])], undo)?;
    Ok(true)
}

/// What a snapshot sees of a key that stands on a page.
pub fn get_at(
    txns: &Transactions,
    snapshot: &Snapshot,
    file: FileId,
    key: &[u8],
) -> Result<Option<Vec<u8>>, TxnError> {
    let page = txns.store().read(leaf_of(file, key))?;
    match txns.seen(snapshot, page.lsn(), file, key)? {
        Seen::Before(campanile_txn::Before::Absent) => Ok(None),
        Seen::Before(campanile_txn::Before::Inline(bytes)) => Ok(Some(bytes.to_vec())),
        Seen::Before(campanile_txn::Before::Overflow(overflow)) => {
            read_large(txns, file, overflow).map(Some)
        }
        Seen::Current => {
            let node = Node::new(page.bytes());
            let Ok(slot) = node.search(key) else { return Ok(None) };
            if node.is_ghost(slot) {
                return Ok(None);
            }
            match old_value(&node, slot) {
                Owned::Inline(bytes) => Ok(Some(bytes)),
                Owned::Overflow(overflow) => read_large(txns, file, overflow).map(Some),
            }
        }
    }
}

fn read_large(
    txns: &Transactions,
    file: FileId,
    overflow: OverflowRef,
) -> Result<Vec<u8>, TxnError> {
    let mut value = Vec::new();
    let mut page = overflow.first;
    while (value.len() as u64) < overflow.len {
        let guard = txns.store().read(PageId::new(file, page))?;
        overflow::Overflow::new(guard.bytes()).append_data(&mut value);
        page = PageNo(page.0 + 1);
    }
    Ok(value)
}

/// All rows of a file, and a check that every page is reachable once or free.
pub fn rows(txns: &Transactions, file: FileId) -> Result<Rows, TxnError> {
    let mut rows = Rows::new();
    let capacity = overflow::capacity(txns.store().page_bytes());
    let mut reachable = 3 + MORE_LEAVES;
    for leaf in 0..=MORE_LEAVES {
        let page = txns.store().read(PageId::new(file, PageNo(ROOT_PAGE.0 + leaf)))?;
        let node = Node::new(page.bytes());
        for slot in (0..node.count()).filter(|slot| !node.is_ghost(*slot)) {
            let value = match old_value(&node, slot) {
                Owned::Inline(bytes) => bytes,
                Owned::Overflow(overflow) => {
                    reachable += (overflow.len as usize).div_ceil(capacity) as u32;
                    read_large(txns, file, overflow)?
                }
            };
            rows.insert(node.key(slot), value);
        }
    }
    let map = txns.store().read(PageId::new(file, PageNo(1)))?;
    assert_eq!(Map::new(map.bytes()).allocated(), reachable, "pages of file {file} leaked");
    Ok(rows)
}

impl LogicalUndo for Toy {
    fn undo(
        &self,
        txns: &Transactions,
        txn: &mut Txn,
        undo: &Undo<'_>,
        undo_next: Lsn,
    ) -> Result<(), TxnError> {
        let (file, key) = match undo {
            Undo::Insert { file, key }
            | Undo::Replace { file, key, .. }
            | Undo::Delete { file, key, .. } => (*file, *key),
            other => panic!("the toy never logs {other:?}"),
        };
        let mut page = txns.store().write(leaf_of(file, key))?;
        let node = Node::new(page.bytes());
        let Ok(slot) = node.search(key) else {
            panic!("{key:?} of file {file} is gone before its undo")
        };
        let slot = slot as u16;
        let op = match undo {
            Undo::Insert { .. } => PageOp::LeafGhost { slot, ghost: true },
            // Not just the ghost bit of a deleted key: it may have been inserted again, and that
            // undone, so that the ghost holds another value.
            Undo::Replace { old, .. } | Undo::Delete { old, .. } => {
                PageOp::LeafReplace { slot, value: *old }
            }
            other => panic!("the toy never logs {other:?}"),
        };
        let by = By::Compensate { txn, undo_next };
        txns.apply(by, &mut [Change::new(&mut page, vec![op])], Undo::None)?;
        Ok(())
    }
}
