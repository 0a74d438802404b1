//! Child transactions of a session: one, or two beside each other.
//!
//! What a child has changed is the end of its transaction's list of changes while it moves; twins
//! have each their own end, which is put there for the moves of the one whose turn it is.

use std::collections::VecDeque;

use campanile::{Nested, Transaction};

use super::{Done, Exit, Session};
use crate::change::Change;
use crate::life::End;
use crate::script::Move;

impl Session<'_, '_> {
    /// A child transaction and the moves in it. Some if the whole transaction ends with it.
    pub(super) fn child(
        &mut self,
        txn: &mut Transaction,
        level: usize,
    ) -> Result<Option<Exit>, End> {
        let before = self.changes.len();
        let mut child = txn.nested()?;
        let exit = self.inside(&mut child, None, level + 1)?;
        let commits = match &exit {
            Exit::Leave { commit } => *commit,
            Exit::Commit(_) | Exit::Prepare { .. } => true,
            Exit::Abort => false,
        };
        let changes = self.changes.split_off(before);
        self.leave(child, changes, commits)?;
        Ok((!matches!(exit, Exit::Leave { .. })).then_some(exit))
    }

    /// A child ends; what it changed becomes its parent's, or nothing.
    fn leave(
        &mut self,
        child: Nested<'_>,
        mut changes: Vec<Change>,
        commits: bool,
    ) -> Result<(), End> {
        if commits {
            child.commit()?;
            self.changes.append(&mut changes);
            self.stage.count(|deeds| deeds.children.0 += 1);
        } else {
            child.abort()?;
            self.stage.count(|deeds| deeds.children.1 += 1);
        }
        Ok(())
    }

    /// Two children beside each other, which make the moves in turns. Neither sees what the other
    /// has changed before that one has committed. Some if the whole transaction ends with them.
    pub(super) fn twins(&mut self, txn: &mut Transaction) -> Result<Option<Exit>, End> {
        let mut live = VecDeque::new();
        for _ in 0..2 {
            live.push_back((txn.nested()?, Vec::new()));
        }
        let mut exit = None;
        while let (None, Some((mut child, mut changes))) = (&exit, live.pop_front()) {
            let Some(turn) = self.next() else {
                live.push_front((child, changes));
                exit = Some(Exit::Abort);
                break;
            };
            let mut leaves = None;
            match &turn.what {
                Move::Commit(durability) => exit = Some(Exit::Commit(*durability)),
                Move::Abort => exit = Some(Exit::Abort),
                Move::Prepare { keep } => exit = Some(Exit::Prepare { keep: *keep }),
                Move::Leave { commit } => leaves = Some(*commit),
                Move::Checkpoint | Move::Background | Move::Check => self.aside(&turn.what)?,
                what => {
                    let before = self.changes.len();
                    self.changes.append(&mut changes);
                    let done = self.statement(&mut child, what);
                    changes = self.changes.split_off(before);
                    self.stage.count(|deeds| deeds.beside_twin += u64::from(!live.is_empty()));
                    if let Done::Blocked = done? {
                        self.stage.count(|deeds| deeds.blocked += 1);
                        leaves = (!turn.patient).then_some(false);
                    }
                }
            }
            match leaves {
                Some(commits) => self.leave(child, changes, commits)?,
                None => live.push_back((child, changes)),
            }
        }
        let commits = matches!(exit, Some(Exit::Commit(_) | Exit::Prepare { .. }));
        for (child, changes) in live {
            self.leave(child, changes, commits)?;
        }
        Ok(exit)
    }
}
