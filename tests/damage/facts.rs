//! What every byte of an undamaged environment is for: which region it lies in, and whether anybody
//! has to read it again. Found out from the files alone, before anything is damaged.

use crate::sample::{Sample, in_home, log_path};
use campanile_format::catalog_row::CatalogRow;
use campanile_format::control::{CONTROL_SLOT_BYTES, CONTROL_SLOT_OFFSETS, Control, choose};
use campanile_format::double_write::BatchHeader;
use campanile_format::log_file::LOG_HEADER_BYTES;
use campanile_format::record::{Body, TxnEntry};
use campanile_format::{FileId, Lsn, MetaFields, Node, PageId, PageNo, Plain, map, names, page};
use campanile_vfs::Vfs;
use campanile_vfs::sim::SimDisk;
use campanile_wal::{LogSet, find_end};
use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// All files of a disk.
pub type Files = BTreeMap<PathBuf, Vec<u8>>;

/// Every file on a disk, by the path that the environment uses.
pub fn files_of(disk: &SimDisk) -> Files {
    let files = disk.snapshot_files().into_iter();
    files.map(|(path, bytes)| (Path::new("/").join(path), bytes)).collect()
}

/// What a byte is part of.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Region {
    /// A slot of the control file, and whether it is the one that counts.
    ControlSlot(bool),
    /// Between the slots.
    ControlGap,
    /// The header of a log file.
    LogHeader(u32),
    /// A record of the log.
    Record(Lsn),
    /// Behind the last record of a log file: zeros, or an earlier life of a recycled file.
    BehindEnd(u32),
    /// A file that will be a log file.
    Spare,
    /// The header of the double-write file and the padding of its page.
    BatchHeader,
    /// A copy in the double-write file.
    Copy(PageId),
    /// Behind the last copy.
    BehindCopies,
    /// A page.
    Page(PageId),
    /// The lock file and the note of the owner.
    Note,
}

/// A record of the log.
#[derive(Clone, Copy, Debug)]
pub struct RecordFact {
    /// Where it ends.
    pub end: Lsn,
    /// Whether opening has to read it.
    pub needed: bool,
    /// Its kind.
    pub kind: &'static str,
    /// Up to where it says the log was durable.
    proves: Lsn,
}

/// What is known of an undamaged environment.
pub struct Facts {
    /// The files.
    pub files: Files,
    /// Size of its pages.
    pub page_bytes: usize,
    /// What its control file says.
    pub control: Control,
    counting_slot: usize,
    /// Every record that can be read.
    pub records: BTreeMap<Lsn, RecordFact>,
    /// Where the log ends.
    pub end: Lsn,
    /// The first log file that opening reads.
    pub first_log: u32,
    /// The last log file.
    pub last_log: u32,
    /// The highest LSN on a page that the log must know.
    pub highest_page_lsn: Lsn,
    /// Data files whose content is not logged.
    pub volatile: BTreeSet<FileId>,
    batch: Option<BatchHeader>,
}

impl Facts {
    /// Finds out.
    pub fn of(sample: &Sample) -> Facts {
        let files = files_of(&sample.disk);
        let control_bytes = &files[&in_home(names::CONTROL)];
        let slot = |at: usize| {
            let from = CONTROL_SLOT_OFFSETS[at] as usize;
            &control_bytes[from..from + CONTROL_SLOT_BYTES]
        };
        let chosen = choose(slot(0), slot(1)).expect("a control slot that counts");
        let control = chosen.control;
        let page_bytes = control.page_bytes as usize;
        let mut facts = Facts {
            page_bytes,
            control,
            counting_slot: chosen.slot,
            records: BTreeMap::new(),
            end: Lsn::NONE,
            first_log: control.redo.file(),
            last_log: 0,
            highest_page_lsn: Lsn::NONE,
            volatile: volatile_files(&files, page_bytes),
            batch: files
                .get(&in_home(names::DOUBLE_WRITE))
                .and_then(|bytes| BatchHeader::decode(bytes).ok()),
            files,
        };
        facts.read_log(&sample.disk);
        facts.highest_page_lsn = facts.find_highest_page_lsn();
        facts
    }

