//! Run-time faults: what goes wrong (F1-F8), where, and when.
//!
//! Owns the plan and the matching of calls to it. Promises that the same plan on the same calls
//! strikes the same calls in the same way. Must never perform a fault: that is the disk's work.

use std::error::Error;
use std::fmt;
use std::io;
use std::path::Path;

use super::dice::{Dice, mix};
use crate::CallKind;

/// What goes wrong, by the names of the fault model.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// F1: a sync of a file or a directory fails.
    SyncFails(SyncFailure),
    /// F1 c, as kernels do it: a write is taken, the write-out behind it fails, so that everything
    /// pending in the file is dropped (the cache keeps it), and the next sync through any handle
    /// is told.
    WriteOutFails,
    /// F2: the call fails and changes nothing; `rename`, `create_dir`, `allocate` and the like too.
    WriteFails(Errno),
    /// F2: a write fails after some of its bytes have been taken.
    WriteFailsHalfway(Errno),
    /// F2: no space, from every call that may need some: writes, growth, creation, renames, syncs.
    NoSpace,
    /// F2: a write takes fewer bytes than given, and says so.
    ShortWrite,
    /// F3: a read fails this once.
    ReadFails,
    /// F3: a sector becomes unreadable until it is written (latent sector error).
    LatentSector,
    /// F3: a read returns fewer bytes than there are, and says so.
    ShortRead,
    /// F3: a read says that the file ends before its place.
    EarlyEnd,
    /// F4: bytes read are not bytes written.
    BitRot {
        /// How they change.
        damage: Rot,
        /// On the medium; otherwise in this one read.
        at_rest: bool,
    },
    /// F5: a write lands at another place; its own place keeps the old bytes.
    Misdirected {
        /// In another file, if there is one that is large enough; otherwise in the same file.
        other_file: bool,
    },
    /// F6: a write is acknowledged, and synced, and never applied. The length is.
    LostWrite,
    /// F7: a read returns an earlier, well-formed version of one of the writes in its range.
    StaleRead,
    /// F8: `open`, `remove`, `remove_dir`, `list`, `exists`, `len`, `lock` and the like fail.
    MetadataFails,
    /// F8: a listing shows an unknown file, which really is there from now on.
    StrayFile,
    /// Any call at all fails with this; a sync then as F1 a.
    Any(Errno),
}

/// What a failed sync leaves behind (F1).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SyncFailure {
    /// (a) The cache keeps the new bytes, the medium the old ones, and the next sync "succeeds"
    /// (ext4, XFS).
    CacheKeepsNew,
    /// (b) The cache shows the old bytes again (Btrfs).
    CacheReverts,
    /// (c) As (a), but this sync succeeds, and the next one on the file reports the error.
    ReportedLater,
    /// (c) As (a), but this handle never hears of it: a sync through another handle does.
    ReportedElsewhere,
    /// (d) Everything became durable all the same.
    DataDurable,
}

/// How bits rot (F4).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Rot {
    /// One to eight bits flip.
    Bits,
    /// A sector becomes zeros.
    ZeroSector,
    /// A sector becomes 0xFF.
    OnesSector,
}

/// The errors that calls fail with.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Errno {
    /// Input/output error.
    Eio,
    /// No space left on the device.
    Enospc,
    /// Quota exceeded.
    Edquot,
    /// Interrupted system call.
    Eintr,
}

impl Errno {
    /// All of them.
    pub const ALL: [Errno; 4] = [Errno::Eio, Errno::Enospc, Errno::Edquot, Errno::Eintr];

    /// What the standard library calls it.
    pub fn kind(self) -> io::ErrorKind {
        match self {
            Errno::Eio => io::ErrorKind::Other,
            Errno::Enospc => io::ErrorKind::StorageFull,
            Errno::Edquot => io::ErrorKind::QuotaExceeded,
            Errno::Eintr => io::ErrorKind::Interrupted,
        }
    }
}

impl fmt::Display for Errno {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Errno::Eio => "input/output error",
            Errno::Enospc => "no space left on device",
            Errno::Edquot => "disk quota exceeded",
            Errno::Eintr => "interrupted system call",
        })
    }
}

