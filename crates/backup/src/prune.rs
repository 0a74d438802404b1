//! Removing what a policy does not keep.
//!
//! Owns the way from a decision ([`decide`]) to an emptier repository. Promises (B15, B16) that
//! nobody else works in the repository meanwhile, that a log file which stays is in the archive in
//! its best form before the backup that holds it goes, and that whenever this is cut short, what
//! can be restored then can be restored as before. Must never remove what it has not decided on.

use std::collections::BTreeSet;
use std::sync::Arc;

use campanile_format::{EnvironmentId, Lsn, Timeline, Utc, names};
use campanile_vfs::LockMode;

use crate::error::BackupError;
use crate::gathered::reach_of;
use crate::lineage::Lineage;
use crate::log_pool::{LogFileFound, LogPool};
use crate::manifest::{MANIFEST, Manifest, join};
use crate::progress::{Hook, Meter};
use crate::repository::{BackupFound, Repository};
use crate::retention::{BackupFact, Completed, Facts, LogFact, Policy, Verdict, decide};
use crate::shelf::Shelf;

/// Log files are copied in pieces of this.
const PIECE_BYTES: u64 = 1 << 20;

/// What was removed, or would be.
#[derive(Clone, Debug)]
pub struct Pruned {
    /// What there was.
    pub facts: Facts,
    /// What was decided.
    pub verdict: Verdict,
    /// Log files that a backup which goes has in a better form than what stays: they go to the
    /// archive first. Names in the archive.
    pub moved: Vec<String>,
}

/// A log file to be copied into the archive.
struct Move {
    from: String,
    to: String,
    place: (Timeline, u32),
    reach: Lsn,
}

impl Repository {
    /// Removes what the policy does not keep; with `dry_run` only says what that is.
    pub fn prune(
        &self,
        policy: &Policy,
        dry_run: bool,
        hook: &mut Hook<'_>,
    ) -> Result<Pruned, BackupError> {
        let environment = self.environment_id()?;
        let mode = if dry_run { LockMode::Shared } else { LockMode::Exclusive };
        let _alone = self.lock(mode)?;
        let mut meter = Meter::new(hook);
        meter.phase("reading the repository", 0)?;
        let pool = self.pool(environment)?;
        let facts = self.facts(environment, &pool)?;
        let verdict = decide(&facts, policy);
        let moves = self.moves(&pool, environment, &facts, &verdict)?;
        let moved = moves.iter().map(|it| it.to.clone()).collect();
        let pruned = Pruned { facts, verdict, moved };
        if dry_run {
            return Ok(pruned);
        }
        for it in &moves {
            self.copy_log(environment, it, &mut meter)?;
        }
        let verdict = &pruned.verdict;
        let total = verdict.backups_to_remove.len() + verdict.logs_to_remove.len();
        meter.phase("removing", total as u64)?;
        for name in &verdict.backups_to_remove {
            self.remove_backup(name)?;
            tracing::info!(backup = %name, "backup removed");
            meter.add(1)?;
        }
        self.sweep_archive(&pool)?;
        let mut places = BTreeSet::new();
        for name in &verdict.logs_to_remove {
            self.shelf().remove(name)?;
            places.extend(name.rsplit_once('/').map(|(place, _)| place));
            meter.add(1)?;
        }
        for place in places {
            self.shelf().forget_empty(place)?;
        }
        Ok(pruned)
    }

    /// Removes what archivers left that died. The newest file of a history may be in the making;
    /// older ones are there, or will be made anew.
    fn sweep_archive(&self, pool: &LogPool) -> Result<(), BackupError> {
        for found in pool.timelines() {
            let place = Repository::archive_of(found.timeline);
            let old = |name: &str| names::parse_log_file(name).is_some_and(|it| it < found.last);
            self.shelf().sweep(&place, &old)?;
        }
        Ok(())
    }

    /// Removes a backup: first what makes it one, durably, then the rest.
    fn remove_backup(&self, name: &str) -> Result<(), BackupError> {
        let prefix = self.prefix(name);
        self.shelf().remove(&join(&prefix, MANIFEST))?;
        self.shelf().clear(&prefix)
    }

    /// What there is to decide on.
    fn facts(&self, environment: EnvironmentId, pool: &LogPool) -> Result<Facts, BackupError> {
        let ours = environment.to_string();
        let fact = |found: BackupFound| {
            let named = found.name.get(..15).and_then(Utc::parse_compact);
            let manifest = found.manifest.as_ref();
            BackupFact {
                began_us: manifest.map(|m| m.started_us).or(named.map(|utc| utc.0)),
                complete: manifest.map(completed),
                marked: found.mark.is_some(),
                foreign: manifest.is_some_and(|manifest| manifest.environment != ours),
                name: found.name,
            }
        };
        let archived = pool.files().filter(|found| backup_of(found.name).is_none());
        let logs = archived.map(|found| LogFact {
            name: found.name.to_owned(),
            timeline: found.header.timeline,
            number: found.header.file,
        });
        Ok(Facts {
            now_us: self.host().clock.now_us(),
            backups: self.backups()?.into_iter().map(fact).collect(),
            logs: logs.collect(),
            histories: pool.histories()?,
        })
    }

