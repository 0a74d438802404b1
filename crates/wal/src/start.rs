//! Making a log ready to be appended to: the three ways in which a log goes on.
//!
//! Owns what [`Wal::open`](crate::Wal::open) does on disk. Promises (W7) that a crash anywhere in
//! it, and doing it again, is harmless; (W5) that what was read from an old tail is durable before
//! anything relies on it; and that nothing is ever appended behind a torn tail. Must never shorten
//! or change an old file: see `old_tail.rs` for the one that is doubtful.

use std::path::Path;
use std::sync::Arc;

use campanile_format::log_file::LogFileHeader;
use campanile_format::planted::{self, Bug};
use campanile_format::{Lsn, names};
use campanile_vfs::{Host, Open, Poison};

use crate::error::WalError;
use crate::log_set::{LogFile, LogSet};
use crate::options::{Start, WalOptions};
use crate::read::Files;
use crate::resync::survivors;
use crate::rotate::{Output, Predecessor, begin_file, sync_dir};
use crate::spares::Spares;
use crate::wal::Ready;
use crate::window::Window;

/// What the ways have in common.
pub(crate) struct Opening<'o> {
    pub(crate) host: &'o Host,
    pub(crate) poison: &'o Poison,
    pub(crate) options: &'o WalOptions,
}

/// See [`Wal::open`](crate::Wal::open).
pub(crate) fn make_ready(
    host: &Host,
    poison: &Poison,
    options: &WalOptions,
    start: Start,
) -> Result<Ready, WalError> {
    let opening = Opening { host, poison, options };
    let ready = match start {
        Start::New => opening.begin_log(),
        Start::Continue { end } => opening.go_on_at(end),
        Start::After { end, proven, next_file } => opening.go_on_after(end, proven, next_file),
    }?;
    let Output { number, file, file_bytes, .. } = &ready.output;
    let mut files = ready.files;
    files.began(*number, file, *file_bytes, options.identity());
    Ok(Ready { files, ..ready })
}

