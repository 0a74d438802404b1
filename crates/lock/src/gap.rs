//! Gaps that a new key divides.
//!
//! Owns: [`LockTable::inherit_gap`]. Promises: whoever of a family held the gap holds both parts of
//! it afterwards, and the key between them. Must never: wait.

use crate::error::LockError;
use crate::lock::{Grant, Hold};
use crate::mode::{Mode, Part};
use crate::name::LockName;
use crate::options::Wait;
use crate::owner::OwnerId;
use crate::table::LockTable;

impl LockTable {
    /// `owner` puts a new key, whose lock is `new`, into the gap below the key of `next`:
    /// every ancestor that holds that gap shared gets the gap below the new key too, and the key,
    /// so that what they have scanned stays scanned: should the owner roll back and its locks go,
    /// nobody else may put the key there again. `own`: the owner itself gets the gap too; the key
    /// it has. `owner` must hold `new` exclusively.
    ///
    /// # Errors
    /// [`LockError::WouldBlock`] if a stranger has the gap below the new key, which only a
    /// collision of hashes can bring about.
    pub fn inherit_gap(
        &self,
        owner: OwnerId,
        next: LockName,
        new: LockName,
        own: bool,
    ) -> Result<(), LockError> {
        let ancestors = self.owners.with(owner, |owner| owner.ancestors.clone());
        if own {
            self.acquire(owner, new, Mode::GAP_S, Wait::No)?;
        }
        for heir in ancestors.iter().copied() {
            if self.holds(heir, next).gap() != Part::None {
                self.give_ancestor(owner, heir, new, Mode::RANGE_S)?;
            }
        }
        Ok(())
    }

    /// Lets an ancestor have a lock beside the exclusive one of its descendant `owner`. It could
    /// not ask for that itself, but no stranger is hindered by it who is not hindered already.
    fn give_ancestor(
        &self,
        owner: OwnerId,
        heir: OwnerId,
        name: LockName,
        mode: Mode,
    ) -> Result<(), LockError> {
        let ancestors = self.owners.with(owner, |owner| owner.ancestors.clone());
        let is_family = |other: OwnerId| other == owner || ancestors.contains(&other);
        let mut shard = self.shard(name);
        // Not there if the owner holds the whole instead.
        let lock = shard.locks.entry(name).or_default();
        let wanted = lock.mode_of(heir).join(mode);
        let hinders =
            |grant: &&Grant| !is_family(grant.owner) && !grant.mode().is_compatible(wanted);
        if let Some(stranger) = lock.grants.iter().find(hinders) {
            let other = self.owners.label(stranger.owner);
            return Err(LockError::WouldBlock { other, name, mode: wanted });
        }
        let somebody_waits = !lock.queue.is_empty();
        self.note_grant(heir, name, lock.add(heir, mode, Hold::ToEnd));
        drop(shard);
        if somebody_waits {
            // They wait for the ancestor now, too.
            self.look_again(heir);
        }
        Ok(())
    }
}
