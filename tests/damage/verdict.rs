//! The judge: given what a damage touched and what was seen afterwards, was everything right?
//!
//! J1  What is shown is true: every row read, forward or backward, before an error or without one,
//!     is a row of the one state that is permitted; a scan that ends without an error is whole.
//! J2  Every error is of kind `Corrupt` and names the file or page that was damaged.
//! J3  Damage to a log record or log header that opening needs, below what is proven durable, is
//!     refused, with file and offset. Above it the tail is cut there, and the report says so.
//! J4  Damage to a page in use is reported by whoever reads it and by the verification, and the
//!     other databases stay whole; or recovery has made the page anew, and it is whole on disk.
//! J5  Damage to bytes that nobody needs changes nothing that is shown. It must be one of the
//!     regions listed in [`Verdict`], each for a reason that is stated there.
//! J6  Reading only and opening for good agree.

use crate::damage::Damage;
use crate::exam::{Complaint, Seen, Shown, View};
use crate::facts::{Facts, Region, allocated_pages, files_of, log_name};
use crate::sample::{Sample, in_home, log_path};
use campanile::ErrorKind;
use campanile_format::{FileId, Lsn, PageId, names, page};
use campanile_tests::oracle::{Rows, State, brief};
use std::collections::{BTreeMap, BTreeSet};

/// What became of a damage. The first four are detections, the others harmless, for the reason
/// that their comment gives.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Verdict {
    /// The environment was not opened; the error names the place.
    Refused,
    /// The log was cut there, above everything proven durable, and recovery said so.
    TailCut,
    /// It was opened; reads and verification named the page.
    Reported,
    /// Printing the log named the record; recovery begins behind it and needs it no more.
    ReportedByLog,
    /// Recovery made the page anew, from the log or its copy; it is whole on disk again.
    Mended,
    /// The other slot of the control file served.
    OtherSlot,
    /// A log file, or a part of one, that recovery begins behind.
    OldLog,
    /// Behind the end of a log file: zeros, or what an earlier life of the file left.
    BehindLogEnd,
    /// A page that is not in use.
    FreePage,
    /// A copy in the double-write file whose page at home is whole, or padding.
    CopyNotNeeded,
    /// A file that will be a log file: overwritten before it counts.
    SpareFile,
    /// Bytes of the control file outside its slots.
    ControlGap,
    /// The lock file or the note of the owner.
    Note,
    /// The bytes are the same as before.
    NoChange,
}

/// What must be seen.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Expect {
    /// No opening, and in the error all the words of one of these.
    Refused(Vec<Vec<String>>),
    /// Exactly this state; the damage is harmless because of this.
    Exact(Verdict),
    /// The log ends here.
    Cut(Lsn),
    /// These pages are damaged.
    Pages(BTreeSet<PageId>),
    /// Copies of torn pages are damaged: mended otherwise, or the torn page is named.
    Copies,
}

/// One sample, with all that is known of it.
pub struct Case<'s> {
    /// The sample.
    pub sample: &'s Sample,
    /// Its files.
    pub facts: &'s Facts,
    /// Which file each database is in.
    pub homes: &'s BTreeMap<String, FileId>,
}

type Judged = Result<Verdict, String>;

