//! What survives a crash: the choice, and what it says about each pending item.
//!
//! Owns the enumeration of pending items (sectors by file and place, then lengths by file, then
//! directory entries in order of issue) and rules D1-D4. Promises that a choice asks the same
//! items in the same order each time. Must never touch bytes: see `survive.rs`.

use super::dice::{Dice, mix};

/// What a crash leaves of the operations that were pending.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum CrashChoice {
    /// D1: only the process dies. Everything it did is still there, *and still pending*: a later
    /// power failure can take it.
    ProcessCrash,
    /// D2: everything pending is lost.
    Nothing,
    /// Everything pending becomes durable.
    All,
    /// D3: the first so many pending operations of the whole disk survive.
    Prefix(u64),
    /// D3: of each file, and of the directories, a prefix survives; chosen by this seed.
    FilePrefixes(u64),
    /// D4: all survives but this sector.
    DropSector(u64),
    /// D4: no sector survives but this one; lengths and entries survive.
    KeepSector(u64),
    /// D7: all survives but the length of this file.
    DropLength(u64),
    /// D8: all survives but this change of a directory.
    DropEntry(u64),
    /// D4, D7, D8: each item survives or not, in any of its versions; chosen by this seed. The
    /// disk's profiles may add a torn sector and a spoilt block.
    Subset(u64),
    /// D5: as `Subset`, and one sector is torn.
    TornSubset(u64),
    /// D6: as `Subset`, and the physical block around one unsynced write becomes garbage.
    Collateral(u64),
    /// Item i survives, in its newest version, if bit i is set: for enumerating all of few.
    Bits(u64),
}

/// How many items a crash decides on.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct PendingInfo {
    /// Distinct sectors with pending bytes.
    pub sectors: u64,
    /// Files with a pending length.
    pub lens: u64,
    /// Pending changes of directories.
    pub dir_ops: u64,
    /// Operations that `Prefix` counts: writes, lengths and changes of directories.
    pub ops: u64,
}

impl PendingInfo {
    /// All items.
    pub fn items(&self) -> u64 {
        self.sectors + self.lens + self.dir_ops
    }

    /// How many choices `Bits` has, if they can be counted.
    pub fn combinations(&self) -> Option<u64> {
        1_u64.checked_shl(u32::try_from(self.items()).ok()?)
    }
}

/// Which choices to try at one crash point.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CrashPolicy {
    /// Each single sector dropped and kept, each length and entry dropped, if there are at most so
    /// many items; otherwise so many of each, spread evenly.
    pub singles_max: u64,
    /// Random subsets.
    pub subsets: u64,
    /// All combinations if there are at most so many items.
    pub exhaustive_items: u64,
    /// Decides the random subsets.
    pub seed: u64,
}

impl CrashPolicy {
    /// The policy of the reliability plan: every single item, 8 subsets, all combinations of up
    /// to 8 items.
    pub fn full(seed: u64) -> CrashPolicy {
        CrashPolicy { singles_max: u64::MAX, subsets: 8, exhaustive_items: 8, seed }
    }

    /// The choices for a disk with this much pending, the mildest first.
    pub fn choices(&self, pending: &PendingInfo) -> Vec<CrashChoice> {
        let mut choices = vec![CrashChoice::ProcessCrash, CrashChoice::Nothing];
        let items = pending.items();
        if items == 0 {
            return choices;
        }
        choices.push(CrashChoice::All);
        if items <= self.exhaustive_items.min(20) {
            // No bit is Nothing, every bit is All.
            choices.extend((1..(1 << items) - 1).map(CrashChoice::Bits));
        } else {
            for (count, choice) in [
                (pending.sectors, CrashChoice::DropSector as fn(u64) -> CrashChoice),
                (pending.sectors, CrashChoice::KeepSector),
                (pending.lens, CrashChoice::DropLength),
                (pending.dir_ops, CrashChoice::DropEntry),
            ] {
                let tried = count.min(self.singles_max);
                choices.extend((0..tried).map(|index| choice(spread(index, tried, count))));
            }
        }
        for index in 0..self.subsets {
            let seed = mix(self.seed, index);
            choices.push(match index % 8 {
                3 => CrashChoice::FilePrefixes(seed),
                5 => CrashChoice::Prefix(seed % (pending.ops + 1)),
                _ => CrashChoice::Subset(seed),
            });
        }
        choices
    }
}

fn spread(index: u64, of: u64, over: u64) -> u64 {
    if of == over { index } else { index * over / of }
}

/// A choice at work on one disk: asked about each item in the canonical order.
#[derive(Debug)]
pub(super) struct Verdict {
    choice: CrashChoice,
    pending: PendingInfo,
    dice: Dice,
    /// Chance, in percent, that an item survives a random subset.
    keep_percent: u64,
    /// First operation that does not survive a prefix.
    cutoff: u64,
    sectors_asked: u64,
    lens_asked: u64,
    entries_asked: u64,
}

