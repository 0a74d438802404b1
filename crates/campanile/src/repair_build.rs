//! Building a data file anew from a backup and the log, and putting it in its place.
//!
//! Owns [`Workshop`]. Promises that what is put in place is the file as it was when the log ended,
//! every change of it checked against the page it was made on; that it takes the place of the
//! damaged one in one step; and that the log it was built from is durable before that. Must never
//! write to the damaged file before everything that is put there is known to be whole.

use std::collections::BTreeSet;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use campanile_backup::{
    Chain, Directory, GatheredLogs, LogPool, Manifest, Repository, Shelf, bring_file,
};
use campanile_format::control::Control;
use campanile_format::{FileId, MetaFields, PageId, PageNo, PageOp, PlainMut, names, page};
use campanile_pagestore::{FileFlags, PageStore, StoreOptions};
use campanile_recovery::{HomeLog, OpenOptions, Rebuild, Rebuilt, SettledLog, Target, examine};
use campanile_vfs::{File, FileLock, Host, LockMode, Open, Poison};
use campanile_wal::LogSet;

use crate::error::{Error, Result};
use crate::progress::Progress;
use crate::repair_bench::Bench;
use crate::{Lsn, backup, causes, start};

/// The home to be repaired, and all that it can be repaired from.
pub(crate) struct Workshop<'w> {
    host: &'w Host,
    home: &'w Path,
    how: OpenOptions,
    progress: &'w Progress,
    log: HomeLog,
    pool: LogPool,
    shelves: Option<Repository>,
    /// Complete backups of this environment, newest first.
    bases: Vec<(String, Manifest)>,
    /// Nobody removes a backup meanwhile.
    _stays: Option<Box<dyn FileLock>>,
}

/// What is wanted.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Order<'o> {
    pub file: FileId,
    /// Only these pages; `None`: the whole file.
    pub pages: Option<&'o BTreeSet<PageNo>>,
    /// The catalog says that changes of the file are not in the log.
    pub volatile: bool,
}

/// What was built.
#[derive(Debug)]
pub(crate) struct Built {
    /// The backup; `None`: from the log alone.
    pub base: Option<String>,
    /// The log was replayed from here.
    pub from: Lsn,
    /// What replay did.
    pub rebuilt: Rebuilt,
    /// False if the pages in place were what was built.
    pub differed: bool,
}

