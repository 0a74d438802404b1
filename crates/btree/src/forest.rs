//! What all trees of one environment share.
//!
//! Owns: [`Forest`]: the cleaner's queue. Promises:
//! one per environment, made before its first tree, shared by all threads. Must never: hold the
//! transaction layer (that one holds the forest, as its logical undo).

use campanile_format::FileId;
use campanile_sync::plain::{AtomicU64, Ordering};
use campanile_txn::Transactions;

use crate::clean::Backlog;
use crate::locking::Locks;
use crate::tree::Tree;

/// The trees of one environment, apart from their pages.
///
/// Hand it to the transaction layer as its logical undo, and make a [`Tree`] from it for every
/// call: a tree is two references and a file number.
#[derive(Debug)]
pub struct Forest {
    /// Tells this forest from others of this process, whose page versions mean nothing here.
    pub(crate) number: u64,
    pub(crate) backlog: Backlog,
}

impl Default for Forest {
    fn default() -> Forest {
        Forest::new()
    }
}

impl Forest {
    /// The forest of an environment that is being opened.
    #[must_use]
    pub fn new() -> Forest {
        static NEXT: AtomicU64 = AtomicU64::new(1);
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        Forest { number, backlog: Backlog::new() }
    }

    /// The tree in `file`, which exists.
    #[must_use]
    pub fn tree<'e>(&'e self, txns: &'e Transactions, file: FileId) -> Tree<'e> {
        // Rows of the graveyard belong to whoever buries, and to the cleaner once that is final.
        let locks = if file == FileId::GRAVEYARD { Locks::File } else { Locks::Keys };
        Tree { forest: self, txns, file, locks }
    }
}
