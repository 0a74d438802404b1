//! Logical exports: what databases hold, as text, apart from pages and logs.
//!
//! Owns the call behind `campanile export`. An export outlives every format of pages and logs, is
//! read by `db_load`, here and in Berkeley DB, and proves by fingerprints that what is imported is
//! what was exported. Promises the state of one snapshot, in all databases; that an export counts
//! only when it is whole and durable; and that nobody but its owner can read it. Must never write
//! over anything.
//!
//! Byte for byte it is described in `EXPORT.md` beside the sources of this crate.
//!
//! ```
//! # let dir = tempfile::tempdir()?;
//! # let (home, target, other) =
//! #     (dir.path().join("home"), dir.path().join("saved"), dir.path().join("other"));
//! use campanile::export::{Export, ExportOptions};
//! use campanile::{Environment, Progress, import::ImportOptions};
//!
//! let env = Environment::open(&home)?;
//! let accounts = env.create_database("accounts")?;
//! env.run(|txn| accounts.put(txn, "alice", "100"))?;
//! let report = ExportOptions::new().run(&env, &target)?; // writers go on meanwhile
//! assert_eq!(report.manifest.databases[0].content.pairs, 1);
//!
//! let export = Export::open(&target, &Progress::none())?;
//! let restored = Environment::open(&other)?;
//! ImportOptions::new().run(&restored, &export)?;
//! let accounts = restored.open_database("accounts")?;
//! assert_eq!(accounts.get(&restored.snapshot()?, "alice")?.as_deref(), Some(&b"100"[..]));
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

mod file_name;
mod input;
mod manifest;
mod opened;
mod output;
mod section;

use std::collections::BTreeSet;
use std::fmt;
use std::io::Read;
use std::path::{Path, PathBuf};

use campanile_format::Utc;
use campanile_format::planted::{self, Bug};
use campanile_vfs::Host;
use serde::Serialize;

pub use self::manifest::{Compression, ExportedDatabase, Layout, Manifest};
pub use self::opened::Export;
pub(crate) use self::opened::{Found, look};
pub(crate) use self::section::Section;

use self::manifest::{MANIFEST, TRAILER};
use self::output::Output;
use crate::environment::Environment;
use crate::error::{Error, ErrorKind, Result};
use crate::fingerprint::{Content, Fingerprinter, Tap};
use crate::pairs::{self, Sink};
use crate::progress::Progress;
use crate::snapshot::Snapshot;
use crate::start::make_home;
use crate::text::{Format, Header, Writer};

/// How an environment is exported.
#[derive(Clone, Debug, Default)]
#[must_use]
pub struct ExportOptions {
    layout: Layout,
    compression: Compression,
    level: i32,
    only: BTreeSet<String>,
    progress: Progress,
}

impl ExportOptions {
    /// All databases, into a directory, as plain text.
    pub fn new() -> ExportOptions {
        ExportOptions::default()
    }

    /// A directory with a file for each database (default), or one file.
    pub fn layout(mut self, layout: Layout) -> ExportOptions {
        self.layout = layout;
        self
    }

    /// Whether the text is packed (default: no). Packed text is unpacked by `zstd -d`.
    pub fn compression(mut self, compression: Compression) -> ExportOptions {
        self.compression = compression;
        self
    }

    /// How hard to pack: 1 to 19; 0, the default, lets zstd choose.
    pub fn level(mut self, level: i32) -> ExportOptions {
        self.level = level;
        self
    }

    /// Exports this database, and others only if they are named too. A name that is not there is
    /// an error.
    pub fn only(mut self, name: impl Into<String>) -> ExportOptions {
        self.only.insert(name.into());
        self
    }

    /// Who is told how far it is, and may stop it.
    pub fn progress(mut self, progress: Progress) -> ExportOptions {
        self.progress = progress;
        self
    }

    /// Exports `env`, as it is at this moment, to `target`, which must not be there (a directory
    /// may, if it is empty).
    ///
    /// Writers go on meanwhile. What they change is kept for the export in memory; if it becomes
    /// more than [`version_bytes`](crate::EnvironmentOptions::version_bytes) the export fails with
    /// [`ErrorKind::SnapshotTooOld`] and leaves nothing. A database that is too large and too busy
    /// for that is exported from a hot copy, which needs no snapshot:
    ///
    /// ```
    /// # let dir = tempfile::tempdir()?;
    /// # let (home, scratch, target) =
    /// #     (dir.path().join("home"), dir.path().join("scratch"), dir.path().join("saved"));
    /// # let owner = campanile::Environment::open(&home)?;
    /// use campanile::restore::{self, Target};
    /// use campanile::{Environment, EnvironmentOptions, Progress, backup, export::ExportOptions};
    ///
    /// backup::hot_copy(&home, &scratch, &Progress::none())?;
    /// restore::catastrophic(&scratch, &Target::End, EnvironmentOptions::new())?;
    /// let copy = Environment::options().read_only(true).open(&scratch)?;
    /// ExportOptions::new().run(&copy, &target)?;
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// After any error what was written is removed, as far as the disk allows; what a crash leaves
    /// is refused by [`Export::open`].
    pub fn run(&self, env: &Environment, target: impl AsRef<Path>) -> Result<ExportReport> {
        self.run_on(&Host::os(), env, target.as_ref())
    }

