//! Random programs on leaves and inner nodes against a `BTreeMap`.

use std::collections::BTreeMap;
use std::ops::Bound;

use proptest::prelude::*;

use super::*;
use crate::limits::{is_inline, max_key};
use crate::node::build::NodeBuilder;
use crate::value::ValueLoc;

#[derive(Clone, PartialEq, Debug)]
enum Stored {
    Bytes(Vec<u8>),
    Far(OverflowRef),
}

impl Stored {
    fn value(&self) -> Value<'_> {
        match self {
            Stored::Bytes(bytes) => Value::Inline(bytes),
            Stored::Far(overflow) => Value::Overflow(*overflow),
        }
    }
}

#[derive(Clone, Debug)]
enum Step {
    Put(Vec<u8>, Stored),
    Ghost(usize),
    Revive(usize),
    Purge(u64),
    Split(usize),
    Rebuild,
}

const PREFIX: &[u8] = b"common/";

/// Keys with long common beginnings, few enough to meet again.
fn key(size: usize) -> impl Strategy<Value = Vec<u8>> {
    let tail = prop_oneof![
        8 => prop::collection::vec(prop::sample::select(b"\0ab\xff".to_vec()), 0..7),
        1 => prop::collection::vec(Just(b'l'), 0..max_key(size) - PREFIX.len()),
    ];
    tail.prop_map(|tail| [PREFIX, &tail].concat())
}

fn stored(size: usize) -> impl Strategy<Value = Stored> {
    prop_oneof![
        6 => prop::collection::vec(any::<u8>(), 0..40).prop_map(Stored::Bytes),
        1 => (0..size / 4 + 9).prop_map(|len| Stored::Bytes(vec![b'v'; len])),
        1 => (1u64..1 << 32, 1u32..99).prop_map(|(len, first)| {
            Stored::Far(OverflowRef { len, first: PageNo(first) })
        }),
    ]
}

fn step(size: usize) -> impl Strategy<Value = Step> {
    prop_oneof![
        12 => (key(size), stored(size)).prop_map(|(key, value)| Step::Put(key, value)),
        4 => any::<usize>().prop_map(Step::Ghost),
        1 => any::<usize>().prop_map(Step::Revive),
        1 => any::<u64>().prop_map(Step::Purge),
        1 => any::<usize>().prop_map(Step::Split),
        1 => Just(Step::Rebuild),
    ]
}

/// A leaf and what should be in it: key to value and ghost bit.
struct Leaf {
    page: Twins,
    model: BTreeMap<Vec<u8>, (Stored, bool)>,
    upper: Option<Vec<u8>>,
}

impl Leaf {
    fn put(&mut self, key: &[u8], value: &Stored) {
        let size = self.page.plain.len();
        let node = self.page.node();
        let legal = match value {
            Stored::Bytes(bytes) => is_inline(size, key.len(), bytes.len() as u64),
            Stored::Far(_) => true,
        };
        let covered = self.upper.as_deref().is_none_or(|upper| key < upper);
        assert_eq!(node.covers(key), covered);
        if !covered {
            let insert = PageOp::LeafInsert { slot: 0, key, value: value.value() };
            assert!(self.page.step(&insert).is_err());
            return;
        }
        let (op, fits) = match node.search(key) {
            Ok(slot) => {
                let fits = node.replacement_fits(slot, &value.value());
                (PageOp::LeafReplace { slot: slot as u16, value: value.value() }, fits)
            }
            Err(slot) => {
                let fits = node.entry_fits(key.len(), &value.value());
                (PageOp::LeafInsert { slot: slot as u16, key, value: value.value() }, fits)
            }
        };
        assert_eq!(self.page.step(&op).is_ok(), fits && legal, "{op:?}");
        if fits && legal {
            self.model.insert(key.to_vec(), (value.clone(), false));
        }
    }

    fn set_ghost(&mut self, pick: usize, ghost: bool) {
        let Some(slot) = pick.checked_rem(self.model.len()) else { return };
        let (_, (_, state)) = self.model.iter_mut().nth(slot).unwrap();
        let answer = self.page.step(&PageOp::LeafGhost { slot: slot as u16, ghost });
        assert_eq!(answer.is_ok(), *state != ghost);
        *state = ghost;
    }

