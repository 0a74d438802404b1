//! Who locks: owners, their families, and what victim selection wants to know of them.
//!
//! Owns: [`OwnerId`], [`OwnerInfo`] and the registry of known owners. Promises: families are
//! trees; a parent stays known at least as long as its children. Must never: decide who waits.

use std::collections::HashMap;
use std::fmt;
use std::sync::Arc;

use campanile_sync::Mutex;
use campanile_sync::atomic::{AtomicU64, Ordering};
use campanile_sync::time::Instant;

use crate::name::{LockName, SpreadBuild};

/// Who holds or wants locks: one transaction. The number is the caller's.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct OwnerId(pub u64);

impl fmt::Display for OwnerId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// What the table should know of an owner.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OwnerInfo {
    /// The owner that this one is nested in: its locks, and its ancestors', do not hinder us.
    pub parent: Option<OwnerId>,
    /// Victims are sought among the lowest priority of a deadlock first.
    pub priority: u32,
    /// How errors and dumps call the owner; empty: "transaction N".
    pub label: String,
}

impl OwnerInfo {
    /// The priority of an owner that asks for none.
    pub const DEFAULT_PRIORITY: u32 = 100;
}

impl Default for OwnerInfo {
    fn default() -> Self {
        Self { parent: None, priority: OwnerInfo::DEFAULT_PRIORITY, label: String::new() }
    }
}

/// An owner as the table knows it.
#[derive(Debug)]
pub(crate) struct Owner {
    pub info: OwnerInfo,
    /// Parent, grandparent, and so on.
    pub ancestors: Arc<[OwnerId]>,
    pub children: Vec<OwnerId>,
    /// Order of registration: larger is younger.
    pub started: u64,
    /// When that was.
    pub since: Instant,
    /// Changes that aborting the owner would throw away.
    pub writes: u64,
    /// Every name that the owner has a grant on, each once.
    pub held: Vec<LockName>,
    /// The owner is giving everything back: `held` is empty, grants may be left.
    pub ending: bool,
}

impl Owner {
    /// Whether others are nested in it.
    pub fn is_parent(&self) -> bool {
        !self.children.is_empty()
    }
}

/// All known owners. Its mutexes are innermost: nothing else is locked while one is held.
#[derive(Debug)]
pub(crate) struct Owners {
    shards: Box<[Mutex<HashMap<OwnerId, Owner, SpreadBuild>>]>,
    next_started: AtomicU64,
    nobody: Arc<[OwnerId]>,
}

impl Owners {
    pub fn new(shards: usize) -> Owners {
        assert!(shards.is_power_of_two(), "owner shards");
        Owners {
            shards: (0..shards).map(|_| Mutex::default()).collect(),
            next_started: AtomicU64::new(0),
            nobody: Arc::from([]),
        }
    }

    fn shard(&self, id: OwnerId) -> &Mutex<HashMap<OwnerId, Owner, SpreadBuild>> {
        let spread = id.0.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 32;
        &self.shards[spread as usize & (self.shards.len() - 1)]
    }

    /// Makes `id` known.
    ///
    /// # Panics
    /// If it is known already, or its parent is not.
    pub fn register(&self, id: OwnerId, info: OwnerInfo) {
        let ancestors = match info.parent {
            None => Arc::clone(&self.nobody),
            Some(parent) => self.adopt(parent, id),
        };
        let owner = self.fresh(info, ancestors);
        let before = self.shard(id).lock().insert(id, owner);
        assert!(before.is_none(), "lock owner {id} is registered already");
    }

    /// Notes `child` with `parent` and returns the child's ancestors.
    fn adopt(&self, parent: OwnerId, child: OwnerId) -> Arc<[OwnerId]> {
        assert_ne!(parent, child, "a lock owner is not its own parent");
        let mut shard = self.shard(parent).lock();
        let parent_owner = shard.entry(parent).or_insert_with(|| self.fresh_plain());
        parent_owner.children.push(child);
        std::iter::once(parent).chain(parent_owner.ancestors.iter().copied()).collect()
    }

    fn fresh_plain(&self) -> Owner {
        self.fresh(OwnerInfo::default(), Arc::clone(&self.nobody))
    }

    fn fresh(&self, info: OwnerInfo, ancestors: Arc<[OwnerId]>) -> Owner {
        let started = self.next_started.fetch_add(1, Ordering::Relaxed);
        Owner {
            info,
            ancestors,
            children: Vec::new(),
            started,
            since: Instant::now(),
            writes: 0,
            held: Vec::new(),
            ending: false,
        }
    }

    /// Runs `work` on the owner, which becomes known if it was not.
    pub fn with<T>(&self, id: OwnerId, work: impl FnOnce(&mut Owner) -> T) -> T {
        let mut shard = self.shard(id).lock();
        work(shard.entry(id).or_insert_with(|| self.fresh_plain()))
    }

    /// Runs `work` on the owner if it is known.
    pub fn peek<T>(&self, id: OwnerId, work: impl FnOnce(&Owner) -> T) -> Option<T> {
        self.shard(id).lock().get(&id).map(work)
    }

    /// Marks the owner as ending and takes its list of names.
    pub fn begin_end(&self, id: OwnerId) -> Vec<LockName> {
        self.with(id, |owner| {
            owner.ending = true;
            std::mem::take(&mut owner.held)
        })
    }

    /// Forgets the owner and returns what it was. Its parent forgets it too.
    ///
    /// # Panics
    /// If it still has children.
    pub fn remove(&self, id: OwnerId) -> Option<Owner> {
        let owner = self.shard(id).lock().remove(&id)?;
        assert!(owner.children.is_empty(), "lock owner {id} ended before its children");
        if let Some(parent) = owner.info.parent {
            let mut shard = self.shard(parent).lock();
            if let Some(parent) = shard.get_mut(&parent) {
                parent.children.retain(|child| *child != id);
            }
        }
        Some(owner)
    }

    /// How errors and dumps call the owner.
    pub fn label(&self, id: OwnerId) -> String {
        let label = self.peek(id, |owner| owner.info.label.clone()).unwrap_or_default();
        if label.is_empty() { format!("transaction {id}") } else { label }
    }

    /// Every known owner, in order of registration.
    pub fn list(&self) -> Vec<OwnerId> {
        let mut known: Vec<(u64, OwnerId)> = Vec::new();
        for shard in &self.shards {
            known.extend(shard.lock().iter().map(|(id, owner)| (owner.started, *id)));
        }
        known.sort_unstable();
        known.into_iter().map(|(_, id)| id).collect()
    }
}
