//! One simulated file: what is durable, what the cache shows, and the operations between.
//!
//! Owns the pending operations and the faults that stick to a file. Promises:
//!
//! * I1: reads see the cache; the cache shows every write at once.
//! * I2: without a fault, `durable` plus all of `ops`, in order, is the cache.
//! * I3: a write that grows the file is two operations, the length first (rule D7).
//!
//! Must never touch another file or a name.

use std::collections::BTreeSet;
use std::sync::Arc;

use super::image::Image;

pub(super) type InodeId = u64;

/// Numbers pending operations of the whole disk in the order in which they were issued.
#[derive(Clone, Debug, Default)]
pub(super) struct Sequence(u64);

impl Sequence {
    pub(super) fn next(&mut self) -> u64 {
        self.0 += 1;
        self.0
    }
}

/// An operation since the last sync that made its predecessors durable.
#[derive(Clone, Debug)]
pub(super) enum Op {
    /// Whole sectors from sector `first`, as the cache held them after the write.
    Write { seq: u64, first: u64, bytes: Arc<[u8]> },
    /// A new length.
    Len { seq: u64, len: u64 },
}

impl Op {
    pub(super) fn seq(&self) -> u64 {
        match self {
            Op::Write { seq, .. } | Op::Len { seq, .. } => *seq,
        }
    }
}

/// A sync failure that the kernel has yet to report (rule F1 c).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Owed {
    /// To whoever syncs next; a sync before had reported success.
    Anyone,
    /// To whoever syncs next; no sync has lied.
    WriteOut,
    /// To the first who syncs through another handle than this one.
    OtherThan(u64),
}

/// How many earlier versions of written ranges are kept for rule F7, per file.
const VERSIONS_KEPT: usize = 64;

#[derive(Clone, Debug, Default)]
pub(super) struct Inode {
    pub(super) durable: Image,
    pub(super) cache: Image,
    pub(super) ops: Vec<Op>,
    /// The cache shows bytes that no pending operation will ever make durable (rule F1).
    pub(super) cache_astray: bool,
    /// Got its name by a rename while data was pending (rule D8, profile "rename without data").
    pub(super) renamed_unsynced: bool,
    /// Sectors that cannot be read until they are written (rule F3).
    pub(super) latent: BTreeSet<u64>,
    pub(super) owed: Option<Owed>,
    /// Earlier versions: where a write went, and the whole bytes it wrote (rule F7).
    versions: Vec<(u64, Arc<[u8]>)>,
}

/// The sectors that `offset..offset + len` touches: the first, and one past the last.
pub(super) fn sectors(offset: u64, len: u64, sector_bytes: u64) -> (u64, u64) {
    (offset / sector_bytes, (offset + len).div_ceil(sector_bytes))
}

impl Inode {
    /// A file whose bytes are all durable.
    pub(super) fn durable(image: Image) -> Inode {
        Inode { cache: image.clone(), durable: image, ..Inode::default() }
    }

    pub(super) fn write(
        &mut self,
        sequence: &mut Sequence,
        sector_bytes: u64,
        bytes: &[u8],
        offset: u64,
    ) {
        if bytes.is_empty() {
            return;
        }
        self.grow(sequence, offset + bytes.len() as u64);
        self.cache.write(bytes, offset);
        let (first, end) = sectors(offset, bytes.len() as u64, sector_bytes);
        let mut whole = vec![0; ((end - first) * sector_bytes) as usize];
        self.cache.read(&mut whole, first * sector_bytes);
        self.ops.push(Op::Write { seq: sequence.next(), first, bytes: whole.into() });
        if !self.latent.is_empty() {
            self.latent.retain(|sector| !(first..end).contains(sector));
        }
    }

    /// Grows the file to `len` with zeros if it is shorter.
    pub(super) fn grow(&mut self, sequence: &mut Sequence, len: u64) {
        if len > self.cache.len() {
            self.set_len(sequence, len);
        }
    }

    pub(super) fn set_len(&mut self, sequence: &mut Sequence, len: u64) {
        if len != self.cache.len() {
            self.cache.set_len(len);
            self.ops.push(Op::Len { seq: sequence.next(), len });
        }
    }

