//! Appending, flushing, reading, going from file to file, on a disk without trouble.

use campanile_format::record::{Body, Record};
use campanile_format::{Lsn, TxnId, names};
use campanile_vfs::{Host, Poison};
use campanile_wal::{Start, Tail, Wal, WalError, WalOptions, find_end};

use super::records::*;

/// Appends `count` records of many lengths; returns them with their positions.
fn append_some(wal: &Wal, first: u64, count: u64) -> Vec<(Lsn, Vec<u8>)> {
    let lens = [8, 9, 40, 100, 333, 600, 17];
    let numbers = first..first + count;
    numbers
        .map(|number| {
            let content = content(number, lens[number as usize % lens.len()]);
            (wal.append(&record(&content)).unwrap(), content)
        })
        .collect()
}

#[test]
pub fn what_is_appended_is_read_back_before_and_after_it_is_flushed() {
    let host = Host::memory();
    let wal = new_log(&host, &options(4096, 1024));
    assert_eq!(wal.end(), FIRST);
    let appended = append_some(&wal, 0, 100);
    for (lsn, content) in &appended {
        let read = wal.read(*lsn).unwrap();
        assert_eq!(carried(&read.record().unwrap()), Some(&content[..]));
        assert_eq!(read.lsn(), *lsn);
    }
    assert!(wal.durable() < wal.end());
    wal.flush(wal.end()).unwrap();
    assert_eq!(wal.durable(), wal.end());
    for (lsn, content) in &appended {
        assert_eq!(carried(&wal.read(*lsn).unwrap().record().unwrap()), Some(&content[..]));
    }
    let found = scan(&log_set(&host).unwrap(), FIRST, wal.end()).unwrap();
    assert_eq!(found, appended);
    assert!(wal.stats().rotations >= 5, "{:?}", wal.stats());
}

/// A file is filled with zeros piece by piece, ahead of the log. Once a flush had ended with the
/// file, padded to its end, the background went on where it had stopped: over the records.
#[test]
fn zeros_never_go_over_what_is_written_even_where_it_ends_with_the_file() {
    const FILE_BYTES: u32 = 4 << 20;
    let host = Host::memory();
    let wal = new_log(&host, &options(FILE_BYTES, 8 << 20));
    let mut appended = Vec::new();
    // Into the last block of the file, which the flush pads to its end.
    while wal.end().offset() < FILE_BYTES - 512 {
        let left = FILE_BYTES - wal.end().offset();
        let len = if left > 64 << 10 { 8 << 10 } else { 200 };
        let content = content(appended.len() as u64, len);
        appended.push((wal.append(&record(&content)).unwrap(), content));
    }
    wal.flush(appended.last().unwrap().0).unwrap();
    let end = wal.durable();
    for _ in 0..64 {
        wal.step().unwrap();
    }
    let found = scan(&log_set(&host).unwrap(), FIRST, end).unwrap();
    assert_eq!(found.len(), appended.len());
    assert!(found == appended);
}

#[test]
fn a_scan_backward_is_a_scan_forward_reversed() {
    let host = Host::memory();
    let wal = new_log(&host, &options(4096, 1024));
    let appended = append_some(&wal, 0, 60);
    wal.flush(wal.end()).unwrap();
    let logs = log_set(&host).unwrap();
    let lsns: Vec<Lsn> = appended.iter().map(|(lsn, _)| *lsn).collect();
    for (from, to) in [(0, 59), (3, 40), (17, 17), (58, 59), (0, 1)] {
        let (from, to) = (lsns[from], lsns[to]);
        let collect = |item: Result<(Lsn, _), WalError>| item.unwrap().0;
        let mut forward: Vec<Lsn> = logs.forward(from, to).unwrap().map(collect).collect();
        forward.reverse();
        let backward: Vec<Lsn> = logs.backward(to, from).unwrap().map(collect).collect();
        assert_eq!(forward, backward, "{from} to {to}");
    }
}

