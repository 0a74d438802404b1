//! What a transaction shares with those nested in it.
//!
//! Owns the tree of open transactions, and what each did to the catalog. Promises that a parent
//! never goes on, commits or rolls back under its children's feet: an end that comes too early is
//! put off until the last child has ended, and is a rollback. Must never be locked while anything
//! waits.

use std::sync::Arc;

use campanile_sync::Mutex;
use campanile_txn::{Parent, Txn};

use crate::causes;
use crate::core::Core;
use crate::error::{Error, ErrorKind, Result};
use crate::retired::Retirement;

/// One transaction's place among its relatives.
#[derive(Debug)]
pub(crate) struct Family {
    parent: Option<Arc<Family>>,
    /// For whoever is to be nested in it.
    handle: Parent,
    /// Files that the transaction made its databases leave, in order.
    retirements: Mutex<Vec<Retirement>>,
    life: Mutex<Life>,
}

#[derive(Debug, Default)]
struct Life {
    /// Children that have not ended.
    children: usize,
    ended: bool,
    /// It ended before its children: to be rolled back after them.
    put_off: Option<Txn>,
}

impl Family {
    /// A transaction's place; that of a nested one counts among its parent's children until
    /// [`Family::leave`].
    pub fn new(parent: Option<&Arc<Family>>, txn: &Txn) -> Arc<Family> {
        Arc::new(Family {
            parent: parent.map(Arc::clone),
            handle: txn.as_parent(),
            retirements: Mutex::default(),
            life: Mutex::default(),
        })
    }

    /// Counts a child in and begins it.
    pub fn begin_child(self: &Arc<Family>, core: &Core) -> Result<Txn> {
        self.check_alive()?;
        {
            let mut life = self.life.lock();
            if life.ended {
                return Err(ended());
            }
            life.children += 1;
        }
        let begun = core.txns.begin_child_of(&self.handle).map_err(causes::txn);
        if begun.is_err() {
            self.child_ended(core);
        }
        begun
    }

    /// Whether the transaction is nested in another.
    pub fn is_nested(&self) -> bool {
        self.parent.is_some()
    }

    /// Fails if an ancestor has ended already: then there is nothing to be nested in.
    pub fn check_alive(&self) -> Result<()> {
        let mut ancestor = self.parent.as_ref();
        while let Some(family) = ancestor {
            if family.life.lock().ended {
                return Err(ended());
            }
            ancestor = family.parent.as_ref();
        }
        Ok(())
    }

    /// Fails while the transaction has children: what they changed stands above what it could
    /// change or undo.
    pub fn check_childless(&self) -> Result<()> {
        match self.life.lock().children {
            0 => Ok(()),
            open => Err(busy(open)),
        }
    }

    /// The transaction ends: gives it back if it may. With children it is put off.
    pub fn end(&self, txn: Txn) -> Result<Txn> {
        let mut life = self.life.lock();
        life.ended = true;
        if life.children == 0 {
            return Ok(txn);
        }
        life.put_off = Some(txn);
        Err(busy(life.children))
    }

    /// The transaction has ended: counts it out, and ends an ancestor that waited for that.
    pub fn leave(&self, core: &Core) {
        core.gate.leave();
        if let Some(parent) = &self.parent {
            parent.child_ended(core);
        }
    }

    fn child_ended(&self, core: &Core) {
        let put_off = {
            let mut life = self.life.lock();
            life.children -= 1;
            if life.children == 0 { life.put_off.take() } else { None }
        };
        if let Some(txn) = put_off {
            if let Err(error) = core.txns.abort(txn) {
                tracing::error!(%error, "a transaction is rolled back by the next recovery");
            }
            self.leave(core);
        }
    }

    /// Remembers that a database left a file.
    pub fn retire(&self, retirement: Retirement) {
        self.retirements.lock().push(retirement);
    }

    /// How many retirements there are: what a savepoint remembers.
    pub fn retired(&self) -> usize {
        self.retirements.lock().len()
    }

    /// Takes back all retirements but the first `count`.
    pub fn keep_retired(&self, count: usize) {
        self.retirements.lock().truncate(count);
    }

    /// The retirements of the transaction alone, to be published or handed on.
    pub fn take_retired(&self) -> Vec<Retirement> {
        std::mem::take(&mut *self.retirements.lock())
    }

    /// Hands the retirements to the parent, into which the transaction commits.
    pub fn hand_retired_on(&self) {
        let ours = self.take_retired();
        if let Some(parent) = &self.parent {
            parent.retirements.lock().extend(ours);
        }
    }

    /// The retirements that the transaction sees and others do not: its own and its ancestors'.
    pub fn seen_retired(&self) -> Vec<Retirement> {
        let mut seen = self.retirements.lock().clone();
        if let Some(parent) = &self.parent {
            seen.extend(parent.seen_retired());
        }
        seen
    }
}

fn ended() -> Error {
    let what = "the transaction that this one is nested in has ended: roll this one back";
    Error::new(ErrorKind::MustRollBack, what)
}

fn busy(open: usize) -> Error {
    let what = format!(
        "{open} nested transactions are open: commit or abort them first; a transaction that is \
         ended before its children is rolled back"
    );
    Error::new(ErrorKind::Busy, what)
}
