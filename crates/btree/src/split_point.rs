//! Where to split a page.
//!
//! Owns: the choice, as pure functions over sizes and keys. Promises: both halves fit a page; the
//! page that must take the new entry has fewer entries than before (B10); among the cuts near the
//! middle the one with the shortest separator wins. Must never: touch a page.

use campanile_format::limits::{PAGE_HEADER_BYTES, SLOT_BYTES};
use campanile_format::node::CHILD_BYTES;
use campanile_format::{common_prefix, separator};

/// An entry of the page to split, or the one that is to come.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Piece<'a> {
    /// Its whole key.
    pub key: &'a [u8],
    /// Slot, whole key and value as they stand on the page now; `None` if it is to come.
    pub stored_bytes: Option<usize>,
    /// The same as it shall be after the change that needs the room.
    pub wanted_bytes: usize,
}

/// A decided cut.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Cut {
    /// How many of the entries now on the page stay on the left.
    pub keep: usize,
    /// The new fence between left and right.
    pub separator: Vec<u8>,
}

/// What a node with these fences may hold, and how its middle is judged.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Bounds<'a> {
    pub page_bytes: usize,
    pub lower: &'a [u8],
    pub upper: Option<&'a [u8]>,
}

impl Bounds<'_> {
    /// Bytes of a page with these fences and `count` entries of `bytes` bytes, keys untruncated.
    fn filled(lower: &[u8], upper: Option<&[u8]>, count: usize, bytes: usize) -> usize {
        let prefix = upper.map_or(0, |upper| common_prefix(lower, upper));
        let fences = lower.len() + upper.map_or(0, <[u8]>::len);
        PAGE_HEADER_BYTES + fences + bytes - count * prefix
    }

    fn left(&self, separator: &[u8], count: usize, bytes: usize) -> usize {
        Self::filled(self.lower, Some(separator), count, bytes)
    }

    fn right(&self, separator: &[u8], count: usize, bytes: usize) -> usize {
        Self::filled(separator, self.upper, count, bytes)
    }

    /// How far from the middle a cut may lie for the sake of a short separator.
    fn window(&self) -> usize {
        self.page_bytes / 10
    }
}

/// A candidate, ordered by preference: smaller is better.
type Rank = (bool, bool, usize, usize);

/// Cuts a leaf whose pieces (with the one to come in its place) are `pieces`.
///
/// `append`: the new entry goes to the end of the last leaf, so leave the left page full.
/// `None` only if the page contradicts the entry rule of the format: damage.
pub(crate) fn cut_leaf(bounds: Bounds<'_>, pieces: &[Piece<'_>], append: bool) -> Option<Cut> {
    let stored: usize = pieces.iter().filter_map(|piece| piece.stored_bytes).sum();
    let wanted: usize = pieces.iter().map(|piece| piece.wanted_bytes).sum();
    let stored_count = pieces.iter().filter(|piece| piece.stored_bytes.is_some()).count();
    let (mut left_stored, mut left_wanted, mut left_count) = (0, 0, 0);
    let mut best: Option<(Rank, Cut)> = None;
    for (index, pair) in pieces.windows(2).enumerate() {
        let (last, first) = (&pair[0], &pair[1]);
        left_stored += last.stored_bytes.unwrap_or(0);
        left_count += usize::from(last.stored_bytes.is_some());
        left_wanted += last.wanted_bytes;
        let between = separator(last.key, first.key);
        let now = bounds.left(between, left_count, left_stored).max(bounds.right(
            between,
            stored_count - left_count,
            stored - left_stored,
        ));
        if now > bounds.page_bytes {
            continue;
        }
        let right_pieces = pieces.len() - index - 1;
        let left_then = bounds.left(between, index + 1, left_wanted);
        let right_then = bounds.right(between, right_pieces, wanted - left_wanted);
        let too_big = left_then.max(right_then) > bounds.page_bytes;
        let off_middle = left_then.abs_diff(right_then) / 2;
        let rank = if append {
            (too_big, false, right_pieces, 0)
        } else if off_middle <= bounds.window() {
            (too_big, false, between.len(), off_middle)
        } else {
            (too_big, true, off_middle, between.len())
        };
        if best.as_ref().is_none_or(|(other, _)| rank < *other) {
            best = Some((rank, Cut { keep: left_count, separator: between.to_vec() }));
        }
    }
    best.map(|(_, cut)| cut)
}

/// Cuts an inner node: the separator at `keep` moves up, those before it stay on the left.
///
/// `append`: the child to come is the last of the last node of its level.
pub(crate) fn cut_inner(bounds: Bounds<'_>, separators: &[&[u8]], append: bool) -> Option<Cut> {
    let bytes_of = |key: &[u8]| SLOT_BYTES + key.len() + CHILD_BYTES;
    let total: usize = separators.iter().map(|key| bytes_of(key)).sum();
    let (mut left, mut best) = (0, None::<(Rank, Cut)>);
    for (index, key) in separators.iter().enumerate() {
        let right_count = separators.len() - index - 1;
        let left_bytes = bounds.left(key, index, left);
        let right_bytes = bounds.right(key, right_count, total - left - bytes_of(key));
        left += bytes_of(key);
        if left_bytes.max(right_bytes) > bounds.page_bytes {
            continue;
        }
        let off_middle = left_bytes.abs_diff(right_bytes) / 2;
        let rank = if append {
            (false, false, right_count, 0)
        } else if off_middle <= bounds.window() {
            (false, false, key.len(), off_middle)
        } else {
            (false, true, off_middle, key.len())
        };
        if best.as_ref().is_none_or(|(other, _)| rank < *other) {
            best = Some((rank, Cut { keep: index, separator: key.to_vec() }));
        }
    }
    best.map(|(_, cut)| cut)
}

