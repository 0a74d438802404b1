//! Changes of files that are not durable: no log record, undo in memory.
//!
//! Owns: [`VolatileUndo`]. Promises: newest first, at the price of memory that grows with the
//! transaction (the one part of a transaction that does). Must never: hold undo of a durable file.

use campanile_format::record::{Body, Record, Undo};
use campanile_format::{Corrupt, FormatError, Lsn, TxnId};

/// The undo list of one transaction, for its changes of files that are not durable.
#[derive(Debug, Default)]
pub(crate) struct VolatileUndo {
    /// Counts changes, never goes back: savepoints remember it.
    count: u64,
    /// (count after the change, the undo as an encoded log record).
    entries: Vec<(u64, Vec<u8>)>,
}

impl VolatileUndo {
    /// Remembers how to undo a change.
    pub fn push(&mut self, undo: &Undo<'_>) {
        if matches!(undo, Undo::None) {
            return;
        }
        self.count += 1;
        let body = Body::Update { changes: Vec::new(), undo: *undo };
        let mut bytes = Vec::new();
        Record { txn: TxnId::SYSTEM, prev: Lsn::NONE, body }.encode(&mut bytes);
        self.entries.push((self.count, bytes));
    }

    /// Appends what a nested transaction did.
    pub fn take_over(&mut self, child: VolatileUndo) {
        for (_, bytes) in child.entries {
            self.count += 1;
            self.entries.push((self.count, bytes));
        }
    }

    /// How many changes there are to undo.
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// What a savepoint taken now remembers.
    pub fn mark(&self) -> u64 {
        self.count
    }

    /// Takes the newest entry above `mark`.
    pub fn pop_above(&mut self, mark: u64) -> Option<EncodedUndo> {
        if self.entries.last()?.0 <= mark {
            return None;
        }
        self.entries.pop().map(|(_, bytes)| EncodedUndo(bytes))
    }
}

/// One remembered undo.
#[derive(Debug)]
pub(crate) struct EncodedUndo(Vec<u8>);

impl EncodedUndo {
    pub fn decode(&self) -> Result<Undo<'_>, FormatError> {
        match Record::decode(&self.0)?.body {
            Body::Update { undo, .. } => Ok(undo),
            _ => Err(Corrupt::new("remembered undo", 0).into()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use campanile_format::FileId;

    #[test]
    fn entries_come_back_newest_first_and_stop_at_the_mark() {
        let mut list = VolatileUndo::default();
        let insert = |key| Undo::Insert { file: FileId(20), key };
        list.push(&insert(b"a"));
        let mark = list.mark();
        list.push(&insert(b"b"));
        list.push(&Undo::None);
        list.push(&insert(b"c"));
        for expected in [b"c", b"b"] {
            let encoded = list.pop_above(mark).unwrap();
            assert_eq!(encoded.decode().unwrap(), insert(expected));
        }
        assert!(list.pop_above(mark).is_none());
        assert!(list.pop_above(0).is_some());
        assert!(list.pop_above(0).is_none());
    }
}
