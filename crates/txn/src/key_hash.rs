//! From keys to the numbers that locks are named by.
//!
//! Owns: [`KeyHasher`]. Promises: equal keys have equal hashes as long as the environment is open;
//! no key's hash is one of the two that stand for a whole file and for its end. Must never: be
//! stored: every life of an environment hashes in its own way, so that nobody can choose keys that
//! collide.

use std::hash::BuildHasher;

use campanile_sync::RandomState;

/// Hashes keys: multiply and fold, eight bytes at a time.
#[derive(Debug)]
pub(crate) struct KeyHasher {
    seeds: [u64; 2],
}

impl KeyHasher {
    pub fn new() -> KeyHasher {
        let chance = RandomState::new();
        KeyHasher { seeds: [chance.hash_one(0), chance.hash_one(1)].map(|seed| seed | 1) }
    }

    pub fn hash(&self, key: &[u8]) -> u64 {
        let [first, second] = self.seeds;
        let mut state = first ^ (key.len() as u64);
        let mut words = key.chunks_exact(8);
        for word in &mut words {
            let word = word.iter().rev().fold(0, |word, byte| word << 8 | u64::from(*byte));
            state = fold(state ^ word, second);
        }
        let rest = words.remainder().iter().fold(0, |word, byte| word << 8 | u64::from(*byte));
        let hash = fold(fold(state ^ rest, second), first);
        hash.clamp(1, u64::MAX - 1)
    }
}

/// Both halves of the product, which all bits of both factors have gone into.
fn fold(a: u64, b: u64) -> u64 {
    let product = u128::from(a) * u128::from(b);
    (product as u64) ^ (product >> 64) as u64
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn equal_keys_agree_and_others_hardly_ever_do() {
        let hasher = KeyHasher::new();
        assert_eq!(hasher.hash(b"alice"), hasher.hash(b"alice"));
        let mut seen = HashSet::new();
        for number in 0..50_000_u32 {
            assert!(seen.insert(hasher.hash(&number.to_le_bytes())));
            assert!(seen.insert(hasher.hash(format!("account/{number:012}").as_bytes())));
        }
        seen.clear();
        for len in 0..64 {
            assert!(seen.insert(hasher.hash(&vec![0; len])), "{len} zeros");
        }
    }
}
