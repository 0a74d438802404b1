//! One life of an environment: a program is run, and what may be true after a crash at any call
//! is written down on the way. The model is fed from the calls and their answers only.

use std::collections::BTreeMap;
use std::ops::ControlFlow;
use std::path::Path;
use std::sync::Arc;

use campanile_format::FileId;
use campanile_recovery::{OpenOptions, Opened, RecoveryError, Replay, open};
use campanile_txn::{
    CheckpointKind, Durability, Savepoint, Transactions, Txn, TxnError, TxnOptions,
};
use campanile_vfs::sim::{CrashChoice, SimDisk};

use crate::toy::{self, Rows, Toy};

pub const HOME: &str = "/home";

/// File -> (durable, rows).
pub type State = BTreeMap<u32, (bool, Rows)>;

/// Tiny everything: evictions, log switches and checkpoints are frequent.
pub fn options() -> OpenOptions {
    let mut options = OpenOptions::new();
    options.store.page_bytes = 512;
    options.store.cache_bytes = 16 * 512;
    options.store.growth_pages = 4;
    options.store.batch_pages = 4;
    options.log_file_bytes = 8 << 10;
    options.log_block_bytes = 512;
    options.log_buffer_bytes = 2 << 10;
    options.transactions.checkpoint_log_bytes = 6 << 10;
    // One after another, which no log order is: a change that looked at another page would show.
    options.replay = Replay { shares: 3, threads: false };
    options
}

pub fn open_disk(disk: &Arc<SimDisk>) -> Result<Opened, RecoveryError> {
    let hook = &mut |_: &campanile_recovery::Progress| ControlFlow::Continue(());
    open(&disk.host(), Path::new(HOME), &options(), Arc::new(Toy), hook)
}

/// A step of a program. `who` is one of two transactions side by side, with keys of their own.
#[derive(Clone, Debug)]
pub enum Op {
    Put {
        who: usize,
        file: usize,
        key: u8,
        len: usize,
    },
    PutLarge {
        who: usize,
        file: usize,
        len: usize,
    },
    Delete {
        who: usize,
        file: usize,
        key: u8,
    },
    Savepoint {
        who: usize,
    },
    RollbackTo {
        who: usize,
    },
    Commit {
        who: usize,
        durability: Durability,
    },
    Abort {
        who: usize,
    },
    Create {
        who: usize,
        durable: bool,
    },
    Remove {
        file: usize,
    },
    Checkpoint(CheckpointKind),
    Step,
    /// A transaction nested in the innermost one that is open.
    Begin {
        who: usize,
    },
    /// Ends the innermost one.
    End {
        who: usize,
        commit: bool,
    },
    /// Commits the nested ones into their parents and prepares the outermost. Until it is resolved
    /// nothing else happens on its side.
    Prepare {
        who: usize,
    },
    Resolve {
        who: usize,
        commit: bool,
    },
    /// Closes with whatever is prepared, and opens again.
    Reopen,
}

impl Op {
    /// Whose step it is, if it is one that a prepared transaction keeps from happening.
    fn who(&self) -> Option<usize> {
        match *self {
            Op::Put { who, .. }
            | Op::PutLarge { who, .. }
            | Op::Delete { who, .. }
            | Op::Savepoint { who }
            | Op::RollbackTo { who }
            | Op::Commit { who, .. }
            | Op::Abort { who }
            | Op::Create { who, .. }
            | Op::Begin { who }
            | Op::End { who, .. }
            | Op::Prepare { who } => Some(who),
            Op::Remove { .. } | Op::Checkpoint(_) | Op::Step => None,
            Op::Resolve { .. } | Op::Reopen => None,
        }
    }
}

/// A state that a crash may leave, and when.
#[derive(Clone, Debug)]
struct Moment {
    /// Calls made before the change was begun: a crash before it cannot show the state.
    issued: u64,
    /// Calls made when it was acknowledged.
    acked: Option<u64>,
    promise: Durability,
    state: State,
}

/// (file, key, new value), in order.
type Writes = Vec<(u32, Vec<u8>, Option<Vec<u8>>)>;

struct Active {
    txn: Txn,
    writes: Writes,
    created: Vec<(u32, bool)>,
    savepoint: Option<(Savepoint, usize, usize)>,
}

/// The outermost transaction first, then those nested in it; dropped from within.
#[derive(Default)]
struct Frames(Vec<Active>);

