//! Damaged, missing, foreign and misnamed log files: named, and never taken for the end.

use std::path::PathBuf;
use std::sync::Arc;

use campanile_format::record::{Body, Record};
use campanile_format::{EnvironmentId, Lsn, Timeline, TxnId, names};
use campanile_vfs::sim::{Fault, FaultPlan, FaultRule, SimDisk, SimOptions, Trigger};
use campanile_vfs::{CallKind, Vfs};
use campanile_wal::{
    Evidence, Found, LogEnd, LogSet, Start, Successor, Tail, Verdict, Wal, WalError, WalOptions,
    find_end,
};

use super::records::*;

fn path(number: u32) -> PathBuf {
    dir().join(names::log_file(number))
}

/// A log of some files on a disk, and its records.
struct Log {
    disk: Arc<SimDisk>,
    records: Vec<(Lsn, Vec<u8>)>,
    end: Lsn,
}

impl Log {
    /// So many records of 300 bytes and more, flushed once at the end.
    fn of(count: u64) -> Log {
        Log::with(count, &options(4096, 4096))
    }

    fn with(count: u64, options: &WalOptions) -> Log {
        let disk = disk(SimOptions::new(1));
        let wal = new_log(&disk.host(), options);
        let mut log = Log { disk, records: Vec::new(), end: Lsn::NONE };
        for number in 0..count {
            log.append(&wal, number);
        }
        wal.flush(wal.end()).unwrap();
        log.end = wal.end();
        log
    }

    fn append(&mut self, wal: &Wal, number: u64) {
        let content = content(number, 300 + number as usize % 50);
        let lsn = wal.append(&record(&content)).unwrap();
        self.records.push((lsn, content));
    }

    fn copy(&self) -> Arc<SimDisk> {
        self.disk.fork()
    }
}

fn end_of(disk: &Arc<SimDisk>, known: Lsn) -> Result<LogEnd, WalError> {
    find_end(&log_set(&disk.host())?, FIRST, known)
}

#[test]
fn a_missing_file_is_named() {
    let log = Log::of(60);
    let last = log.end.file();
    assert!(last > 4);
    for missing in 1..=last {
        let disk = log.copy();
        disk.drop_file(&path(missing)).unwrap();
        let error = end_of(&disk, log.end).unwrap_err();
        let named = matches!(&error, WalError::Missing { file, .. }
            if *file == names::log_file(missing));
        assert!(named, "{missing}: {error}");
        assert!(error.is_corruption());
    }
    let disk = log.copy();
    (1..=last).for_each(|number| disk.drop_file(&path(number)).unwrap());
    assert!(matches!(end_of(&disk, Lsn::NONE), Err(WalError::Missing { .. })));
    // The loss of the newest file shows only if something outside the log says how far it went.
    let disk = log.copy();
    disk.drop_file(&path(last)).unwrap();
    assert_eq!(end_of(&disk, Lsn::NONE).unwrap().end.file(), last - 1);
}

#[test]
fn files_that_are_not_read_may_be_gone() {
    let log = Log::of(60);
    let disk = log.copy();
    disk.drop_file(&path(1)).unwrap();
    disk.drop_file(&path(3)).unwrap();
    disk.edit_file(&path(2), |bytes| bytes[20] ^= 1).unwrap();
    let logs = log_set(&disk.host()).unwrap();
    let from = log.records.iter().find(|(lsn, _)| lsn.file() == 4).unwrap().0;
    assert_eq!(find_end(&logs, from, log.end).unwrap().end, log.end);
    assert_eq!(logs.oldest_readable().unwrap(), Lsn::new(4, 512));
}

