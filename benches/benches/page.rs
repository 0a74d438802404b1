//! What one page costs: search, insert, split, validate, checksum, on an 8 KiB leaf of random
//! 24-byte keys with 150-byte values in a frame of atomic words.

use std::hint::black_box;
use std::sync::atomic::AtomicU64;

use campanile_format::{
    FileId, Node, NodeBuilder, PageBytes, PageBytesMut, PageId, PageNo, PageOp, Plain, Value,
    Words, page, separator,
};
use criterion::{BatchSize, Criterion, criterion_group, criterion_main};

const SIZE: usize = 8192;
const ID: PageId = PageId::new(FileId(16), PageNo(7));
const VALUE: [u8; 150] = [7; 150];

fn frame() -> Vec<AtomicU64> {
    (0..SIZE / 8).map(|_| AtomicU64::new(0)).collect()
}

fn random_keys() -> impl Iterator<Item = [u8; 24]> {
    let mut state = 88_172_645_463_325_252_u64;
    std::iter::repeat_with(move || {
        std::array::from_fn(|_| {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            state as u8
        })
    })
}

fn insert(frame: &[AtomicU64], key: &[u8]) {
    let mut words = Words(frame);
    let (Ok(slot) | Err(slot)) = Node::new(words).search(key);
    let op = PageOp::LeafInsert { slot: slot as u16, key, value: Value::Inline(&VALUE) };
    op.check(ID, &words).expect("the key is new and there is room");
    op.apply(ID, &mut words);
}

fn empty_leaf() -> Vec<AtomicU64> {
    let frame = frame();
    let (lower, upper, first_child) = (&b""[..], None, PageNo::NONE);
    PageOp::FormatNode { level: 0, lower, upper, first_child }.apply(ID, &mut Words(&frame));
    frame
}

/// A leaf with as many entries as fit, and their keys.
fn full_leaf() -> (Vec<AtomicU64>, Vec<[u8; 24]>) {
    let frame = empty_leaf();
    let fits = |_: &[u8; 24]| Node::new(Words(&frame)).entry_fits(24, &Value::Inline(&VALUE));
    let keys = random_keys().take_while(fits).inspect(|key| insert(&frame, key)).collect();
    (frame, keys)
}

fn reads(c: &mut Criterion) {
    let (frame, keys) = full_leaf();
    let words = Words(&frame);
    let node = Node::new(words);
    let mut bytes = vec![0; SIZE];
    words.copy_out(0, &mut bytes);
    let plain = Node::new(Plain(&bytes));
    let mut next = keys.iter().cycle();
    let mut key = move || next.next().expect("the leaf has keys");
    c.bench_function("page/search frame", |b| b.iter(|| node.search(black_box(key()))));
    let mut next = keys.iter().cycle();
    let mut key = move || next.next().expect("the leaf has keys");
    c.bench_function("page/search buffer", |b| b.iter(|| plain.search(black_box(key()))));
    c.bench_function("page/covers", |b| b.iter(|| node.covers(black_box(&keys[0]))));
    let mut value = Vec::new();
    c.bench_function("page/value copy", |b| b.iter(|| node.value_into(black_box(9), &mut value)));
    let mut copy = vec![0; SIZE];
    c.bench_function("page/leaf copy", |b| b.iter(|| words.copy_out(0, black_box(&mut copy))));
    c.bench_function("page/validate", |b| b.iter(|| black_box(&plain).validate()));
    c.bench_function("page/checksum", |b| b.iter(|| page::crc(black_box(&bytes), ID)));
}

fn writes(c: &mut Criterion) {
    let (frame, keys) = full_leaf();
    let mut bytes = vec![0; SIZE];
    Words(&frame).copy_out(0, &mut bytes);
    c.bench_function("page/fill a leaf, search check apply", |b| {
        let fill = |frame: Vec<AtomicU64>| keys.iter().for_each(|key| insert(&frame, key));
        b.iter_batched(empty_leaf, fill, BatchSize::SmallInput);
    });
    c.bench_function("page/split, right half", |b| {
        let node = Node::new(Words(&frame));
        let keep = node.count() / 2;
        let (left, right) = (node.key(keep - 1), node.key(keep));
        b.iter(|| {
            let lower = separator(&left, &right);
            let mut half = NodeBuilder::new(SIZE, 0, lower, None, PageNo::NONE);
            assert!((keep..node.count()).all(|slot| half.push_from(&node, slot)));
            half.into_image()
        });
    });
    c.bench_function("page/split, left half", |b| {
        let copy = || {
            let copy = self::frame();
            Words(&copy).put_bytes(0, &bytes);
            copy
        };
        let node = Node::new(Words(&frame));
        let keep = node.count() / 2;
        let upper = separator(&node.key(keep - 1), &node.key(keep)).to_vec();
        let op = PageOp::NodeTruncate { keep: keep as u16, upper: &upper };
        let split = |frame: Vec<AtomicU64>| {
            op.check(ID, &Words(&frame)).expect("the halves fit");
            op.apply(ID, &mut Words(&frame));
        };
        b.iter_batched(copy, split, BatchSize::SmallInput);
    });
}

criterion_group!(benches, reads, writes);
criterion_main!(benches);