impl Case<'_> {
    /// What this damage must lead to.
    pub fn expect(&self, damage: &Damage) -> Expect {
        let Some((path, offsets)) = damage.touched(&self.facts.files) else {
            return Expect::Exact(Verdict::NoChange);
        };
        let regions: BTreeSet<Region> =
            offsets.iter().map(|offset| self.facts.region(&path, *offset)).collect();
        if let Damage::Cut { len, .. } = damage
            && let Some(end) = self.facts.control.clean_end
            && path == log_path(end.file())
            && (*len as u64) < u64::from(end.offset())
        {
            return Expect::Refused(vec![vec![log_name(end.file())]]);
        }
        // Each slot is whole, and either place will do.
        if matches!(damage, Damage::SwapSectors { one: 0, other: 8, .. })
            && path == in_home(names::CONTROL)
        {
            return Expect::Exact(Verdict::OtherSlot);
        }
        self.expect_of(&regions)
    }

    fn expect_of(&self, regions: &BTreeSet<Region>) -> Expect {
        let slots = [Region::ControlSlot(true), Region::ControlSlot(false)];
        match slots.map(|slot| regions.contains(&slot)) {
            [true, true] => return Expect::Refused(vec![vec!["control".to_owned()]]),
            [true, false] => return Expect::Exact(Verdict::OtherSlot),
            _ => {}
        }
        let headers = regions.iter().filter_map(|region| match region {
            Region::LogHeader(number) if *number >= self.facts.first_log => {
                Some(vec![log_name(*number)])
            }
            _ => None,
        });
        let headers: Vec<Vec<String>> = headers.collect();
        let records = |needed: bool| {
            regions.iter().filter_map(move |region| match region {
                Region::Record(lsn) if self.facts.records[lsn].needed == needed => Some(*lsn),
                _ => None,
            })
        };
        if !headers.is_empty() {
            return Expect::Refused(headers);
        }
        let lost = records(true).chain(records(false)).collect();
        let proven = self.facts.proven_without(&lost);
        match records(true).next() {
            Some(first) if first >= proven => return Expect::Cut(first),
            Some(_) => {
                let place =
                    |lsn: Lsn| vec![log_name(lsn.file()), format!("offset {}:", lsn.offset())];
                return Expect::Refused(records(true).map(place).collect());
            }
            None => {}
        }
        if records(false).next().is_some() {
            return Expect::Exact(Verdict::ReportedByLog);
        }
        let pages: BTreeSet<PageId> = regions
            .iter()
            .filter_map(|region| match region {
                Region::Page(id) => Some(*id),
                _ => None,
            })
            .collect();
        if !pages.is_empty() {
            return Expect::Pages(pages);
        }
        match regions.last() {
            None => Expect::Exact(Verdict::NoChange),
            Some(Region::BatchHeader | Region::Copy(_)) if self.sample.name == "torn" => {
                Expect::Copies
            }
            Some(region) => Expect::Exact(self.harmless(*region)),
        }
    }

    fn harmless(&self, region: Region) -> Verdict {
        match region {
            Region::ControlSlot(_) => Verdict::OtherSlot,
            Region::ControlGap => Verdict::ControlGap,
            Region::LogHeader(_) => Verdict::OldLog,
            Region::Record(_) => Verdict::ReportedByLog,
            Region::BehindEnd(_) => Verdict::BehindLogEnd,
            Region::Spare => Verdict::SpareFile,
            Region::BatchHeader | Region::Copy(_) | Region::BehindCopies => Verdict::CopyNotNeeded,
            Region::Page(_) => Verdict::FreePage,
            Region::Note => Verdict::Note,
        }
    }

    /// Whether what was seen is right.
    pub fn judge(&self, damage: &Damage, seen: &Seen) -> Judged {
        let expect = self.expect(damage);
        self.judge_expected(damage, &expect, seen).map_err(|what| format!("{what} [{expect:?}]"))
    }

    fn judge_expected(&self, damage: &Damage, expect: &Expect, seen: &Seen) -> Judged {
        let ways = [("read only", &seen.read_only), ("opened", &seen.opened)];
        let mut verdicts = BTreeSet::new();
        for (way, result) in ways {
            let judged = match expect {
                Expect::Refused(words) => refused(result, words),
                Expect::Exact(verdict) => self.exact(result, *verdict),
                Expect::Cut(lsn) => self.cut(result, *lsn, matches!(damage, Damage::Flip { .. })),
                Expect::Pages(pages) => self.pages(result, pages, seen),
                Expect::Copies => self.copies(result),
            };
            verdicts.insert(judged.map_err(|what| format!("{way}: {what}"))?);
        }
        if verdicts.len() > 1 {
            return Err(format!("reading only and opening for good disagree: {verdicts:?}"));
        }
        let verdict = *verdicts.first().expect("two ways were judged");
        if verdict == Verdict::ReportedByLog {
            self.log_complains(damage, seen)?;
        }
        self.closes(seen, verdict)?;
        Ok(verdict)
    }

    /// Whole and right, as if nothing had happened.
    pub fn exact(&self, result: &Result<View, Complaint>, verdict: Verdict) -> Judged {
        let view = result.as_ref().map_err(|complaint| format!("not opened: {complaint}"))?;
        if !self.shows(view, self.sample.newest())? {
            return Err(format!("errors where nothing should matter: {}", words(view)));
        }
        clean(view)?;
        Ok(verdict)
    }

    fn cut(&self, result: &Result<View, Complaint>, end: Lsn, must_say: bool) -> Judged {
        let view = match result {
            Ok(view) => view,
            // Pages that the lost records have changed are on disk already.
            Err(complaint) if self.facts.highest_page_lsn >= end => {
                let named = complaint.kind == ErrorKind::Corrupt && complaint.text.contains("page");
                return if named { Ok(Verdict::Refused) } else { Err(complaint.to_string()) };
            }
            Err(complaint) => return Err(format!("not opened: {complaint}")),
        };
        let exact = self.shows(view, &self.sample.as_of(end))?;
        if !exact && self.facts.highest_page_lsn < end {
            return Err(format!("a cut tail damages nothing else: {}", words(view)));
        }
        let cut = view.report.as_ref().map_or(0, |report| report.tail_bytes_cut);
        if must_say && cut == 0 {
            return Err("the report does not say that a tail was cut".to_owned());
        }
        if exact {
            clean(view)?;
        }
        Ok(Verdict::TailCut)
    }

    fn pages(
        &self,
        result: &Result<View, Complaint>,
        pages: &BTreeSet<PageId>,
        seen: &Seen,
    ) -> Judged {
        let is_named = |text: &str| pages.iter().any(|id| text.contains(&id.to_string()));
        let view = match result {
            Ok(view) => view,
            Err(complaint) if self.facts.control.clean_end.is_some() => {
                return Err(format!("a damaged page keeps everything shut: {complaint}"));
            }
            Err(complaint) if complaint.kind == ErrorKind::Corrupt && is_named(&complaint.text) => {
                return Ok(Verdict::Refused);
            }
            Err(complaint) => return Err(format!("not the damaged page: {complaint}")),
        };
        let exact = self.shows(view, self.sample.newest())?;
        if exact && view.findings().is_empty() {
            clean(view)?;
            return mended(seen, pages, self.facts.page_bytes);
        }
        if view.findings().is_empty() {
            return Err(format!("verification is clean, reading is not: {}", words(view)));
        }
        if !view.findings().iter().any(|finding| is_named(finding)) {
            return Err(format!("no finding names a damaged page: {:?}", view.findings()));
        }
        self.others_are_whole(view, pages)?;
        Ok(Verdict::Reported)
    }

    /// Databases in files that were not damaged show everything.
    fn others_are_whole(&self, view: &View, pages: &BTreeSet<PageId>) -> Result<(), String> {
        let damaged: BTreeSet<FileId> = pages.iter().map(|id| id.file).collect();
        if damaged.contains(&FileId::CATALOG) {
            return Ok(());
        }
        for (name, shown) in &view.databases {
            let whole = shown.as_ref().is_ok_and(is_whole);
            if !whole && !damaged.contains(&self.homes[name]) {
                return Err(format!("{name} is not damaged but cannot be read: {}", words(view)));
            }
        }
        Ok(())
    }

    fn copies(&self, result: &Result<View, Complaint>) -> Judged {
        match result {
            Ok(_) => self.exact(result, Verdict::CopyNotNeeded),
            Err(complaint)
                if complaint.kind == ErrorKind::Corrupt && complaint.text.contains("page") =>
            {
                Ok(Verdict::Refused)
            }
            Err(complaint) => Err(complaint.to_string()),
        }
    }

    fn log_complains(&self, damage: &Damage, seen: &Seen) -> Result<(), String> {
        let Some((path, offsets)) = damage.touched(&self.facts.files) else { return Ok(()) };
        let first = offsets.iter().find_map(|offset| match self.facts.region(&path, *offset) {
            Region::Record(lsn) => Some(lsn),
            _ => None,
        });
        let Some(first) = first else { return Ok(()) };
        let (file, offset) = (log_name(first.file()), format!("offset {}:", first.offset()));
        match &seen.log.1 {
            Some(complaint)
                if complaint.text.contains(&file) && complaint.text.contains(&offset) =>
            {
                Ok(())
            }
            // The file's own header, or its end, was damaged too.
            Some(complaint) if complaint.text.contains(&file) => Ok(()),
            other => Err(format!("printing the log does not name the record: {other:?}")),
        }
    }

    /// What could be opened and is whole can be closed. A prepared transaction keeps it open.
    fn closes(&self, seen: &Seen, verdict: Verdict) -> Result<(), String> {
        match &seen.close {
            Some(Err(complaint)) => {
                let busy = self.sample.name == "reserved" && complaint.kind == ErrorKind::Busy;
                let damaged = verdict == Verdict::Reported && complaint.kind == ErrorKind::Corrupt;
                let ok = busy || damaged;
                if ok { Ok(()) } else { Err(format!("does not close: {complaint}")) }
            }
            _ => Ok(()),
        }
    }

    /// J1. True if everything was shown, without any error.
    pub fn shows(&self, view: &View, state: &State) -> Result<bool, String> {
        for complaint in view.complaints() {
            if complaint.kind != ErrorKind::Corrupt {
                return Err(format!("an error that does not speak of damage: {complaint}"));
            }
        }
        let Ok(found) = &view.names else { return Ok(false) };
        if !found.iter().eq(state.keys()) {
            return Err(format!("databases {found:?} instead of {:?}", state.keys()));
        }
        let mut whole = true;
        for (name, rows) in state {
            let Ok(shown) = &view.databases[name] else {
                whole = false;
                continue;
            };
            let may_be_empty = self.sample.volatile.contains(name);
            let empty = Rows::new();
            let emptied = may_be_empty && shown.forward.rows.is_empty();
            let rows = if emptied { &empty } else { &**rows };
            check_rows(shown, rows).map_err(|what| format!("{name}: {what}"))?;
            whole &= is_whole(shown);
        }
        Ok(whole)
    }
}

