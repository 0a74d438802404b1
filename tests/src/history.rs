//! Histories: what many clients asked of one environment, what they were told, and when.
//!
//! Owns the types that the generators fill and that the checkers judge. Every key is a list,
//! every append adds an element that nobody else adds, and a read shows the whole list: so a read
//! tells in which order the versions before it were made. Promises to know nothing of the engine:
//! a history is judged by theory alone.

/// What a transaction was promised.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Level {
    /// Writes are isolated from each other, reads from nothing.
    ReadUncommitted,
    /// Reads show committed data.
    ReadCommitted,
    /// As if it ran alone.
    Serializable,
    /// Reads only, all of one moment.
    Snapshot,
}

impl Level {
    /// Reads show only what was committed, and no half-done work.
    #[must_use]
    pub fn reads_committed(self) -> bool {
        self >= Level::ReadCommitted
    }

    /// What was read stays true until the end: others' changes come after it.
    #[must_use]
    pub fn protects_reads(self) -> bool {
        self >= Level::Serializable
    }
}

/// How a transaction ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// The commit was acknowledged.
    Committed,
    /// It never asked to commit, or was refused.
    Aborted,
    /// It asked to commit and the answer was lost in a crash.
    InDoubt,
}

/// One list, one element of a list: numbers.
pub type Key = u32;
/// Unique in its history.
pub type Element = u32;

/// What one step did.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Action {
    /// Added this element at the end of the list.
    Append(Element),
    /// Found this list when asking for the key.
    Read(Vec<Element>),
    /// Found this list (an empty one: no record) when reading a range of keys with this one in it.
    ReadInRange(Vec<Element>),
}

/// One step of a transaction.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Op {
    /// The list.
    pub key: Key,
    /// What was done.
    pub action: Action,
    /// When it was done: the tick after it returned.
    pub at: u64,
}

impl Op {
    /// The list that was found, if the step is a read.
    #[must_use]
    pub fn read(&self) -> Option<&[Element]> {
        match &self.action {
            Action::Read(list) | Action::ReadInRange(list) => Some(list),
            Action::Append(_) => None,
        }
    }

    /// The element that was added, if the step is an append.
    #[must_use]
    pub fn appended(&self) -> Option<Element> {
        match self.action {
            Action::Append(element) => Some(element),
            Action::Read(_) | Action::ReadInRange(_) => None,
        }
    }
}

/// One transaction. Ticks come from one counter for the whole history.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Txn {
    /// Who ran it; one at a time.
    pub process: u32,
    /// What it was promised.
    pub level: Level,
    /// How it ended.
    pub outcome: Outcome,
    /// The tick before it began.
    pub invoked: u64,
    /// The tick before its end was asked for: until then it holds whatever it holds.
    pub ending: u64,
    /// The tick after its end was known.
    pub completed: u64,
    /// Where its commit record stands in the log; 0 if it wrote nothing or did not commit.
    pub commit_lsn: u64,
    /// What it did, in order.
    pub ops: Vec<Op>,
}

impl Txn {
    /// Keys and elements that it added, in order.
    pub fn appends(&self) -> impl Iterator<Item = (Key, Element)> + '_ {
        self.ops.iter().filter_map(|op| Some((op.key, op.appended()?)))
    }

    /// Reads of keys that it had not appended to itself at that moment.
    pub fn outside_reads(&self) -> impl Iterator<Item = (&Op, &[Element])> + '_ {
        self.ops.iter().enumerate().filter_map(|(at, op)| {
            let list = op.read()?;
            let own = self.ops[..at].iter().any(|o| o.key == op.key && o.appended().is_some());
            (!own).then_some((op, list))
        })
    }
}

/// Everything that happened.
#[derive(Clone, Debug, Default)]
pub struct History {
    /// In any order.
    pub txns: Vec<Txn>,
    /// Nobody can append between the reading of a list and the writing of the longer one: by its
    /// level or because the program saw to it. Otherwise weak levels lose updates, and may.
    pub atomic_appends: bool,
}

impl History {
    /// Transactions whose commit was acknowledged.
    #[must_use]
    pub fn committed(&self) -> usize {
        self.txns.iter().filter(|txn| txn.outcome == Outcome::Committed).count()
    }

    /// Decides what was in doubt: a transaction of which any element was ever read by another one
    /// that sees committed data did commit; the others are taken for aborted, and nothing that was
    /// read says otherwise. A commit found so has no known end in time.
    pub fn resolve_doubts(&mut self) {
        let mut seen = std::collections::HashSet::new();
        for txn in self.txns.iter().filter(|txn| txn.level.reads_committed()) {
            seen.extend(txn.outside_reads().flat_map(|(_, list)| list.iter().copied()));
        }
        for txn in self.txns.iter_mut().filter(|txn| txn.outcome == Outcome::InDoubt) {
            if txn.appends().any(|(_, element)| seen.contains(&element)) {
                txn.outcome = Outcome::Committed;
                txn.completed = u64::MAX;
            } else {
                txn.outcome = Outcome::Aborted;
            }
        }
    }

    /// The same history, as if every transaction had been promised `level`.
    #[must_use]
    pub fn promised(&self, level: Level) -> History {
        let txns = self.txns.iter().map(|txn| Txn { level, ..txn.clone() });
        History { txns: txns.collect(), atomic_appends: self.atomic_appends }
    }
}