    /// The same on another host.
    pub fn run_on(&self, host: &Host, env: &Environment, target: &Path) -> Result<ExportReport> {
        let began = host.clock.monotonic_us();
        let snapshot = env.snapshot()?;
        let all = env.databases(&snapshot)?;
        let names = self.select(&all)?;
        refuse_existing(host, target, self.layout)?;
        let whole = names.len() == all.len();
        let manifest = self.describe(host, env, &snapshot, whole);
        let mut job =
            Job { options: self, host, env, snapshot, manifest, made: Vec::new(), made_dir: None };
        let written = match self.layout {
            Layout::Directory => job.directory(target, &names),
            Layout::File => job.file(target, &names),
        };
        if let Err(error) = written {
            job.discard();
            return Err(job.explain(error));
        }
        let us = host.clock.monotonic_us().saturating_sub(began);
        let Job { manifest, .. } = job;
        let stored_bytes = manifest.databases.iter().map(|database| database.stored).sum();
        let path = target.display().to_string();
        Ok(ExportReport { path, stored_bytes, seconds: us as f64 / 1e6, manifest })
    }

    fn select(&self, all: &[String]) -> Result<Vec<String>> {
        if self.only.is_empty() {
            return Ok(all.to_vec());
        }
        if let Some(missing) = self.only.iter().find(|name| !all.contains(name)) {
            let what = format!("there is no database {missing:?} to export");
            return Err(Error::new(ErrorKind::NotFound, what));
        }
        Ok(self.only.iter().cloned().collect())
    }

    fn describe(
        &self,
        host: &Host,
        env: &Environment,
        snapshot: &Snapshot,
        whole: bool,
    ) -> Manifest {
        let control = env.core().txns.control();
        let (complete_below, lsn) = snapshot.position();
        let now = host.clock.now_us();
        Manifest {
            format: Manifest::FORMAT,
            environment: control.environment.to_string(),
            timeline: control.timeline.0,
            lsn: lsn.to_string(),
            complete_below: complete_below.to_string(),
            time_us: now,
            time: Utc(now).to_string(),
            page_bytes: env.page_bytes(),
            layout: self.layout,
            compression: self.compression,
            whole,
            databases: Vec::new(),
        }
    }
}

/// What was exported.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[non_exhaustive]
pub struct ExportReport {
    /// Where it is.
    pub path: String,
    /// Bytes that the databases take there.
    pub stored_bytes: u64,
    /// How long it took.
    pub seconds: f64,
    /// What the export says of itself.
    #[serde(flatten)]
    pub manifest: Manifest,
}

impl fmt::Display for ExportReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Manifest { databases, time, lsn, .. } = &self.manifest;
        let pairs: u64 = databases.iter().map(|database| database.content.pairs).sum();
        write!(
            f,
            "{}: {} databases, {pairs} pairs, {} bytes, as of {time} ({lsn}), in {:.1} s",
            self.path,
            databases.len(),
            self.stored_bytes,
            self.seconds
        )
    }
}

fn refuse_existing(host: &Host, target: &Path, layout: Layout) -> Result<()> {
    let failed = |error| Error::io(format!("looking at {}", target.display()), error);
    if !host.vfs.exists(target).map_err(failed)? {
        return Ok(());
    }
    let is_empty = || host.vfs.list(target).is_ok_and(|names| names.is_empty());
    if layout == Layout::Directory && is_empty() {
        return Ok(());
    }
    let what = match look(host, target)? {
        Found::Unfinished => "an export that was not finished: remove it first",
        Found::Directory => "an export already: give another directory",
        _ => "something already: give a path that is free",
    };
    let what = format!("{} holds {what}", target.display());
    Err(Error::new(ErrorKind::AlreadyExists, what))
}

/// One export under way.
struct Job<'j> {
    options: &'j ExportOptions,
    host: &'j Host,
    env: &'j Environment,
    snapshot: Snapshot,
    manifest: Manifest,
    /// Files that have their names, oldest first.
    made: Vec<PathBuf>,
    /// The directory, if it was not there.
    made_dir: Option<PathBuf>,
}