    fn purge(&mut self, which: u64) {
        let ghosts = self.model.values().enumerate().filter(|(_, (_, ghost))| *ghost);
        let some = ghosts.filter(|(slot, _)| which >> (slot % 64) & 1 == 1);
        let slots: Vec<u16> = some.map(|(slot, _)| slot as u16).collect();
        assert_eq!(self.page.step(&PageOp::purge(&slots)).is_ok(), !slots.is_empty());
        let mut index = 0;
        self.model.retain(|_, _| {
            index += 1;
            !slots.contains(&(index - 1))
        });
    }

    /// Splits: the left half stays, the right half becomes a page of its own, and is checked.
    fn split(&mut self, pick: usize) {
        let Some(keep) = pick.checked_rem(self.model.len()) else { return };
        let (first_right, _) = self.model.iter().nth(keep).unwrap();
        let last_left = keep.checked_sub(1).and_then(|last| self.model.iter().nth(last));
        let last_left = last_left.map_or(PREFIX, |(key, _)| key);
        if *last_left >= first_right[..] {
            return;
        }
        let upper = crate::separator(last_left, first_right).to_vec();
        let node = self.page.node();
        let mut right =
            NodeBuilder::new(self.page.plain.len(), 0, &upper, self.upper.as_deref(), PageNo::NONE);
        let moved = (keep..node.count()).all(|slot| right.push_from(&node, slot));
        let planned = node.truncated_bytes(keep, &upper);
        let answer = self.page.step(&PageOp::NodeTruncate { keep: keep as u16, upper: &upper });
        assert_eq!(answer.is_ok(), planned <= self.page.plain.len());
        if answer.is_err() {
            return;
        }
        assert_eq!(self.page.node().used_bytes(), planned);
        let mut right_model = self.model.split_off(&upper);
        if moved {
            let image = right.into_image();
            let mut right_page = Twins::new(self.page.plain.len(), ID);
            right_page.step(&image.op()).unwrap();
            let merged = self.page.node().merged_bytes(&right_page.node());
            let upper = self.upper.clone();
            let mut right = Leaf { page: right_page, model: right_model, upper };
            right.verify();
            self.verify_merged_bytes(&right, merged);
            right_model = right.model;
        }
        self.upper = Some(upper);
        drop(right_model);
    }

    /// What a merge would need is what a builder then takes, if it fits at all.
    fn verify_merged_bytes(&self, right: &Leaf, planned: usize) {
        let (left, right) = (self.page.node(), right.page.node());
        let (lower, _) = left.fences();
        let (_, upper) = right.fences();
        let size = self.page.plain.len();
        let mut merged = NodeBuilder::new(size, 0, &lower, upper.as_deref(), PageNo::NONE);
        let fits = (0..left.count()).all(|slot| merged.push_from(&left, slot))
            && (0..right.count()).all(|slot| merged.push_from(&right, slot));
        assert_eq!(fits, planned <= size);
        if fits {
            assert_eq!(merged.used_bytes(), planned);
        }
    }

    /// Builds the same entries anew: the same contents, and nothing lost between.
    fn rebuild(&mut self) {
        let node = self.page.node();
        let (lower, upper) = node.fences();
        let size = self.page.plain.len();
        let mut builder = NodeBuilder::new(size, 0, &lower, upper.as_deref(), PageNo::NONE);
        for (key, (value, ghost)) in &self.model {
            assert!(builder.push_entry(key, value.value(), *ghost));
        }
        assert_eq!(builder.used_bytes(), node.used_bytes());
        assert_eq!(builder.free_bytes(), node.free_bytes());
        let image = builder.into_image();
        image.node().validate().unwrap();
        self.page.step(&image.op()).unwrap();
    }

    fn verify(&mut self) {
        let node = self.page.node();
        assert_eq!(node.count(), self.model.len());
        let (lower, upper) = node.fences();
        assert_eq!(upper, self.upper);
        assert!(self.model.keys().all(|key| **key >= *lower));
        let mut value = Vec::new();
        for (slot, (key, (expected, ghost))) in self.model.iter().enumerate() {
            assert_eq!(node.key(slot), *key);
            assert_eq!(node.is_ghost(slot), *ghost);
            assert_eq!(node.search(key), Ok(slot));
            match (node.value_into(slot, &mut value), expected) {
                (None, Stored::Bytes(bytes)) => assert_eq!(value, *bytes),
                (Some(found), Stored::Far(overflow)) => assert_eq!(found, *overflow),
                other => panic!("{other:?}"),
            }
            if let ValueLoc::Inline { offset, len } = node.value(slot) {
                assert!(offset + len <= self.page.plain.len());
            }
        }
    }
}

