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
use crate::gone_files::Prior;
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
        let link = self.base(&control, base)?;
        match self.copy_over(home, options, &control, link, hook) {
            // It would do for an increment but for what is gone since: then nothing is the base.
            Err(BackupError::NoBackup { why }) if *base == Base::Newest => {
                tracing::warn!("{why}; a full backup is made");
                self.copy_over(home, options, &control, None, hook)
            }
            made => made,
        }
    }

    fn copy_over(
        &self,
        home: &Path,
        options: CopyOptions,
        control: &Control,
        base: Option<Link>,
        hook: &mut Hook<'_>,
    ) -> Result<(String, Copied), BackupError> {
        let name = self.free_name()?;
        let newest = || self.newest_of(control);
        let prior = base.clone().or_else(newest).map(|link| Prior::of(&link, self));
        let order = CopyOrder {
            host: self.host().clone(),
            home: home.to_owned(),
            shelf: Arc::clone(self.shelf()),
            prefix: self.prefix(&name),
            options,
            base,
            prior,
        };
        Ok((name, hot_copy(&order, hook)?))
    }

    /// The newest backup of the same history. One that cannot be read keeps no full backup from
    /// being made.
    fn newest_of(&self, control: &Control) -> Option<Link> {
        let found = self.readable_backups().unwrap_or_else(|error| {
            tracing::warn!(%error, "data files are not compared with those of an earlier backup");
            Vec::new()
        });
        let mut links = found.into_iter().rev().filter_map(|backup| {
            let prefix = self.prefix(&backup.name);
            Some(Link { name: backup.name, prefix, manifest: backup.manifest? })
        });
        links.find(|link| fits(link, control).is_ok())
    }

    fn base(&self, control: &Control, wanted: &Base) -> Result<Option<Link>, BackupError> {
        match wanted {
            Base::Nothing => Ok(None),
            Base::Named(name) => {
                let is_there = self.names()?.iter().any(|found| found == name);
                if !is_there || self.backup(name)?.manifest.is_none() {
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
