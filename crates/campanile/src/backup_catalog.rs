//! What a repository can bring back: the windows, and the backups.
//!
//! Owns the survey behind `campanile info`. Promises that a window is proven: every record in it
//! was read. Must never count what a partial backup holds as a backup.

use std::path::Path;

use campanile_backup::{BackupFound, Chain, Manifest, Repository};
use campanile_format::{Timeline, Utc, names};
use campanile_recovery::{Reach, RecoveryError, Target, examine};
use campanile_vfs::Host;
use campanile_wal::WalError;
use serde::Serialize;

use crate::causes;
use crate::error::{Error, ErrorKind, Result};

/// A backup in a repository.
#[derive(Clone, Debug, Serialize)]
#[non_exhaustive]
pub struct BackupEntry {
    /// Its name.
    pub name: String,
    /// Its history; 0 if it was never completed.
    pub timeline: u32,
    /// Where it is complete; `None` if it never was: it counts for nothing.
    pub end: Option<String>,
    /// The latest time in its log.
    pub last_time: String,
    /// Its bytes when it is restored.
    pub bytes: u64,
    /// Its bytes in the repository.
    pub stored_bytes: u64,
    /// The backup that it is an increment of.
    pub base: Option<String>,
    /// Why it stays whatever a policy says, if it was marked.
    pub kept: Option<KeptMark>,
    /// Why it cannot be restored, as far as its manifest and its base tell.
    pub damaged: Option<String>,
}

/// A keep mark.
#[derive(Clone, Debug, Serialize)]
#[non_exhaustive]
pub struct KeptMark {
    /// What whoever set it had to say.
    pub note: String,
    /// When it was set.
    pub set: String,
}

/// A stretch of log between two windows of one history, to no moment of which a restore can go.
#[derive(Clone, Debug, Serialize)]
#[non_exhaustive]
pub struct Gap {
    /// The history.
    pub timeline: u32,
    /// Behind this position.
    pub from: String,
    /// The latest time before it.
    pub from_time: String,
    /// Before this position.
    pub to: String,
    /// The latest time before it.
    pub to_time: String,
    /// What is missing, or damaged.
    pub why: String,
}

/// A stretch of log, to every moment of which a restore can go.
#[derive(Clone, Debug, Serialize)]
#[non_exhaustive]
pub struct Window {
    /// The history whose end, or part, this is.
    pub timeline: u32,
    /// The earliest position: where the first backup in it was complete.
    pub from: String,
    /// The latest time before it.
    pub from_time: String,
    /// The same, microseconds since 1970.
    pub from_us: u64,
    /// The last position.
    pub to: String,
    /// The latest time before it.
    pub to_time: String,
    /// The same, microseconds since 1970.
    pub to_us: u64,
    /// The backups that it can begin with.
    pub backups: Vec<String>,
    /// When each of them was complete, microseconds since 1970.
    pub backup_times_us: Vec<u64>,
    /// Why it ends before the log does: the gap, or the damage.
    pub ended_by: Option<String>,
}

/// What a repository holds.
#[derive(Clone, Debug, Serialize)]
#[non_exhaustive]
pub struct Catalog {
    /// Whose it is.
    pub environment: String,
    /// What can be brought back.
    pub windows: Vec<Window>,
    /// What cannot, between windows of one history.
    pub gaps: Vec<Gap>,
    /// The backups, oldest first.
    pub backups: Vec<BackupEntry>,
}

/// Surveys a repository: reads all of its log files, and writes nothing.
pub fn catalog(repository: impl AsRef<Path>) -> Result<Catalog> {
    catalog_on(&Host::os(), repository.as_ref())
}

/// The same on another host.
pub fn catalog_on(host: &Host, repository: &Path) -> Result<Catalog> {
    let shelves = Repository::in_directory(host, repository);
    let environment = shelves.environment().map_err(causes::backup)?;
    let mut catalog =
        Catalog { environment, windows: Vec::new(), gaps: Vec::new(), backups: Vec::new() };
    let found = catalog.read_backups(&shelves)?;
    let mut pool = None;
    for backup in &found {
        let Some(manifest) = &backup.manifest else { continue };
        let label = match shelves.label(&backup.name).map_err(causes::backup) {
            Ok(label) => label,
            Err(error) if error.is_corruption() => {
                catalog.cannot(&backup.name, &error);
                continue;
            }
            Err(error) => return Err(error),
        };
        if pool.is_none() {
            pool = Some(shelves.pool(label.environment).map_err(causes::backup)?);
        }
        let Some(pool) = &pool else { continue };
        for tip in pool.tips().map_err(causes::backup)? {
            if !pool.leads_to(label.timeline, manifest.end(), tip) {
                continue;
            }
            let line = pool.line_for(tip, label.timeline, manifest.first().file());
            let logs = line.and_then(|line| Ok(line.logs(label.environment)?));
            let logs = logs.map_err(causes::backup)?;
            let (reach, ended_by) = match examine(&logs, &label, &Target::End) {
                Ok(reach) => (reach, None),
                Err(RecoveryError::Wal(error)) if error.is_corruption() => {
                    let below = before_damage(&error).map(|last| logs.up_to(last));
                    let reach = below.map(|below| examine(&below, &label, &Target::End));
                    let Some(Ok(reach)) = reach else { continue };
                    (reach, Some(error.to_string()))
                }
                // Another history than that of this backup.
                Err(RecoveryError::OffHistory { .. }) => continue,
                Err(error) => return Err(causes::recovery(error)),
            };
            catalog.add(tip, &backup.name, manifest, &reach, ended_by);
        }
    }
    catalog.gaps = gaps(&catalog.windows);
    Ok(catalog)
}

