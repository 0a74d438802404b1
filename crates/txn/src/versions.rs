//! Before-images of recent changes, in memory, for readers that take no locks.
//!
//! Owns: the version table, its memory budget and its garbage. Promises: a version is there
//! before the page shows the change and stays until the change is undone or no snapshot can miss
//! it (V1, V2). Must never: grow beyond its budget; over it, the writer's versions are dropped
//! and a snapshot that needs them is told so (V4).

use std::collections::{HashMap, VecDeque};
use std::hash::BuildHasher;
use std::sync::{Arc, OnceLock};

use campanile_format::record::Undo;
use campanile_format::{FileId, OverflowRef, Value};
use campanile_sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use campanile_sync::{Mutex, RandomState};

/// What a key held before a change.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Before {
    /// The key was not there.
    Absent,
    /// It held these bytes.
    Inline(Arc<[u8]>),
    /// It held a value that lives in overflow pages, which stay until no snapshot needs them.
    Overflow(OverflowRef),
}

impl Before {
    fn from_value(value: &Value<'_>) -> Before {
        match value {
            Value::Inline(bytes) => Before::Inline(Arc::from(*bytes)),
            Value::Overflow(overflow) => Before::Overflow(*overflow),
        }
    }

    fn memory(&self) -> usize {
        match self {
            Before::Absent | Before::Overflow(_) => 0,
            Before::Inline(bytes) => bytes.len(),
        }
    }
}

/// What a snapshot sees of a key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Seen {
    /// What the page shows now.
    Current,
    /// What the key held before a change that the snapshot must not see.
    Before(Before),
}

/// Who wrote a version: a transaction, which may be nested in others. All versions of a family
/// share one commit status, so that one store publishes them all.
#[derive(Debug, Default)]
pub(crate) struct Writer {
    /// Shared with those that it is nested in: 0 until the outermost commit is published, then
    /// its place in commit order.
    sequence: Arc<AtomicU64>,
    /// The parent, once it has committed into it: its versions are the parent's now.
    merged: OnceLock<Arc<Writer>>,
    /// Its versions were dropped for lack of memory.
    spilled: AtomicBool,
}

impl Writer {
    /// A writer nested in `parent`.
    pub fn nested(parent: &Writer) -> Arc<Writer> {
        Arc::new(Writer { sequence: Arc::clone(&parent.sequence), ..Writer::default() })
    }

    pub fn publish(&self, sequence: u64) {
        self.sequence.store(sequence, Ordering::Release);
    }

    /// Its versions are `parent`'s from now on.
    pub fn merge_into(&self, parent: &Arc<Writer>) {
        let first = self.merged.set(Arc::clone(parent)).is_ok();
        assert!(first, "a nested transaction commits once");
    }

    /// Whether this writer's versions are those of `other`: it is it, or was merged into it.
    fn belongs_to(&self, other: &Writer) -> bool {
        let mut one = self;
        while let Some(parent) = one.merged.get() {
            one = parent;
        }
        std::ptr::eq(one, other)
    }

    /// Whether both become visible at the same moment.
    fn is_family(&self, other: &Writer) -> bool {
        Arc::ptr_eq(&self.sequence, &other.sequence)
    }

    fn visible_at(&self, read_sequence: u64) -> bool {
        let sequence = self.sequence.load(Ordering::Acquire);
        sequence != 0 && sequence <= read_sequence
    }

    pub fn spilled(&self) -> bool {
        self.spilled.load(Ordering::Acquire)
    }
}

type Key = (FileId, Box<[u8]>);

/// The keys of which a transaction has published versions.
#[derive(Debug, Default)]
pub(crate) struct VersionList {
    keys: Vec<Arc<Key>>,
    memory: usize,
    /// Files of which every key counts as changed.
    wide: Vec<FileId>,
}

