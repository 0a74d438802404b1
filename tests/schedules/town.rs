//! The threads of a run: what they do, and what they note of it.
//!
//! Everything is chosen before a thread starts, so that the choices do not depend on the schedule.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use campanile::{Database, Durability, Environment, Error, ErrorKind, Isolation, Reads};
use campanile_tests::oracle::Rows;
use campanile_tests::workload::Choices;
use campanile_vfs::sim::SimDisk;

use crate::campaign::Kinds;
use crate::ledger::{ACCOUNTS, Deed, Effect, Fate, LISTS, Ledger, Promise, Token};

pub const DATABASE: &str = "town";

/// What the threads share.
#[derive(Clone)]
pub struct Town {
    pub disk: Arc<SimDisk>,
    pub env: Environment,
    pub db: Database,
    pub notes: Arc<Notes>,
}

/// Of the standard library, and held for moments only: no point of a schedule.
#[derive(Default)]
pub struct Notes {
    pub ledger: Mutex<Ledger>,
    pub wrong: Mutex<Vec<String>>,
    pub retried: Mutex<u64>,
    pub looks: Mutex<u64>,
    pub kinds: Mutex<Kinds>,
}

pub fn open<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// A transaction to be.
#[derive(Clone, Debug)]
pub struct Intent {
    pub effects: Vec<Effect>,
    pub ending: Ending,
    pub isolation: Isolation,
    pub shape: Shape,
    /// Does something in between and rolls that back: to a savepoint, or in a child.
    pub digresses: bool,
}

/// How a transaction is to end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ending {
    Commit(Durability),
    /// Run by the environment, again if it loses.
    Run,
    /// Committed with a ticket, which may be waited for.
    Ticket {
        waits: bool,
    },
    /// Prepared, and resolved through the handle or by its global id.
    Prepare {
        commit: bool,
        by_name: bool,
    },
    GiveUp,
}

/// Who carries out the effects of a transaction.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Shape {
    /// The transaction itself.
    Plain,
    /// A child for each.
    Children,
    /// Two children beside each other, on threads of their own.
    Siblings,
}

/// What one thread is to do.
#[derive(Clone, Debug)]
pub enum Role {
    Citizen(Vec<Intent>),
    /// Looks at everything through snapshots.
    Reporter(u64),
    /// Looks at everything through a serializable transaction.
    Auditor(u64),
    /// Does the background work.
    Keeper(Vec<bool>),
}

/// Attempts at one intent.
const ATTEMPTS: u32 = 6;
/// Tokens of a thread.
const TOKENS: u32 = 100;

/// The roles of a run.
pub fn cast(choices: &mut Choices) -> Vec<Role> {
    if choices.one_in(5) {
        return rush(choices);
    }
    let citizens = 2 + choices.below(2);
    let mut roles: Vec<Role> = (0..citizens)
        .map(|_| Role::Citizen((0..1 + choices.below(3)).map(|_| intent(choices)).collect()))
        .collect();
    let steps = (0..1 + choices.below(4)).map(|_| choices.one_in(3)).collect();
    roles.push(Role::Keeper(steps));
    if choices.one_in(2) {
        roles.push(Role::Reporter(1 + choices.below(2)));
    }
    if choices.one_in(6) {
        roles.push(Role::Auditor(1));
    }
    roles
}

/// Many small commits at once that do not hinder each other: they meet at the log.
fn rush(choices: &mut Choices) -> Vec<Role> {
    let small = |choices: &mut Choices| Intent {
        effects: vec![Effect::Fill { rows: 1, bytes: 20 + choices.below(20) }],
        ending: match choices.below(4) {
            0 => Ending::Ticket { waits: true },
            _ => Ending::Commit(Durability::Sync),
        },
        isolation: Isolation::Serializable,
        shape: Shape::Plain,
        digresses: false,
    };
    let citizens = 3 + choices.below(2);
    (0..citizens).map(|_| Role::Citizen((0..3).map(|_| small(choices)).collect())).collect()
}

