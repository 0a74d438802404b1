//! Seeded scripts for several sessions: what each does, in its order; who moves when is decided by
//! the baton. Pure data; `sessions` carries them out.

use crate::workload::{self, Choices, Durability, Shape};

/// One move of a session. Moves that do not fit the moment are skipped.
#[allow(missing_docs, reason = "the fields are named by what they are")]
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Move {
    /// Creates the database in the running transaction.
    Create { database: usize },
    /// Drops it with all its rows.
    Drop { database: usize },
    /// Gives it the name of another, free number.
    Rename { database: usize, to: usize },
    /// Removes every row at once.
    Empty { database: usize },
    /// Sets a row.
    Put { database: usize, key: Vec<u8>, value: Vec<u8> },
    /// Removes up to `count` neighbouring rows, from the n-th on that the session could see.
    Delete { database: usize, nth: usize, count: usize },
    /// Reads a row.
    Get { database: usize, key: Vec<u8> },
    /// Sets a savepoint.
    Savepoint,
    /// Undoes everything since the newest savepoint of this level.
    RollbackTo,
    /// Begins a child transaction, in which the next moves are made.
    Enter,
    /// Begins two children beside each other, which make the next moves in turns.
    Twins,
    /// Ends the innermost child; of twins, the one whose turn it is.
    Leave { commit: bool },
    /// Commits the transaction, its children first.
    Commit(Durability),
    /// Rolls it back with all its children.
    Abort,
    /// Prepares it, its children committed; `keep` holds it for a session to resolve, otherwise it
    /// is left to be found by its identifier.
    Prepare { keep: bool },
    /// Resolves the n-th of the transactions that are prepared.
    Resolve { nth: usize, commit: bool },
    /// Takes a checkpoint.
    Checkpoint,
    /// Lets the background work take a step.
    Background,
    /// Compares a snapshot with what is committed.
    Check,
}

/// A move, and what happens if a lock is in its way.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Turn {
    /// The move.
    pub what: Move,
    /// Whether the session goes on with its next move then; otherwise the innermost transaction is
    /// rolled back.
    pub patient: bool,
    /// What a transaction that begins with it may see of others.
    pub level: Level,
}

/// What a transaction may see of others.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Level {
    /// Nothing.
    Serializable,
    /// What is committed: with sessions that take turns, the same as long as it looks once.
    Committed,
    /// Whatever is there: what it reads is not judged, what it leaves is.
    Uncommitted,
}

/// What the sessions do in one life of an environment.
pub type Act = Vec<Vec<Turn>>;

/// A whole story: several lives, each closed cleanly.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Script {
    /// Decides who moves when.
    pub seed: u64,
    /// What scripts like this stress.
    pub cast: Cast,
    /// The lives.
    pub acts: Vec<Act>,
}

/// Who plays, and what a script should stress.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Cast {
    /// Sessions at a time.
    pub sessions: usize,
    /// Moves of each in one life.
    pub moves: usize,
    /// Lives.
    pub acts: usize,
    /// Databases; the last is not durable if `volatile`.
    pub databases: usize,
    /// Page size that keys and values are scaled to.
    pub page_bytes: usize,
    /// Whether there is a database that is not durable.
    pub volatile: bool,
    /// Whether databases are created, dropped, renamed and emptied.
    pub catalog: bool,
    /// Whether commits are sometimes relaxed.
    pub relaxed: bool,
    /// How often child transactions begin, of 100 moves.
    pub nested: u64,
    /// How often two of them begin at once.
    pub twins: u64,
    /// How many transactions of 100 are of a weaker isolation.
    pub weaker: u64,
    /// How often transactions are prepared, of 100 moves.
    pub prepared: u64,
}

impl Cast {
    /// Three sessions with everything that they could do.
    pub fn full(moves: usize) -> Cast {
        Cast {
            sessions: 3,
            moves,
            acts: 2,
            databases: 3,
            page_bytes: 512,
            volatile: true,
            catalog: true,
            relaxed: true,
            nested: 6,
            twins: 2,
            weaker: 30,
            prepared: 3,
        }
    }

    /// The same for programs of one session: where keys and values come from.
    fn shape(self) -> Shape {
        Shape {
            databases: self.databases,
            page_bytes: self.page_bytes,
            volatile: self.volatile,
            catalog: self.catalog,
            relaxed: self.relaxed,
            ..Shape::mixed(self.moves)
        }
    }
}