/// What lies between windows of one history.
fn gaps(windows: &[Window]) -> Vec<Gap> {
    let mut gaps = Vec::new();
    for window in windows {
        let Some(why) = &window.ended_by else { continue };
        let later = |other: &&Window| {
            other.timeline == window.timeline && at(&other.from) >= at(&window.to)
        };
        let next = windows.iter().filter(later).min_by_key(|other| at(&other.from));
        gaps.extend(next.map(|next| Gap {
            timeline: window.timeline,
            from: window.to.clone(),
            from_time: window.to_time.clone(),
            to: next.from.clone(),
            to_time: next.from_time.clone(),
            why: why.clone(),
        }));
    }
    gaps
}

fn at(lsn: &str) -> Option<crate::Lsn> {
    crate::inspect::parse_lsn(lsn)
}

/// The last log file before what is missing or damaged.
fn before_damage(error: &WalError) -> Option<u32> {
    match error {
        WalError::Missing { file, .. } => names::parse_log_file(file)?.checked_sub(1),
        WalError::Corrupt { file, .. } => names::parse_log_file(file),
        _ => None,
    }
}

fn entry(found: &BackupFound) -> BackupEntry {
    let manifest = found.manifest.as_ref();
    BackupEntry {
        name: found.name.clone(),
        timeline: manifest.map_or(0, |manifest| manifest.timeline),
        end: manifest.map(|manifest| manifest.end.clone()),
        last_time: Utc(manifest.map_or(0, |manifest| manifest.last_time_us)).to_string(),
        bytes: manifest.map_or(0, Manifest::bytes),
        stored_bytes: manifest.map_or(0, Manifest::stored_bytes),
        base: manifest.and_then(|manifest| manifest.base.clone()),
        kept: found
            .mark
            .as_ref()
            .map(|mark| KeptMark { note: mark.note.clone(), set: Utc(mark.set_us).to_string() }),
        damaged: None,
    }
}

impl Catalog {
    /// Reads the manifests; returns the backups that can be restored by what these say.
    fn read_backups(&mut self, shelves: &Repository) -> Result<Vec<BackupFound>> {
        let mut all = Vec::new();
        for name in shelves.names().map_err(causes::backup)? {
            match shelves.backup(&name).map_err(causes::backup) {
                Ok(found) => all.push(found),
                // One that cannot be read does not hide the others.
                Err(error) if error.is_corruption() => {
                    let found = BackupFound { name, manifest: None, mark: None };
                    self.backups.push(entry(&found));
                    self.cannot(&found.name, &error);
                }
                Err(error) => return Err(error),
            }
        }
        all.sort_by_key(|found| {
            let begun = found.manifest.as_ref().map_or(0, |manifest| manifest.started_us);
            (begun, found.name.clone())
        });
        self.backups.extend(all.iter().map(entry));
        let mut usable = Vec::new();
        for found in all {
            match Chain::of(shelves, &found.name).map(|_| ()).map_err(causes::backup) {
                _ if found.manifest.is_none() => {}
                Ok(()) => usable.push(found),
                Err(error) if error.kind() == ErrorKind::Io => return Err(error),
                Err(error) => self.cannot(&found.name, &error),
            }
        }
        Ok(usable)
    }

    fn cannot(&mut self, name: &str, error: &Error) {
        let found = self.backups.iter_mut().find(|backup| backup.name == name);
        if let Some(backup) = found {
            backup.damaged = Some(error.to_string());
        }
    }
    /// Takes what one backup reaches into the window that ends at the same place.
    fn add(
        &mut self,
        tip: Timeline,
        name: &str,
        manifest: &Manifest,
        reach: &Reach,
        ended_by: Option<String>,
    ) {
        let to = reach.end.end.to_string();
        let to_us = reach.end.last_time_us.max(manifest.last_time_us);
        let same = |window: &&mut Window| window.timeline == tip.0 && window.to == to;
        let window = match self.windows.iter_mut().find(same) {
            Some(window) => window,
            None => {
                // The first backup of a window is its oldest: they come in this order.
                self.windows.push(Window {
                    timeline: tip.0,
                    from: reach.earliest.to_string(),
                    from_time: Utc(manifest.last_time_us).to_string(),
                    from_us: manifest.last_time_us,
                    to,
                    to_time: Utc(to_us).to_string(),
                    to_us,
                    backups: Vec::new(),
                    backup_times_us: Vec::new(),
                    ended_by,
                });
                let last = self.windows.len() - 1;
                &mut self.windows[last]
            }
        };
        window.backups.push(name.to_owned());
        window.backup_times_us.push(manifest.last_time_us);
    }
}