impl VersionList {
    /// Takes over what a nested transaction published, which is merged already.
    pub fn take_over(&mut self, child: VersionList) {
        let VersionList { keys, memory, wide } = child;
        if self.keys.is_empty() {
            self.keys = keys;
        } else {
            self.keys.extend(keys);
        }
        self.memory += memory;
        for file in wide {
            if !self.wide.contains(&file) {
                self.wide.push(file);
            }
        }
    }
}

#[derive(Debug)]
struct Version {
    writer: Arc<Writer>,
    before: Before,
}

/// Versions of one key, newest last.
type Chain = Vec<Version>;

/// What is known of a writer by file instead of by key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Wide {
    /// Its versions of this file were dropped: it may have changed any key.
    Spilled,
    /// Before it, the whole file was empty (it fills the file in bulk).
    WasEmpty,
}

#[derive(Debug)]
struct WideVersion {
    writer: Arc<Writer>,
    file: FileId,
    wide: Wide,
}

/// In which order changes of one transaction are published.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Order {
    /// As they are made: the first before-image of a key stays.
    Onward,
    /// From the last to the first: the last to come stays.
    Backward,
}

/// Versions that were published but may be missed by a snapshot.
#[derive(Debug)]
struct Garbage {
    sequence: u64,
    writer: Arc<Writer>,
    list: VersionList,
}

const SHARDS: usize = 64;
/// What one version costs besides key and value: map entry at half load, chain, list entry,
/// reference counts, the allocator's rounding. Measured on a transaction of 1 GiB, rounded up.
const VERSION_OVERHEAD: usize = 320;

/// All versions of an environment.
#[derive(Debug)]
pub(crate) struct Versions {
    shards: Vec<Mutex<HashMap<Arc<Key>, Chain>>>,
    hasher: RandomState,
    budget: usize,
    memory: AtomicUsize,
    wide: Mutex<Vec<WideVersion>>,
    wide_count: AtomicUsize,
    garbage: Mutex<VecDeque<Garbage>>,
}

impl Versions {
    pub fn new(budget: usize) -> Versions {
        Versions {
            shards: (0..SHARDS).map(|_| Mutex::default()).collect(),
            hasher: RandomState::default(),
            budget,
            memory: AtomicUsize::new(0),
            wide: Mutex::default(),
            wide_count: AtomicUsize::new(0),
            garbage: Mutex::default(),
        }
    }

    /// Bytes held now.
    pub fn memory(&self) -> usize {
        self.memory.load(Ordering::Relaxed)
    }

    /// Publishes what `undo` would restore, before the page is changed, under the page's latch.
    pub fn publish(&self, writer: &Arc<Writer>, list: &mut VersionList, undo: &Undo<'_>) {
        self.publish_in(writer, list, undo, Order::Onward);
    }

    /// The same for a transaction whose changes are looked at from the last to the first.
    pub fn publish_older(&self, writer: &Arc<Writer>, list: &mut VersionList, undo: &Undo<'_>) {
        self.publish_in(writer, list, undo, Order::Backward);
    }

    fn publish_in(
        &self,
        writer: &Arc<Writer>,
        list: &mut VersionList,
        undo: &Undo<'_>,
        order: Order,
    ) {
        let (file, key, before) = match undo {
            Undo::Insert { file, key } => (*file, *key, Before::Absent),
            Undo::Replace { file, key, old } | Undo::Delete { file, key, old } => {
                (*file, *key, Before::from_value(old))
            }
            Undo::ClearTree { file } => return self.widen(writer, list, *file, Wide::WasEmpty),
            Undo::None | Undo::AllocExtent { .. } | Undo::CreateFile { .. } => return,
        };
        if list.wide.contains(&file) {
            return;
        }
        if writer.spilled() {
            return self.widen(writer, list, file, Wide::Spilled);
        }
        let cost = key.len() + before.memory() + VERSION_OVERHEAD;
        if self.memory().saturating_add(cost) > self.budget {
            return self.spill(writer, list, file);
        }
        self.insert(writer, list, (file, Box::from(key)), before, order);
    }