fn intent(choices: &mut Choices) -> Intent {
    let effects = (0..1 + choices.below(3)).map(|_| effect(choices)).collect();
    let ending = match choices.below(16) {
        0..=1 => Ending::GiveUp,
        2 => Ending::Commit(Durability::NoSync),
        3 => Ending::Commit(Durability::WriteNoSync),
        4..=5 => Ending::Ticket { waits: choices.one_in(2) },
        6..=7 => Ending::Prepare { commit: !choices.one_in(3), by_name: choices.one_in(2) },
        8..=9 => Ending::Run,
        _ => Ending::Commit(Durability::Sync),
    };
    // At a weaker level whoever reads what he changes locks it for that first.
    let isolation = match choices.below(6) {
        0 => Isolation::ReadCommitted,
        1 => Isolation::ReadUncommitted,
        _ => Isolation::Serializable,
    };
    let shape = match choices.below(8) {
        0 => Shape::Children,
        1 => Shape::Siblings,
        _ => Shape::Plain,
    };
    Intent { effects, ending, isolation, shape, digresses: choices.one_in(5) }
}

fn effect(choices: &mut Choices) -> Effect {
    match choices.below(7) {
        0..=1 => {
            let from = choices.below(ACCOUNTS);
            let to = (from + 1 + choices.below(ACCOUNTS - 1)) % ACCOUNTS;
            Effect::Move { from, to, amount: 1 + choices.below(9) }
        }
        2..=4 => Effect::Append { list: choices.below(LISTS) },
        5 => Effect::Fill { rows: 1 + choices.below(4), bytes: 20 + choices.below(60) },
        // Turned into one that has something to clear, if there is.
        _ => Effect::Clear { of: 0, rows: 0 },
    }
}

impl Intent {
    /// Whether it may be rolled back without losing against anybody.
    fn may_come_to_nothing(&self) -> bool {
        matches!(self.ending, Ending::GiveUp | Ending::Prepare { commit: false, .. })
    }
}

/// What a thread that makes transactions keeps in mind.
pub struct Life {
    pub thread: usize,
    /// Of its last transaction.
    pub token: Token,
    /// What it has cleared, and in which transaction.
    pub cleared: BTreeSet<(Token, Token)>,
}

impl Town {
    /// Plays a role. Ends early when the disk has crashed.
    pub fn play(&self, thread: usize, role: &Role) {
        let end = match role {
            Role::Citizen(intents) => self.live(thread, intents),
            Role::Reporter(times) => (0..*times).try_for_each(|_| self.report()),
            Role::Auditor(times) => (0..*times).try_for_each(|_| self.audit()),
            Role::Keeper(steps) => self.keep(steps),
        };
        if let Err(error) = end
            && !self.disk.crashed()
        {
            self.note_wrong(format!("thread {thread}: {error}"));
        }
    }

    pub fn note_wrong(&self, what: String) {
        open(&self.notes.wrong).push(what);
    }

    fn keep(&self, steps: &[bool]) -> Result<(), Error> {
        for checkpoint in steps {
            if *checkpoint {
                self.env.checkpoint()?;
            } else {
                self.env.step()?;
            }
        }
        Ok(())
    }

    fn live(&self, thread: usize, intents: &[Intent]) -> Result<(), Error> {
        let mut life = Life { thread, token: thread as Token * TOKENS, cleared: BTreeSet::new() };
        for intent in intents {
            if intent.ending == Ending::Run {
                self.run(&mut life, intent)?;
                continue;
            }
            for attempt in 1.. {
                let (token, effects) = self.begin(&mut life, intent);
                match self.attempt(token, intent, &effects) {
                    Ok(()) => break,
                    Err(error) if error.is_retryable() && attempt < ATTEMPTS => {
                        *open(&self.notes.retried) += 1;
                        life.cleared.retain(|(_, by)| *by != token);
                    }
                    Err(error) if error.is_retryable() => break,
                    Err(error) => return Err(error),
                }
            }
        }
        Ok(())
    }

