//! The simulated disk: its state, the gate that every call passes, crash and rebirth.
//!
//! Owns all files, names, faults and counters of one simulated machine. Promises that the same
//! seed, settings and calls give the same bytes, errors and trace hash. Must never know what an
//! engine keeps on it.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::path::Path;
use std::sync::Arc;

use campanile_sync::{Mutex, MutexGuard};

use super::dice::{Dice, digest, mix};
use super::fault::Faults;
use super::inode::{Inode, InodeId, Sequence};
use super::name_calls::Held;
use super::names::{DirId, Names};
use super::{
    Counters, CrashChoice, CrashPolicy, Fault, FaultPlan, PendingInfo, Rule, SimAdversary,
    SimClock, SimCrash, SimOptions, SimRandom,
};
use crate::{Background, CallKind, Host, LoggedCall, never};

/// Microseconds that any call takes, and that a sync takes on top.
const CALL_US: u64 = 5;
const SYNC_US: u64 = 200;

/// Whether a crash comes before a call has its effect, or after.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Side {
    /// The call has no effect.
    Before,
    /// The call has its effect, but nobody learns of it.
    After,
}

/// A copy of the disk as it was just before a call that could change it.
#[derive(Clone, Debug)]
pub struct CrashPoint {
    /// The call's index.
    pub call: u64,
    /// What was about to be done.
    pub kind: CallKind,
    /// The disk, as if the power had failed there.
    pub disk: Arc<SimDisk>,
}

/// A machine's disk, clock and luck, simulated. It is a [`Vfs`](crate::Vfs).
#[derive(Debug)]
pub struct SimDisk {
    pub(super) shared: Arc<Shared>,
}

#[derive(Debug)]
pub(super) struct Shared {
    pub(super) state: Mutex<State>,
    pub(super) options: SimOptions,
    clock: Arc<SimClock>,
}

#[derive(Debug)]
pub(super) struct State {
    pub(super) names: Names,
    pub(super) inodes: BTreeMap<InodeId, Arc<Inode>>,
    pub(super) sequence: Sequence,
    pub(super) faults: Faults,
    next_inode: InodeId,
    /// Open handles per file: a file without a name lives as long as these.
    pub(super) open: BTreeMap<InodeId, u64>,
    pub(super) next_handle: u64,
    pub(super) locks: BTreeMap<InodeId, Held>,
    /// Directories whose next sync fails (rule F1 c).
    pub(super) dirs_owed: BTreeSet<DirId>,
    calls: u64,
    crash_at: Option<(u64, Side)>,
    crashed: Option<u64>,
    trace: u64,
    log: Option<Vec<LoggedCall>>,
    captured: Option<Vec<CrashPoint>>,
    /// Reboots since the first disk: keeps the random numbers of lives apart.
    life: u64,
}

/// A call at the gate.
pub(super) struct Ask<'a> {
    pub(super) kind: CallKind,
    pub(super) path: &'a Arc<Path>,
    pub(super) offset: u64,
    pub(super) len: u64,
    /// A digest of whatever else the call carries.
    pub(super) digest: u64,
    /// For opens: the file may be made.
    pub(super) creates: bool,
}

impl<'a> Ask<'a> {
    pub(super) fn new(kind: CallKind, path: &'a Arc<Path>) -> Ask<'a> {
        Ask { kind, path, offset: 0, len: 0, digest: 0, creates: false }
    }

    fn changes(&self) -> bool {
        match self.kind {
            CallKind::Open | CallKind::Lock => self.creates,
            kind => !kind.only_looks(),
        }
    }
}

/// The fault that strikes a call, if one does.
pub(super) type Strike = Option<(Fault, Dice)>;

impl Shared {
    /// Makes one call: counts it, strikes it, crashes at it, and notes how it went.
    pub(super) fn run<T>(
        self: &Arc<Shared>,
        ask: &Ask<'_>,
        work: impl FnOnce(&mut State, &Shared, u64, Strike) -> io::Result<T>,
    ) -> io::Result<T> {
        let mut guard = self.state.lock();
        let state = &mut *guard;
        let call = state.calls;
        if let Some(call) = state.crashed {
            return Err(SimCrash { call }.into());
        }
        state.calls += 1;
        self.clock.advance_us(CALL_US + if ask.kind.is_sync() { SYNC_US } else { 0 });
        if let Some(mut captured) = state.captured.take() {
            if ask.changes() {
                captured.push(CrashPoint { call, kind: ask.kind, disk: self.copy(state) });
            }
            state.captured = Some(captured);
        }
        let result = if state.crash_at == Some((call, Side::Before)) {
            state.crashed = Some(call);
            Err(SimCrash { call }.into())
        } else {
            let strike = state.faults.strike(call, ask.kind, ask.creates, ask.path);
            let result = work(state, self, call, strike);
            if state.crash_at == Some((call, Side::After)) {
                state.crashed = Some(call);
                Err(SimCrash { call }.into())
            } else {
                result
            }
        };
        state.note(call, ask, result.as_ref().err());
        result
    }

