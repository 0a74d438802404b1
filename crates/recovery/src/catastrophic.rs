//! Catastrophic recovery: from a hot copy and the log since, to one moment.
//!
//! Owns the step from a backup to an environment that looks as if its owner had just died: the log
//! is cut where the target lies, a new history begins in a new file, and the control file names
//! the *backup's* starting point. From there on it is normal recovery, so a crash anywhere in it
//! needs nothing of its own (R11). Promises that targets which cannot be reached are refused before
//! anything is written (R1), and that pages of the copy which are later than the target are never
//! shown (R12). Must never start from any other checkpoint than the one in the label.

use std::path::Path;
use std::sync::Arc;

use campanile_format::control::Control;
use campanile_format::planted::{self, Bug};
use campanile_format::record::Body;
use campanile_format::{Features, Lsn, Timeline, Utc, names};
use campanile_pagestore::DataDirs;
use campanile_txn::LogicalUndo;
use campanile_vfs::{Host, Open, Poison};
use campanile_wal::{ControlFile, LogEnd, LogSet, Start as LogStart, Tail, find_end};

use crate::error::RecoveryError;
use crate::open::{OpenOptions, Opened, Opening, is_backup_copy};
use crate::plan::Plan;
use crate::progress::{Hook, Phase, Progress, Pulse};
use crate::recover::recover;
use crate::report::RestoredTo;
use crate::target::{CommitAt, Search, Stop, Target};

/// A new history's number is larger by up to this: two restores of one backup that know nothing of
/// each other must not take the same.
const TIMELINE_STEP_MAX: u64 = 1 << 20;

/// What a backup and a log offer: where the target lies, and how far one could go.
#[derive(Clone, Copy, Debug)]
pub struct Reach {
    /// Where the target lies.
    pub stop: Stop,
    /// The log is needed from here on.
    pub first: Lsn,
    /// No earlier target can be reached.
    pub earliest: Lsn,
    /// How the log ends.
    pub end: LogEnd,
    /// The history in which the target lies.
    pub timeline: Timeline,
}

/// Brings the copy in `home` to `target`, or the environment in it to the end of its log, from the
/// oldest log file on.
///
/// The caller holds the home's lock. An environment that is no copy can only go to the end: it
/// replays all the log there is, which brings back data files that were put in from an older copy.
pub fn catastrophic(
    host: &Host,
    home: &Path,
    options: &OpenOptions,
    target: &Target,
    undo: Arc<dyn LogicalUndo>,
    hook: &mut Hook<'_>,
) -> Result<Opened, RecoveryError> {
    let opening = Opening { host, home, options, poison: Poison::new(), undo };
    let control = ControlFile::read(&*host.vfs, home)?;
    let mut pulse = Pulse::new(hook);
    if !is_backup_copy(&control) {
        if *target != Target::End {
            let (home, target) = (home.display().to_string(), target.to_string());
            return Err(RecoveryError::NotABackup { home, target });
        }
        let control = start_over(&opening, &control, &mut pulse)?;
        let reason = "asked to replay all of the log";
        return recover(&opening, control, reason, &mut pulse);
    }
    let logs = logs_of(host, home, &control)?;
    let reach = examine(&logs, &control, target)?;
    let branched = branch(&opening, &logs, &control, &reach)?;
    let mut opened = recover(&opening, branched, "it was a backup", &mut pulse)?;
    opened.report.restored = Some(restored(target, &reach, branched.timeline));
    Ok(opened)
}

fn restored(target: &Target, reach: &Reach, timeline: Timeline) -> RestoredTo {
    let shown = |commit: CommitAt| format!("{} at {}", commit.lsn, Utc(commit.time_us));
    RestoredTo {
        target: target.to_string(),
        at: reach.stop.at.to_string(),
        last_commit: reach.stop.last_commit.map(shown),
        next_commit: reach.stop.next_commit.map(shown),
        from_timeline: reach.timeline.0,
        timeline: timeline.0,
    }
}

/// The log in a copy's home, whatever history it leads to; without the file of an earlier attempt
/// at this that got no further.
fn logs_of(host: &Host, home: &Path, label: &Control) -> Result<LogSet, RecoveryError> {
    let dir = home.join(names::LOG_DIR);
    let newest = LogSet::open(&host.vfs, &dir, label.environment, Timeline(u32::MAX))?;
    let mut logs = newest;
    while let Some(file) = logs.newest() {
        let number = file.number;
        let Ok(header) = file.header else { break };
        let branch = header.timeline != header.predecessor_timeline;
        let first = header.first_record();
        let untouched = || -> Result<bool, RecoveryError> {
            let end = find_end(&logs, first, Lsn::NONE)?;
            Ok(end.records == 0 && end.tail == Tail::Clean)
        };
        if !branch || !untouched()? {
            break;
        }
        logs = logs.up_to(number - 1);
    }
    Ok(logs)
}

