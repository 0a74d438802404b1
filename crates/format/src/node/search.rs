//! Finding a key in a node.
//!
//! Owns binary search over the heads in the slots. Promises that a search reads one word a probe
//! and an entry only when heads tie, allocates nothing, and takes at most `log2(count) + 1` probes
//! on any bytes. The branches are deliberate: with them the processor runs ahead and fetches the
//! next probes early, which a branch-free search gives up.

use std::cmp::Ordering;

use super::{LOWER, Node, UPPER};
use crate::access::PageBytes;
use crate::ids::PageNo;
use crate::slot::head_of;

const _: () = assert!(LOWER.is_multiple_of(8) && UPPER == LOWER + 4);

impl<P: PageBytes> Node<P> {
    /// Whether `key` lies between the fences.
    pub fn covers(&self, key: &[u8]) -> bool {
        // Both fences are described in one word: read once, this is on every path to a leaf.
        let fences = self.0.word(LOWER / 8);
        let field = |at: usize| (fences >> (8 * (at - LOWER))) as usize & 0xffff;
        if self.0.compare(field(LOWER), field(LOWER + 2), key) == Ordering::Greater {
            return false;
        }
        self.upper_is_infinite()
            || self.0.compare(field(UPPER), field(UPPER + 2), key) == Ordering::Greater
    }

    /// Finds `key`, which the node must [cover](Node::covers): `Ok` with its slot, or `Err` with
    /// the slot where it belongs. Ghosts are found like any other entry.
    ///
    /// For a key that is not covered the answer means nothing.
    #[inline]
    pub fn search(&self, key: &[u8]) -> Result<usize, usize> {
        let layout = self.layout();
        let suffix = key.get(layout.prefix_len..).unwrap_or(&[]);
        let head = head_of(suffix);
        let (mut low, mut high) = (0, layout.count);
        while low < high {
            let middle = (low + high) / 2;
            let slot = self.slot(middle);
            let found = slot.head();
            if found < head {
                low = middle + 1;
            } else if found > head {
                high = middle;
            } else {
                match slot.compare_after_head(&self.0, suffix) {
                    Ordering::Less => low = middle + 1,
                    Ordering::Greater => high = middle,
                    Ordering::Equal => return Ok(middle),
                }
            }
        }
        Err(low)
    }

    /// The child for `key`, which the node must cover, and the slot that names it; no slot for
    /// the first child.
    #[inline]
    pub fn child_for(&self, key: &[u8]) -> (Option<usize>, PageNo) {
        let slot = match self.search(key) {
            Ok(slot) => Some(slot),
            Err(slot) => slot.checked_sub(1),
        };
        (slot, self.child_at(slot))
    }
}
