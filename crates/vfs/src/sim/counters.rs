//! Which rules have really fired.
//!
//! Owns one counter per rule. Promises to count only what took place: a torn sector that reads as
//! one of its versions, or a fault whose trigger never matched, is not counted. A fault that never
//! fired proves nothing, so tests assert on these. Must never influence what happens.

use std::collections::BTreeMap;
use std::fmt;

use campanile_sync::plain::{AtomicU64, Ordering};

macro_rules! rules {
    ($($name:ident $text:literal $doc:literal,)*) => {
        /// A rule of the fault model, one per effect that can be told apart.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub enum Rule {
            $(#[doc = $doc] $name,)*
        }

        impl Rule {
            /// All of them, in declaration order.
            pub const ALL: &'static [Rule] = &[$(Rule::$name,)*];

            /// The rule's name in the README's tables.
            pub fn name(self) -> &'static str {
                match self {
                    $(Rule::$name => $text,)*
                }
            }
        }
    };
}

rules! {
    ProcessCrash "D1" "The process died with operations pending; all of them stayed.",
    NothingKept "D2" "Pending operations were all lost.",
    PrefixKept "D3" "Some but not all of the pending operations, in order, survived.",
    SectorLost "D4 lost" "A pending sector kept its durable content.",
    SectorKept "D4 kept" "A pending sector survived.",
    SectorOlder "D4 older" "Of several pending versions of a sector, not the newest survived.",
    SectorTorn "D5" "A sector became part new, part old.",
    Collateral "D6" "A physical block around an unsynced write became garbage.",
    LengthZeros "D7 zeros" "A file grew over lost bytes, which read as zeros.",
    LengthGarbage "D7 garbage" "A file grew over lost bytes, which read as old garbage.",
    LengthOld "D7 old" "A file kept an older length.",
    EntryLost "D8 lost" "A creation or removal was lost.",
    RenameLost "D8 rename" "A rename was lost.",
    RenameWithoutData "D8 empty" "A file under its new name had lost its data.",
    SyncedFileUnnamed "D9" "A file whose data was durable had no durable name.",
    SyncCacheKeeps "F1 a" "A sync failed; the cache kept what the medium lost.",
    SyncCacheReverts "F1 b" "A sync failed; the cache showed the old bytes again.",
    SyncLied "F1 c lie" "A sync dropped what it was to make durable, and reported success.",
    WriteOutReported "F1 c late" "A write-out that had failed earlier was reported by a sync.",
    SyncReportedLater "F1 c" "A sync failure was reported by a later sync.",
    SyncReportedElsewhere "F1 c other" "A sync failure was reported to another handle only.",
    SyncButDurable "F1 d" "A sync failed although everything became durable.",
    WriteFailed "F2" "A write, or another call that changes files, failed.",
    NoSpace "F2 space" "A call failed for want of space or quota.",
    ShortWrite "F2 short" "A write took fewer bytes than given.",
    ReadFailed "F3" "A read failed.",
    LatentSector "F3 sticky" "A read hit a sector that stays unreadable.",
    ShortRead "F3 short" "A read returned fewer bytes than there were.",
    EarlyEnd "F3 end" "A read reported the end of the file before it.",
    RotAtRest "F4 rest" "Bits changed on the medium.",
    RotInRead "F4 read" "Bits changed in one read only.",
    Misdirected "F5" "A write landed in another place.",
    LostWrite "F6" "A write was acknowledged and dropped.",
    StaleRead "F7" "A read returned an earlier version.",
    MetadataFailed "F8" "An open, removal, listing or look-up failed.",
    StrayFile "F8 stray" "An unknown file appeared in a directory.",
    ShuffledListing "F8 order" "A listing came in another order.",
    ClockJumped "F9" "The clock jumped.",
}

impl fmt::Display for Rule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// Activations per rule; shared by a disk and all its forks and reboots.
#[derive(Debug)]
pub struct Counters([AtomicU64; Rule::ALL.len()]);

impl Default for Counters {
    fn default() -> Counters {
        Counters([const { AtomicU64::new(0) }; Rule::ALL.len()])
    }
}

impl Counters {
    /// How often a rule has fired.
    pub fn get(&self, rule: Rule) -> u64 {
        self.0[rule as usize].load(Ordering::Relaxed)
    }

    /// Every rule with its count.
    pub fn all(&self) -> BTreeMap<Rule, u64> {
        Rule::ALL.iter().map(|rule| (*rule, self.get(*rule))).collect()
    }

    /// The rules that have not fired yet.
    pub fn silent(&self) -> Vec<Rule> {
        Rule::ALL.iter().copied().filter(|rule| self.get(*rule) == 0).collect()
    }

    pub(super) fn count(&self, rule: Rule) {
        self.0[rule as usize].fetch_add(1, Ordering::Relaxed);
    }
}
