//! Backups into a repository: full ones, and increments of what is there.
//!
//! Owns the choice of the base. Promises that an increment stands on a backup that can itself be
//! restored, of the same environment and history. Must never make an increment of a backup that
//! was not asked for.

use std::path::Path;
use std::sync::Arc;

use campanile_format::control::Control;
use campanile_vfs::LockMode;

use crate::chain::{Chain, Link};
use crate::copy_options::CopyOptions;
use crate::error::BackupError;
use crate::hot_backup::{Copied, CopyOrder, fits, hot_copy, read_control};
use crate::progress::Hook;
use crate::repository::Repository;

/// What a backup is to be an increment of.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Base {
    /// Nothing: a full backup.
    #[default]
    Nothing,
    /// The newest complete backup of the same history; if there is none that would do, nothing.
    Newest,
    /// This one.
    Named(String),
}

impl Repository {
    /// Makes a backup of a home; returns its name too.
    pub fn back_up(
        &self,
        home: &Path,
        options: CopyOptions,
        base: &Base,
        hook: &mut Hook<'_>,
    ) -> Result<(String, Copied), BackupError> {
        options.check()?;
        let host = self.host();
        let control = read_control(host, home)?;
        self.claim(control.environment)?;
        let _lock = self.lock(LockMode::Exclusive)?;
        let base = self.base(&control, base)?;
        let name = self.free_name()?;
        let order = CopyOrder {
            host: host.clone(),
            home: home.to_owned(),
            shelf: Arc::clone(self.shelf()),
            prefix: self.prefix(&name),
            options,
            base,
        };
        Ok((name, hot_copy(&order, hook)?))
    }

    fn base(&self, control: &Control, wanted: &Base) -> Result<Option<Link>, BackupError> {
        match wanted {
            Base::Nothing => Ok(None),
            Base::Named(name) => {
                let found = self.backups()?;
                let complete = found.iter().any(|b| b.name == *name && b.manifest.is_some());
                if !complete {
                    let why = format!("there is no complete backup {name:?} in the repository");
                    return Err(BackupError::NoBackup { why });
                }
                let chain = Chain::of(self, name)?;
                fits(chain.newest(), control)?;
                Ok(Some(chain.newest().clone()))
            }
            Base::Newest => {
                let found = self.readable_backups()?;
                for backup in found.iter().rev().filter(|backup| backup.manifest.is_some()) {
                    let chain = match Chain::of(self, &backup.name) {
                        Ok(chain) => chain,
                        // It cannot be restored: an increment of it could not be either.
                        Err(BackupError::NoBackup { .. } | BackupError::Damaged { .. }) => continue,
                        Err(error) => return Err(error),
                    };
                    if fits(chain.newest(), control).is_ok() {
                        return Ok(Some(chain.newest().clone()));
                    }
                }
                Ok(None)
            }
        }
    }
}