#[cfg(test)]
mod tests {
    use campanile_format::limits::{max_entry, max_key};
    use proptest::prelude::*;

    use super::*;

    const PAGE: usize = 512;

    fn pieces<'a>(entries: &'a [(Vec<u8>, usize)], new: usize) -> Vec<Piece<'a>> {
        let piece = |(index, (key, value)): (usize, &'a (Vec<u8>, usize))| {
            let bytes = SLOT_BYTES + key.len() + value;
            let stored_bytes = (index != new).then_some(bytes);
            Piece { key, stored_bytes, wanted_bytes: bytes }
        };
        entries.iter().enumerate().map(piece).collect()
    }

    /// Ascending keys between two fences, each with a value that its key leaves room for.
    fn entries() -> impl Strategy<Value = Vec<(Vec<u8>, usize)>> {
        let tail = prop::collection::vec(any::<u8>(), 0..6);
        let key = (0..3_usize, tail).prop_map(|(class, tail)| {
            let mut key = vec![b'm'; [0, 60, max_key(PAGE) - 6][class]];
            key.extend(tail);
            key
        });
        prop::collection::btree_map(key, 0..130_usize, 2..40).prop_map(|map| {
            let fit = |(key, value): (Vec<u8>, usize)| {
                let value = value.min(max_entry(PAGE) - key.len()).min(PAGE / 4 + 2);
                (key, value)
            };
            map.into_iter().map(fit).collect()
        })
    }

    proptest! {
        /// Any page that is full by at most one entry can be cut, and the side that waits for the
        /// new entry has fewer entries than before (B10).
        #[test]
        fn every_full_leaf_can_be_cut(entries in entries(), new in any::<prop::sample::Index>()) {
            let mut entries = entries;
            let bytes = |entries: &[(Vec<u8>, usize)]| -> usize {
                entries.iter().map(|(key, value)| SLOT_BYTES + key.len() + value).sum()
            };
            while entries.len() > 2 && bytes(&entries[1..]) + PAGE_HEADER_BYTES > PAGE {
                entries.pop();
            }
            let new = new.index(entries.len());
            let all = pieces(&entries, new);
            let stored: usize = all.iter().filter_map(|piece| piece.stored_bytes).sum();
            prop_assume!(stored + PAGE_HEADER_BYTES <= PAGE);
            let bounds = Bounds { page_bytes: PAGE, lower: b"", upper: None };
            for append in [false, new == entries.len() - 1] {
                let cut = cut_leaf(bounds, &all, append);
                let cut = cut.expect("a cut");
                let old: Vec<&Vec<u8>> = entries
                    .iter()
                    .enumerate()
                    .filter(|(index, _)| *index != new)
                    .map(|(_, (key, _))| key)
                    .collect();
                let separator = &cut.separator;
                prop_assert!(old[..cut.keep].iter().all(|key| *key < separator));
                prop_assert!(old[cut.keep..].iter().all(|key| *key >= separator));
                let goes_left = entries[new].0 < *separator;
                let waits = if goes_left { cut.keep } else { old.len() - cut.keep };
                prop_assert!(waits < old.len() || old.len() == 1);
            }
        }

        #[test]
        fn every_inner_node_can_be_cut(entries in entries()) {
            let mut keys: Vec<&[u8]> = entries.iter().map(|(key, _)| key.as_slice()).collect();
            keys.retain(|key| !key.is_empty());
            let total = |keys: &[&[u8]]| -> usize {
                keys.iter().map(|key| SLOT_BYTES + key.len() + CHILD_BYTES).sum()
            };
            while PAGE_HEADER_BYTES + total(&keys) > PAGE {
                keys.pop();
            }
            prop_assume!(!keys.is_empty());
            let bounds = Bounds { page_bytes: PAGE, lower: b"", upper: None };
            for append in [false, true] {
                let cut = cut_inner(bounds, &keys, append).expect("a cut");
                prop_assert_eq!(keys[cut.keep], cut.separator.as_slice());
            }
        }
    }

    #[test]
    fn an_append_leaves_the_left_page_as_it_is() {
        let entries: Vec<(Vec<u8>, usize)> = (0..20_u8).map(|number| (vec![number], 10)).collect();
        let bounds = Bounds { page_bytes: PAGE, lower: b"", upper: None };
        let cut = cut_leaf(bounds, &pieces(&entries, 19), true);
        assert_eq!(cut, Some(Cut { keep: 19, separator: vec![19] }));
    }

    #[test]
    fn a_short_separator_near_the_middle_is_preferred() {
        let mut entries: Vec<(Vec<u8>, usize)> =
            (0..20_u8).map(|number| (vec![b'a', b'a', b'a', number], 10)).collect();
        entries[11].0 = b"b".to_vec();
        entries.truncate(12);
        entries.extend((0..8_u8).map(|number| (vec![b'b', b'b', number], 10)));
        let bounds = Bounds { page_bytes: PAGE, lower: b"", upper: None };
        let cut = cut_leaf(bounds, &pieces(&entries, 3), false).expect("a cut");
        assert_eq!(cut.separator, b"b");
    }
}
