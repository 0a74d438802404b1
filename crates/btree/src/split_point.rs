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