/// The script of this seed and cast.
pub fn script(seed: u64, cast: Cast) -> Script {
    let mut choices = Choices::new(seed ^ 0x5ce7_e5ce_7e5c_e7e5);
    let acts = (0..cast.acts)
        .map(|_| {
            let session = |choices: &mut Choices| {
                let turns = (0..cast.moves).map(|_| turn(choices, cast));
                turns.collect()
            };
            (0..cast.sessions).map(|_| session(&mut choices)).collect()
        })
        .collect();
    Script { seed, cast, acts }
}

fn turn(choices: &mut Choices, cast: Cast) -> Turn {
    let patient = !choices.one_in(4);
    let level = match choices.below(200) {
        rare if rare < cast.weaker => Level::Committed,
        rare if rare < cast.weaker * 2 => Level::Uncommitted,
        _ => Level::Serializable,
    };
    Turn { what: a_move(choices, cast), patient, level }
}

fn a_move(choices: &mut Choices, cast: Cast) -> Move {
    let rare = choices.below(100);
    if rare < cast.nested {
        return Move::Enter;
    }
    if rare < cast.nested * 2 {
        return Move::Leave { commit: !choices.one_in(3) };
    }
    if rare < cast.nested * 2 + cast.prepared {
        return Move::Prepare { keep: choices.one_in(2) };
    }
    if rare < cast.nested * 2 + cast.prepared * 2 {
        let nth = choices.below(1 << 20) as usize;
        return Move::Resolve { nth, commit: choices.one_in(2) };
    }
    if rare < cast.nested * 2 + cast.prepared * 2 + cast.twins {
        return Move::Twins;
    }
    common_move(choices, cast)
}

fn common_move(choices: &mut Choices, cast: Cast) -> Move {
    let shape = cast.shape();
    let database = choices.below(cast.databases as u64) as usize;
    let nth = choices.below(1 << 20) as usize;
    match choices.below(100) {
        0..=49 => {
            let key = workload::key(choices, shape);
            Move::Put { database, key, value: workload::value(choices, shape) }
        }
        50..=63 => Move::Delete { database, nth, count: 1 },
        64..=66 => Move::Delete { database, nth, count: 1 + choices.below(24) as usize },
        67..=69 => Move::Get { database, key: workload::key(choices, shape) },
        70..=79 => Move::Commit(workload::durability(choices, shape)),
        80..=83 => Move::Abort,
        84..=85 => Move::Savepoint,
        86..=87 => Move::RollbackTo,
        88..=89 => Move::Checkpoint,
        90..=94 => Move::Background,
        95 => Move::Check,
        96..=99 if cast.catalog => catalog_move(choices, cast, database),
        _ => Move::Background,
    }
}

fn catalog_move(choices: &mut Choices, cast: Cast, database: usize) -> Move {
    match choices.below(8) {
        0 => Move::Drop { database },
        1 => Move::Rename { database, to: choices.below(cast.databases as u64) as usize },
        2 | 3 => Move::Empty { database },
        _ => Move::Create { database },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_same_seed_gives_the_same_script_and_scripts_hold_every_move() {
        let cast = Cast::full(200);
        assert_eq!(script(7, cast), script(7, cast));
        assert_ne!(script(7, cast), script(8, cast));
        let all = script(9, cast);
        let turns: Vec<&Turn> = all.acts.iter().flatten().flatten().collect();
        let has = |wanted: fn(&Move) -> bool| assert!(turns.iter().any(|turn| wanted(&turn.what)));
        has(|what| matches!(what, Move::Enter));
        has(|what| matches!(what, Move::Twins));
        has(|what| matches!(what, Move::Leave { commit: false }));
        has(|what| matches!(what, Move::Prepare { .. }));
        has(|what| matches!(what, Move::Resolve { .. }));
        has(|what| matches!(what, Move::Drop { .. }));
        has(|what| matches!(what, Move::Rename { .. }));
        has(|what| matches!(what, Move::Empty { .. }));
        assert!(turns.iter().any(|turn| !turn.patient));
        assert!(turns.iter().any(|turn| turn.level == Level::Committed));
        assert!(turns.iter().any(|turn| turn.level == Level::Uncommitted));
    }
}