    fn copy(self: &Arc<Shared>, state: &State) -> Arc<SimDisk> {
        SimDisk::start(self.options.clone(), self.clock.fork(), state.copy())
    }
}

impl State {
    fn new() -> State {
        State {
            names: Names::new(),
            inodes: BTreeMap::new(),
            sequence: Sequence::default(),
            faults: Faults::default(),
            next_inode: 1,
            open: BTreeMap::new(),
            next_handle: 1,
            locks: BTreeMap::new(),
            dirs_owed: BTreeSet::new(),
            calls: 0,
            crash_at: None,
            crashed: None,
            trace: 0,
            log: None,
            captured: None,
            life: 0,
        }
    }

    /// The same disk, with nobody using it.
    pub(super) fn copy(&self) -> State {
        State {
            names: self.names.clone(),
            inodes: self.inodes.clone(),
            sequence: self.sequence.clone(),
            faults: self.faults.clone(),
            next_inode: self.next_inode,
            next_handle: self.next_handle,
            calls: self.calls,
            trace: self.trace,
            log: self.log.as_ref().map(|_| Vec::new()),
            life: self.life,
            ..State::new()
        }
    }

    fn note(&mut self, call: u64, ask: &Ask<'_>, error: Option<&io::Error>) {
        let failed = error.map(io::Error::kind);
        let asked = mix(ask.kind as u64, mix(ask.offset, ask.len));
        let named = mix(digest(ask.path.as_os_str().as_encoded_bytes()), ask.digest);
        let ended = failed.map_or(0, |kind| digest(kind.to_string().as_bytes()));
        self.trace = mix(self.trace, mix(asked, mix(named, ended)));
        if let Some(log) = &mut self.log {
            let (kind, path) = (ask.kind, Arc::clone(ask.path));
            let (index, offset, len) = (call, ask.offset, ask.len);
            log.push(LoggedCall { index, kind, path, offset, len, failed });
        }
    }

    pub(super) fn inode(&self, id: InodeId) -> &Inode {
        self.inodes.get(&id).expect("open and named files exist")
    }

    pub(super) fn inode_mut(&mut self, id: InodeId) -> (&mut Inode, &mut Sequence) {
        let inode = self.inodes.get_mut(&id).expect("open and named files exist");
        (Arc::make_mut(inode), &mut self.sequence)
    }

    pub(super) fn add_inode(&mut self, inode: Inode) -> InodeId {
        let id = self.next_inode;
        self.next_inode += 1;
        self.inodes.insert(id, Arc::new(inode));
        id
    }

    /// Forgets files that have neither a name, now or pending, nor a handle.
    pub(super) fn collect(&mut self) {
        let reachable = self.names.reachable();
        let open = &self.open;
        self.inodes.retain(|id, _| reachable.contains(id) || open.contains_key(id));
    }
}

impl SimDisk {
    /// An empty disk.
    pub fn new(options: SimOptions) -> Arc<SimDisk> {
        let clock = SimClock::new(options.seed, Arc::clone(&options.counters));
        let mut state = State::new();
        state.log = options.log_calls.then(Vec::new);
        SimDisk::start(options, clock, state)
    }

    fn start(options: SimOptions, clock: SimClock, state: State) -> Arc<SimDisk> {
        let state = Mutex::new(state);
        Arc::new(SimDisk { shared: Arc::new(Shared { state, options, clock: Arc::new(clock) }) })
    }

    pub(super) fn state(&self) -> MutexGuard<'_, State> {
        self.shared.state.lock()
    }

