//! The shortest key between two keys.
//!
//! Owns suffix truncation: what a parent needs to tell two neighbours apart is seldom a whole key.

/// Bytes that `left` and `right` begin with alike.
#[must_use]
pub fn common_prefix(left: &[u8], right: &[u8]) -> usize {
    left.iter().zip(right).take_while(|(a, b)| a == b).count()
}

/// The shortest `s` with `left_last < s <= right_first`: a prefix of `right_first`.
///
/// Expects `left_last < right_first`; otherwise the result is all of `right_first`.
#[must_use]
pub fn separator<'a>(left_last: &[u8], right_first: &'a [u8]) -> &'a [u8] {
    let len = common_prefix(left_last, right_first) + 1;
    right_first.get(..len).unwrap_or(right_first)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn one_byte_more_than_the_common_prefix_is_enough() {
        assert_eq!(separator(b"smith", b"smoke"), b"smo");
        assert_eq!(separator(b"a", b"ab"), b"ab");
        assert_eq!(separator(b"", b"\0"), b"\0");
    }

    proptest! {
        #[test]
        fn a_separator_separates_and_none_is_shorter(
            one in prop::collection::vec(0u8..3, 0..8),
            other in prop::collection::vec(0u8..3, 0..8),
        ) {
            prop_assume!(one != other);
            let (left, right) = if one < other { (one, other) } else { (other, one) };
            let found = separator(&left, &right);
            prop_assert!(left[..] < *found && *found <= right[..]);
            let shorter = &found[..found.len() - 1];
            prop_assert!(*shorter <= left[..]);
        }
    }
}