#[test]
fn a_misnamed_or_copied_file_is_named() {
    let log = Log::of(60);
    let last = log.end.file();
    let bytes = |number| log.disk.file_bytes(&path(number)).unwrap();
    for (one, other) in [(1, 2), (2, 4), (last - 1, last), (3, last)] {
        let swapped = log.copy();
        swapped.put_file(&path(one), &bytes(other));
        let copied = end_of(&swapped, log.end).unwrap_err();
        let named = matches!(&copied, WalError::Foreign { file, .. }
            if *file == names::log_file(one));
        assert!(named, "{copied}");
        swapped.put_file(&path(other), &bytes(one));
        assert!(matches!(end_of(&swapped, log.end), Err(WalError::Foreign { .. })));
    }
    // One more than there are: a copy of the newest.
    let disk = log.copy();
    disk.put_file(&path(last + 1), &bytes(last));
    let error = end_of(&disk, log.end).unwrap_err();
    assert!(error.to_string().contains(&names::log_file(last + 1)), "{error}");
    // Other names are nobody's business.
    let disk = log.copy();
    for stray in ["log.1", "log.0000000001.bak", "LOG.0000000009", "notes"] {
        disk.put_file(&dir().join(stray), b"whatever");
    }
    assert_eq!(end_of(&disk, log.end).unwrap().end, log.end);
}

#[test]
fn a_file_of_another_environment_or_history_is_named() {
    let log = Log::of(60);
    let last = log.end.file();
    let others = [
        WalOptions { environment: EnvironmentId([7; 16]), ..options(4096, 4096) },
        WalOptions { timeline: Timeline(2), ..options(4096, 4096) },
    ];
    for options in others {
        let other = Log::with(60, &options);
        for number in [1, 3, last, last + 1] {
            let disk = log.copy();
            let bytes = other.disk.file_bytes(&path(number.min(last))).unwrap();
            disk.put_file(&path(number), &bytes);
            let error = end_of(&disk, log.end).unwrap_err();
            let named = matches!(&error, WalError::Foreign { file, .. }
                if *file == names::log_file(number));
            assert!(named, "{error}");
        }
    }
}

#[test]
fn a_truncated_file_is_named_unless_it_was_cut_where_nothing_was_promised() {
    let log = Log::of(60);
    let last = log.end.file();
    for number in [1, 3, last] {
        let full = log.disk.file_bytes(&path(number)).unwrap().len();
        for len in (0..full).step_by(37).chain([511, 512, 513]) {
            let disk = log.copy();
            disk.edit_file(&path(number), |bytes| bytes.truncate(len)).unwrap();
            match end_of(&disk, log.end) {
                Ok(end) => assert_eq!(end.end, log.end, "only zeros were cut"),
                Err(WalError::Corrupt { file, .. }) => {
                    assert_eq!(file, names::log_file(number));
                }
                Err(error) => panic!("{number} cut at {len}: {error}"),
            }
            // Without anything that says how far the log was durable, a cut newest file is a tail.
            let unknown = end_of(&disk, Lsn::NONE);
            if number == last && len >= 512 {
                assert!(unknown.unwrap().end.file() == last);
            } else if number != last {
                assert_eq!(unknown.is_err(), end_of(&disk, log.end).is_err());
            }
        }
    }
}

#[test]
pub fn every_flipped_bit_is_found_or_changes_nothing() {
    let log = Log::of(24);
    let last = log.end.file();
    for number in 1..=last {
        let bits = log.disk.file_bytes(&path(number)).unwrap().len() as u64 * 8;
        for bit in (0..bits).step_by(if number == 1 { 1 } else { 11 }) {
            let disk = log.copy();
            disk.flip_bit(&path(number), bit).unwrap();
            let end = match end_of(&disk, log.end) {
                Ok(end) => end,
                Err(WalError::Corrupt { file, .. } | WalError::Format { file, .. }) => {
                    assert_eq!(file, names::log_file(number), "bit {bit}");
                    continue;
                }
                Err(error) => panic!("file {number}, bit {bit}: {error}"),
            };
            assert_eq!(end.end, log.end, "file {number}, bit {bit}");
            let logs = log_set(&disk.host()).unwrap();
            assert_eq!(scan(&logs, FIRST, end.end).unwrap(), log.records);
        }
    }
}

