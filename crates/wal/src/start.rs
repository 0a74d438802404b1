//! Making a log ready to be appended to: the three ways in which a log goes on.
//!
//! Owns what [`Wal::open`](crate::Wal::open) does on disk. Promises (W7) that a crash anywhere in
//! it, and doing it again, is harmless; (W5) that what was read from an old tail is durable before
//! anything relies on it; and that nothing is ever appended behind a torn tail. Must never shorten
//! or change an old file: the tail is written again with the very bytes that were read.

use std::path::Path;
use std::sync::Arc;

use campanile_format::log_file::{FIRST_RECORD_OFFSET, LogFileHeader};
use campanile_format::planted::{self, Bug};
use campanile_format::{Lsn, names};
use campanile_vfs::{File, Host, Open, Poison};

use crate::error::WalError;
use crate::log_set::{LogFile, LogSet};
use crate::options::{Start, WalOptions};
use crate::read::Files;
use crate::resync::survivors;
use crate::rotate::{Output, Predecessor, begin_file, sync_dir};
use crate::spares::Spares;
use crate::wal::{Ready, fatal};
use crate::window::Window;

/// The old tail is written again in pieces of this.
const COPY_BYTES: usize = 256 << 10;

/// What the ways have in common.
struct Opening<'o> {
    host: &'o Host,
    poison: &'o Poison,
    options: &'o WalOptions,
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
        let old = self.reopen(&file, &header, end)?;
        self.make_durable(&old.file, end, proven)?;
        sync_dir(self.host, self.poison, &self.options.dir)?;
        let mut spares = self.spares(logs.listing(), true)?;
        if planted::is(Bug::AppendAfterTornTail) && header.timeline == self.options.timeline {
            return Ok(Ready { output: old, spares, files: self.files(&logs), gaps: gaps(&logs) });
        }
        let predecessor = Predecessor { end, timeline: header.timeline };
        let output = self.begin(&mut spares, next_file, predecessor)?;
        let mut gaps = gaps(&logs);
        gaps.push((end, Lsn::new(next_file, FIRST_RECORD_OFFSET)));
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
        Ok(survivors(&mut window, FIRST_RECORD_OFFSET.into())?.count == 0)
    }

    /// Writes `proven..end` of the old file again, and syncs it.
    ///
    /// What was read may have come from the system's cache, where a failed sync has left it marked
    /// as if it were on disk: a sync alone would do nothing.
    fn make_durable(&self, file: &Arc<dyn File>, end: Lsn, proven: Lsn) -> Result<(), WalError> {
        let name = names::log_file(end.file());
        let first = Lsn::new(end.file(), FIRST_RECORD_OFFSET);
        let (mut at, to) = (proven.max(first).0, end.0);
        let mut piece = vec![0; COPY_BYTES.min(to.saturating_sub(at) as usize)];
        while at < to {
            let len = piece.len().min((to - at) as usize);
            let Some(bytes) = piece.get_mut(..len) else { break };
            let offset = u64::from(Lsn(at).offset());
            let read = file.read_exact_at(bytes, offset);
            read.map_err(|error| WalError::io("read", name.clone(), error))?;
            let written = file.write_all_at(bytes, offset);
            written.map_err(|error| fatal(self.poison, "write", &name, error))?;
            at += len as u64;
        }
        file.sync_data().map_err(|error| fatal(self.poison, "sync", &name, error))
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
        let possible = u64::from(FIRST_RECORD_OFFSET)..=u64::from(header.file_bytes);
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
            lazy_from: end.offset(),
        })
    }
}

/// Between where a file says that the log before it ended, and itself, there are no records.
fn gaps(logs: &LogSet) -> Vec<(Lsn, Lsn)> {
    let headers = logs.files().filter_map(|file| logs.check(file).ok());
    let later = headers.filter(|header| !header.predecessor_end.is_none());
    later
        .map(|header| (header.predecessor_end, Lsn::new(header.file, FIRST_RECORD_OFFSET)))
        .collect()
}