impl Job<'_> {
    fn directory(&mut self, target: &Path, names: &[String]) -> Result<()> {
        let failed = |error| Error::io(format!("creating {}", target.display()), error);
        if !self.host.vfs.exists(target).map_err(failed)? {
            self.made_dir = Some(target.to_owned());
        }
        make_home(self.host, target).map_err(|error| error.at(target.display()))?;
        let ending = match self.options.compression {
            Compression::None => "dump",
            Compression::Zstd => "dump.zst",
        };
        for (name, stem) in names.iter().zip(file_name::stems(names)) {
            let file = format!("{stem}.{ending}");
            let database =
                self.whole_file(&target.join(&file), self.options.compression, |job, out| {
                    job.database(out, name)
                })?;
            self.manifest.databases.push(ExportedDatabase { file, ..database });
        }
        let sealed = self.manifest.seal();
        self.whole_file(&target.join(MANIFEST), Compression::None, |_, out| {
            std::io::Write::write_all(out, sealed.as_bytes()).map_err(writing)
        })
    }

    fn file(&mut self, target: &Path, names: &[String]) -> Result<()> {
        self.whole_file(target, self.options.compression, |job, out| {
            for name in names {
                let database = job.database(out, name)?;
                job.manifest.databases.push(database);
            }
            job.trailer(out)
        })
    }

    /// Writes a file that has its name only when `fill` has succeeded.
    fn whole_file<T>(
        &mut self,
        path: &Path,
        compression: Compression,
        fill: impl FnOnce(&mut Self, &mut Output) -> Result<T>,
    ) -> Result<T> {
        let mut out = Output::create(self.host, path, compression, self.options.level)?;
        let filled = fill(self, &mut out).and_then(|filled| {
            self.made.push(path.to_owned());
            out.finish().map(|()| filled)
        });
        if filled.is_err() {
            out.discard();
        }
        filled
    }

    fn database(&mut self, out: &mut Output, name: &str) -> Result<ExportedDatabase> {
        if planted::is(Bug::ExportSnapshotPerDatabase) {
            self.snapshot = self.env.snapshot()?;
        }
        let offset = out.begin_part()?;
        let database = self.env.open_database_at(&self.snapshot, name)?;
        let mut header = Header::new(Format::Bytevalue);
        header.database = Some(name.to_owned());
        header.page_bytes = Some(self.env.page_bytes());
        let mut sink = Exporting { writer: Writer::new(&mut *out), sums: Fingerprinter::default() };
        sink.writer.begin(&header).map_err(writing)?;
        let phase = format!("export {name}");
        pairs::walk(&database, &self.snapshot, &mut sink, &phase, &self.options.progress)?;
        let content = sink.finish()?;
        let stored = out.end_part()? - offset;
        let (name, durable) = (name.to_owned(), database.is_durable());
        Ok(ExportedDatabase { name, file: String::new(), offset, stored, durable, content })
    }

    fn trailer(&mut self, out: &mut Output) -> Result<()> {
        out.begin_part()?;
        let mut header = Header::new(Format::Print);
        header.database = Some(TRAILER.to_owned());
        let mut writer = Writer::new(&mut *out);
        writer.begin(&header).map_err(writing)?;
        writer.pair(MANIFEST.as_bytes(), self.manifest.seal().as_bytes()).map_err(writing)?;
        writer.end().map_err(writing)?;
        writer.finish().map_err(writing)?;
        Ok(())
    }

    /// Removes what is there, what makes it an export first.
    fn discard(&mut self) {
        for path in self.made.drain(..).rev() {
            if let Err(error) = self.host.vfs.remove(&path) {
                tracing::debug!(%error, "a file of a failed export was not removed");
            }
        }
        if let Some(dir) = self.made_dir.take()
            && let Err(error) = self.host.vfs.remove_dir(&dir)
        {
            tracing::debug!(%error, "the directory of a failed export was not removed");
        }
    }

    /// Says what can be done when writers were faster than the export.
    fn explain(&self, error: Error) -> Error {
        if error.kind() != ErrorKind::SnapshotTooOld {
            return error;
        }
        let what = format!(
            "the export was overtaken: while it ran, writers changed more than the {} bytes that \
             are kept for readers of an old state. Nothing is left of it. Give the environment \
             more version_bytes, export when less is written, or export a hot copy (campanile \
             export --scratch DIR): {error}",
            self.env.core().options.version_bytes
        );
        Error::because(ErrorKind::SnapshotTooOld, what, error)
    }
}

/// Where the pairs of a database go.
struct Exporting<'o> {
    writer: Writer<&'o mut Output>,
    sums: Fingerprinter,
}

impl Exporting<'_> {
    fn finish(mut self) -> Result<Content> {
        self.writer.end().map_err(writing)?;
        self.writer.finish().map_err(writing)?;
        Ok(self.sums.finish())
    }
}

impl Sink for Exporting<'_> {
    fn pair(&mut self, key: &[u8], value: &[u8]) -> Result<()> {
        self.sums.add(key, value);
        self.writer.pair(key, value).map_err(writing)
    }

    fn long_pair(&mut self, key: &[u8], len: u64, value: &mut dyn Read) -> Result<()> {
        self.sums.begin(key, len);
        let tap = Tap { inner: value, sums: &mut self.sums };
        self.writer.pair_streamed(key, tap).map_err(writing)
    }
}

fn writing(error: std::io::Error) -> Error {
    pairs::explain("writing the export", error)
}
