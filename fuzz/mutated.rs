//! The body of the fuzz target `recover_mutated`: a small environment as a crash left it, bytes of
//! its files changed as the fuzzer says, then recovery, reading, verification and some work.
//!
//! Nothing may panic, hang or allocate without bound. If checksums are left alone, nothing may be
//! shown that was not committed, and what recovery calls whole must be a state of the past. If they
//! are made to fit, anything may be shown, and must be borne.

use campanile::{Environment, Error, Reads};
use campanile_format::frame::{self, FRAME_BYTES, LogIdentity};
use campanile_format::log_file::LogFileHeader;
use campanile_format::{PageId, PageNo};
use campanile_format::{header, names, page};
use campanile_tests::life::{HOME, tiny};
use campanile_vfs::sim::{CrashChoice, SimDisk, SimOptions};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock};

type Rows = BTreeMap<Vec<u8>, Vec<u8>>;
type State = BTreeMap<String, Rows>;

const PAGE_BYTES: usize = 512;
/// At most so many changes: more teach nothing new, and each input stays quick.
const CHANGES_MAX: usize = 48;

struct Sample {
    disk: Arc<SimDisk>,
    files: Vec<PathBuf>,
    history: Vec<State>,
}

/// The environment: every commit's state is known, a transaction was running at the crash.
fn sample() -> &'static Sample {
    static SAMPLE: OnceLock<Sample> = OnceLock::new();
    SAMPLE.get_or_init(|| {
        let disk = SimDisk::new(SimOptions::new(3));
        let env = Environment::open_on(disk.host(), HOME, tiny()).expect("a new environment");
        let mut state = State::new();
        let mut history = vec![state.clone()];
        for name in ["rows", "long"] {
            env.create_database(name).expect("a new database");
            state.insert(name.to_owned(), Rows::new());
            history.push(state.clone());
        }
        for round in 0..6_u8 {
            let mut txn = env.begin().expect("begins");
            for number in 0..25_u8 {
                let key = format!("key {:03}", (number * 7).wrapping_mul(round + 1));
                put(&env, &mut txn, &mut state, "rows", key.as_bytes(), &[round; 30]);
            }
            let long = vec![round.wrapping_add(b'A'); 300 * (usize::from(round) + 1)];
            put(&env, &mut txn, &mut state, "long", &[b'k', round % 4], &long);
            txn.commit().expect("commits");
            history.push(state.clone());
            if round % 2 == 0 {
                env.checkpoint().expect("a checkpoint");
            }
            for _ in 0..3 {
                env.step().expect("background work");
            }
        }
        let mut running = env.begin().expect("begins");
        put(&env, &mut running, &mut State::new(), "rows", b"key 000", b"never committed");
        env.step().expect("background work");
        disk.crash();
        env.abandon();
        drop(running);
        let disk = disk.reboot(CrashChoice::All);
        let files = disk.snapshot_files().into_keys().map(|path| Path::new("/").join(path));
        let mut files: Vec<PathBuf> = files.collect();
        files.sort();
        Sample { disk, files, history }
    })
}

fn put(
    env: &Environment,
    txn: &mut campanile::Transaction,
    state: &mut State,
    name: &str,
    key: &[u8],
    value: &[u8],
) {
    let db = env.open_database(name).expect("is there");
    db.put(txn, key, value).expect("is put");
    state.entry(name.to_owned()).or_default().insert(key.to_vec(), value.to_vec());
}

/// See the head of this file. The first byte says whether checksums are made to fit; each eight
/// bytes behind it are one change: file, place, length, kind, argument.
pub fn recover_mutated(data: &[u8]) {
    let Some((mode, changes)) = data.split_first() else { return };
    let sample = sample();
    let disk = sample.disk.fork();
    let fitting = mode & 1 == 1;
    for change in changes.chunks_exact(8).take(CHANGES_MAX) {
        let path = &sample.files[usize::from(change[0]) % sample.files.len()];
        disk.edit_file(path, |bytes| mutate(path, bytes, change, fitting)).expect("a known file");
    }
    let options = tiny().create(false);
    let known = (!fitting).then_some(&sample.history);
    if let Ok(env) = Environment::open_on(disk.host(), HOME, options.clone().read_only(true)) {
        look(&env, known);
    }
    let Ok(env) = Environment::open_on(disk.host(), HOME, options.clone()) else { return };
    look(&env, known);
    let _ = work(&env);
    let closed = env.close().is_ok();
    let Ok(env) = Environment::open_on(disk.host(), HOME, options) else { return };
    assert!(!closed || env.recovery_report().is_none(), "closed, and yet recovered");
    look(&env, None);
}

fn mutate(path: &Path, bytes: &mut Vec<u8>, change: &[u8], fitting: bool) {
    if bytes.is_empty() {
        return;
    }
    let place = usize::from(change[1]) | usize::from(change[2]) << 8 | usize::from(change[3]) << 16;
    let at = place % bytes.len();
    let end = (at + 1 + usize::from(change[4]) % 64).min(bytes.len());
    match change[5] % 6 {
        0 => bytes[at..end].iter_mut().for_each(|byte| *byte ^= change[6]),
        1 => bytes[at..end].fill(change[6]),
        2 => bytes[at..end].iter_mut().for_each(|byte| *byte = byte.wrapping_add(change[6])),
        3 => {
            // A page or a sector of the same file, from another place.
            let from = usize::from(change[6]) * PAGE_BYTES % bytes.len();
            let to = at - at % PAGE_BYTES;
            let len = PAGE_BYTES.min(bytes.len() - from.max(to));
            bytes.copy_within(from..from + len, to);
        }
        4 => bytes.truncate(at),
        _ => bytes.extend(std::iter::repeat_n(change[6], usize::from(change[7]) * 8)),
    }
    if fitting && at < bytes.len() {
        fit(path, bytes, at);
    }
}