fn is_whole(shown: &Shown) -> bool {
    shown.forward.broke.is_none() && shown.backward.broke.is_none() && shown.dumped.is_ok()
}

fn refused(result: &Result<View, Complaint>, wanted: &[Vec<String>]) -> Judged {
    let named = |text: &str| wanted.iter().any(|all| all.iter().all(|word| text.contains(word)));
    match result {
        Ok(_) => Err("opened, though damaged".to_owned()),
        Err(complaint) if complaint.kind == ErrorKind::Corrupt && named(&complaint.text) => {
            Ok(Verdict::Refused)
        }
        Err(complaint) => Err(format!("the error does not name the place: {complaint}")),
    }
}

/// A page that shows no effect is not in use, or was made anew.
fn mended(seen: &Seen, pages: &BTreeSet<PageId>, page_bytes: usize) -> Judged {
    let files = files_of(&seen.after);
    let in_use = allocated_pages(&files, page_bytes);
    let mut verdict = Verdict::FreePage;
    for id in pages.iter().filter(|id| in_use.contains(id)) {
        let path = in_home(names::DATA_DIR).join(names::data_file(id.file));
        let from = id.page.0 as usize * page_bytes;
        let bytes = files.get(&path).and_then(|bytes| bytes.get(from..from + page_bytes));
        if bytes.is_none_or(|bytes| page::check(bytes, *id).is_err()) {
            return Err(format!("{id} is in use and still damaged, and nobody noticed"));
        }
        verdict = Verdict::Mended;
    }
    Ok(verdict)
}