#[test]
fn w3_a_record_larger_than_a_file_is_refused_and_the_largest_possible_one_is_not() {
    let host = Host::memory();
    let wal = new_log(&host, &options(4096, 512));
    let overhead = {
        let mut bytes = Vec::new();
        record(&[0; 8]).encode(&mut bytes);
        bytes.len() - 8
    };
    let max = wal.max_record_bytes();
    assert_eq!(max, 4096 - 512);
    let before = wal.end();
    let error = wal.append(&record(&content(1, max))).unwrap_err();
    assert!(matches!(error, WalError::RecordTooLarge { max: 3584, .. }), "{error}");
    assert!(error.to_string().contains("larger log files"), "{error}");
    assert_eq!(wal.end(), before, "nothing changed");
    let largest = content(2, max - overhead - 8);
    let mut lsns = Vec::new();
    for _ in 0..3 {
        lsns.push(wal.append(&record(&largest)).unwrap());
    }
    assert!(lsns.iter().all(|lsn| lsn.offset() == 512), "one in each file: {lsns:?}");
    wal.flush(wal.end()).unwrap();
    let found = scan(&log_set(&host).unwrap(), FIRST, wal.end()).unwrap();
    assert_eq!(found.len(), 3);
}

#[test]
fn sizes_that_cannot_work_are_refused_by_name() {
    let host = Host::memory();
    for file_bytes in [0, 512, 4095, 4097, 1 << 31] {
        let options = WalOptions { file_bytes, ..options(4096, 512) };
        let error = Wal::open(&host, &Poison::new(), options, Start::New).unwrap_err();
        assert!(matches!(error, WalError::BadOptions { .. }), "{error}");
    }
}

#[test]
fn a_log_goes_on_in_the_same_file_after_a_clean_close() {
    let host = Host::memory();
    let options = options(4096, 1024);
    let mut appended = Vec::new();
    let mut start = Start::New;
    for life in 0..12 {
        let wal = reopen(&host, &options, start).unwrap();
        appended.extend(append_some(&wal, life * 10, 3 + life % 5));
        wal.flush(wal.end()).unwrap();
        start = Start::Continue { end: wal.end() };
    }
    let Start::Continue { end } = start else { panic!() };
    let logs = log_set(&host).unwrap();
    assert_eq!(scan(&logs, FIRST, end).unwrap(), appended);
    let found = find_end(&logs, FIRST, end).unwrap();
    assert_eq!((found.end, found.tail), (end, Tail::Clean));
    assert_eq!(found.last, appended.last().unwrap().0);
}

#[test]
fn a_log_that_goes_on_beyond_its_clean_end_is_not_continued() {
    let host = Host::memory();
    let options = options(4096, 1024);
    let wal = new_log(&host, &options);
    append_some(&wal, 0, 3);
    let end = wal.end();
    append_some(&wal, 3, 1);
    wal.flush(wal.end()).unwrap();
    let error = reopen(&host, &options, Start::Continue { end }).unwrap_err();
    assert!(matches!(error, WalError::PastCleanEnd { .. }), "{error}");
    append_some(&wal, 4, 30);
    wal.flush(wal.end()).unwrap();
    let error = reopen(&host, &options, Start::Continue { end }).unwrap_err();
    assert!(error.to_string().contains("follows; run recovery"), "{error}");
    let end = wal.end();
    reopen(&host, &options, Start::Continue { end }).unwrap();
}

#[test]
fn after_a_crash_the_log_goes_on_in_a_new_file_that_states_where_the_old_one_ended() {
    let host = Host::memory();
    let options = options(4096, 1024);
    let mut appended = Vec::new();
    let wal = new_log(&host, &options);
    appended.extend(append_some(&wal, 0, 5));
    wal.flush(wal.end()).unwrap();
    for life in 1..6 {
        let found = find_end(&log_set(&host).unwrap(), FIRST, Lsn::NONE).unwrap();
        let wal = reopen(&host, &options, found.start()).unwrap();
        assert_eq!(wal.end(), Lsn::new(found.end.file() + 1, 512));
        assert_eq!(wal.durable(), wal.end());
        appended.extend(append_some(&wal, life * 10, life));
        wal.flush(wal.end()).unwrap();
    }
    let logs = log_set(&host).unwrap();
    let found = find_end(&logs, FIRST, Lsn::NONE).unwrap();
    assert_eq!(scan(&logs, FIRST, found.end).unwrap(), appended);
}