/// Where `target` lies in `logs`, as seen from the backup with this label. Reads only.
pub fn examine(logs: &LogSet, label: &Control, target: &Target) -> Result<Reach, RecoveryError> {
    check_history(logs, label)?;
    let (redo, first) = needed_from(logs, label)?;
    let chain = logs.chain(first)?;
    let earliest = consistent_from(logs, label, first)?;
    let end = find_end(logs, redo, label.durable)?;
    let mut search = Search::new(target, redo, earliest, label.time_us);
    for found in logs.forward(redo, end.end)? {
        search.take(&found?.1)?;
    }
    let stop = search.finish(&end)?;
    let timeline = chain.iter().find(|link| link.number == stop.at.file());
    let timeline = timeline.map_or(label.timeline, |link| link.header.timeline);
    Ok(Reach { stop, first, earliest, end, timeline })
}

/// Refuses a log in which another history stands where the copy was complete: what else its label
/// says of places would be taken for damage there.
fn check_history(logs: &LogSet, label: &Control) -> Result<(), RecoveryError> {
    let end = label.clean_end.unwrap_or(label.durable);
    let chain = logs.chain(end).unwrap_or_default();
    match chain.first().filter(|link| link.number == end.file()) {
        Some(link) if link.header.timeline != label.timeline => Err(RecoveryError::OffHistory {
            why: format!(
                "the backup is of timeline {}, {} of another",
                label.timeline,
                names::log_file(end.file())
            ),
        }),
        _ => Ok(()),
    }
}

/// Where replay begins, and from where on undo may read.
fn needed_from(logs: &LogSet, label: &Control) -> Result<(Lsn, Lsn), RecoveryError> {
    if label.checkpoint.is_none() {
        return Ok((label.redo, label.redo));
    }
    let at = label.checkpoint;
    let buffer = logs.read(at)?;
    let Body::Checkpoint(checkpoint) = buffer.record()?.body else {
        let why = "the label says that a checkpoint stands here".to_owned();
        return Err(RecoveryError::Contradiction { lsn: at, why });
    };
    let mut first = label.redo.min(checkpoint.undo_low);
    if !checkpoint.active_from.is_none() {
        first = first.min(checkpoint.active_from);
    }
    Ok((label.redo, first))
}

/// From where on the copy is of one moment: its pages may show anything before. They must be of
/// the history that this log tells.
fn consistent_from(logs: &LogSet, label: &Control, first: Lsn) -> Result<Lsn, RecoveryError> {
    let off = |why: String| Err(RecoveryError::OffHistory { why });
    let end = label.clean_end.unwrap_or(label.durable);
    let chain = logs.chain(first)?;
    let Some(at) = chain.iter().position(|link| link.number == end.file()) else {
        return match chain.last().is_some_and(|newest| newest.number < end.file()) {
            // The end of the log will say which file is missing.
            true => Ok(end),
            false => off(format!("the backup ends at {end}, and the log has no such file")),
        };
    };
    let (link, next) = (chain.get(at), chain.get(at + 1));
    let Some(link) = link.filter(|link| link.header.timeline == label.timeline) else {
        return off(format!(
            "the backup is of timeline {}, {} of another",
            label.timeline,
            names::log_file(end.file())
        ));
    };
    match (link.ends, next) {
        (Some(ends), Some(next)) if ends < end => {
            // A crash cut the log of the same history shorter than the backup had read it: what
            // was cut was never durable, and no page shows it. A restore cut off more than that.
            match next.header.timeline == label.timeline {
                true => Ok(ends),
                false => off(format!(
                    "timeline {} left it at {ends}, before the backup was complete at {end}",
                    next.header.timeline
                )),
            }
        }
        _ => Ok(end),
    }
}

