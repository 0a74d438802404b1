//! Which locks a read or a write of one key takes.
//!
//! Owns: [`Locks`], the locks of single keys. Promises: a lock is asked for with nothing latched,
//! before the search, and names the key whether it is there or not: one request a read or write,
//! and a key that was found absent stays absent. Must never: decide about gaps (`gap.rs`,
//! `scan.rs`).

use campanile_pagestore::PageVersion;
use campanile_txn::{Access, Alone, Brief, ChildrenMark, Isolation, Txn, TxnError};

use crate::error::TreeError;
use crate::tree::Tree;
use crate::view::Reader;

/// What a tree's operations lock.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Locks {
    /// Nothing: whoever calls holds what is needed.
    Nothing,
    /// The file as a whole, in an intention mode: keys are nobody else's.
    File,
    /// The file, keys and gaps.
    Keys,
}

/// How a reader goes over the entries of a tree.
#[derive(Debug)]
pub(crate) enum Scanning {
    /// Locks what it comes to.
    Locking,
    /// Locks nothing; what allows that must be kept as long as it looks.
    Free { _alone: Option<Alone> },
}

/// What protects a value while it is read.
#[derive(Debug)]
pub(crate) enum Held {
    /// A lock that stays, or no lock is needed.
    Enough,
    /// A lock for the time of this read.
    Briefly(Brief),
    /// A lock on the whole file, as long as no child begins, which waits for this.
    Alone { _alone: Alone },
    /// Nothing: what is seen may be taken back, and pages of a large value with it.
    Nothing,
}

impl Tree<'_> {
    /// What a transaction must hold before it reads the key.
    pub(crate) fn lock_to_read(
        &self,
        reader: &mut Reader<'_>,
        key: &[u8],
    ) -> Result<Held, TreeError> {
        let Reader::Txn(txn) = reader else { return Ok(Held::Enough) };
        self.lock_file(txn, Access::Read)?;
        if self.locks != Locks::Keys {
            return Ok(Held::Enough);
        }
        if let Some(alone) = txn.alone_in(self.file, Access::Read) {
            return Ok(Held::Alone { _alone: alone });
        }
        match txn.isolation() {
            Isolation::Serializable => {
                self.txns.lock_key(txn, self.file, key, Access::Read)?;
                Ok(Held::Enough)
            }
            Isolation::ReadCommitted => self.lock_briefly(txn, key),
            Isolation::ReadUncommitted => Ok(Held::Nothing),
        }
    }

    /// Whether what was seen of a `key`, locked as `held` says, on a leaf, then of version `seen`,
    /// is not what a child has changed and may take back: children heed no locks of their parent.
    /// If there were any since `mark`, the lock is asked for once more, which waits for such a
    /// child, and the leaf must not have changed. If not: look again. Without a lock that is no
    /// matter: whoever looks so takes what may be taken back, but no pages of it.
    pub(crate) fn is_still_so(
        &self,
        reader: &mut Reader<'_>,
        mark: Option<ChildrenMark>,
        key: &[u8],
        seen: PageVersion,
        held: &Held,
    ) -> Result<bool, TreeError> {
        let (Reader::Txn(txn), Some(mark)) = (&mut *reader, mark) else { return Ok(true) };
        let is_locked = self.locks == Locks::Keys && !matches!(held, Held::Nothing);
        if !is_locked || !txn.had_children_since(mark) {
            return Ok(true);
        }
        let again = match txn.isolation() {
            Isolation::ReadUncommitted => self.lock_briefly(txn, key)?,
            Isolation::ReadCommitted | Isolation::Serializable => self.lock_to_read(reader, key)?,
        };
        self.unlock(reader, again);
        Ok(self.store().has_version(seen))
    }

    /// Locks the key to the end of the transaction, whatever its isolation, so that what it has
    /// stays there. What is returned is needed for the first look.
    pub(crate) fn lock_to_stay(&self, txn: &mut Txn, key: &[u8]) -> Result<Held, TxnError> {
        self.lock_file(txn, Access::Read)?;
        if self.locks != Locks::Keys {
            return Ok(Held::Enough);
        }
        if let Some(alone) = txn.alone_in(self.file, Access::Read) {
            return Ok(Held::Alone { _alone: alone });
        }
        self.txns.lock_key(txn, self.file, key, Access::Read)?;
        Ok(Held::Enough)
    }

    /// Locks the key for as long as it is looked at.
    pub(crate) fn lock_briefly(&self, txn: &mut Txn, key: &[u8]) -> Result<Held, TreeError> {
        let brief = self.txns.lock_briefly(txn, self.file, key)?;
        Ok(brief.map_or(Held::Enough, Held::Briefly))
    }

    /// The read is over.
    pub(crate) fn unlock(&self, reader: &mut Reader<'_>, held: Held) {
        if let (Reader::Txn(txn), Held::Briefly(brief)) = (reader, held) {
            self.txns.unlock(txn, brief);
        }
    }

    /// What a transaction must hold before it writes the key.
    pub(crate) fn lock_to_write(&self, txn: &mut Txn, key: &[u8]) -> Result<(), TxnError> {
        self.lock_file(txn, Access::Write)?;
        match self.locks {
            Locks::Keys => self.txns.lock_key(txn, self.file, key, Access::Write),
            Locks::File | Locks::Nothing => Ok(()),
        }
    }

    /// Whether a scan of this reader locks what it comes to.
    pub(crate) fn how_to_scan(&self, reader: &mut Reader<'_>) -> Result<Scanning, TreeError> {
        let Reader::Txn(txn) = reader else { return Ok(Scanning::Free { _alone: None }) };
        self.lock_file(txn, Access::Read)?;
        let isolated = txn.isolation() != Isolation::ReadUncommitted;
        let alone = txn.alone_in(self.file, Access::Read);
        Ok(match isolated && self.locks == Locks::Keys && alone.is_none() {
            true => Scanning::Locking,
            false => Scanning::Free { _alone: alone },
        })
    }

    /// Whether this transaction reads here what may be taken back.
    pub(crate) fn reads_dirty(&self, txn: &Txn) -> bool {
        self.locks == Locks::Keys
            && txn.isolation() == Isolation::ReadUncommitted
            && !txn.has_whole(self.file, Access::Read)
    }

    /// Announces that the transaction uses the file.
    pub(crate) fn lock_file(&self, txn: &mut Txn, access: Access) -> Result<(), TxnError> {
        match self.locks {
            Locks::Nothing => Ok(()),
            Locks::File | Locks::Keys => self.txns.lock_file(txn, self.file, access).map(drop),
        }
    }

    /// Locks a key as for writing, whether or not anything is written then: for whoever reads what
    /// he is going to change, so that two of them do not deadlock.
    ///
    /// # Errors
    /// A lock that was not granted.
    pub fn lock_for_update(&self, txn: &mut Txn, key: &[u8]) -> Result<(), TreeError> {
        Ok(self.lock_to_write(txn, key)?)
    }
}