#[test]
fn starting_after_the_same_end_again_replaces_a_file_only_if_nothing_is_in_it() {
    let host = Host::memory();
    let options = options(4096, 1024);
    let wal = new_log(&host, &options);
    append_some(&wal, 0, 5);
    wal.flush(wal.end()).unwrap();
    let start = find_end(&log_set(&host).unwrap(), FIRST, Lsn::NONE).unwrap().start();
    for _ in 0..3 {
        let wal = reopen(&host, &options, start).unwrap();
        assert_eq!(wal.end(), Lsn::new(2, 512));
    }
    let wal = reopen(&host, &options, start).unwrap();
    append_some(&wal, 5, 1);
    wal.flush(wal.end()).unwrap();
    let error = reopen(&host, &options, start).unwrap_err();
    assert!(
        matches!(&error, WalError::NotEmpty { file } if *file == names::log_file(2)),
        "{error}"
    );
}

#[test]
fn a_new_log_replaces_what_its_own_creation_left_and_nothing_else() {
    let host = Host::memory();
    let options = options(4096, 1024);
    let wal = new_log(&host, &options);
    append_some(&wal, 0, 40);
    wal.flush(wal.end()).unwrap();
    let wal = new_log(&host, &options);
    assert_eq!(wal.end(), FIRST);
    assert_eq!(log_set(&host).unwrap().files().count(), 1);
    append_some(&wal, 100, 1);
    wal.flush(wal.end()).unwrap();
    let found = find_end(&log_set(&host).unwrap(), FIRST, Lsn::NONE).unwrap();
    assert_eq!((found.end, found.tail), (wal.end(), Tail::Clean));
    let other = WalOptions { environment: campanile_format::EnvironmentId([9; 16]), ..options };
    let error = reopen(&host, &other, Start::New).unwrap_err();
    assert!(matches!(error, WalError::NotEmpty { .. }), "{error}");
}

#[test]
fn old_files_are_recycled_and_stale_records_in_them_are_never_seen() {
    let host = Host::memory();
    let options = options(4096, 1024);
    let wal = new_log(&host, &options);
    let mut from = FIRST;
    for round in 0..30 {
        let appended = append_some(&wal, round * 100, 25);
        wal.flush(wal.end()).unwrap();
        let logs = log_set(&host).unwrap();
        let found = find_end(&logs, from, wal.durable()).unwrap();
        assert_eq!((found.end, found.tail), (wal.end(), Tail::Clean), "round {round}");
        let scanned = scan(&logs, appended[0].0, found.end).unwrap();
        assert_eq!(scanned, appended);
        from = appended[20].0;
        wal.recycle_below(from).unwrap();
        assert_eq!(wal.oldest_file(), from.file());
        while wal.step().unwrap() {}
    }
    let stats = wal.stats();
    assert!(stats.files_recycled > 20, "{stats:?}");
    let listing = host.vfs.list(&dir()).unwrap();
    assert!(listing.len() < 15, "{listing:?}");
}

#[test]
fn files_that_are_not_needed_for_reuse_shrink_away() {
    let host = Host::memory();
    let wal = new_log(&host, &options(4096, 1024));
    append_some(&wal, 0, 300);
    wal.flush(wal.end()).unwrap();
    let before = host.vfs.list(&dir()).unwrap().len();
    for _ in 0..40 {
        wal.recycle_below(wal.durable()).unwrap();
        append_some(&wal, 300, 5);
        wal.flush(wal.end()).unwrap();
        while wal.step().unwrap() {}
    }
    let after = host.vfs.list(&dir()).unwrap().len();
    assert!(before > 15 && after < 8, "{before} files, then {after}");
}

#[test]
fn an_idle_log_becomes_durable_says_so_and_then_rests() {
    let host = Host::memory();
    let wal = new_log(&host, &options(16 << 10, 4096));
    while wal.step().unwrap() {}
    let appended = append_some(&wal, 0, 3);
    assert!(!wal.step().unwrap(), "not idle yet");
    assert!(wal.step().unwrap());
    let durable = wal.durable();
    assert!(durable > appended[2].0);
    while wal.step().unwrap() {}
    for _ in 0..5 {
        assert!(!wal.step().unwrap(), "at rest");
    }
    let found = find_end(&log_set(&host).unwrap(), FIRST, Lsn::NONE).unwrap();
    assert_eq!(found.proven, durable);
    assert_eq!(wal.stats().durable_records, 1);
}

