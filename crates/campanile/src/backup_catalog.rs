//! What a repository can bring back: the windows, and the backups.
//!
//! Owns the survey behind `campanile info`. Promises that a window is proven: every record in it
//! was read. Must never count what a partial backup holds as a backup.

use std::path::Path;

use campanile_backup::{LogPool, Manifest, Repository};
use campanile_format::{Timeline, Utc, names};
use campanile_recovery::{Reach, RecoveryError, Target, examine};
use campanile_vfs::Host;
use campanile_wal::WalError;
use serde::Serialize;

use crate::causes;
use crate::error::Result;

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
    /// Its bytes.
    pub bytes: u64,
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
    let found = shelves.backups().map_err(causes::backup)?;
    let mut catalog = Catalog { environment, windows: Vec::new(), backups: Vec::new() };
    let mut pool = None;
    for backup in &found {
        catalog.backups.push(entry(&backup.name, backup.manifest.as_ref()));
        let Some(manifest) = &backup.manifest else { continue };
        let label = shelves.label(&backup.name).map_err(causes::backup)?;
        if pool.is_none() {
            pool = Some(shelves.pool(label.environment).map_err(causes::backup)?);
        }
        let Some(pool) = &pool else { continue };
        for tip in tips(pool) {
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
    Ok(catalog)
}

/// The last log file before what is missing or damaged.
fn before_damage(error: &WalError) -> Option<u32> {
    match error {
        WalError::Missing { file, .. } => names::parse_log_file(file)?.checked_sub(1),
        WalError::Corrupt { file, .. } => names::parse_log_file(file),
        _ => None,
    }
}

fn tips(pool: &LogPool) -> Vec<Timeline> {
    let all = pool.timelines();
    let is_left = |timeline| all.iter().any(|found| found.left == Some(timeline));
    all.iter().map(|found| found.timeline).filter(|timeline| !is_left(*timeline)).collect()
}

fn entry(name: &str, manifest: Option<&Manifest>) -> BackupEntry {
    BackupEntry {
        name: name.to_owned(),
        timeline: manifest.map_or(0, |manifest| manifest.timeline),
        end: manifest.map(|manifest| manifest.end.clone()),
        last_time: Utc(manifest.map_or(0, |manifest| manifest.last_time_us)).to_string(),
        bytes: manifest.map_or(0, Manifest::bytes),
    }
}

impl Catalog {
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