fn run_leaf(size: usize, lower: &[u8], upper: Option<&[u8]>, steps: &[Step]) {
    let page = leaf(size, lower, upper);
    let mut leaf = Leaf { page, model: BTreeMap::new(), upper: upper.map(<[u8]>::to_vec) };
    for step in steps {
        match step {
            Step::Put(key, value) => leaf.put(key, value),
            Step::Ghost(pick) => leaf.set_ghost(*pick, true),
            Step::Revive(pick) => leaf.set_ghost(*pick, false),
            Step::Purge(which) => leaf.purge(*which),
            Step::Split(pick) => leaf.split(*pick),
            Step::Rebuild => leaf.rebuild(),
        }
        leaf.verify();
    }
}

/// The least key above all that begin with the prefix: the fences then have it in common but for
/// its last byte.
const ABOVE: &[u8] = b"common0";

proptest! {
    #![proptest_config(ProptestConfig::with_cases(128))]

    #[test]
    fn a_leaf_does_what_a_sorted_map_does(
        steps in prop::collection::vec(step(512), 1..80),
        bounded in any::<bool>(),
    ) {
        let upper = bounded.then_some(ABOVE);
        run_leaf(512, if bounded { PREFIX } else { b"" }, upper, &steps);
    }

    #[test]
    fn a_larger_leaf_does_too(steps in prop::collection::vec(step(2048), 1..150)) {
        run_leaf(2048, PREFIX, Some(b"common/\xff\xff\xff\xff\xff\xff\xff\xff"), &steps);
    }

    #[test]
    fn an_inner_node_leads_each_key_to_its_child(
        steps in prop::collection::vec((key(512), 1u32..999, 0u8..10), 1..60),
        probes in prop::collection::vec(key(512), 20),
    ) {
        let mut page = Twins::new(512, ID);
        let first_child = PageNo(1000);
        let (lower, upper) = (PREFIX, Some(ABOVE));
        page.step(&PageOp::FormatNode { level: 1, lower, upper, first_child }).unwrap();
        let mut model = BTreeMap::from([(PREFIX.to_vec(), first_child)]);
        for (separator, child, what) in steps {
            let child = PageNo(child);
            let (slot, _) = page.node().child_for(&separator);
            let at = |slot: usize| slot as u16;
            match (model.contains_key(&separator), what) {
                (true, 0..3) if separator != PREFIX => {
                    page.step(&PageOp::InnerRemove { slot: at(slot.unwrap()) }).unwrap();
                    model.remove(&separator);
                }
                (true, _) => {
                    page.step(&PageOp::InnerSetChild { slot: slot.map(at), child }).unwrap();
                    model.insert(separator, child);
                }
                (false, 0) => {
                    let keep = slot.map_or(0, |slot| slot + 1);
                    let op = PageOp::NodeTruncate { keep: at(keep), upper: &separator };
                    let covered = page.node().covers(&separator);
                    if page.step(&op).is_ok() {
                        prop_assert!(covered);
                        model.split_off(&separator);
                    }
                }
                (false, _) => {
                    let slot = slot.map_or(0, |slot| at(slot) + 1);
                    let op = PageOp::InnerInsert { slot, separator: &separator, child };
                    let node = page.node();
                    let fits = node.child_fits(separator.len()) && node.covers(&separator);
                    prop_assert_eq!(page.step(&op).is_ok(), fits);
                    if fits {
                        model.insert(separator, child);
                    }
                }
            }
            let node = page.node();
            prop_assert_eq!(node.count() + 1, model.len());
            for probe in probes.iter().filter(|probe| node.covers(probe)) {
                let range = (Bound::Unbounded, Bound::Included(&probe[..]));
                let (_, child) = model.range::<[u8], _>(range).next_back().unwrap();
                prop_assert_eq!(node.child_for(probe).1, *child);
            }
        }
    }
}