    /// A deterministic host on this disk: its clock, seeded numbers, and nothing in background.
    pub fn host(self: &Arc<SimDisk>) -> Host {
        let seed = mix(self.shared.options.seed, self.state().life);
        Host {
            vfs: Arc::<SimDisk>::clone(self),
            clock: Arc::<SimClock>::clone(&self.shared.clock),
            random: Arc::new(SimRandom::new(seed)),
            adversary: match self.shared.options.adversary {
                true => Arc::new(SimAdversary::new(self.shared.options.seed)),
                false => never(),
            },
            background: Background::Stepped,
        }
    }

    /// The settings.
    pub fn options(&self) -> &SimOptions {
        &self.shared.options
    }

    /// The disk's clock.
    pub fn clock(&self) -> &Arc<SimClock> {
        &self.shared.clock
    }

    /// The index of the next call.
    pub fn calls(&self) -> u64 {
        self.state().calls
    }

    /// Crashes at a call: that call and every later one fails with [`SimCrash`].
    pub fn crash_at(&self, call: u64, side: Side) {
        self.state().crash_at = Some((call, side));
    }

    /// Crashes now.
    pub fn crash(&self) {
        let mut state = self.state();
        let call = state.calls;
        state.crashed.get_or_insert(call);
    }

    /// True once the disk has crashed.
    pub fn crashed(&self) -> bool {
        self.state().crashed.is_some()
    }

    /// Sets the faults of the calls to come; the rules count their matches from here.
    pub fn faults(&self, plan: FaultPlan) {
        let seed = mix(self.shared.options.seed, 0xFA);
        self.state().faults = Faults::new(plan, seed);
    }

    /// Starts or stops the log of calls; starting empties it.
    pub fn log_calls(&self, yes: bool) {
        self.state().log = yes.then(Vec::new);
    }

    /// The calls since the log was started.
    pub fn calls_log(&self) -> Vec<LoggedCall> {
        self.state().log.clone().unwrap_or_default()
    }

    /// From now on, keeps a copy of the disk before each call that could change it: every crash
    /// point of a run, from one run. (A crash after a call leaves the disk as before the next.)
    pub fn capture_crash_points(&self) {
        self.state().captured = Some(Vec::new());
    }

    /// The copies kept so far, and stops keeping more.
    pub fn take_crash_points(&self) -> Vec<CrashPoint> {
        self.state().captured.take().unwrap_or_default()
    }

    /// Activations per rule.
    pub fn counters(&self) -> &Arc<Counters> {
        &self.shared.options.counters
    }

    /// A hash of every call so far, how it ended, and every crash: the same for the same seed.
    pub fn trace_hash(&self) -> u64 {
        self.state().trace
    }

    /// What a crash would decide on.
    pub fn pending(&self) -> PendingInfo {
        self.state().pending(self.shared.options.sector_bytes)
    }

    /// The crashes worth trying on this disk as it is.
    pub fn crash_choices(&self, policy: &CrashPolicy) -> Vec<CrashChoice> {
        policy.choices(&self.pending())
    }

    /// The same disk once more: nothing lost, nobody using it, going its own way from here.
    pub fn fork(&self) -> Arc<SimDisk> {
        self.shared.copy(&self.state())
    }

    /// The disk after a crash here and now: what `choice` says has survived, and nobody uses it.
    /// This disk stays as it is, so that many choices can be tried.
    pub fn reboot(&self, choice: CrashChoice) -> Arc<SimDisk> {
        let state = self.state();
        let counters = &self.shared.options.counters;
        let pending = state.pending(self.shared.options.sector_bytes);
        match choice {
            CrashChoice::ProcessCrash if pending.ops > 0 => counters.count(Rule::ProcessCrash),
            CrashChoice::Nothing if pending.ops > 0 => counters.count(Rule::NothingKept),
            CrashChoice::Prefix(count) if (1..pending.ops).contains(&count) => {
                counters.count(Rule::PrefixKept);
            }
            CrashChoice::FilePrefixes(_) if pending.ops > 1 => counters.count(Rule::PrefixKept),
            _ => {}
        }
        let mut after = match choice {
            CrashChoice::ProcessCrash => {
                let mut copy = state.copy();
                copy.collect();
                copy
            }
            choice => state.power_failure(choice, pending, &self.shared.options),
        };
        after.calls = 0;
        after.faults = Faults::default();
        after.life += 1;
        after.trace = mix(state.trace, choice.tag());
        SimDisk::start(self.shared.options.clone(), self.shared.clock.fork(), after)
    }
}