impl Verdict {
    /// `seqs` are the numbers of all pending operations.
    pub(super) fn new(
        choice: CrashChoice,
        pending: PendingInfo,
        seed: u64,
        mut seqs: Vec<u64>,
    ) -> Verdict {
        let mut cutoff = 0;
        if let CrashChoice::Prefix(count) = choice {
            seqs.sort_unstable();
            let first_lost = usize::try_from(count).ok().and_then(|count| seqs.get(count));
            cutoff = first_lost.copied().unwrap_or(u64::MAX);
        }
        let mut dice = Dice::new(seed, choice.tag());
        let keep_percent = [50, 10, 90, 30, 70][dice.below(5) as usize];
        let (sectors_asked, lens_asked, entries_asked) = (0, 0, 0);
        Verdict {
            choice,
            pending,
            dice,
            keep_percent,
            cutoff,
            sectors_asked,
            lens_asked,
            entries_asked,
        }
    }

    /// True if it may treat one sector differently from another (rule D4).
    pub(super) fn is_selective(&self) -> bool {
        !matches!(self.choice, CrashChoice::Nothing | CrashChoice::All)
    }

    pub(super) fn keeps_all(&self) -> bool {
        self.choice == CrashChoice::All
    }

    pub(super) fn dice(&mut self) -> &mut Dice {
        &mut self.dice
    }

    /// Asked before the items of each file, and before the directories, with the numbers of their
    /// operations.
    pub(super) fn enter(&mut self, mut seqs: impl ExactSizeIterator<Item = u64>) {
        if let CrashChoice::FilePrefixes(_) = self.choice {
            let kept = self.dice.below(seqs.len() as u64 + 1) as usize;
            self.cutoff = seqs.nth(kept).unwrap_or(u64::MAX);
        }
    }

    /// Which version of the next sector survives: 0 is the durable one, then the pending ones with
    /// these numbers, oldest first.
    pub(super) fn sector(&mut self, seqs: &[u64]) -> usize {
        let index = self.sectors_asked;
        self.sectors_asked += 1;
        match self.choice {
            CrashChoice::DropSector(dropped) => newest_if(index != dropped, seqs),
            CrashChoice::KeepSector(kept) => newest_if(index == kept, seqs),
            CrashChoice::Bits(bits) => newest_if(bit(bits, index), seqs),
            _ => self.version(seqs),
        }
    }

    /// Which length of the next file survives, numbered as for sectors.
    pub(super) fn length(&mut self, seqs: &[u64]) -> usize {
        let index = self.lens_asked;
        self.lens_asked += 1;
        match self.choice {
            CrashChoice::DropLength(dropped) => newest_if(index != dropped, seqs),
            CrashChoice::Bits(bits) => newest_if(bit(bits, self.pending.sectors + index), seqs),
            _ => self.version(seqs),
        }
    }

    /// Whether the next directory change survives.
    pub(super) fn entry(&mut self, seq: u64) -> bool {
        let index = self.entries_asked;
        self.entries_asked += 1;
        match self.choice {
            CrashChoice::DropEntry(dropped) => index != dropped,
            CrashChoice::Bits(bits) => bit(bits, self.pending.sectors + self.pending.lens + index),
            _ => self.version(&[seq]) == 1,
        }
    }

    fn version(&mut self, seqs: &[u64]) -> usize {
        match self.choice {
            CrashChoice::Nothing => 0,
            CrashChoice::Prefix(_) | CrashChoice::FilePrefixes(_) => {
                seqs.iter().filter(|seq| **seq < self.cutoff).count()
            }
            CrashChoice::Subset(_) | CrashChoice::TornSubset(_) | CrashChoice::Collateral(_) => {
                if !self.dice.percent(self.keep_percent) {
                    return 0;
                }
                // The newest version as often as all the older ones together.
                if seqs.len() > 1 && self.dice.coin() {
                    return 1 + self.dice.below(seqs.len() as u64 - 1) as usize;
                }
                seqs.len()
            }
            _ => seqs.len(),
        }
    }
}

fn newest_if(survives: bool, seqs: &[u64]) -> usize {
    if survives { seqs.len() } else { 0 }
}

fn bit(bits: u64, index: u64) -> bool {
    index < 64 && bits >> index & 1 == 1
}

impl CrashChoice {
    /// A number for the choice, different for different choices.
    pub(super) fn tag(self) -> u64 {
        let (kind, argument) = match self {
            CrashChoice::ProcessCrash => (1, 0),
            CrashChoice::Nothing => (2, 0),
            CrashChoice::All => (3, 0),
            CrashChoice::Prefix(n) => (4, n),
            CrashChoice::FilePrefixes(n) => (5, n),
            CrashChoice::DropSector(n) => (6, n),
            CrashChoice::KeepSector(n) => (7, n),
            CrashChoice::DropLength(n) => (8, n),
            CrashChoice::DropEntry(n) => (9, n),
            CrashChoice::Subset(n) => (10, n),
            CrashChoice::TornSubset(n) => (11, n),
            CrashChoice::Collateral(n) => (12, n),
            CrashChoice::Bits(n) => (13, n),
        };
        mix(kind, argument)
    }
}
