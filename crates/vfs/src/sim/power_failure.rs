//! The whole disk after a power failure: rules D2-D9 over all files and names.
//!
//! Owns the order in which items are decided, the same as `PendingInfo` counts them: files by
//! number, then directory changes. Promises that what was settled is shared, not copied. Must
//! never change the disk that failed.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::crash::Verdict;
use super::disk::State;
use super::inode::{Inode, InodeId, Op};
use super::names::{Change, Names};
use super::survive::{self, Mishaps};
use super::{Counters, CrashChoice, PendingInfo, Rule, SimOptions};

impl State {
    /// What a crash would decide on.
    pub(super) fn pending(&self, sector_bytes: u64) -> PendingInfo {
        let mut info = PendingInfo::default();
        for inode in self.inodes.values().filter(|inode| !inode.ops.is_empty()) {
            let (sectors, has_len) = survive::pending(inode, sector_bytes);
            info.sectors += sectors;
            info.lens += u64::from(has_len);
            info.ops += inode.ops.len() as u64;
        }
        info.dir_ops = self.names.ops.len() as u64;
        info.ops += info.dir_ops;
        info
    }

    /// The disk after the power has failed, with nobody using it.
    pub(super) fn power_failure(
        &self,
        choice: CrashChoice,
        pending: PendingInfo,
        options: &SimOptions,
    ) -> State {
        let seqs = match choice {
            CrashChoice::Prefix(_) => self.seqs(),
            _ => Vec::new(),
        };
        let mut verdict = Verdict::new(choice, pending, options.seed, seqs);
        let mut mishaps = self.mishaps(choice, &pending, options, &mut verdict);
        let mut inodes = BTreeMap::new();
        let mut incomplete = Vec::new();
        for (id, inode) in &self.inodes {
            if !inode.is_unsettled() {
                inodes.insert(*id, Arc::clone(inode));
                continue;
            }
            let (image, complete) = survive::survivors(inode, &mut verdict, &mut mishaps, options);
            if inode.renamed_unsynced && !complete {
                incomplete.push(*id);
            }
            let mut reborn = Inode::durable(image);
            reborn.latent = inode.latent.clone();
            inodes.insert(*id, Arc::new(reborn));
        }
        let names = self.names_after(&mut verdict, &options.counters);
        let mut after = self.copy();
        (after.names, after.inodes) = (names, inodes);
        if options.rename_without_data && !incomplete.is_empty() {
            after.empty_renamed(self, &incomplete, &options.counters);
        }
        after.collect();
        after
    }

    /// Which sector tears and which block is spoilt, if any.
    fn mishaps(
        &self,
        choice: CrashChoice,
        pending: &PendingInfo,
        options: &SimOptions,
        verdict: &mut Verdict,
    ) -> Mishaps {
        let (tears, spoils) = match choice {
            CrashChoice::TornSubset(_) => (true, false),
            CrashChoice::Collateral(_) => (false, true),
            CrashChoice::Subset(_) => (
                options.torn_sectors && verdict.dice().coin(),
                options.collateral && verdict.dice().coin(),
            ),
            CrashChoice::FilePrefixes(_) => (options.torn_sectors && verdict.dice().coin(), false),
            _ => (false, false),
        };
        Mishaps {
            tear_in: tears.then(|| verdict.dice().below(pending.sectors)),
            spoil_in: spoils.then(|| verdict.dice().below(self.writes_pending())),
        }
    }

    fn names_after(&self, verdict: &mut Verdict, counters: &Counters) -> Names {
        verdict.enter(self.names.ops.iter().map(|op| op.seq));
        let names = self.names.after_crash(|op| {
            let survives = verdict.entry(op.seq);
            if !survives {
                counters.count(match op.change {
                    Change::Rename { .. } => Rule::RenameLost,
                    _ => Rule::EntryLost,
                });
            }
            survives
        });
        if self.names.ops.is_empty() {
            return names;
        }
        let named = names.reachable();
        for (_, id) in self.names.files() {
            let inode = self.inode(id);
            if !named.contains(&id) && inode.ops.is_empty() && inode.durable.len() > 0 {
                counters.count(Rule::SyncedFileUnnamed);
            }
        }
        names
    }

    /// Profile "rename without data" of rule D8: a file that lost data and stands under the name
    /// that it was renamed to is empty.
    fn empty_renamed(&mut self, before: &State, incomplete: &[InodeId], counters: &Counters) {
        let old: BTreeMap<InodeId, _> =
            before.names.files().into_iter().map(|(path, id)| (id, path)).collect();
        for (path, id) in self.names.files() {
            if incomplete.contains(&id) && old.get(&id) == Some(&path) {
                self.inodes.insert(id, Arc::new(Inode::default()));
                counters.count(Rule::RenameWithoutData);
            }
        }
    }

    fn writes_pending(&self) -> u64 {
        let ops = self.inodes.values().flat_map(|inode| &inode.ops);
        ops.filter(|op| matches!(op, Op::Write { .. })).count() as u64
    }

    fn seqs(&self) -> Vec<u64> {
        let files = self.inodes.values().flat_map(|inode| inode.ops.iter().map(Op::seq));
        files.chain(self.names.ops.iter().map(|op| op.seq)).collect()
    }
}
