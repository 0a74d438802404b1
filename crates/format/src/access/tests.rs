//! All accessors agree on every input, and with a model that is plainly right.

use std::cmp::Ordering;
use std::sync::atomic::AtomicU64;

use proptest::prelude::*;

use super::*;

/// The page as the contract has it: zeros follow without end.
struct Model(Vec<u8>);

impl Model {
    fn byte(&self, offset: usize, plus: usize) -> u8 {
        offset.checked_add(plus).and_then(|at| self.0.get(at)).copied().unwrap_or(0)
    }

    fn range(&self, offset: usize, len: usize) -> Vec<u8> {
        (0..len).map(|plus| self.byte(offset, plus)).collect()
    }

    fn put(&mut self, offset: usize, bytes: &[u8]) {
        for (plus, byte) in bytes.iter().enumerate() {
            let place = offset.checked_add(plus).and_then(|at| self.0.get_mut(at));
            if let Some(place) = place {
                *place = *byte;
            }
        }
    }
}

fn words_of(bytes: &[u8]) -> Vec<AtomicU64> {
    bytes.chunks(8).map(|chunk| AtomicU64::new(le_prefix(chunk))).collect()
}

fn bytes_of(words: &[AtomicU64]) -> Vec<u8> {
    let mut bytes = vec![0; words.len() * 8];
    Words(words).copy_out(0, &mut bytes);
    bytes
}

/// Offsets inside, around and far beyond a page of 64 bytes.
fn offset() -> impl Strategy<Value = usize> {
    prop_oneof![
        6 => 0usize..80,
        1 => (0usize..20).prop_map(|below| usize::MAX - below),
        1 => (0usize..20).prop_map(|around| usize::MAX / 8 - 10 + around),
    ]
}

/// Which write, two offsets, a length and a value.
fn step() -> impl Strategy<Value = (u8, usize, usize, usize, u64)> {
    (0u8..6, offset(), offset(), 0usize..80, any::<u64>())
}

fn check_reads<P: PageBytes>(page: &P, model: &Model, offset: usize, len: usize, with: &[u8]) {
    let eight: [u8; 8] = model.range(offset, 8).try_into().unwrap();
    let number = u64::from_le_bytes(eight);
    assert_eq!(page.u64_at(offset), number);
    assert_eq!(page.u32_at(offset), number as u32);
    assert_eq!(page.u16_at(offset), number as u16);
    assert_eq!(page.u8_at(offset), number as u8);
    if offset < usize::MAX / 16 {
        let eight: [u8; 8] = model.range(offset * 8, 8).try_into().unwrap();
        assert_eq!(page.word(offset), u64::from_le_bytes(eight));
    }
    assert_eq!(page.word(usize::MAX - offset % 3), 0);
    let mut out = vec![0xee; len];
    page.copy_out(offset, &mut out);
    assert_eq!(out, model.range(offset, len));
    let mut scratch = vec![1, 2, 3];
    let span = page.copy_span(offset, len, &mut scratch);
    let inside = len.min(model.0.len().saturating_sub(offset));
    assert_eq!(&scratch[span], &model.range(offset, inside)[..]);
    let mut appended = vec![9];
    page.append_to(offset, len, &mut appended);
    assert_eq!((appended[0], &appended[1..]), (9, &model.range(offset, inside)[..]));
    assert_eq!(page.compare(offset, len, with), model.range(offset, len)[..].cmp(with));
    assert_eq!(
        page.compare(offset, usize::MAX, with),
        model.range(offset, with.len())[..].cmp(with).then(Ordering::Greater)
    );
}