#[test]
fn a_flush_states_what_the_one_before_made_durable() {
    let host = Host::memory();
    let wal = new_log(&host, &options(16 << 10, 4096));
    append_some(&wal, 0, 1);
    wal.flush(wal.end()).unwrap();
    let durable = wal.durable();
    append_some(&wal, 1, 1);
    wal.flush(wal.end()).unwrap();
    let found = find_end(&log_set(&host).unwrap(), FIRST, Lsn::NONE).unwrap();
    assert_eq!(found.proven, durable);
    // A commit record that states it saves the log the trouble.
    let before = wal.stats().durable_records;
    let body = Body::Commit { time_us: wal.commit_time_us(), durable: wal.durable() };
    let lsn = wal.append(&Record { txn: TxnId(3), prev: Lsn::NONE, body }).unwrap();
    wal.flush(lsn).unwrap();
    assert_eq!(wal.stats().durable_records, before);
}

#[test]
#[should_panic(expected = "claims")]
fn a_record_may_not_claim_what_is_not_durable() {
    let host = Host::memory();
    let wal = new_log(&host, &options(4096, 1024));
    let lsn = wal.append(&record(&content(1, 8))).unwrap();
    let body = Body::Commit { time_us: 1, durable: Lsn(lsn.0 + 1) };
    let _ = wal.append(&Record { txn: TxnId(3), prev: Lsn::NONE, body });
}

#[test]
fn times_in_the_log_never_go_back() {
    let host = Host::memory();
    let wal = new_log(&host, &options(4096, 1024));
    wal.commit_times_after(5_000_000_000_000_000);
    let first = wal.commit_time_us();
    let second = wal.commit_time_us();
    assert!(5_000_000_000_000_000 < first && first < second);
    let commit = |time_us| {
        let body = Body::Commit { time_us, durable: Lsn::NONE };
        let lsn = wal.append(&Record { txn: TxnId(3), prev: Lsn::NONE, body }).unwrap();
        wal.read(lsn).unwrap().record().unwrap().time_us().unwrap()
    };
    assert_eq!(commit(second), second);
    assert_eq!(commit(first), second, "a late one is dated up");
    wal.flush(wal.end()).unwrap();
    let found = find_end(&log_set(&host).unwrap(), FIRST, Lsn::NONE).unwrap();
    assert_eq!(found.last_time_us, second);
    assert_eq!(found.records, 2);
}

#[test]
fn reading_where_no_record_starts_is_an_error_and_no_more() {
    let host = Host::memory();
    let wal = new_log(&host, &options(4096, 1024));
    let appended = append_some(&wal, 0, 2);
    let inside = Lsn(appended[1].0.0 + 8);
    for flushed in [false, true] {
        assert!(wal.read(inside).is_err());
        assert!(wal.read(wal.end()).is_err());
        assert!(wal.read(Lsn::NONE).is_err());
        assert!(wal.read(Lsn::new(1, 3)).is_err());
        assert!(wal.read(Lsn::MAX).is_err());
        if !flushed {
            wal.flush(wal.end()).unwrap();
        }
    }
}

#[test]
fn a_poisoned_log_says_so_whatever_is_asked() {
    let host = Host::memory();
    let poison = Poison::new();
    let wal = Wal::open(&host, &poison, options(4096, 1024), Start::New).unwrap();
    let lsn = wal.append(&record(&content(1, 8))).unwrap();
    poison.strike("a failed sync of something");
    let errors = [
        wal.append(&record(&content(2, 8))).unwrap_err(),
        wal.flush(lsn).unwrap_err(),
        wal.write(lsn).unwrap_err(),
        wal.read(lsn).unwrap_err(),
        wal.step().unwrap_err(),
        wal.recycle_below(lsn).unwrap_err(),
    ];
    for error in errors {
        assert!(error.to_string().contains("poisoned since a failed sync of something"), "{error}");
    }
}

#[test]
fn undo_reads_what_was_written_since_it_last_looked_there() {
    let host = Host::memory();
    let wal = new_log(&host, &options(64 << 10, 4096));
    let mut appended = append_some(&wal, 0, 3);
    wal.flush(wal.end()).unwrap();
    for round in 1..20 {
        for (lsn, content) in appended.iter().rev() {
            assert_eq!(carried(&wal.read(*lsn).unwrap().record().unwrap()), Some(&content[..]));
        }
        appended.extend(append_some(&wal, round * 10, 4));
        wal.flush(wal.end()).unwrap();
    }
}