    fn read_log(&mut self, disk: &Arc<SimDisk>) {
        let logs = logs(disk, &self.control);
        let oldest = logs.oldest_readable().expect("a log");
        let end = find_end(&logs, oldest, self.control.durable).expect("an undamaged log");
        self.end = end.end;
        self.last_log = logs.newest().expect("a log").number;
        if let Some(clean_end) = self.control.clean_end {
            self.first_log = clean_end.file();
        }
        for found in logs.forward(oldest, end.end).expect("an undamaged log") {
            let (lsn, buffer) = found.expect("an undamaged log");
            let record = buffer.record().expect("a known record");
            let proves = record.proves_durable().unwrap_or(Lsn::NONE);
            let kind = record.body.name();
            let needed = self.control.clean_end.is_none() && lsn >= self.control.redo;
            self.records.insert(lsn, RecordFact { end: buffer.next_lsn(), needed, kind, proves });
        }
        self.add_pads(&logs);
        let running = self.mark_checkpoint(&logs);
        if self.control.clean_end.is_none() {
            self.mark_needed_below_redo(&logs, running);
            let needed = self.records.iter().filter(|(_, record)| record.needed);
            let files = needed.map(|(lsn, _)| lsn.file());
            self.first_log = files.min().unwrap_or(self.first_log).min(self.first_log);
        }
    }

    /// What lies between two records, or behind the last one of a file: readers pass over it, and
    /// have to find it whole.
    fn add_pads(&mut self, logs: &LogSet) {
        let ends = logs.files().filter_map(|file| file.header.as_ref().ok());
        let ends = ends.map(|header| header.predecessor_end).chain([self.end]);
        let starts = self.records.keys().copied().chain(ends);
        let starts: BTreeSet<Lsn> = starts.collect();
        let mut pads = Vec::new();
        for record in self.records.values() {
            let next =
                starts.range(record.end..).next().filter(|next| next.file() == record.end.file());
            pads.extend(next.filter(|next| **next > record.end).map(|next| (record.end, *next)));
        }
        for (lsn, end) in pads {
            let needed = self.control.clean_end.is_none() && lsn >= self.control.redo;
            self.records.insert(lsn, RecordFact { end, needed, kind: "pad", proves: Lsn::NONE });
        }
    }

    /// The checkpoint and its list of transactions, which every opening reads: after a clean close
    /// too, since prepared transactions outlive it. Gives the last record of each.
    fn mark_checkpoint(&mut self, logs: &LogSet) -> BTreeMap<u64, Lsn> {
        let mut running: BTreeMap<u64, Lsn> = BTreeMap::new();
        if self.control.checkpoint.is_none() {
            return running;
        }
        let mut needed = vec![self.control.checkpoint];
        let buffer = logs.read(self.control.checkpoint).expect("the checkpoint");
        let Body::Checkpoint(checkpoint) = buffer.record().expect("known").body else {
            panic!("the control file names a checkpoint");
        };
        if !checkpoint.active_from.is_none() {
            let from = checkpoint.active_from;
            let list = logs.forward(from, self.control.checkpoint).expect("the list");
            for found in list {
                let (lsn, buffer) = found.expect("the list");
                needed.push(lsn);
                if let Body::ActiveTxns { entries } = buffer.record().expect("known").body {
                    running.extend(entries.iter().map(|e: &TxnEntry| (e.id.0, e.last)));
                }
            }
        }
        self.mark(needed);
        running
    }

    fn mark(&mut self, needed: Vec<Lsn>) {
        for lsn in needed {
            self.records.get_mut(&lsn).expect("a record").needed = true;
        }
    }