proptest! {
    #[test]
    fn reads_agree_everywhere(
        bytes in prop::collection::vec(0u8..3, 64),
        at in offset(),
        len in 0usize..80,
        with in prop::collection::vec(0u8..3, 0..80),
        use_own in any::<bool>(),
        other in offset(),
        hole in (0usize..=64, 0usize..=64),
    ) {
        let model = Model(bytes.clone());
        let with = if use_own { model.range(at, with.len()) } else { with };
        check_reads(&Plain(&bytes), &model, at, len, &with);
        check_reads(&PlainMut(&mut bytes.clone()), &model, at, len, &with);
        check_reads(&Words(&words_of(&bytes)), &model, at, len, &with);
        let ranges = (at..at.saturating_add(len), other..other.saturating_add(with.len()));
        let (left, right) = (model.range(at, ranges.0.len()), model.range(other, ranges.1.len()));
        let order = left.cmp(&right);
        prop_assert_eq!(compare_within(&Plain(&bytes), ranges.0.clone(), ranges.1.clone()), order);
        prop_assert_eq!(compare_within(&Words(&words_of(&bytes)), ranges.0, ranges.1), order);

        let (from, to) = (hole.0.min(hole.1), hole.0.max(hole.1));
        let mut with_hole = bytes.clone();
        with_hole[from..to].fill(0);
        let sparse = Sparse { len: 64, head: &bytes[..from], tail: &bytes[to..] };
        let model = Model(with_hole);
        let with = if use_own { model.range(at, with.len()) } else { with };
        check_reads(&sparse, &model, at, len, &with);
    }

    #[test]
    fn a_slice_of_odd_length_reads_as_the_model_does(
        bytes in prop::collection::vec(any::<u8>(), 0..70),
        at in offset(),
        len in 0usize..80,
    ) {
        check_reads(&Plain(&bytes), &Model(bytes.clone()), at, len, &[1, 0, 2]);
    }

    #[test]
    fn writes_agree_everywhere(
        bytes in prop::collection::vec(any::<u8>(), 64),
        steps in prop::collection::vec(step(), 1..8),
    ) {
        let mut model = Model(bytes.clone());
        let mut plain = bytes.clone();
        let words = words_of(&bytes);
        for (kind, at, from, len, value) in steps {
            // A far offset also serves as a length without end.
            let far = if len == 0 { from } else { len };
            match kind {
                0 => {
                    let source: Vec<u8> = (0..len).map(|i| (value >> (i % 57)) as u8).collect();
                    model.put(at, &source);
                    PlainMut(&mut plain).put_bytes(at, &source);
                    Words(&words).put_bytes(at, &source);
                }
                1 => {
                    let moved = model.range(from, far.min(200));
                    model.put(at, &moved);
                    PlainMut(&mut plain).move_bytes(from, at, far);
                    Words(&words).move_bytes(from, at, far);
                }
                2 => {
                    model.put(at, &vec![value as u8; far.min(200)]);
                    PlainMut(&mut plain).fill(at, far, value as u8);
                    Words(&words).fill(at, far, value as u8);
                }
                3 => {
                    model.put(at.saturating_mul(8), &value.to_le_bytes());
                    PlainMut(&mut plain).put_word(at, value);
                    Words(&words).put_word(at, value);
                }
                4 => {
                    let (from, at, len) = (from & !7, at & !7, far & !7);
                    let moved = model.range(from, len.min(200));
                    model.put(at, &moved);
                    PlainMut(&mut plain).move_bytes(from, at, len);
                    Words(&words).move_bytes(from, at, len);
                }
                _ => {
                    model.put(at, &(value as u16).to_le_bytes());
                    PlainMut(&mut plain).put_u16(at, value as u16);
                    Words(&words).put_u16(at, value as u16);
                    model.put(from, &(value as u32).to_le_bytes());
                    PlainMut(&mut plain).put_u32(from, value as u32);
                    Words(&words).put_u32(from, value as u32);
                }
            }
            prop_assert_eq!(&plain, &model.0);
            prop_assert_eq!(&bytes_of(&words), &model.0);
        }
    }
}

/// The trap that once made a descent restart for ever: eight bytes read at the last four.
#[test]
fn a_read_at_the_very_end_sees_zeros_beyond() {
    let bytes: Vec<u8> = (1..=64).collect();
    let words = words_of(&bytes);
    let expected = u64::from(u32::from_le_bytes([61, 62, 63, 64]));
    assert_eq!(Plain(&bytes).u64_at(60), expected);
    assert_eq!(Words(&words).u64_at(60), expected);
    assert_eq!(Plain(&bytes).u32_at(60), expected as u32);
    assert_eq!(Words(&words).u32_at(60), expected as u32);
}