    /// Rule D9: every pending operation becomes durable.
    pub(super) fn sync(&mut self, sector_bytes: u64) {
        for op in std::mem::take(&mut self.ops) {
            apply(&mut self.durable, &op, sector_bytes);
        }
        self.renamed_unsynced = false;
    }

    /// Rule F1 a: the pending sectors are marked clean although they never reached the medium.
    /// Lengths stay pending: they are the file system's own metadata.
    pub(super) fn lose_data(&mut self) {
        self.ops.retain(|op| matches!(op, Op::Len { .. }));
        self.cache_astray = true;
    }

    /// Rule F1 b: the pending operations are gone, and the cache shows the old bytes again.
    pub(super) fn revert(&mut self) {
        self.ops.clear();
        self.cache = self.durable.clone();
        self.cache_astray = false;
    }

    /// What is read once the clean part of the cache has been evicted.
    pub(super) fn evict(&mut self, sector_bytes: u64) {
        let mut image = self.durable.clone();
        for op in &self.ops {
            apply(&mut image, op, sector_bytes);
        }
        self.cache = image;
        self.cache_astray = false;
    }

    /// Damages the medium: what is durable and what the cache shows, behind both their backs.
    pub(super) fn overwrite(&mut self, bytes: &[u8], offset: u64) {
        self.durable.write_within(bytes, offset);
        self.cache.write_within(bytes, offset);
    }

    /// True if a crash could lose something of this file, or its cache could show too much.
    pub(super) fn is_unsettled(&self) -> bool {
        !self.ops.is_empty() || self.cache_astray || self.renamed_unsynced || self.owed.is_some()
    }

    /// Remembers a write that is about to be made, and what it replaces, as versions that a stale
    /// read may return.
    pub(super) fn remember(&mut self, bytes: &[u8], offset: u64) {
        let end = offset + bytes.len() as u64;
        if end <= self.cache.len() && !self.versions.iter().any(|(at, _)| *at == offset) {
            let mut before = vec![0; bytes.len()];
            self.cache.read(&mut before, offset);
            self.versions.push((offset, before.into()));
        }
        self.versions.push((offset, bytes.into()));
        let surplus = self.versions.len().saturating_sub(VERSIONS_KEPT);
        self.versions.drain(..surplus);
    }

    /// Versions older than the newest of their place that lie within `offset..offset + len`.
    pub(super) fn stale_versions(&self, offset: u64, len: u64) -> Vec<(u64, Arc<[u8]>)> {
        let inside =
            |at: u64, bytes: &[u8]| at >= offset && at + bytes.len() as u64 <= offset + len;
        let mut stale = Vec::new();
        for (index, (at, bytes)) in self.versions.iter().enumerate() {
            let newer = &self.versions[index + 1..];
            if inside(*at, bytes) && newer.iter().any(|(later, _)| later == at) {
                stale.push((*at, Arc::clone(bytes)));
            }
        }
        stale
    }
}

/// Applies a pending operation in its turn.
fn apply(image: &mut Image, op: &Op, sector_bytes: u64) {
    match op {
        Op::Write { first, bytes, .. } => image.write_within(bytes, first * sector_bytes),
        Op::Len { len, .. } => image.set_len(*len),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn i2_durable_plus_pending_is_the_cache() {
        let mut inode = Inode::default();
        let mut sequence = Sequence::default();
        inode.write(&mut sequence, 512, &[1; 700], 100);
        inode.set_len(&mut sequence, 300);
        inode.write(&mut sequence, 512, &[2; 10], 900);
        inode.set_len(&mut sequence, 2000);
        inode.write(&mut sequence, 512, &[3; 512], 512);
        let cache = inode.cache.to_vec();
        inode.evict(512);
        assert_eq!(inode.cache.to_vec(), cache);
        inode.sync(512);
        assert_eq!(inode.durable.to_vec(), cache);
        assert!(!inode.is_unsettled());
    }

    #[test]
    fn i3_growth_comes_before_the_bytes() {
        let mut inode = Inode::default();
        inode.write(&mut Sequence::default(), 512, &[1; 600], 0);
        assert!(matches!(inode.ops[0], Op::Len { seq: 1, len: 600 }));
        assert!(
            matches!(&inode.ops[1], Op::Write { seq: 2, first: 0, bytes } if bytes.len() == 1024)
        );
    }
}
