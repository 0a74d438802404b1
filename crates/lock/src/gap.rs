//! Gaps that a new key divides.
//!
//! Owns: [`LockTable::inherit_gap`]. Promises: whoever of a family held the gap holds both parts of
//! it afterwards. Must never: wait.

use crate::error::LockError;
use crate::mode::{Mode, Part};
use crate::name::LockName;
use crate::options::Wait;
use crate::owner::OwnerId;
use crate::table::LockTable;

impl LockTable {
    /// `owner` puts a new key, whose lock is `new`, into the gap below the key of `next`:
    /// every ancestor that holds that gap shared gets the gap below the new key too, so that what
    /// they have scanned stays scanned. `own`: so does the owner itself. `owner` must hold `new`
    /// exclusively.
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
                self.acquire(heir, new, Mode::GAP_S, Wait::No)?;
            }
        }
        Ok(())
    }
}
