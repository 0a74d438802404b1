//! Building a data file anew, or some pages of one, from a copy and the log.
//!
//! Owns: [`HomeLog`], the log of a home that need not open, and [`Rebuild`]. Promises: the same
//! replay as recovery's, narrowed to one file, so that every change is checked against the page
//! it was made on (R3), and nothing is left unexplained (R4); what comes of it is the file as it
//! was when the log ended, whoever was running then: opening the home rolls those back. Must
//! never: touch another file of the home than its log.

use std::collections::BTreeSet;
use std::fmt;
use std::path::Path;

use campanile_format::control::Control;
use campanile_format::planted::{self, Bug};
use campanile_format::record::{Body, FileAction, Record};
use campanile_format::{FileId, Lsn, PageNo};
use campanile_pagestore::{BarrierError, LogBarrier, PageStore};
use campanile_sync::Mutex;
use campanile_vfs::{Host, Poison};
use campanile_wal::{LogSet, WalError};

use crate::analysis::Analysis;
use crate::error::RecoveryError;
use crate::open::{Found, OpenOptions, open_wal, sync_home};
use crate::plan::Plan;
use crate::progress::{Hook, Phase, Progress, Pulse};
use crate::redo::{Part, Redo, Replayed, Scope};
use crate::replay::explain;
use crate::report::RedoCounts;
use crate::start_point::{CleanEnd, Start};

/// How the log of a home ends.
#[derive(Debug)]
pub struct HomeLog {
    /// What the control file says.
    pub control: Control,
    /// Behind the last record.
    pub end: Lsn,
    /// Where the next recovery will begin.
    pub redo: Lsn,
    /// Whether the home was closed, so that nothing is left to recover.
    pub clean: bool,
}

impl HomeLog {
    /// Reads the log of a home to its end; no data file is looked at. The caller holds the lock.
    ///
    /// With `settle` the log is made to go on in a new file, as recovery does first of all: what
    /// was read is durable then, and a page that shows it may be written (R5). A home that was
    /// closed needs no such thing.
    pub fn read(
        host: &Host,
        home: &Path,
        options: &OpenOptions,
        settle: bool,
        hook: &mut Hook<'_>,
    ) -> Result<HomeLog, RecoveryError> {
        let found = Found::look(host, home)?;
        let control = found.usable(home)?;
        let plan = Plan::read(host, home, control, &mut Pulse::new(hook))?;
        let beyond = control.clean_end.is_some_and(|end| plan.end.end > end);
        let end = if beyond { CleanEnd::Beyond } else { CleanEnd::Exact };
        let clean = matches!(found.choose(end), Start::Continue(_));
        if settle && !clean {
            sync_home(host, home)?;
            open_wal(host, home, options, &Poison::new(), &plan.control, plan.end.start())?;
        }
        let (end, redo) = (plan.end.end, plan.redo);
        Ok(HomeLog { control, end, redo, clean })
    }
}

/// What is built anew, and from which stretch of the log.
#[derive(Debug)]
pub struct Rebuild<'r> {
    /// The file.
    pub file: FileId,
    /// Only these pages of it; `None`: all.
    pub pages: Option<&'r BTreeSet<PageNo>>,
    /// The log.
    pub logs: &'r LogSet,
    /// Every change from here on that the copy may lack is replayed.
    pub from: Lsn,
    /// Where the log ends.
    pub to: Lsn,
}

/// What was built.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rebuilt {
    /// What replay did.
    pub counts: RedoCounts,
    /// Whether changes of the file are in the log. If not, the file is empty now.
    pub durable: bool,
}

impl Rebuild<'_> {
    /// Replays into `store`, which holds the copy, or no such file if the log has its birth; and
    /// makes the result durable there.
    pub fn run(&self, store: &PageStore, hook: &mut Hook<'_>) -> Result<Rebuilt, RecoveryError> {
        let (analysis, alone) = (Analysis::default(), Mutex::new(()));
        let part = Part::Scope(Scope { file: self.file, pages: self.pages });
        let mut redo = Redo::new(store, &analysis, part, &alone);
        let mut pulse = Pulse::new(hook);
        // One behind: the bug leaves out the last record that concerns the file.
        let mut held: Option<(Lsn, campanile_wal::RecordBuf)> = None;
        for found in self.logs.forward(self.from, self.to)? {
            let (lsn, buffer) = found?;
            let progress = Progress { phase: Phase::Redo, at: lsn, done: 0, total: 0 };
            pulse.beat(progress)?;
            let record = buffer.record()?;
            self.check_not_removed(lsn, &record)?;
            if !self.concerns(&record) {
                continue;
            }
            if !planted::is(Bug::RepairStopsOneRecordEarly) {
                self.replay(&mut redo, lsn, &record)?;
            } else if let Some((lsn, before)) = held.replace((lsn, buffer)) {
                self.replay(&mut redo, lsn, &before.record()?)?;
            }
        }
        let Replayed { counts, waiting, .. } = redo.finish();
        explain(self.logs, self.to, store.page_bytes(), waiting)?;
        if !store.open_file(self.file)? {
            return Err(self.no_birth());
        }
        let durable = store.file_flags(self.file)?.durable;
        store.write_back_all()?;
        Ok(Rebuilt { counts, durable })
    }

    fn replay(
        &self,
        redo: &mut Redo<'_>,
        lsn: Lsn,
        record: &Record<'_>,
    ) -> Result<(), RecoveryError> {
        redo.replay(lsn, record).map_err(|error| match error {
            RecoveryError::MissingFile { .. } => self.no_birth(),
            error => error,
        })
    }

    fn concerns(&self, record: &Record<'_>) -> bool {
        let made = matches!(record.body, Body::FileCreate { file, .. } if file == self.file);
        made || record.changes().iter().any(|change| change.page.file == self.file)
    }

    fn check_not_removed(&self, lsn: Lsn, record: &Record<'_>) -> Result<(), RecoveryError> {
        match record.body {
            Body::FileRemove { file }
            | Body::Compensate { action: FileAction::RemoveFile(file), .. }
                if file == self.file =>
            {
                Err(RecoveryError::Removed { file, lsn })
            }
            _ => Ok(()),
        }
    }

    fn no_birth(&self) -> RecoveryError {
        RecoveryError::NoBirth { file: self.file, from: self.from }
    }
}

/// The log as a store sees it that pages are built anew in: all of it is durable, and nothing
/// is behind its end.
pub struct SettledLog(pub Lsn);

impl fmt::Debug for SettledLog {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SettledLog({})", self.0)
    }
}

impl LogBarrier for SettledLog {
    fn flush_to(&self, lsn: Lsn) -> Result<(), BarrierError> {
        if lsn < self.0 {
            return Ok(());
        }
        let why = format!("a page shows a change at {lsn}, and the log ends at {}", self.0);
        Err(BarrierError::new(WalError::NoRecord { lsn, why }))
    }

    fn end(&self) -> Lsn {
        self.0
    }
}