/// Makes the checksum fit of whatever the byte at `at` is in.
fn fit(path: &Path, bytes: &mut [u8], at: usize) {
    let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
    if name == names::CONTROL {
        let slot = at - at % 4096;
        if let Some(slot) = bytes.get_mut(slot..slot + 512) {
            header::reseal(slot);
        }
    } else if let Some(file) = names::parse_data_file(&name) {
        let number = at / PAGE_BYTES;
        let id = PageId::new(file, PageNo(u32::try_from(number).expect("a small file")));
        if let Some(whole) = bytes.get_mut(number * PAGE_BYTES..(number + 1) * PAGE_BYTES) {
            // It claims to be the one that stands there; everything else is the fuzzer's.
            whole[page::PAGE_NO..page::PAGE_NO + 4].copy_from_slice(&id.page.0.to_le_bytes());
            whole[page::FILE_ID..page::FILE_ID + 4].copy_from_slice(&id.file.0.to_le_bytes());
            page::seal(whole, id);
        }
    } else if names::parse_log_file(&name).is_some() {
        if at < 512 {
            if let Some(head) = bytes.get_mut(..512) {
                header::reseal(head);
            }
            return;
        }
        fit_record(bytes, at);
    }
}

/// Frames the record around `at` anew, in its place.
fn fit_record(bytes: &mut [u8], at: usize) {
    let Ok(head) = LogFileHeader::decode(bytes) else { return };
    let identity = LogIdentity::new(head.environment, head.timeline);
    let (mut start, mut before) = (head.first_record().offset() as usize, None);
    while let Some(rest) = bytes.get(start..).filter(|rest| rest.len() >= FRAME_BYTES) {
        let Ok(total) = frame::peek_total_bytes(rest) else { return };
        let Some(old) = rest.get(..total).and_then(frame::split) else { return };
        if at < start + total {
            let mut new = Vec::new();
            frame::begin(&old.header, &mut new, |out| out.extend_from_slice(old.payload));
            let back = before.map_or(0, |before| start - before);
            let lsn = campanile_format::Lsn::new(head.file, u32::try_from(start).expect("small"));
            frame::finish(&mut new, lsn, u32::try_from(back).expect("small"), &identity);
            bytes[start..start + total].copy_from_slice(&new);
            return;
        }
        before = Some(start);
        start += total;
    }
}

/// Reads everything, both ways, and verifies; holds it against the states that there were.
fn look(env: &Environment, known: Option<&Vec<State>>) {
    let verified = env.verify();
    let Ok(snapshot) = env.snapshot() else { return };
    let Ok(databases) = env.databases(&snapshot) else { return };
    let mut whole = verified.is_ok_and(|report| report.is_clean());
    let mut seen = State::new();
    for name in databases {
        let forward = rows(env, &snapshot, &name, false);
        let backward = rows(env, &snapshot, &name, true);
        let complete = forward.1.is_none() && backward.1.is_none();
        assert!(!complete || forward.0 == backward.0, "{name} differs by direction");
        whole &= complete;
        if let Some(history) = known {
            for (key, value) in forward.0.iter().chain(&backward.0) {
                let was =
                    |state: &State| state.get(&name).and_then(|rows| rows.get(key)) == Some(value);
                assert!(history.iter().any(was), "{name}: {key:?} = {value:?} was never committed");
            }
        }
        seen.insert(name, forward.0);
    }
    if let Some(history) = known.filter(|_| whole) {
        assert!(history.contains(&seen), "a whole environment in a state that never was: {seen:?}");
    }
}

fn rows(
    env: &Environment,
    snapshot: &impl Reads,
    name: &str,
    backward: bool,
) -> (Rows, Option<Error>) {
    let mut rows = Rows::new();
    let range = env.open_database(name).and_then(|db| db.range(snapshot, ..));
    let mut range = match range {
        Ok(range) => range,
        Err(error) => return (rows, Some(error)),
    };
    loop {
        match if backward { range.next_back() } else { range.next() } {
            None => return (rows, None),
            Some(Err(error)) => return (rows, Some(error)),
            Some(Ok((key, value))) => rows.insert(key.to_vec(), value.to_vec()),
        };
    }
}

/// Some changes: what was taken for whole has to bear them.
fn work(env: &Environment) -> campanile::Result<()> {
    let db = env.create_database("new")?;
    for number in 0..3_u8 {
        let mut txn = env.begin()?;
        db.put(&mut txn, [number], [number; 700])?;
        if let Ok(rows) = env.open_database("rows") {
            rows.put(&mut txn, format!("key {number}"), "new")?;
            rows.delete(&mut txn, format!("key {:03}", number * 7))?;
        }
        match number {
            1 => txn.abort()?,
            _ => txn.commit().map(|_| ())?,
        }
        env.step()?;
    }
    env.checkpoint().map(drop)
}