    /// What the transactions that were running must undo.
    fn mark_needed_below_redo(&mut self, logs: &LogSet, mut running: BTreeMap<u64, Lsn>) {
        let mut needed = Vec::new();
        for found in logs.forward(self.control.redo, self.end).expect("the log") {
            let (lsn, buffer) = found.expect("the log");
            let record = buffer.record().expect("known");
            match record.body {
                Body::Commit { .. } | Body::Abort => running.remove(&record.txn.0),
                _ if record.txn.0 != 0 => running.insert(record.txn.0, lsn),
                _ => None,
            };
        }
        for last in running.into_values() {
            let mut at = last;
            while !at.is_none() {
                needed.push(at);
                at = logs.read(at).expect("its chain").record().expect("known").prev;
            }
        }
        self.mark(needed);
    }

    fn find_highest_page_lsn(&self) -> Lsn {
        let pages = data_pages(&self.files, self.page_bytes);
        let durable = pages.filter(|(id, _)| !self.volatile.contains(&id.file));
        let whole = durable.filter(|(id, bytes)| page::check(bytes, *id).is_ok());
        whole.map(|(_, bytes)| page::lsn(&Plain(bytes))).max().unwrap_or(Lsn::NONE)
    }

    /// Durable beyond doubt up to here, by what is left to prove it if these records are lost.
    pub fn proven_without(&self, lost: &BTreeSet<Lsn>) -> Lsn {
        let left = self.records.iter().filter(|(lsn, _)| !lost.contains(lsn));
        let claimed = left.map(|(_, record)| record.proves).max().unwrap_or(Lsn::NONE);
        claimed.max(self.control.durable).max(Lsn::new(self.last_log, 0))
    }

    /// What the byte at `offset` of a file is part of.
    pub fn region(&self, path: &Path, offset: u64) -> Region {
        let name = path.file_name().expect("a file").to_string_lossy().into_owned();
        if name == names::CONTROL {
            let slot = CONTROL_SLOT_OFFSETS
                .iter()
                .position(|from| (*from..from + CONTROL_SLOT_BYTES as u64).contains(&offset));
            return slot.map_or(Region::ControlGap, |slot| {
                Region::ControlSlot(slot == self.counting_slot)
            });
        }
        if let Some(number) = names::parse_log_file(&name) {
            return self.log_region(number, offset);
        }
        if let Some(file) = names::parse_data_file(&name) {
            let page = PageNo(u32::try_from(offset / self.page_bytes as u64).expect("small"));
            return Region::Page(PageId::new(file, page));
        }
        if name == names::DOUBLE_WRITE {
            return self.batch_region(offset);
        }
        if name.starts_with("spare.") { Region::Spare } else { Region::Note }
    }

    fn log_region(&self, number: u32, offset: u64) -> Region {
        if offset < LOG_HEADER_BYTES as u64 {
            return Region::LogHeader(number);
        }
        let at = Lsn::new(number, u32::try_from(offset).unwrap_or(u32::MAX));
        match self.records.range(..=at).next_back() {
            Some((lsn, record)) if lsn.file() == number && at < record.end => Region::Record(*lsn),
            _ => Region::BehindEnd(number),
        }
    }

    fn batch_region(&self, offset: u64) -> Region {
        let Some(batch) = &self.batch else { return Region::BehindCopies };
        let start = BatchHeader::encoded_bytes(batch.entries.len(), batch.page_bytes) as u64;
        if offset < start {
            return Region::BatchHeader;
        }
        let copy = ((offset - start) / u64::from(batch.page_bytes)) as usize;
        batch.entries.get(copy).map_or(Region::BehindCopies, |entry| Region::Copy(entry.page))
    }
}

fn logs(disk: &Arc<SimDisk>, control: &Control) -> LogSet {
    let vfs: Arc<dyn Vfs> = disk.host().vfs;
    LogSet::open(&vfs, &in_home(names::LOG_DIR), control.environment, control.timeline)
        .expect("a log directory")
}