#[test]
fn an_old_damage_is_corruption_because_the_log_itself_says_how_far_it_was_durable() {
    let disk = disk(SimOptions::new(1));
    let wal = new_log(&disk.host(), &options(64 << 10, 4096));
    let mut log = Log { disk, records: Vec::new(), end: Lsn::NONE };
    for number in 0..20 {
        log.append(&wal, number);
        let body = Body::Commit { time_us: 0, durable: wal.durable() };
        let commit = Record { txn: TxnId(1), prev: Lsn::NONE, body };
        let lsn = wal.append(&commit).unwrap();
        wal.flush(lsn).unwrap();
    }
    while wal.step().unwrap() {}
    while wal.step().unwrap() {}
    for (lsn, _) in &log.records {
        let disk = log.copy();
        disk.edit_file(&path(1), |bytes| bytes[lsn.offset() as usize + 50] ^= 4).unwrap();
        let error = end_of(&disk, Lsn::NONE).unwrap_err();
        let WalError::Corrupt { file, offset, why } = &error else { panic!("{error}") };
        assert_eq!((file.as_str(), *offset), ("log.0000000001", u64::from(lsn.offset())));
        assert!(why.contains("durable up to"), "{why}");
    }
}

/// Every line of the table in `tail.rs`, made of real bytes.
#[test]
pub fn every_line_of_the_tail_table_happens() {
    let mut seen = 0;
    for found in [Found::Record, Found::Pad, Found::Nothing, Found::Damage, Found::Unreadable] {
        for successor in [Successor::None, Successor::EndsHere, Successor::EndsBeyond] {
            for below_durable in [false, true] {
                for survivors in [false, true] {
                    let evidence = Evidence { found, successor, below_durable, survivors };
                    if try_line(evidence) {
                        seen += 1;
                    }
                }
            }
        }
    }
    assert_eq!(seen, 60);
}

/// Makes a log in which the third record of its first file is the spot in question.
fn try_line(evidence: Evidence) -> bool {
    let Evidence { found, successor, below_durable, survivors } = evidence;
    let host_options = options(8192, 4096);
    let disk = disk(SimOptions::new(1));
    let wal = new_log(&disk.host(), &host_options);
    let mut log = Log { disk, records: Vec::new(), end: Lsn::NONE };
    // Sectors of their own: an unreadable spot takes nothing with it.
    let body = content(0, 1024 - 32 - 16);
    let mut lsns = Vec::new();
    for number in 0..if survivors { 5 } else { 3 } {
        if number == 2 && found == Found::Pad {
            // One record is a little short of its blocks, and somebody waits for it.
            let short = &body[..body.len() - 100];
            let at = wal.append(&record(short)).unwrap();
            wal.flush(at).unwrap();
            lsns.push(Lsn(at.0 + 1024 - 104));
            continue;
        }
        lsns.push(wal.append(&record(&body)).unwrap());
    }
    wal.flush(wal.end()).unwrap();
    log.end = wal.end();
    let spot = lsns[2];
    assert_eq!(spot.offset() % 512 == 0, found != Found::Pad, "{lsns:?}");
    let next_file = 2;
    match successor {
        Successor::None => {}
        Successor::EndsHere => {
            let start = Start::After { end: spot, proven: log.end, next_file };
            reopen(&log.disk.host(), &host_options, start).unwrap();
        }
        Successor::EndsBeyond => {
            let start = Start::After { end: log.end, proven: log.end, next_file };
            reopen(&log.disk.host(), &host_options, start).unwrap();
        }
    }
    let at = spot.offset() as usize;
    match found {
        Found::Record | Found::Pad => {}
        Found::Nothing => log.disk.edit_file(&path(1), |b| b[at..at + 1024].fill(0)).unwrap(),
        Found::Damage => log.disk.edit_file(&path(1), |b| b[at + 100] ^= 1).unwrap(),
        Found::Unreadable => {}
    }
    let known = if below_durable { Lsn(spot.0 + 1) } else { Lsn::NONE };
    let logs = log_set(&log.disk.host()).unwrap();
    if found == Found::Unreadable {
        if successor == Successor::EndsHere {
            // Read ahead or not, what a file says to be behind its end is not needed.
            log.disk.edit_file(&path(1), |bytes| bytes.truncate(at)).unwrap();
        } else {
            let rule = FaultRule::new(Fault::ReadFails, Trigger::From(0));
            let rule = rule.on("*/log.0000000001").for_calls(&[CallKind::Read]);
            log.disk.faults(FaultPlan::none().and(rule));
        }
    }
    let outcome = find_end(&logs, FIRST, known);
    let proven_by_file = successor == Successor::EndsBeyond;
    match evidence.judge() {
        Verdict::Take => {
            let end = outcome.unwrap().end;
            assert!(end >= log.end || (survivors && end > spot), "{evidence:?}: {end}");
        }
        Verdict::Skip => {
            let end = outcome.unwrap();
            assert!(end.end > spot && end.tail == Tail::Clean, "{evidence:?}: {end:?}");
            let read = scan(&logs, FIRST, log.end).unwrap();
            let expected = if survivors { 5 } else { 3 };
            assert_eq!(read.len(), expected, "a pad is no record");
        }
        Verdict::NextFile => assert_eq!(outcome.unwrap().end, Lsn::new(2, 512), "{evidence:?}"),
        Verdict::IoError => {
            let error = outcome.unwrap_err();
            assert!(matches!(error, WalError::Io { .. }), "{evidence:?}: {error}");
            assert!(!error.is_corruption());
        }
        Verdict::CleanEnd => {
            let end = outcome.unwrap();
            assert_eq!((end.end, end.tail), (spot, Tail::Clean), "{evidence:?}");
        }
        Verdict::TornTail => {
            let end = outcome.unwrap();
            assert_eq!(end.end, spot, "{evidence:?}");
            let count = if survivors { 2 } else { 0 };
            let Tail::Torn { bytes_cut, survivors } = end.tail else { panic!("{evidence:?}") };
            assert_eq!(survivors, count);
            assert!(bytes_cut >= 1024 * (1 + count) - 200, "{evidence:?}: {bytes_cut}");
        }
        Verdict::Corruption => {
            let error = outcome.unwrap_err();
            let WalError::Corrupt { file, offset, .. } = &error else { panic!("{error}") };
            assert_eq!((file.as_str(), *offset), ("log.0000000001", at as u64));
            assert!(below_durable || proven_by_file);
        }
    }
    true
}

