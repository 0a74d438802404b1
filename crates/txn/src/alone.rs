//! Reads that rely on a lock on the whole file.
//!
//! Owns: [`Alone`]. Promises: while one lives, no child of the transaction begins, so that nothing
//! in the file changes unless the transaction itself changes it (N5). Must never: be held while a
//! lock is waited for: whoever begins a child waits for it, and may have what is waited for.

use std::sync::Arc;

use campanile_format::FileId;
use campanile_sync::{Condvar, Mutex};

use crate::locks::Access;
use crate::table::Entry;
use crate::transaction::Txn;

/// A statement that looks at a file without locks on its keys, because its transaction has locked
/// all of it and has no children. Whoever begins one waits until this is dropped.
#[derive(Debug)]
#[must_use = "a child may begin once it is dropped"]
pub struct Alone {
    entry: Arc<Entry>,
}

impl Drop for Alone {
    fn drop(&mut self) {
        self.entry.children.relying.leave();
    }
}

/// How many statements of a transaction rely on having no children.
#[derive(Debug, Default)]
pub(crate) struct Relying {
    statements: Mutex<usize>,
    none: Condvar,
}

impl Relying {
    /// Counts one in, unless `is_parent`, which is asked when no child can slip past it.
    fn enter(&self, is_parent: impl FnOnce() -> bool) -> bool {
        let mut statements = self.statements.lock();
        let enters = !is_parent();
        *statements += usize::from(enters);
        enters
    }

    fn leave(&self) {
        let mut statements = self.statements.lock();
        *statements -= 1;
        if *statements == 0 {
            self.none.notify_all();
        }
    }

    /// A child has been counted in: waits until those are over that do not know of it.
    pub fn await_none(&self) {
        let mut statements = self.statements.lock();
        while *statements > 0 {
            self.none.wait(&mut statements);
        }
    }
}

impl Txn {
    /// For a look at `file` without locks on its keys: `None` if the transaction has not locked all
    /// of it for `access`, or has children, who may change what their parent has locked.
    #[must_use]
    pub fn alone_in(&self, file: FileId, access: Access) -> Option<Alone> {
        if !self.has_whole(file, access) {
            return None;
        }
        let enters = self.entry.children.relying.enter(|| self.live_children() > 0);
        enters.then(|| Alone { entry: Arc::clone(&self.entry) })
    }
}

#[cfg(all(test, loom))]
mod models {
    use campanile_sync::atomic::{AtomicBool, AtomicUsize, Ordering};
    use campanile_sync::{every_interleaving, thread};

    use super::*;

    #[test]
    fn n5_nothing_changes_while_a_statement_relies_on_having_no_children() {
        every_interleaving(None, || {
            type Shared = (Relying, AtomicUsize, AtomicBool);
            let shared: Arc<Shared> = Arc::default();
            let (relying, live, dirty) = &*shared;
            let child = {
                let shared = Arc::clone(&shared);
                thread::spawn(move || {
                    let (relying, live, dirty) = &*shared;
                    live.fetch_add(1, Ordering::AcqRel);
                    relying.await_none();
                    dirty.store(true, Ordering::Release);
                    dirty.store(false, Ordering::Release);
                    live.fetch_sub(1, Ordering::AcqRel);
                })
            };
            if relying.enter(|| live.load(Ordering::Acquire) > 0) {
                assert!(!dirty.load(Ordering::Acquire), "a child changed it meanwhile");
                relying.leave();
            }
            child.join().unwrap();
        });
    }
}