    /// Notes a new attempt, which comes to nothing until more is known.
    pub fn begin(&self, life: &mut Life, intent: &Intent) -> (Token, Vec<Effect>) {
        life.token += 1;
        let effects = self.effects_of(life.thread, life.token, intent, &mut life.cleared);
        let deed = Deed { thread: life.thread, effects: effects.clone(), fate: Fate::Gone };
        open(&self.notes.ledger).0.insert(life.token, deed);
        (life.token, effects)
    }

    /// Fills in what an intent to clear clears: the rows of the thread's last transaction that has
    /// some, was acknowledged and not cleared yet.
    fn effects_of(
        &self,
        thread: usize,
        token: Token,
        intent: &Intent,
        cleared: &mut BTreeSet<(Token, Token)>,
    ) -> Vec<Effect> {
        let ledger = open(&self.notes.ledger);
        let mut effects: Vec<Effect> = Vec::new();
        for effect in &intent.effects {
            let same = |known: &Effect| match (known, effect) {
                (Effect::Append { list: a }, Effect::Append { list: b }) => a == b,
                (Effect::Fill { .. }, Effect::Fill { .. })
                | (Effect::Clear { .. }, Effect::Clear { .. }) => true,
                _ => false,
            };
            if effects.iter().any(same) {
                continue;
            }
            if !matches!(effect, Effect::Clear { .. }) {
                effects.push(effect.clone());
                continue;
            }
            let find = |(known, deed): (&Token, &Deed)| {
                let mine = deed.thread == thread && matches!(deed.fate, Fate::Acknowledged(_));
                let again = cleared.iter().any(|(of, _)| of == known);
                let rows = deed.effects.iter().find_map(|effect| match effect {
                    Effect::Fill { rows, .. } => Some(*rows),
                    _ => None,
                });
                rows.filter(|_| mine && !again).map(|rows| (*known, rows))
            };
            if let Some((of, rows)) = ledger.0.iter().rev().find_map(find)
                && !intent.may_come_to_nothing()
            {
                cleared.insert((of, token));
                effects.push(Effect::Clear { of, rows });
            }
        }
        effects
    }

    pub fn set_fate(&self, token: Token, fate: Fate) {
        let mut ledger = open(&self.notes.ledger);
        ledger.0.get_mut(&token).expect("noted before").fate = fate;
    }

    pub fn report(&self) -> Result<(), Error> {
        let must = open(&self.notes.ledger).must(Promise::Order);
        let snapshot = self.env.snapshot()?;
        let may = open(&self.notes.ledger).may();
        let look = || -> Result<Rows, Error> { self.db.range(&snapshot, ..)?.collect() };
        let (first, second) = match look().and_then(|first| Ok((first, look()?))) {
            Err(error) if error.kind() == ErrorKind::SnapshotTooOld => return Ok(()),
            looks => looks?,
        };
        if first != second {
            self.note_wrong("a snapshot changed".to_owned());
        }
        self.judge("a snapshot", &first, &must, &may);
        Ok(())
    }

    fn audit(&self) -> Result<(), Error> {
        for _ in 0..ATTEMPTS {
            let must = open(&self.notes.ledger).must(Promise::Order);
            let txn = self.env.begin()?;
            let looked = self.look(&txn).and_then(|rows| txn.commit().map(|_| rows));
            match looked {
                // What began to commit before the end may be there.
                Ok(rows) => {
                    let may = open(&self.notes.ledger).may();
                    self.judge("an audit", &rows, &must, &may);
                    return Ok(());
                }
                Err(error) if error.is_retryable() => *open(&self.notes.retried) += 1,
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    fn look(&self, reader: &impl Reads) -> Result<Rows, Error> {
        self.db.range(reader, ..)?.collect()
    }

    fn judge(&self, who: &str, rows: &Rows, must: &BTreeSet<Token>, may: &BTreeSet<Token>) {
        *open(&self.notes.looks) += 1;
        let ledger = open(&self.notes.ledger).clone();
        if let Err(wrong) = ledger.judge(rows, must, may) {
            self.note_wrong(format!("{who}: {wrong}"));
        }
    }
}