#[test]
fn a_new_history_goes_on_in_front_of_files_that_it_has_left() {
    let log = Log::of(60);
    let last = log.end.file();
    let stop = log.records.iter().find(|(lsn, _)| lsn.file() == 3).unwrap().0;
    let newer = WalOptions { timeline: Timeline(2), ..options(4096, 4096) };
    let start = Start::After { end: stop, proven: stop, next_file: last + 1 };
    let wal = reopen(&log.disk.host(), &newer, start).unwrap();
    let lsn = wal.append(&record(&content(1000, 50))).unwrap();
    wal.flush(lsn).unwrap();
    let host = log.disk.host();
    let logs = LogSet::open(&host.vfs, &dir(), ENVIRONMENT, Timeline(2)).unwrap();
    let end = find_end(&logs, FIRST, Lsn::NONE).unwrap();
    assert_eq!(end.end, wal.end());
    let found = scan(&logs, FIRST, end.end).unwrap();
    let kept = log.records.iter().take_while(|(lsn, _)| *lsn < stop).count();
    assert_eq!(found[..kept], log.records[..kept]);
    assert_eq!(found[kept..], [(lsn, content(1000, 50))]);
    // The same again with the old history is refused: it has gone on.
    let start = Start::After { end: stop, proven: stop, next_file: last + 2 };
    let error = reopen(&host, &options(4096, 4096), start).unwrap_err();
    assert!(error.is_corruption() || matches!(error, WalError::NotEmpty { .. }), "{error}");
}

#[test]
fn reading_never_writes() {
    let log = Log::of(30);
    let before = log.disk.snapshot_files();
    log.disk.log_calls(true);
    let end = end_of(&log.disk, log.end).unwrap();
    let logs = log_set(&log.disk.host()).unwrap();
    assert!(logs.forward(FIRST, end.end).unwrap().count() >= 30);
    assert!(logs.backward(end.end, FIRST).unwrap().count() >= 30);
    logs.read(log.records[20].0).unwrap();
    LogSet::discover(&log.disk.host().vfs, &dir()).unwrap();
    let calls = log.disk.calls_log();
    let looks = |kind: CallKind| kind.only_looks() || kind == CallKind::Open;
    assert!(calls.iter().all(|call| looks(call.kind)), "{calls:?}");
    assert_eq!(log.disk.snapshot_files(), before);
    assert!(log.disk.exists(&dir()).unwrap());
}