    fn insert(
        &self,
        writer: &Arc<Writer>,
        list: &mut VersionList,
        key: Key,
        before: Before,
        order: Order,
    ) {
        let cost = key.1.len() + before.memory() + VERSION_OVERHEAD;
        let mut shard = self.shard(&key).lock();
        let key = Arc::new(key);
        let chain = shard.entry(Arc::clone(&key)).or_default();
        // The first before-image of a transaction, or of one that it is nested in, is the one that
        // others must see; and whatever of a nested one is undone is undone to that.
        if let Some(own) = chain.iter_mut().find(|version| version.writer.is_family(writer)) {
            if order == Order::Backward {
                let (new, old) = (before.memory(), own.before.memory());
                list.memory = list.memory + new - old;
                self.memory.fetch_add(new, Ordering::Relaxed);
                self.memory.fetch_sub(old, Ordering::Relaxed);
                own.before = before;
            }
            return;
        }
        chain.push(Version { writer: Arc::clone(writer), before });
        list.keys.push(key);
        list.memory += cost;
        self.memory.fetch_add(cost, Ordering::Relaxed);
    }

    /// Drops every version of `writer`: from now on, whoever may need one is told so.
    fn spill(&self, writer: &Arc<Writer>, list: &mut VersionList, file: FileId) {
        let mut files: Vec<FileId> = list.keys.iter().map(|key| key.0).collect();
        files.push(file);
        files.sort_unstable();
        files.dedup();
        // The marks stand before the first version goes, so that no reader can miss both.
        for file in files {
            self.widen(writer, list, file, Wide::Spilled);
        }
        writer.spilled.store(true, Ordering::Release);
        let keys = std::mem::take(&mut list.keys);
        let memory = std::mem::take(&mut list.memory);
        self.withdraw_keys(writer, &keys, memory);
    }

    fn widen(&self, writer: &Arc<Writer>, list: &mut VersionList, file: FileId, wide: Wide) {
        if list.wide.contains(&file) {
            return;
        }
        list.wide.push(file);
        let mut all = self.wide.lock();
        all.push(WideVersion { writer: Arc::clone(writer), file, wide });
        self.wide_count.store(all.len(), Ordering::Release);
    }

    /// What a reader at `read_sequence` sees of a key; `None` if that is no longer known.
    ///
    /// Called while the page is latched (or before an optimistic read is validated): a lookup
    /// after that could miss a version withdrawn in between.
    pub fn seen(&self, read_sequence: u64, file: FileId, key: &[u8]) -> Option<Seen> {
        let wanted = (file, Box::from(key));
        let seen = {
            let shard = self.shard(&wanted).lock();
            let newest_first = shard.get(&wanted).into_iter().flat_map(|c| c.iter().rev());
            newest_first
                .take_while(|version| !version.writer.visible_at(read_sequence))
                .last()
                .map_or(Seen::Current, |version| Seen::Before(version.before.clone()))
        };
        // Looked at second: a spilling writer marks the file before it withdraws its versions.
        if self.wide_count.load(Ordering::Acquire) > 0 {
            let wide = self.wide.lock();
            let hidden =
                |one: &&WideVersion| one.file == file && !one.writer.visible_at(read_sequence);
            match wide.iter().find(hidden).map(|one| one.wide) {
                None => {}
                Some(Wide::Spilled) => return None,
                Some(Wide::WasEmpty) => return Some(Seen::Before(Before::Absent)),
            }
        }
        Some(seen)
    }

    /// Takes back everything of a writer, after its changes are undone or seen by everybody.
    pub fn forget(&self, writer: &Arc<Writer>, list: VersionList) {
        self.withdraw_keys(writer, &list.keys, list.memory);
        if !list.wide.is_empty() {
            let mut all = self.wide.lock();
            all.retain(|one| !one.writer.belongs_to(writer));
            self.wide_count.store(all.len(), Ordering::Release);
        }
    }