impl Drop for Frames {
    fn drop(&mut self) {
        while self.0.pop().is_some() {}
    }
}

impl std::ops::Deref for Frames {
    type Target = Vec<Active>;

    fn deref(&self) -> &Vec<Active> {
        &self.0
    }
}

impl std::ops::DerefMut for Frames {
    fn deref_mut(&mut self) -> &mut Vec<Active> {
        &mut self.0
    }
}

/// A prepared transaction, and when it is to be found.
#[derive(Clone, Debug)]
pub struct Prepared {
    pub gid: Vec<u8>,
    pub writes: Writes,
    pub created: Vec<(u32, bool)>,
    /// As in [`Moment`].
    issued: u64,
    acked: Option<u64>,
    /// The same of its resolution.
    resolve_issued: Option<u64>,
    resolve_acked: Option<u64>,
}

impl Prepared {
    /// Whether a crash before `call` may leave it, and whether it may not.
    pub fn at(&self, call: u64) -> (bool, bool) {
        let begun = |at: Option<u64>| at.is_some_and(|at| at < call);
        let done = |at: Option<u64>| at.is_some_and(|at| at <= call);
        let may = self.issued < call && !done(self.resolve_acked);
        let may_not = !done(self.acked) || begun(self.resolve_issued);
        (may, may_not)
    }

    /// What a state becomes when it commits.
    pub fn commit(&self, state: &mut State) {
        apply(state, &self.created, &self.writes);
    }
}

fn apply(state: &mut State, created: &[(u32, bool)], writes: &Writes) {
    for (file, durable) in created {
        state.insert(*file, (*durable, Rows::new()));
    }
    for (file, key, value) in writes {
        let Some((_, rows)) = state.get_mut(file) else { continue };
        match value {
            Some(value) => rows.insert(key.clone(), value.clone()),
            None => rows.remove(key),
        };
    }
}

pub struct Life {
    disk: Arc<SimDisk>,
    pub txns: Arc<Transactions>,
    active: [Frames; 2],
    /// Places in `prepared`.
    waiting: [Option<usize>; 2],
    pub prepared: Vec<Prepared>,
    moments: Vec<Moment>,
    serial: u64,
}

impl Life {
    pub fn begin(disk: &Arc<SimDisk>, opened: Opened, state: State) -> Life {
        let moment = Moment { issued: 0, acked: Some(0), promise: Durability::Sync, state };
        Life {
            disk: Arc::clone(disk),
            txns: opened.transactions,
            active: [Frames::default(), Frames::default()],
            waiting: [None, None],
            prepared: Vec::new(),
            moments: vec![moment],
            serial: 0,
        }
    }

    pub fn newest(&self) -> &State {
        &self.moments.last().unwrap().state
    }

    pub fn run(&mut self, program: &[Op]) -> Result<(), TxnError> {
        program.iter().try_for_each(|op| self.step(op))
    }

    fn begin_if_needed(&mut self, who: usize) -> Result<&mut Active, TxnError> {
        if self.active[who].is_empty() {
            let txn = self.txns.begin(TxnOptions::default())?;
            self.push(who, txn);
        }
        Ok(self.active[who].last_mut().unwrap())
    }

    fn push(&mut self, who: usize, txn: Txn) {
        let active = Active { txn, writes: Vec::new(), created: Vec::new(), savepoint: None };
        self.active[who].push(active);
    }

    /// The file a step means: the n-th that exists for this transaction.
    fn file(&self, who: usize, file: usize) -> Option<u32> {
        let created = self.active[who].iter().flat_map(|a| a.created.iter().map(|c| c.0));
        let files: Vec<u32> = self.newest().keys().copied().chain(created).collect();
        (!files.is_empty()).then(|| files[file % files.len()])
    }

