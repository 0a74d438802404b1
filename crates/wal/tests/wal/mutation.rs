//! Arbitrary bytes where a log should be: an answer, in bounded time, and never a panic.

use std::sync::Arc;
use std::time::{Duration, Instant};

use campanile_format::frame::{FRAME_BYTES, LogIdentity, finish};
use campanile_format::{Lsn, names};
use campanile_vfs::sim::{SimDisk, SimOptions};
use campanile_vfs::{Host, Open};
use campanile_wal::{LogSet, Tail, find_end};
use proptest::prelude::*;

use super::records::*;

/// A log of three files or so, with claims in it.
fn sample() -> Arc<SimDisk> {
    let disk = disk(SimOptions::new(1));
    let wal = new_log(&disk.host(), &options(4096, 1024));
    for number in 0..30 {
        let lsn = wal.append(&record(&content(number, 60 + number as usize * 9))).unwrap();
        if number % 4 == 0 {
            wal.flush(lsn).unwrap();
        }
    }
    wal.flush(wal.end()).unwrap();
    disk
}

#[derive(Clone, Debug)]
enum Change {
    Flip { file: u32, at: usize, bits: u8 },
    Put { file: u32, at: usize, bytes: Vec<u8> },
    Cut { file: u32, len: usize },
    Move { file: u32, from: usize, to: usize, len: usize },
    Swap { one: u32, other: u32 },
}

fn change() -> impl Strategy<Value = Change> {
    let file = 1..5_u32;
    let at = 0..4096_usize;
    prop_oneof![
        (file.clone(), at.clone(), 1..=255_u8).prop_map(|(file, at, bits)| Change::Flip {
            file,
            at,
            bits
        }),
        (file.clone(), at.clone(), prop::collection::vec(any::<u8>(), 1..80))
            .prop_map(|(file, at, bytes)| Change::Put { file, at, bytes }),
        (file.clone(), at.clone()).prop_map(|(file, len)| Change::Cut { file, len }),
        (file.clone(), at.clone(), at, 1..2000_usize).prop_map(|(file, from, to, len)| {
            Change::Move { file, from: from & !7, to: to & !7, len }
        }),
        (file.clone(), file).prop_map(|(one, other)| Change::Swap { one, other }),
    ]
}

fn apply(disk: &SimDisk, change: &Change) {
    let path = |number: u32| dir().join(names::log_file(number));
    let edit = |file: u32, edit: &dyn Fn(&mut Vec<u8>)| {
        let _ = disk.edit_file(&path(file), edit);
    };
    match change.clone() {
        Change::Flip { file, at, bits } => edit(file, &|b| {
            if let Some(byte) = b.get_mut(at) {
                *byte ^= bits;
            }
        }),
        Change::Put { file, at, bytes } => edit(file, &|b| {
            let end = (at + bytes.len()).min(b.len());
            if at < end {
                b[at..end].copy_from_slice(&bytes[..end - at]);
            }
        }),
        Change::Cut { file, len } => edit(file, &|b| b.truncate(len)),
        Change::Move { file, from, to, len } => edit(file, &|b| {
            let (from, to) = (from.min(b.len()), to.min(b.len()));
            let len = len.min(b.len() - from.max(to));
            b.copy_within(from..from + len, to);
        }),
        Change::Swap { one, other } => {
            let bytes = (disk.file_bytes(&path(one)), disk.file_bytes(&path(other)));
            if let (Ok(first), Ok(second)) = bytes {
                disk.put_file(&path(one), &second);
                disk.put_file(&path(other), &first);
            }
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig {
        cases: 400,
        failure_persistence: None,
        ..Default::default()
    })]

    #[test]
    fn a_mutated_log_gives_a_prefix_or_an_error(changes in prop::collection::vec(change(), 1..5)) {
        let disk = sample();
        let whole = {
            let logs = log_set(&disk.host()).unwrap();
            let end = find_end(&logs, FIRST, Lsn::NONE).unwrap().end;
            scan(&logs, FIRST, end).unwrap()
        };
        changes.iter().for_each(|change| apply(&disk, change));
        let logs = log_set(&disk.host()).unwrap();
        if let Ok(end) = find_end(&logs, FIRST, Lsn::NONE) {
            let found = scan(&logs, FIRST, end.end).unwrap();
            prop_assert_eq!(&found[..], &whole[..found.len()]);
            let backward = logs.backward(end.end, FIRST).unwrap().count();
            prop_assert_eq!(backward, logs.forward(FIRST, end.end).unwrap().count());
        }
        // Asked for more than there is, a scan says so, and then nothing more.
        if let Ok(mut scanner) = logs.forward(FIRST, Lsn::MAX) {
            let mut last = None;
            for item in scanner.by_ref() {
                last = Some(item.is_err());
            }
            prop_assert_eq!(last, Some(true));
            prop_assert!(scanner.next().is_none());
        }
        let _ = LogSet::discover(&disk.host().vfs, &dir()).map(|logs| logs.oldest_readable());
    }
}

/// Puts `bytes` behind the last record of a log in one large file and finds its end.
fn end_before(bytes: &[u8]) -> (Tail, Duration) {
    let host = Host::memory();
    let wal = new_log(&host, &options(8 << 20, 4096));
    wal.append(&record(&content(1, 100))).unwrap();
    wal.flush(wal.end()).unwrap();
    let file = host.vfs.open(&dir().join(names::log_file(1)), Open::ReadWrite).unwrap();
    file.write_all_at(bytes, wal.end().offset().into()).unwrap();
    let logs = log_set(&host).unwrap();
    let start = Instant::now();
    let end = find_end(&logs, FIRST, Lsn::NONE).unwrap();
    assert_eq!(end.end, wal.end());
    (end.tail, start.elapsed())
}

#[test]
fn the_search_behind_a_bad_spot_takes_time_in_proportion_to_the_bytes() {
    // Headers at every place, each claiming a record that reaches as far as it can.
    let bytes = 4 << 20;
    let mut crafted = vec![0; bytes];
    for at in (0..bytes - FRAME_BYTES).step_by(8) {
        let len = (bytes - at) as u32 & !7;
        crafted[at..at + 4].copy_from_slice(&len.to_le_bytes());
    }
    let (tail, took) = end_before(&crafted);
    assert!(matches!(tail, Tail::Torn { survivors: 0, .. }), "{tail:?}");
    // Checked one by one these are half a terabyte of checksums.
    assert!(took < Duration::from_secs(20), "{took:?}");
}

#[test]
fn a_large_record_behind_a_bad_spot_is_found() {
    for len in [100, 3000, 70_000, 1 << 20] {
        let mut frame = Vec::new();
        record(&content(9, len)).encode(&mut frame);
        let identity = LogIdentity::new(ENVIRONMENT, TIMELINE);
        let mut bytes = vec![0x55; 64];
        let first = first_end();
        let place = Lsn(first.0 + 64);
        finish(&mut frame, place, 64, &identity);
        bytes.extend_from_slice(&frame);
        let (tail, _) = end_before(&bytes);
        assert_eq!(tail, Tail::Torn { bytes_cut: bytes.len() as u64, survivors: 1 }, "{len}");
    }
}

/// Where the one record of [`end_before`] ends.
fn first_end() -> Lsn {
    let host = Host::memory();
    let wal = new_log(&host, &options(8 << 20, 4096));
    wal.append(&record(&content(1, 100))).unwrap();
    wal.flush(wal.end()).unwrap();
    wal.end()
}