/// Every page of every data file.
pub fn data_pages(files: &Files, page_bytes: usize) -> impl Iterator<Item = (PageId, &[u8])> {
    files.iter().flat_map(move |(path, bytes)| {
        let name = path.file_name().expect("a file").to_string_lossy();
        let file = names::parse_data_file(&name);
        let pages = (0..).map(PageNo).zip(bytes.chunks_exact(page_bytes));
        file.into_iter().flat_map(move |file| {
            pages.clone().map(move |(no, page)| (PageId::new(file, no), page))
        })
    })
}

/// Data files whose meta page says that they are not logged.
fn volatile_files(files: &Files, page_bytes: usize) -> BTreeSet<FileId> {
    let pages = data_pages(files, page_bytes);
    let metas = pages.filter(|(id, _)| id.page == PageNo(0));
    let marked = metas
        .filter(|(_, page)| MetaFields::read(&Plain(page)).is_ok_and(|fields| !fields.durable));
    marked.map(|(id, _)| id.file).collect()
}

/// The pages that the space maps of the disk's data files say are in use. A damaged map says so of
/// all its pages.
pub fn allocated_pages(files: &Files, page_bytes: usize) -> BTreeSet<PageId> {
    let by_id: BTreeMap<PageId, &[u8]> = data_pages(files, page_bytes).collect();
    let is_in_use = |id: PageId| {
        let (_, bit) = map::place_of(page_bytes, id.page);
        let map_page = map::map_page_for(page_bytes, id.page).expect("a small file");
        let map_page = PageId::new(id.file, map_page);
        let whole = by_id.get(&map_page).filter(|bytes| page::check(bytes, map_page).is_ok());
        whole.is_none_or(|bytes| map::Map(Plain(bytes)).is_allocated(bit))
    };
    by_id.keys().copied().filter(|id| is_in_use(*id)).collect()
}

/// Which file each database of a closed disk is in, by the leaves of its catalog.
pub fn homes(files: &Files, page_bytes: usize) -> BTreeMap<String, FileId> {
    let in_use = allocated_pages(files, page_bytes);
    let pages = data_pages(files, page_bytes);
    let leaves = pages.filter(|(id, bytes)| {
        let kind = page::kind(&Plain(bytes));
        id.file == FileId::CATALOG && in_use.contains(id) && kind == Some(page::Kind::Node)
    });
    let mut homes = BTreeMap::new();
    for (_, bytes) in leaves {
        let node = Node(Plain(bytes));
        for slot in (0..node.count()).filter(|slot| node.is_leaf() && !node.is_ghost(*slot)) {
            let mut value = Vec::new();
            node.value_into(slot, &mut value);
            let row = CatalogRow::decode(&value).expect("a row of the catalog");
            homes.insert(String::from_utf8(node.key(slot)).expect("a name"), row.file);
        }
    }
    homes
}

/// The kinds of record in a log.
pub fn kinds(facts: &Facts) -> BTreeSet<&'static str> {
    facts.records.values().map(|record| record.kind).collect()
}

/// The kinds of page in the data files.
pub fn page_kinds(facts: &Facts) -> BTreeSet<String> {
    let pages = data_pages(&facts.files, facts.page_bytes);
    let whole = pages.filter(|(id, bytes)| page::check(bytes, *id).is_ok());
    whole
        .map(|(_, bytes)| {
            let view = Plain(bytes);
            let kind = page::kind(&view).expect("a known kind");
            match kind {
                page::Kind::Node if bytes[page::LEVEL] > 0 => "Inner".to_owned(),
                page::Kind::Node => "Leaf".to_owned(),
                kind => format!("{kind:?}"),
            }
        })
        .collect()
}

/// The name of a log file, as errors spell it.
pub fn log_name(number: u32) -> String {
    log_path(number).file_name().expect("a file").to_string_lossy().into_owned()
}