    fn withdraw_keys(&self, writer: &Arc<Writer>, keys: &[Arc<Key>], memory: usize) {
        for key in keys {
            let mut shard = self.shard(key).lock();
            if let Some(chain) = shard.get_mut(key) {
                chain.retain(|version| !version.writer.belongs_to(writer));
                if chain.is_empty() {
                    shard.remove(key);
                }
            }
        }
        self.memory.fetch_sub(memory, Ordering::Relaxed);
    }

    /// Leaves the versions of a commit to [`collect`](Self::collect).
    pub fn retire(&self, sequence: u64, writer: &Arc<Writer>, list: VersionList) {
        if list.keys.is_empty() && list.wide.is_empty() {
            return;
        }
        let garbage = Garbage { sequence, writer: Arc::clone(writer), list };
        self.garbage.lock().push_back(garbage);
    }

    /// Frees what every snapshot from `oldest` on sees in the pages.
    pub fn collect(&self, oldest: u64) {
        loop {
            let next = {
                let mut garbage = self.garbage.lock();
                match garbage.front() {
                    Some(front) if front.sequence <= oldest => garbage.pop_front(),
                    _ => None,
                }
            };
            let Some(garbage) = next else { break };
            self.forget(&garbage.writer, garbage.list);
        }
    }

    fn shard(&self, key: &Key) -> &Mutex<HashMap<Arc<Key>, Chain>> {
        let hash = self.hasher.hash_one(key) as usize;
        &self.shards[hash % SHARDS]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const FILE: FileId = FileId(16);

    fn replace<'a>(key: &'a [u8], old: &'a [u8]) -> Undo<'a> {
        Undo::Replace { file: FILE, key, old: Value::Inline(old) }
    }

    fn before(text: &str) -> Option<Seen> {
        Some(Seen::Before(Before::Inline(Arc::from(text.as_bytes()))))
    }

    #[test]
    fn a_reader_sees_the_image_before_the_first_change_it_must_not_see() {
        let versions = Versions::new(1 << 20);
        let (first, second) = (Arc::<Writer>::default(), Arc::<Writer>::default());
        let (mut list, mut list2) = (VersionList::default(), VersionList::default());
        versions.publish(&first, &mut list, &replace(b"k", b"zero"));
        versions.publish(&first, &mut list, &replace(b"k", b"half"));
        assert_eq!(versions.seen(0, FILE, b"k"), before("zero"), "only the first image counts");
        first.publish(1);
        versions.publish(&second, &mut list2, &replace(b"k", b"one"));
        assert_eq!(versions.seen(0, FILE, b"k"), before("zero"));
        assert_eq!(versions.seen(1, FILE, b"k"), before("one"));
        second.publish(2);
        assert_eq!(versions.seen(2, FILE, b"k"), Some(Seen::Current));
        assert_eq!(versions.seen(1, FILE, b"other"), Some(Seen::Current));
    }

    #[test]
    fn retired_versions_stay_until_the_oldest_reader_sees_the_page() {
        let versions = Versions::new(1 << 20);
        let writer = Arc::<Writer>::default();
        let mut list = VersionList::default();
        versions.publish(&writer, &mut list, &Undo::Insert { file: FILE, key: b"k" });
        writer.publish(5);
        versions.retire(5, &writer, list);
        versions.collect(4);
        assert_eq!(versions.seen(4, FILE, b"k"), Some(Seen::Before(Before::Absent)));
        versions.collect(5);
        assert_eq!(versions.memory(), 0);
        assert_eq!(versions.seen(5, FILE, b"k"), Some(Seen::Current));
    }

    #[test]
    fn over_budget_the_writers_versions_go_and_readers_are_told() {
        let versions = Versions::new(3 * VERSION_OVERHEAD);
        let writer = Arc::<Writer>::default();
        let mut list = VersionList::default();
        for key in 0..10_u8 {
            versions.publish(&writer, &mut list, &replace(&[key], b"old"));
            assert!(versions.memory() <= 3 * VERSION_OVERHEAD);
        }
        assert!(writer.spilled());
        assert_eq!(versions.memory(), 0);
        assert_eq!(versions.seen(0, FILE, &[0]), None);
        assert_eq!(versions.seen(0, FileId(17), &[0]), Some(Seen::Current), "other files are fine");
        writer.publish(1);
        versions.retire(1, &writer, list);
        assert_eq!(versions.seen(1, FILE, &[0]), Some(Seen::Current), "a later reader is fine");
        assert_eq!(versions.seen(0, FILE, &[0]), None);
        versions.collect(1);
        assert_eq!(versions.wide_count.load(Ordering::Relaxed), 0);
    }

    #[test]
    fn before_a_bulk_load_the_whole_file_was_empty() {
        let versions = Versions::new(1 << 20);
        let (loader, later) = (Arc::<Writer>::default(), Arc::<Writer>::default());
        let (mut list, mut list2) = (VersionList::default(), VersionList::default());
        versions.publish(&loader, &mut list, &Undo::ClearTree { file: FILE });
        versions.publish(&loader, &mut list, &replace(b"k", b"loaded"));
        let absent = Some(Seen::Before(Before::Absent));
        assert_eq!(versions.seen(0, FILE, b"k"), absent);
        loader.publish(1);
        versions.publish(&later, &mut list2, &replace(b"k", b"loaded"));
        assert_eq!(versions.seen(0, FILE, b"k"), absent);
        assert_eq!(versions.seen(1, FILE, b"k"), before("loaded"));
        versions.forget(&loader, list);
        versions.forget(&later, list2);
        assert_eq!(versions.seen(1, FILE, b"k"), Some(Seen::Current));
    }

    #[test]
    fn a_family_shows_one_image_until_its_outermost_commits() {
        let versions = Versions::new(1 << 20);
        let parent = Arc::<Writer>::default();
        let (child, sibling) = (Writer::nested(&parent), Writer::nested(&parent));
        let (mut ours, mut theirs) = (VersionList::default(), VersionList::default());
        let mut others = VersionList::default();
        versions.publish(&child, &mut theirs, &replace(b"k", b"zero"));
        child.merge_into(&parent);
        ours.take_over(theirs);
        versions.publish(&parent, &mut ours, &replace(b"k", b"one"));
        versions.publish(&sibling, &mut others, &replace(b"k", b"two"));
        versions.publish(&sibling, &mut others, &replace(b"l", b"zero"));
        assert_eq!(versions.seen(9, FILE, b"k"), before("zero"));
        assert_eq!(ours.keys.len(), 1, "one version a key");
        versions.forget(&sibling, others);
        assert_eq!(versions.seen(9, FILE, b"l"), Some(Seen::Current), "the sibling rolled back");
        assert_eq!(versions.seen(9, FILE, b"k"), before("zero"));
        parent.publish(5);
        assert_eq!(versions.seen(4, FILE, b"k"), before("zero"));
        assert_eq!(versions.seen(5, FILE, b"k"), Some(Seen::Current));
        versions.forget(&parent, ours);
        assert_eq!(versions.memory(), 0, "also what was the child's");
    }

    #[test]
    fn looked_at_backwards_the_first_image_wins_all_the_same() {
        let versions = Versions::new(1 << 20);
        let writer = Arc::<Writer>::default();
        let mut list = VersionList::default();
        for old in [&b"newest"[..], b"newer still longer", b"first"] {
            versions.publish_older(&writer, &mut list, &replace(b"k", old));
        }
        assert_eq!(versions.seen(0, FILE, b"k"), before("first"));
        versions.publish_older(&writer, &mut list, &Undo::Insert { file: FILE, key: b"k" });
        assert_eq!(versions.seen(0, FILE, b"k"), Some(Seen::Before(Before::Absent)));
        versions.forget(&writer, list);
        assert_eq!(versions.memory(), 0);
    }
}