fn clean(view: &View) -> Result<(), String> {
    match &view.verify {
        Ok(report) if report.is_clean() => Ok(()),
        Ok(report) => Err(format!("verification: {:?}", report.damage)),
        Err(complaint) => Err(format!("verification: {complaint}")),
    }
}

fn check_rows(shown: &Shown, rows: &Rows) -> Result<(), String> {
    let expected: Vec<(&Vec<u8>, &Vec<u8>)> = rows.iter().collect();
    let right =
        |at: usize, row: &(Vec<u8>, Vec<u8>), want: Option<&(&Vec<u8>, &Vec<u8>)>| match want {
            Some((key, value)) if **key == row.0 && **value == row.1 => Ok(()),
            _ => Err(format!("row {at} is {} = {}", brief(&row.0), brief(&row.1))),
        };
    for (at, row) in shown.forward.rows.iter().enumerate() {
        right(at, row, expected.get(at))?;
    }
    for (at, row) in shown.backward.rows.iter().enumerate() {
        right(at, row, expected.len().checked_sub(at + 1).and_then(|at| expected.get(at)))
            .map_err(|what| format!("backward, {what}"))?;
    }
    for (way, scan) in [("forward", &shown.forward), ("backward", &shown.backward)] {
        if scan.broke.is_none() && scan.rows.len() != expected.len() {
            let (is, was) = (scan.rows.len(), expected.len());
            return Err(format!("{way}: {is} rows instead of {was}, and no error"));
        }
    }
    match &shown.dumped {
        Ok(pairs) if *pairs != expected.len() as u64 => Err(format!("{pairs} pairs dumped")),
        _ => Ok(()),
    }
}

/// All errors and findings, for messages.
pub fn words(view: &View) -> String {
    let complaints = view.complaints().into_iter().map(ToString::to_string);
    let all: BTreeSet<String> = complaints.chain(view.findings().iter().cloned()).collect();
    all.into_iter().collect::<Vec<_>>().join(" | ")
}