    /// Log files that are needed, and of which the best copy is in a backup that goes.
    fn moves(
        &self,
        pool: &LogPool,
        environment: EnvironmentId,
        facts: &Facts,
        verdict: &Verdict,
    ) -> Result<Vec<Move>, BackupError> {
        let going: BTreeSet<&str> = verdict.backups_to_remove.iter().map(String::as_str).collect();
        let leaves = |found: &LogFileFound<'_>| {
            backup_of(found.name).is_some_and(|backup| going.contains(backup))
        };
        let lineage = Lineage::new(&facts.histories);
        let pairs = facts.backups.iter().zip(&verdict.backups);
        let staying: Vec<&Completed> = pairs
            .filter(|(_, decision)| decision.reason.stays())
            .filter_map(|(fact, _)| fact.complete.as_ref())
            .collect();
        let place = |found: &LogFileFound<'_>| (found.header.timeline, found.header.file);
        let mut places: BTreeSet<_> = pool.files().filter(leaves).map(|it| place(&it)).collect();
        places.retain(|(timeline, number)| {
            staying.iter().any(|backup| lineage.needs(backup, *timeline, *number))
        });
        let mut moves = Vec::new();
        for at in places {
            let (mut stays, mut goes): (Lsn, Option<(Lsn, &str)>) = (Lsn::NONE, None);
            for found in pool.files().filter(|found| place(found) == at) {
                let reach = reach(self.shelf(), found.name, environment, at.1)?;
                match leaves(&found) {
                    true if goes.is_none_or(|(best, _)| reach > best) => {
                        goes = Some((reach, found.name));
                    }
                    true => {}
                    false => stays = stays.max(reach),
                }
            }
            if let Some((reach, from)) = goes.filter(|(reach, _)| *reach > stays) {
                let to = join(&Repository::archive_of(at.0), &names::log_file(at.1));
                moves.push(Move { from: from.to_owned(), to, place: at, reach });
            }
        }
        Ok(moves)
    }

    /// Puts a log file of a backup into the archive, up to where it can be read.
    fn copy_log(
        &self,
        environment: EnvironmentId,
        it: &Move,
        meter: &mut Meter<'_>,
    ) -> Result<(), BackupError> {
        let shelf = &**self.shelf();
        let failed = |name: &str, source| BackupError::io("read", shelf.shown(name), source);
        if self.is_archived(environment, it)? {
            return Ok(());
        }
        let bytes = u64::from(it.reach.offset());
        meter.phase("archiving log files", bytes)?;
        let from = shelf.open(&it.from)?;
        let mut put = shelf.put(&it.to)?;
        let (mut at, mut piece) = (0, Vec::new());
        while at < bytes {
            piece.resize(PIECE_BYTES.min(bytes - at) as usize, 0);
            from.read_exact_at(&mut piece, at).map_err(|error| failed(&it.from, error))?;
            put.write(&piece)?;
            at += piece.len() as u64;
            meter.add(piece.len() as u64)?;
        }
        // The archive works on meanwhile: what it has put there by now, whole, counts as safe.
        put.sync()?;
        if self.is_archived(environment, it)? {
            return Ok(());
        }
        put.finish()?;
        let back = reach(self.shelf(), &it.to, environment, it.place.1)?;
        if back >= it.reach {
            return Ok(());
        }
        let why = format!("its copy can be read up to {back} only, it ended at {}", it.reach);
        Err(BackupError::Damaged { file: shelf.shown(&it.to), why })
    }

    /// Whether the archive has so much of a file already, or more; an error if it has another.
    fn is_archived(&self, environment: EnvironmentId, it: &Move) -> Result<bool, BackupError> {
        if !self.shelf().has(&it.to)? {
            return Ok(false);
        }
        let theirs = reach(self.shelf(), &it.to, environment, it.place.1)?;
        self.check_same(it, u64::from(theirs.min(it.reach).offset()))?;
        Ok(theirs >= it.reach)
    }

    /// B10: what the archive has under a name is not replaced by something else.
    fn check_same(&self, it: &Move, bytes: u64) -> Result<(), BackupError> {
        let shelf = &**self.shelf();
        let (ours, theirs) = (shelf.open(&it.from)?, shelf.open(&it.to)?);
        let failed = |source| BackupError::io("read", shelf.shown(&it.to), source);
        let (mut at, mut a, mut b) = (0, Vec::new(), Vec::new());
        while at < bytes {
            let count = PIECE_BYTES.min(bytes - at) as usize;
            a.resize(count, 0);
            b.resize(count, 0);
            ours.read_exact_at(&mut a, at).map_err(failed)?;
            theirs.read_exact_at(&mut b, at).map_err(failed)?;
            if a != b {
                let why = format!(
                    "it is another log file than {}, which has the same number: nothing was \
                     removed; keep the backup (campanile keep), or move one of the two elsewhere",
                    shelf.shown(&it.from)
                );
                return Err(BackupError::Damaged { file: shelf.shown(&it.to), why });
            }
            at += count as u64;
        }
        Ok(())
    }
}

fn completed(manifest: &Manifest) -> Completed {
    Completed {
        base: manifest.base.clone(),
        timeline: Timeline(manifest.timeline),
        first: manifest.first(),
        end: manifest.end(),
        finished_us: manifest.finished_us,
    }
}

/// The backup that a file of a repository is in.
pub(crate) fn backup_of(name: &str) -> Option<&str> {
    name.strip_prefix("backup/")?.split('/').next()
}

/// How far the records of a log file reach; up to the damage if there is some.
pub(crate) fn reach(
    shelf: &Arc<dyn Shelf>,
    name: &str,
    environment: EnvironmentId,
    number: u32,
) -> Result<Lsn, BackupError> {
    match reach_of(shelf, name, environment, number) {
        Ok(end) => Ok(end.end),
        Err(campanile_wal::WalError::Corrupt { offset, .. }) => {
            Ok(Lsn::new(number, u32::try_from(offset).unwrap_or(u32::MAX)))
        }
        Err(error) => Err(error.into()),
    }
}
