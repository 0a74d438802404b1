//! Records that can be told apart, and logs to put them in.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use campanile_format::record::{Body, Record};
use campanile_format::{EnvironmentId, Lsn, Timeline, TxnId};
use campanile_vfs::sim::{SimDisk, SimOptions};
use campanile_vfs::{Host, Poison, Vfs};
use campanile_wal::{LogSet, Start, Wal, WalError, WalOptions};

pub const ENVIRONMENT: EnvironmentId = EnvironmentId(*b"an environment's");
pub const TIMELINE: Timeline = Timeline(1);
/// Where the first record of a log starts.
pub const FIRST: Lsn = Lsn::new(1, 512);

/// The directory of the log files.
pub fn dir() -> PathBuf {
    PathBuf::from("/home/log")
}

pub fn options(file_bytes: u32, buffer_bytes: usize) -> WalOptions {
    let environment = ENVIRONMENT;
    WalOptions {
        file_bytes,
        buffer_bytes,
        block_bytes: 512,
        power_safe_overwrite: false,
        ..WalOptions::new(dir(), environment, TIMELINE)
    }
}

/// Content number `number`, `len` bytes of it at least.
pub fn content(number: u64, len: usize) -> Vec<u8> {
    let mut bytes = number.to_le_bytes().to_vec();
    bytes.extend((8..len).map(|at| (number as usize * 31 + at * 7) as u8));
    bytes
}

/// A record that carries `content` and nothing else.
pub fn record(content: &[u8]) -> Record<'_> {
    let body = Body::Prepare { gid: content, time_us: 0 };
    Record { txn: TxnId(7), prev: Lsn::NONE, body }
}

/// What the record carries; `None` for the log's own statements.
pub fn carried<'a>(record: &Record<'a>) -> Option<&'a [u8]> {
    match record.body {
        Body::Prepare { gid, .. } => Some(gid),
        Body::Durable { .. } => None,
        _ => panic!("a record that nobody wrote: {record:?}"),
    }
}

/// A simulated disk with an empty home on it.
pub fn disk(sim: SimOptions) -> Arc<SimDisk> {
    let disk = SimDisk::new(sim);
    disk.create_dir(Path::new("/home")).unwrap();
    disk.sync_dir(Path::new("/")).unwrap();
    disk
}

/// A new log.
pub fn new_log(host: &Host, options: &WalOptions) -> Wal {
    Wal::open(host, &Poison::new(), options.clone(), Start::New).unwrap()
}

/// Opens the log again, with a fresh poison flag.
pub fn reopen(host: &Host, options: &WalOptions, start: Start) -> Result<Wal, WalError> {
    Wal::open(host, &Poison::new(), options.clone(), start)
}

pub fn log_set(host: &Host) -> Result<LogSet, WalError> {
    LogSet::open(&host.vfs, &dir(), ENVIRONMENT, TIMELINE)
}

/// The contents from `from` to `to`, with their positions.
pub fn scan(logs: &LogSet, from: Lsn, to: Lsn) -> Result<Vec<(Lsn, Vec<u8>)>, WalError> {
    let mut found = Vec::new();
    for item in logs.forward(from, to)? {
        let (lsn, record) = item?;
        if let Some(content) = carried(&record.record()?) {
            found.push((lsn, content.to_vec()));
        }
    }
    Ok(found)
}