    pub fn step(&mut self, op: &Op) -> Result<(), TxnError> {
        let txns = Arc::clone(&self.txns);
        if op.who().is_some_and(|who| self.waiting[who].is_some()) {
            return Ok(());
        }
        match *op {
            Op::Put { who, file, key, len } => {
                self.serial += 1;
                let Some(file) = self.file(who, file) else { return Ok(()) };
                let key = format!("{who}-{}", key % 12).into_bytes();
                let value = format!("{:0>len$}", self.serial).into_bytes();
                let active = self.begin_if_needed(who)?;
                toy::put(&txns, &mut active.txn, FileId(file), &key, &value)?;
                active.writes.push((file, key, Some(value)));
            }
            Op::PutLarge { who, file, len } => {
                self.serial += 1;
                let Some(file) = self.file(who, file) else { return Ok(()) };
                if self.serial > 60 {
                    return Ok(());
                }
                let key = format!("L{}", self.serial).into_bytes();
                let value = vec![self.serial as u8; len];
                let active = self.begin_if_needed(who)?;
                toy::put_large(&txns, &mut active.txn, FileId(file), &key, &value)?;
                active.writes.push((file, key, Some(value)));
            }
            Op::Delete { who, file, key } => {
                let Some(file) = self.file(who, file) else { return Ok(()) };
                let key = format!("{who}-{}", key % 12).into_bytes();
                let active = self.begin_if_needed(who)?;
                toy::delete(&txns, &mut active.txn, FileId(file), &key)?;
                active.writes.push((file, key, None));
            }
            Op::Create { who, durable } => {
                let active = self.begin_if_needed(who)?;
                let file = toy::create(&txns, &mut active.txn, durable)?;
                active.created.push((file.0, durable));
            }
            Op::Savepoint { who } => {
                if let Some(active) = self.active[who].last_mut() {
                    let at = txns.savepoint(&active.txn);
                    active.savepoint = Some((at, active.writes.len(), active.created.len()));
                }
            }
            Op::RollbackTo { who } => {
                if let Some(active) = self.active[who].last_mut()
                    && let Some((at, writes, created)) = active.savepoint
                {
                    txns.rollback_to(&mut active.txn, &at)?;
                    active.writes.truncate(writes);
                    active.created.truncate(created);
                }
            }
            Op::Commit { who, durability } => self.commit(who, durability)?,
            Op::Abort { who } => {
                while let Some(active) = self.active[who].pop() {
                    txns.abort(active.txn)?;
                }
            }
            Op::Remove { file } => self.remove(file)?,
            Op::Checkpoint(kind) => {
                txns.checkpoint(kind)?;
            }
            Op::Step => {
                txns.step()?;
            }
            Op::Begin { who } => {
                let parent = self.begin_if_needed(who)?;
                let child = txns.begin_child(&parent.txn)?;
                self.push(who, child);
            }
            Op::End { who, commit: true } if self.active[who].len() > 1 => self.merge(who)?,
            Op::End { who, .. } => {
                if let Some(active) = self.active[who].pop() {
                    txns.abort(active.txn)?;
                }
            }
            Op::Prepare { who } => self.prepare(who)?,
            Op::Resolve { who, commit } => self.resolve(who, commit)?,
            Op::Reopen => self.reopen()?,
        }
        Ok(())
    }

    /// Commits the innermost transaction into its parent.
    fn merge(&mut self, who: usize) -> Result<(), TxnError> {
        let Active { txn, writes, created, .. } = self.active[who].pop().unwrap();
        self.txns.commit_child(txn)?;
        let parent = self.active[who].last_mut().unwrap();
        parent.writes.extend(writes);
        parent.created.extend(created);
        Ok(())
    }

    fn merge_all(&mut self, who: usize) -> Result<Option<Active>, TxnError> {
        while self.active[who].len() > 1 {
            self.merge(who)?;
        }
        Ok(self.active[who].pop())
    }

    fn prepare(&mut self, who: usize) -> Result<(), TxnError> {
        let Some(active) = self.merge_all(who)? else { return Ok(()) };
        self.serial += 1;
        let gid = format!("{who}-{}", self.serial).into_bytes();
        let issued = self.disk.calls();
        let at = self.prepared.len();
        self.prepared.push(Prepared {
            gid: gid.clone(),
            writes: active.writes,
            created: active.created,
            issued,
            acked: None,
            resolve_issued: None,
            resolve_acked: None,
        });
        match self.txns.prepare(active.txn, &gid) {
            Ok(_) => {
                self.prepared[at].acked = Some(self.disk.calls());
                self.waiting[who] = Some(at);
            }
            // It changed a file that is not durable: it was rolled back.
            Err(TxnError::NotPreparable { .. }) => drop(self.prepared.pop()),
            Err(error) => return Err(error),
        }
        Ok(())
    }

    fn resolve(&mut self, who: usize, commit: bool) -> Result<(), TxnError> {
        let Some(at) = self.waiting[who].take() else { return Ok(()) };
        self.prepared[at].resolve_issued = Some(self.disk.calls());
        let gid = self.prepared[at].gid.clone();
        if commit {
            let mut state = self.newest().clone();
            self.prepared[at].commit(&mut state);
            self.moment(Durability::Sync, state);
            self.txns.commit_prepared(&gid)?;
            self.acknowledge();
        } else {
            self.txns.abort_prepared(&gid)?;
        }
        self.prepared[at].resolve_acked = Some(self.disk.calls());
        Ok(())
    }