impl Opening<'_> {
    /// The first file of an environment.
    fn begin_log(&self) -> Result<Ready, WalError> {
        let dir = &self.options.dir;
        let shown = || dir.display().to_string();
        let made = self.host.vfs.create_dir(dir);
        made.map_err(|error| WalError::io("create", shown(), error))?;
        if let Some(parent) = dir.parent().filter(|parent| !parent.as_os_str().is_empty()) {
            sync_dir(self.host, self.poison, parent)?;
        }
        let logs = self.logs()?;
        self.clear_half_made(&logs)?;
        // Spares of a creation that never finished may hold records of the files to come.
        let mut spares = self.spares(logs.listing(), false)?;
        let nothing = Predecessor { end: Lsn::NONE, timeline: self.options.timeline };
        let output = self.begin(&mut spares, 1, nothing)?;
        Ok(Ready { output, spares, files: Files::new([1]), gaps: Vec::new() })
    }

    /// Removes what a creation that never finished left behind, the newest first: it is of this
    /// very environment, which nobody has ever opened.
    fn clear_half_made(&self, logs: &LogSet) -> Result<(), WalError> {
        if let Some(file) = logs.files().find(|file| logs.check(file).is_err()) {
            return Err(WalError::NotEmpty { file: file.name() });
        }
        for file in logs.files().rev() {
            let name = file.name();
            let removed = self.host.vfs.remove(&self.options.dir.join(&name));
            removed.map_err(|error| WalError::io("remove", name, error))?;
        }
        // Before a new file takes one of the names: the old one must not come back under it.
        sync_dir(self.host, self.poison, &self.options.dir)
    }

    /// The same file, after a clean close.
    fn go_on_at(&self, end: Lsn) -> Result<Ready, WalError> {
        let logs = self.logs()?;
        let (file, header) = self.file_of(&logs, end)?;
        if let Some(later) = logs.newest().filter(|newest| newest.number > end.file()) {
            let found = format!("{} follows", later.name());
            return Err(WalError::PastCleanEnd { end, found });
        }
        if header.timeline != self.options.timeline {
            let (theirs, ours) = (header.timeline, self.options.timeline);
            let why = format!("it is of timeline {theirs}, which timeline {ours} has left");
            return Err(WalError::Foreign { file: file.name(), why });
        }
        let output = self.reopen(&file, &header, end)?;
        let mut window = Window::on(
            Arc::clone(&output.file),
            file.number,
            header.file_bytes,
            self.options.identity(),
        );
        let beyond = survivors(&mut window, end.offset().into())?;
        if beyond.count > 0 {
            let found = format!("{} valid records stand beyond", beyond.count);
            return Err(WalError::PastCleanEnd { end, found });
        }
        if !end.offset().is_multiple_of(self.options.rest_bytes()) {
            // Closed by a writer that relied on the disk more than this one does.
            return self.go_on_after(end, end, end.file().saturating_add(1));
        }
        let spares = self.spares(logs.listing(), true)?;
        Ok(Ready { output, spares, files: self.files(&logs), gaps: gaps(&logs) })
    }

    /// A new file, after a crash or where a new history begins.
    fn go_on_after(&self, end: Lsn, proven: Lsn, next_file: u32) -> Result<Ready, WalError> {
        assert!(end.file() < next_file, "a log goes on in a later file");
        let logs = self.logs()?;
        let (file, header) = self.file_of(&logs, end)?;
        for later in logs.files().filter(|later| later.number > end.file()) {
            self.may_stand_behind(&logs, later, end, next_file)?;
        }
        let mut spares = self.spares(logs.listing(), true)?;
        self.secure(&mut spares, &self.reopen(&file, &header, end)?, proven)?;
        let old = self.reopen(&file, &header, end)?;
        if planted::is(Bug::AppendAfterTornTail) && header.timeline == self.options.timeline {
            return Ok(Ready { output: old, spares, files: self.files(&logs), gaps: gaps(&logs) });
        }
        let predecessor = Predecessor { end, timeline: header.timeline };
        let output = self.begin(&mut spares, next_file, predecessor)?;
        let mut gaps = gaps(&logs);
        gaps.push((end, output.end));
        Ok(Ready { output, spares, files: self.files(&logs), gaps })
    }

    /// Whether a file behind the end may be there: one of a history that is left, or the very file
    /// that an earlier attempt at this made, in which nothing stands. That one is replaced.
    fn may_stand_behind(
        &self,
        logs: &LogSet,
        later: &LogFile,
        end: Lsn,
        next_file: u32,
    ) -> Result<(), WalError> {
        let header = logs.check(later)?;
        let mine = self.options.timeline;
        let left = later.number < next_file && header.timeline < mine;
        let again = later.number == next_file
            && header.timeline == mine
            && header.predecessor_end == end
            && self.is_untouched(logs, &header)?;
        if left || again {
            return Ok(());
        }
        Err(WalError::NotEmpty { file: later.name() })
    }

    fn is_untouched(&self, logs: &LogSet, header: &LogFileHeader) -> Result<bool, WalError> {
        let identity = self.options.identity();
        let mut window = logs.window(header.file, header.file_bytes, identity)?;
        Ok(survivors(&mut window, header.first_record().offset().into())?.count == 0)
    }

    fn logs(&self) -> Result<LogSet, WalError> {
        let WalOptions { environment, timeline, .. } = *self.options;
        LogSet::open(&self.host.vfs, &self.options.dir, environment, timeline)
    }

    fn files(&self, logs: &LogSet) -> Files {
        Files::new(logs.files().map(|file| file.number))
    }

    fn spares(&self, listing: &[String], reuse: bool) -> Result<Spares, WalError> {
        let (host, options) = (self.host, self.options);
        let (vfs, dir) = (Arc::clone(&host.vfs), options.dir.clone());
        Spares::adopt(vfs, dir, self.poison.clone(), options.file_bytes, listing, reuse)
    }

    fn begin(
        &self,
        spares: &mut Spares,
        number: u32,
        predecessor: Predecessor,
    ) -> Result<Output, WalError> {
        let (spare, _) = spares.take()?;
        begin_file(self.host, self.poison, self.options, spare, number, predecessor)
    }

    /// The file in which the log ends, by its position.
    fn file_of(&self, logs: &LogSet, end: Lsn) -> Result<(LogFile, LogFileHeader), WalError> {
        let name = names::log_file(end.file());
        let file = logs.file(end.file()).cloned().ok_or_else(|| WalError::Missing {
            file: name.clone(),
            why: format!("the log ends in it, at {end}"),
        })?;
        let header = logs.check(&file)?;
        let offset = u64::from(end.offset());
        let possible = u64::from(header.first_record().offset())..=u64::from(header.file_bytes);
        if !possible.contains(&offset) || offset > file.bytes {
            let why = format!("the log ends at {end}, the file after {} bytes", file.bytes);
            return Err(WalError::Corrupt { file: name, offset: file.bytes, why });
        }
        Ok((file, header))
    }

    fn reopen(&self, file: &LogFile, header: &LogFileHeader, end: Lsn) -> Result<Output, WalError> {
        let path: &Path = &self.options.dir.join(file.name());
        let open = self.host.vfs.open(path, Open::ReadWrite);
        Ok(Output {
            file: open.map_err(|error| WalError::io("open", file.name(), error))?,
            number: file.number,
            end,
            file_bytes: header.file_bytes,
            filled: file.bytes,
            zeros_until: 0,
            lazy_from: end.offset(),
        })
    }
}

/// Between where a file says that the log before it ended, and itself, there are no records.
fn gaps(logs: &LogSet) -> Vec<(Lsn, Lsn)> {
    let headers = logs.files().filter_map(|file| logs.check(file).ok());
    let later = headers.filter(|header| !header.predecessor_end.is_none());
    later.map(|header| (header.predecessor_end, header.first_record())).collect()
}