/// Makes an environment of the copy whose owner might have died just where the target lies.
fn branch(
    opening: &Opening<'_>,
    logs: &LogSet,
    label: &Control,
    reach: &Reach,
) -> Result<Control, RecoveryError> {
    let (host, home) = (opening.host, opening.home);
    make_durable(host, home)?;
    let mut timeline = next_timeline(host, home, label)?;
    if planted::is(Bug::TimelineNotBranched) {
        timeline = reach.timeline;
    }
    let dir = home.join(names::LOG_DIR);
    let all = LogSet::open(&host.vfs, &dir, label.environment, Timeline(u32::MAX))?;
    let newest = all.newest().map_or(0, |file| file.number);
    let next_file = newest.checked_add(1).ok_or_else(|| RecoveryError::OffHistory {
        why: "there is no number left for another log file".to_owned(),
    })?;
    let mut control = Control { features: Features::NONE, timeline, clean_end: None, ..*label };
    if planted::is(Bug::RestoreFromNewestCheckpoint) {
        (control.checkpoint, control.redo) = newest_checkpoint(logs, label, reach)?;
    }
    let end = reach.stop.at;
    let start = LogStart::After { end, proven: end, next_file };
    control.durable = opening.wal(&control, start)?.end();
    let (file, _) = ControlFile::open(host, &opening.poison, home)?;
    file.write(&control)?;
    tracing::info!(%timeline, end = %reach.stop.at, "a new history begins");
    Ok(ControlFile::read(&*host.vfs, home)?)
}

/// What somebody copied here is in a cache, perhaps: the log that tells of changes to come must
/// not outlive the pages they are made to.
fn make_durable(host: &Host, home: &Path) -> Result<(), RecoveryError> {
    let data = DataDirs::read(&*host.vfs, home)?;
    let mut dirs: Vec<_> = data.all().map(|place| place.path.clone()).collect();
    dirs.push(home.join(names::LOG_DIR));
    for dir in &dirs {
        let failed = |action, source| {
            let path = dir.display().to_string();
            RecoveryError::Io { action, path, source }
        };
        for name in host.vfs.list(dir).map_err(|error| failed("list", error))? {
            let data = names::parse_data_file(&name).is_some();
            if data || names::parse_log_file(&name).is_some() {
                let file = host.vfs.open(&dir.join(&name), Open::ReadWrite);
                let synced = file.and_then(|file| file.sync_data());
                synced.map_err(|error| failed("sync a file in", error))?;
            }
        }
        host.vfs.sync_dir(dir).map_err(|error| failed("sync", error))?;
    }
    Ok(())
}

/// A number that no history of this environment has, as far as anybody here can know.
fn next_timeline(host: &Host, home: &Path, label: &Control) -> Result<Timeline, RecoveryError> {
    let dir = home.join(names::LOG_DIR);
    let logs = LogSet::open(&host.vfs, &dir, label.environment, Timeline(u32::MAX))?;
    let headers = logs.files().filter_map(|file| file.header.as_ref().ok());
    let highest = headers.map(|header| header.timeline).fold(label.timeline, Timeline::max);
    let left = u64::from(u32::MAX - 1 - highest.0.min(u32::MAX - 1));
    let most = TIMELINE_STEP_MAX.min(left / 16).max(1);
    let step = 1 + host.random.next_u64() % most;
    match u32::try_from(u64::from(highest.0) + step) {
        Ok(number) if number < u32::MAX => Ok(Timeline(number)),
        _ => {
            let why = "this environment was restored too often: no timeline is left".to_owned();
            Err(RecoveryError::OffHistory { why })
        }
    }
}

/// What [`Bug::RestoreFromNewestCheckpoint`] starts from.
fn newest_checkpoint(
    logs: &LogSet,
    label: &Control,
    reach: &Reach,
) -> Result<(Lsn, Lsn), RecoveryError> {
    let mut found = (label.checkpoint, label.redo);
    for record in logs.forward(label.redo, reach.stop.at)? {
        let (lsn, buffer) = record?;
        if let Body::Checkpoint(checkpoint) = buffer.record()?.body {
            found = (lsn, checkpoint.redo);
        }
    }
    Ok(found)
}

/// Points the control file to the oldest log file there is: normal recovery replays it all then.
fn start_over(
    opening: &Opening<'_>,
    control: &Control,
    pulse: &mut Pulse<'_>,
) -> Result<Control, RecoveryError> {
    let (host, home) = (opening.host, opening.home);
    let dir = home.join(names::LOG_DIR);
    let logs = LogSet::open(&host.vfs, &dir, control.environment, control.timeline)?;
    let redo = logs.oldest_readable()?.min(control.redo);
    let over = Control { checkpoint: Lsn::NONE, redo, clean_end: None, ..*control };
    let at = Progress { phase: Phase::Analysis, at: redo, done: 0, total: 0 };
    pulse.report(at)?;
    // R1: what will be refused is refused now.
    Plan::read(host, home, over, pulse)?;
    make_durable(host, home)?;
    let (file, _) = ControlFile::open(host, &opening.poison, home)?;
    file.write(&over)?;
    Ok(ControlFile::read(&*host.vfs, home)?)
}