/// When a rule strikes, among the calls that it matches (or among all calls).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Trigger {
    /// Each time.
    Always,
    /// The n-th matching call, from 0.
    Nth(u64),
    /// The n-th matching call and all later ones.
    From(u64),
    /// The call with this index on the disk, if it matches.
    Call(u64),
    /// The call with this index and all later ones, as far as they match.
    FromCall(u64),
    /// One in so many matching calls, by seed.
    OneIn(u64),
}

impl Trigger {
    pub(super) fn fires(self, nth: u64, call: u64, dice: &mut Dice) -> bool {
        match self {
            Trigger::Always => true,
            Trigger::Nth(n) => nth == n,
            Trigger::From(n) => nth >= n,
            Trigger::Call(n) => call == n,
            Trigger::FromCall(n) => call >= n,
            Trigger::OneIn(n) => dice.below(n.max(1)) == 0,
        }
    }
}

/// One fault, where it strikes, and when.
#[derive(Clone, Debug)]
pub struct FaultRule {
    fault: Fault,
    trigger: Trigger,
    paths: String,
    kinds: Option<Vec<CallKind>>,
}

impl FaultRule {
    /// A rule for all paths and for every kind of call that the fault can strike.
    pub fn new(fault: Fault, trigger: Trigger) -> FaultRule {
        FaultRule { fault, trigger, paths: "*".to_owned(), kinds: None }
    }

    /// Only paths that match `pattern` as a whole; `*` stands for any run of characters.
    pub fn on(mut self, pattern: &str) -> FaultRule {
        pattern.clone_into(&mut self.paths);
        self
    }

    /// Only these kinds of call.
    pub fn for_calls(mut self, kinds: &[CallKind]) -> FaultRule {
        self.kinds = Some(kinds.to_vec());
        self
    }

    fn matches(&self, kind: CallKind, creates: bool, path: &Path) -> bool {
        strikes(self.fault, kind, creates)
            && self.kinds.as_ref().is_none_or(|kinds| kinds.contains(&kind))
            && (self.paths == "*" || glob(&self.paths, &path.to_string_lossy()))
    }
}

/// True if the fault can strike a call of this kind.
fn strikes(fault: Fault, kind: CallKind, creates: bool) -> bool {
    use CallKind as K;
    match fault {
        Fault::SyncFails(_) => kind.is_sync(),
        Fault::WriteFails(_) => match kind {
            K::Write | K::SetLen | K::Allocate | K::Rename | K::CreateDir => true,
            K::Open => creates,
            _ => false,
        },
        Fault::NoSpace => match kind {
            K::Write | K::SetLen | K::Allocate | K::Rename | K::CreateDir => true,
            K::Open => creates,
            _ => kind.is_sync(),
        },
        Fault::WriteFailsHalfway(_)
        | Fault::WriteOutFails
        | Fault::ShortWrite
        | Fault::Misdirected { .. }
        | Fault::LostWrite => kind == K::Write,
        Fault::ReadFails
        | Fault::LatentSector
        | Fault::ShortRead
        | Fault::EarlyEnd
        | Fault::BitRot { .. }
        | Fault::StaleRead => kind == K::Read,
        Fault::MetadataFails => matches!(
            kind,
            K::Open
                | K::Remove
                | K::RemoveDir
                | K::List
                | K::Exists
                | K::Len
                | K::Lock
                | K::Rename
                | K::CreateDir
        ),
        Fault::StrayFile => kind == K::List,
        Fault::Any(_) => true,
    }
}

/// True if `text` as a whole matches `pattern`, where `*` stands for any run of characters.
fn glob(pattern: &str, text: &str) -> bool {
    let Some((first, rest)) = pattern.split_once('*') else { return pattern == text };
    let Some(mut text) = text.strip_prefix(first) else { return false };
    let mut pieces: Vec<&str> = rest.split('*').collect();
    let last = pieces.pop().unwrap_or_default();
    for piece in pieces {
        match text.find(piece) {
            Some(at) => text = &text[at + piece.len()..],
            None => return false,
        }
    }
    text.ends_with(last)
}