    fn reopen(&mut self) -> Result<(), TxnError> {
        self.step(&Op::Abort { who: 0 })?;
        self.step(&Op::Abort { who: 1 })?;
        // Everything so far is durable after this, whatever it promised.
        self.moment(Durability::Sync, self.newest().clone());
        self.txns.checkpoint(CheckpointKind::Close)?;
        self.acknowledge();
        let opened = open_disk(&self.disk).expect("what was closed opens");
        self.txns = opened.transactions;
        let waiting = self.waiting.iter().flatten().count();
        assert_eq!(self.txns.prepared().len(), waiting, "after a close");
        Ok(())
    }

    fn commit(&mut self, who: usize, durability: Durability) -> Result<(), TxnError> {
        let Some(active) = self.merge_all(who)? else { return Ok(()) };
        let mut state = self.newest().clone();
        apply(&mut state, &active.created, &active.writes);
        self.moment(durability, state);
        let logged = !self.txns.commit(active.txn, durability)?.is_none();
        if !logged {
            // Nothing was logged: it says nothing of the commits before it.
            self.moments.last_mut().unwrap().promise = Durability::NoSync;
        }
        self.acknowledge();
        Ok(())
    }

    fn remove(&mut self, file: usize) -> Result<(), TxnError> {
        let used = self.active.iter().any(|active| !active.is_empty())
            || self.waiting.iter().any(Option::is_some);
        let Some(file) = self.file(0, file).filter(|_| !used) else { return Ok(()) };
        let mut state = self.newest().clone();
        state.remove(&file);
        self.moment(Durability::Sync, state);
        self.txns.remove_file_now(FileId(file))?;
        self.acknowledge();
        Ok(())
    }

    fn moment(&mut self, promise: Durability, state: State) {
        let issued = self.disk.calls();
        self.moments.push(Moment { issued, acked: None, promise, state });
    }

    fn acknowledge(&mut self) {
        let calls = self.disk.calls();
        self.moments.last_mut().unwrap().acked = Some(calls);
    }

    /// The states that a crash before `call` may leave.
    pub fn possible(&self, call: u64, choice: CrashChoice) -> Vec<State> {
        let process = choice == CrashChoice::ProcessCrash;
        let kept = |moment: &Moment| {
            let promised = match moment.promise {
                Durability::Sync => true,
                Durability::WriteNoSync => process,
                Durability::NoSync => false,
            };
            promised && moment.acked.is_some_and(|acked| acked <= call)
        };
        let floor = self.moments.iter().rposition(kept).unwrap_or(0);
        let (kept, later) = (self.moments[floor..=floor].iter(), self.moments[floor + 1..].iter());
        let states = kept.chain(later.take_while(|moment| moment.issued < call));
        states.map(|moment| after_crash(&moment.state)).collect()
    }

    /// Leaves without closing, as a killed process does.
    pub fn die(self) {
        drop(self);
    }

    /// Ends all transactions and closes.
    pub fn close(mut self) -> Result<State, TxnError> {
        for who in 0..2 {
            self.step(&Op::Resolve { who, commit: false })?;
            self.step(&Op::Abort { who })?;
        }
        self.txns.checkpoint(CheckpointKind::Close)?;
        Ok(self.newest().clone())
    }
}

/// What a crash leaves of a state: files that are not durable are empty.
pub fn after_crash(state: &State) -> State {
    let emptied = |(durable, rows): &(bool, Rows)| {
        (*durable, if *durable { rows.clone() } else { Rows::new() })
    };
    state.iter().map(|(file, content)| (*file, emptied(content))).collect()
}

/// What the engine shows, after a recovery.
pub fn observe(txns: &Transactions, emptied: bool, place: &str) -> State {
    let mut state = State::new();
    for file in txns.store().files().unwrap() {
        let durable = txns.is_durable(file).unwrap();
        if !durable && emptied {
            toy::furnish(txns, file).unwrap();
        }
        let rows =
            toy::rows(txns, file).unwrap_or_else(|error| panic!("{place}: file {file}: {error}"));
        state.insert(file.0, (durable, rows));
    }
    state
}