#[cfg(test)]
mod tests {
    use std::fmt::Debug;
    use std::time::Duration;

    use super::*;
    use crate::rig::{Rig, Sizes};

    /// Its long value, which is looked at under a lock, has pages that the child takes back.
    #[test]
    fn what_a_reader_of_uncommitted_data_has_locked_is_confirmed_beside_its_children() {
        let rig = Rig::new(Sizes { frames: 128, ..Sizes::default() });
        let tree = rig.tree();
        let mut options = campanile_txn::TxnOptions::default();
        options.isolation = Isolation::ReadUncommitted;
        let mut parent = rig.txns.begin(options).expect("begin");
        tree.lock_file(&mut parent, Access::Read).expect("the file");
        let mut child = rig.txns.begin_child(&parent).expect("a child");
        let mark = Some(parent.children_mark());
        let held = tree.lock_briefly(&mut parent, b"key").expect("a lock");
        assert!(tree.put(&mut child, b"key", &[b'c'; 2_000]).is_ok());
        let (sight, leaf) = tree.look_up(None, b"key", &mut Vec::new()).expect("a look");
        assert!(sight.is_some());
        let mut reader = Reader::Txn(&mut parent);
        let dirty = tree.is_still_so(&mut reader, mark, b"key", leaf, &Held::Nothing);
        assert!(dirty.expect("no lock"), "without a lock it sees what it sees");
        std::thread::scope(|scope| {
            let so = scope.spawn(|| tree.is_still_so(&mut reader, mark, b"key", leaf, &held));
            while rig.txns.lock_stats().waiting == 0 && !so.is_finished() {
                std::thread::yield_now();
            }
            assert!(!so.is_finished(), "it does not wait for the child");
            rig.abort(child);
            assert!(!so.join().expect("no panic").expect("a lock"), "the child's is no more");
        });
        tree.unlock(&mut reader, held);
        rig.abort(parent);
    }

    type Look = fn(&Tree<'_>, &mut Txn) -> Box<dyn Debug>;

    /// In the middle of a statement, where its children could not be seen any more.
    #[test]
    fn no_child_begins_while_its_parent_looks_at_a_file_that_it_has_locked_as_a_whole() {
        let looks: [(&str, Look); 3] = [
            ("a read", |tree, txn| {
                Box::new(tree.lock_to_read(&mut Reader::Txn(txn), b"key").expect("a lock"))
            }),
            ("a value's reader", |tree, txn| {
                Box::new(tree.lock_to_stay(txn, b"key").expect("one"))
            }),
            ("a scan", |tree, txn| {
                Box::new(tree.how_to_scan(&mut Reader::Txn(txn)).expect("a lock"))
            }),
        ];
        let rig = Rig::new(Sizes { frames: 128, ..Sizes::default() });
        let tree = rig.tree();
        for (what, look) in looks {
            let mut parent = rig.begin();
            rig.txns.lock_whole(&mut parent, rig.file, Access::Read).expect("the file");
            let looking = look(&tree, &mut parent);
            let handle = parent.as_parent();
            std::thread::scope(|scope| {
                let child = scope.spawn(|| rig.txns.begin_child_of(&handle));
                while parent.live_children() == 0 {
                    std::thread::yield_now();
                }
                std::thread::sleep(Duration::from_millis(50));
                assert!(!child.is_finished(), "a child began beside {what}");
                drop(looking);
                let child = child.join().expect("no panic").expect("a child");
                assert!(parent.alone_in(rig.file, Access::Read).is_none(), "{what}");
                rig.abort(child);
            });
            assert!(parent.alone_in(rig.file, Access::Read).is_some(), "{what}");
            rig.abort(parent);
        }
    }
}