/// The faults of a disk.
#[derive(Clone, Debug, Default)]
pub struct FaultPlan {
    rules: Vec<FaultRule>,
}

impl FaultPlan {
    /// No faults.
    pub fn none() -> FaultPlan {
        FaultPlan::default()
    }

    /// One fault everywhere.
    pub fn one(fault: Fault, trigger: Trigger) -> FaultPlan {
        FaultPlan::none().and(FaultRule::new(fault, trigger))
    }

    /// These faults and one more. If several strike one call, the first in order does.
    pub fn and(mut self, rule: FaultRule) -> FaultPlan {
        self.rules.push(rule);
        self
    }
}

/// A plan at work: how often each rule has matched.
#[derive(Clone, Debug, Default)]
pub(super) struct Faults {
    rules: Vec<(FaultRule, u64)>,
    seed: u64,
    pub(super) keeps_versions: bool,
}

impl Faults {
    pub(super) fn new(plan: FaultPlan, seed: u64) -> Faults {
        let keeps_versions = plan.rules.iter().any(|rule| rule.fault == Fault::StaleRead);
        let rules = plan.rules.into_iter().map(|rule| (rule, 0)).collect();
        Faults { rules, seed, keeps_versions }
    }

    /// The fault that strikes this call, with the dice for its details.
    pub(super) fn strike(
        &mut self,
        call: u64,
        kind: CallKind,
        creates: bool,
        path: &Path,
    ) -> Option<(Fault, Dice)> {
        let mut struck = None;
        for (index, (rule, matched)) in self.rules.iter_mut().enumerate() {
            if rule.matches(kind, creates, path) {
                let mut dice = Dice::new(mix(self.seed, index as u64), *matched);
                if rule.trigger.fires(*matched, call, &mut dice) && struck.is_none() {
                    struck = Some((rule.fault, dice));
                }
                *matched += 1;
            }
        }
        struck
    }
}

/// The simulated power is off: the crash that was asked for has happened.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SimCrash {
    /// The index of the call at which it happened.
    pub call: u64,
}

impl SimCrash {
    /// True if `error` is a simulated crash.
    pub fn is(error: &io::Error) -> bool {
        error.get_ref().is_some_and(|inner| inner.is::<SimCrash>())
    }
}

impl fmt::Display for SimCrash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "simulated crash at call {}", self.call)
    }
}

impl Error for SimCrash {}

impl From<SimCrash> for io::Error {
    fn from(crash: SimCrash) -> io::Error {
        io::Error::other(crash)
    }
}

/// A simulated fault that was reported as an error.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SimFault {
    /// The error.
    pub errno: Errno,
    /// The call that failed.
    pub kind: CallKind,
    /// The index of that call.
    pub call: u64,
}

impl SimFault {
    /// True if `error` is a simulated fault.
    pub fn is(error: &io::Error) -> bool {
        error.get_ref().is_some_and(|inner| inner.is::<SimFault>())
    }
}

impl fmt::Display for SimFault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let SimFault { errno, kind, call } = self;
        write!(f, "simulated {errno} in {kind}, call {call}")
    }
}

impl Error for SimFault {}

/// The error of a struck call.
pub(super) fn failure(errno: Errno, kind: CallKind, call: u64) -> io::Error {
    SimFault { errno, kind, call }.into()
}

impl From<SimFault> for io::Error {
    fn from(fault: SimFault) -> io::Error {
        io::Error::new(fault.errno.kind(), fault)
    }
}

#[cfg(test)]
mod tests {
    use super::glob;

    #[test]
    fn a_star_stands_for_any_run_of_characters() {
        assert!(glob("*", "home/log/log.0000000001"));
        assert!(glob("*log.*", "home/log/log.0000000001"));
        assert!(glob("*/log.*1", "home/log/log.0000000001"));
        assert!(glob("home/control", "home/control"));
        assert!(!glob("home/control", "home/control2"));
        assert!(!glob("*/data.*", "home/log/log.0000000001"));
        assert!(!glob("a*bc", "ab"));
        assert!(!glob("ab*ba", "aba"));
    }
}