impl<'w> Workshop<'w> {
    /// Reads the log of the home to its end, and makes that durable. The caller holds the lock.
    ///
    /// `disk` is where the backups are; `host` the same, or something laid over it.
    pub fn open(
        disk: &Host,
        host: &'w Host,
        home: &'w Path,
        sources: (Option<&Path>, &[std::path::PathBuf]),
        how: OpenOptions,
        progress: &'w Progress,
    ) -> Result<Workshop<'w>> {
        let how = OpenOptions { hold_log: true, ..how };
        let log = HomeLog::read(host, home, &how, true, &mut start::hook(progress));
        let log = log.map_err(causes::recovery)?;
        let environment = log.control.environment;
        let shelves = sources.0.map(|dir| Repository::in_directory(disk, dir));
        let (mut bases, mut stays) = (Vec::new(), None);
        let mut pool = LogPool::new(environment);
        if let Some(shelves) = &shelves {
            shelves.claimed_by(environment).map_err(causes::backup)?;
            stays = Some(shelves.lock(LockMode::Shared).map_err(causes::backup)?);
            pool = shelves.readable_pool(environment).map_err(causes::backup)?;
            let found = shelves.readable_backups().map_err(causes::backup)?;
            let complete = found.into_iter().filter_map(|one| Some((one.name, one.manifest?)));
            bases.extend(complete.filter(|(_, one)| one.environment == environment.to_string()));
            bases.reverse();
        }
        for dir in sources.1 {
            let more: Arc<dyn Shelf> = Arc::new(Directory::new(disk, dir));
            pool.gather(&more, "").map_err(causes::backup)?;
        }
        let own: Arc<dyn Shelf> = Arc::new(Directory::new(host, home));
        pool.gather(&own, names::LOG_DIR).map_err(causes::backup)?;
        Ok(Workshop { host, home, how, progress, log, pool, shelves, bases, _stays: stays })
    }

    /// Where the log ends: what is built is of this moment.
    pub fn log_end(&self) -> Lsn {
        self.log.end
    }

    /// Builds and puts in place.
    pub fn rebuild(&self, order: Order<'_>) -> Result<Built> {
        let bench = Bench::new(self.host, self.home, order.file)?;
        let built = self.build(&bench, order);
        let placed = built.and_then(|built| self.put_in_place(&bench, order, built));
        self.clear(&bench)?;
        placed
    }

    /// From the newest backup that will do, or from the log alone.
    fn build(&self, bench: &Bench, order: Order<'_>) -> Result<Built> {
        let mut refused = None;
        for (name, manifest) in &self.bases {
            match self.build_on(bench, order, name, manifest) {
                Ok(built) => return Ok(built),
                Err(error) if error.kind() == crate::ErrorKind::Cancelled => return Err(error),
                Err(error) => refused = refused.or(Some(error)),
            }
        }
        match self.build_from_log(bench, order) {
            Ok(built) => Ok(built),
            Err(error) => Err(refused.unwrap_or(error)),
        }
    }

    fn build_on(
        &self,
        bench: &Bench,
        order: Order<'_>,
        name: &str,
        manifest: &Manifest,
    ) -> Result<Built> {
        let shelves = self.shelves.as_ref().expect("a backup is in a repository");
        let label = shelves.label(name).map_err(causes::backup)?;
        let control = self.log.control;
        let first = manifest.first().file();
        let line = self.pool.line_for(control.timeline, label.timeline, first);
        let logs = self.logs_of(line.map_err(causes::backup)?)?;
        self.prove(&logs, &label)?;
        self.clear(bench)?;
        let chain = Chain::of(shelves, name).map_err(causes::backup)?;
        let (from, what) = ((&**shelves.shelf(), &chain), (order.file, order.pages));
        let hook = &mut backup::hook(self.progress);
        let to = bench.unfinished().map_err(looking)?;
        bring_file(self.host, from, what, &to, hook).map_err(causes::backup)?;
        let rebuilt = self.replay(bench, order, &logs, label.redo)?;
        Ok(Built { base: Some(name.to_owned()), from: label.redo, rebuilt, differed: true })
    }

    /// The log leads from the backup to the end of the home's log, without a gap, in one history.
    fn prove(&self, logs: &LogSet, label: &Control) -> Result<()> {
        let target = Target::Lsn { at: self.log.end, inclusive: false };
        examine(logs, label, &target).map(drop).map_err(causes::recovery)
    }

    /// A line of log files as a log. Of the stretch that recovery reads, the home's own files tell
    /// what happened: a longer copy of one may hold records that a crash took back.
    fn logs_of(&self, mut line: GatheredLogs) -> Result<LogSet> {
        let own: Arc<dyn Shelf> = Arc::new(Directory::new(self.host, self.home));
        for number in self.log.redo.file()..=self.log.end.file() {
            let name = format!("{}/{}", names::LOG_DIR, names::log_file(number));
            if own.has(&name).map_err(causes::backup)? {
                line.insert(number, Arc::clone(&own), name);
            }
        }
        line.logs(self.log.control.environment).map_err(causes::wal)
    }

    fn build_from_log(&self, bench: &Bench, order: Order<'_>) -> Result<Built> {
        self.clear(bench)?;
        let line = self.pool.line(self.log.control.timeline).map_err(causes::backup)?;
        let logs = self.logs_of(line)?;
        let from = logs.oldest_readable().map_err(causes::wal)?;
        let rebuilt = self.replay(bench, order, &logs, from)?;
        Ok(Built { base: None, from, rebuilt, differed: true })
    }

    fn replay(&self, bench: &Bench, order: Order<'_>, logs: &LogSet, from: Lsn) -> Result<Rebuilt> {
        let control = self.log.control;
        let host = Host { vfs: Arc::new(bench.clone()), ..self.host.clone() };
        let options = StoreOptions {
            environment: control.environment,
            home: self.home.to_owned(),
            page_bytes: control.page_bytes as usize,
            double_write: false,
            ..self.how.store.clone()
        };
        let barrier = Arc::new(SettledLog(self.log.end));
        let store = PageStore::open(&host, &Poison::new(), options, barrier);
        let store = store.map_err(causes::store)?;
        let (file, pages) = (order.file, order.pages);
        if order.volatile && !store.open_file(file).map_err(causes::store)? {
            let flags = FileFlags { durable: false };
            store.create_file(file, flags).map_err(causes::store)?;
        }
        let rebuild = Rebuild { file, pages, logs, from, to: self.log.end };
        let rebuilt = rebuild.run(&store, &mut start::hook(self.progress));
        let rebuilt = rebuilt.map_err(causes::recovery)?;
        drop(store);
        let sync = || self.host.vfs.open(&bench.unfinished()?, Open::ReadWrite)?.sync_data();
        sync().map_err(|error| Error::io("making the rebuilt file durable", error))?;
        Ok(rebuilt)
    }

    fn put_in_place(&self, bench: &Bench, order: Order<'_>, built: Built) -> Result<Built> {
        if !built.rebuilt.durable {
            self.make_empty(bench, order)?;
        }
        if let Some(pages) = order.pages {
            let differed = self.put_pages(bench, order.file, pages)?;
            return Ok(Built { differed, ..built });
        }
        let failed = |error| Error::io("putting the rebuilt file in place", error);
        let (dir, from) = (bench.dir().map_err(failed)?, bench.unfinished().map_err(failed)?);
        let to = bench.counts().map_err(failed)?;
        self.host.vfs.rename(&from, &to).map_err(failed)?;
        self.host.vfs.sync_dir(&dir).map_err(failed)?;
        Ok(built)
    }

    /// Nothing brings back what was in a file that is not durable: an empty tree is put there, and
    /// only there. (After a crash recovery empties all such files.)
    fn make_empty(&self, bench: &Bench, order: Order<'_>) -> Result<()> {
        let file = order.file;
        if order.pages.is_some() {
            let what = format!(
                "data file {file} is not durable: no page of it is in a backup or in the log; \
                 repair the whole file (--file {file}), which empties the database"
            );
            return Err(Error::new(crate::ErrorKind::Unsupported, what));
        }
        let page_bytes = self.log.control.page_bytes as usize;
        let fields = MetaFields::new(self.log.control.environment, page_bytes, false);
        let root =
            PageOp::FormatNode { level: 0, lower: &[], upper: None, first_child: PageNo::NONE };
        let ops = [PageOp::FormatMeta(fields), PageOp::FormatMap { group: 0 }, root];
        let mut bytes = Vec::new();
        for (number, op) in (0..).zip(ops) {
            let id = PageId::new(file, PageNo(number));
            let mut page = vec![0; page_bytes];
            op.apply(id, &mut PlainMut(&mut page));
            page::seal(&mut page, id);
            bytes.extend(page);
        }
        let failed = |error| Error::io("making an empty data file", error);
        let path = bench.unfinished().map_err(failed)?;
        let built = self.host.vfs.open(&path, Open::ReadWrite).map_err(failed)?;
        built.set_len(bytes.len() as u64).map_err(failed)?;
        built.write_all_at(&bytes, 0).map_err(failed)?;
        built.sync_data().map_err(failed)
    }

    /// Writes pages home, each of which is damaged there: torn, it is as damaged as before.
    fn put_pages(&self, bench: &Bench, file: FileId, pages: &BTreeSet<PageNo>) -> Result<bool> {
        let failed = |error| Error::io("putting rebuilt pages in place", error);
        let vfs = &self.host.vfs;
        let open = |path: io::Result<_>, how| path.and_then(|path: PathBuf| vfs.open(&path, how));
        let built = open(bench.unfinished(), Open::Read).map_err(failed)?;
        let home = open(bench.counts(), Open::ReadWrite).map_err(|error| {
            let gone = error.kind() == io::ErrorKind::NotFound;
            let what = format!("the whole data file {file} is missing, rebuild it all (--file)");
            if gone {
                Error::because(crate::ErrorKind::NotFound, what, error)
            } else {
                failed(error)
            }
        })?;
        let mut differed = false;
        for number in pages {
            let id = PageId::new(file, *number);
            let new = self.read_page(&*built, *number).map_err(failed)?;
            let old = self.read_page(&*home, *number).map_err(failed)?;
            let sound = page::is_never_written(&new) || page::check(&new, id).is_ok();
            assert!(sound, "what was built of {id} is whole");
            if new != old {
                let at = u64::from(number.0) * u64::from(self.log.control.page_bytes);
                home.write_all_at(&new, at).map_err(failed)?;
                differed = true;
            }
        }
        home.sync_data().map_err(failed)?;
        Ok(differed)
    }

    /// A page, zeros beyond the end of the file.
    fn read_page(&self, file: &dyn File, number: PageNo) -> io::Result<Vec<u8>> {
        let page_bytes = self.log.control.page_bytes;
        let mut bytes = vec![0; page_bytes as usize];
        let read = file.read_full_at(&mut bytes, u64::from(number.0) * u64::from(page_bytes))?;
        if let Some(rest) = bytes.get_mut(read..) {
            rest.fill(0);
        }
        Ok(bytes)
    }

    /// Removes what was being built.
    fn clear(&self, bench: &Bench) -> Result<()> {
        bench.clear().map_err(|error| Error::io("removing an unfinished file", error))
    }
}

fn looking(error: io::Error) -> Error {
    Error::io("looking for the data file", error)
}
