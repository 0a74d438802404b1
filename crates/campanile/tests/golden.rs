//! A whole environment in bytes: a home whose owner died, and a backup of it, as they were written
//! once on a little-endian machine. They open, recover and restore here, wherever here is; the
//! gate runs this on a big-endian machine too, in an interpreter. What this build writes there and
//! here is the same, byte for byte: [`the_same_work_writes_the_same_bytes_everywhere`].
//!
//! The golden file is of version 1 of the format and never changes.
//! `CAMPANILE_BLESS=1 cargo test -p campanile --test golden` writes it where there is none.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use campanile::host::{Background, Clock, Host, MemoryVfs, Open, Random, Vfs, never};
use campanile::restore::RestoreOptions;
use campanile::{
    DatabaseOptions, Environment, EnvironmentOptions, Progress, Result, backup, data_dirs,
};

const HOME: &str = "/home";
const REPOSITORY: &str = "/repository";
const OTHER: &str = "/other";
/// What is not the environment: locks, and who had them.
const PASSING: [&str; 4] = ["campanile.lock", "campanile.owner", "readers.lock", "repository.lock"];

fn golden_path() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("golden/environment-1.txt")
}

/// A clock and chance that are the same every time.
#[derive(Debug)]
struct Fixed(AtomicU64);

impl Clock for Fixed {
    fn now_us(&self) -> u64 {
        1_767_323_045_000_000 + self.monotonic_us()
    }

    fn monotonic_us(&self) -> u64 {
        self.0.fetch_add(1000, Ordering::Relaxed)
    }

    fn sleep_us(&self, us: u64) {
        self.0.fetch_add(us, Ordering::Relaxed);
    }
}

impl Random for Fixed {
    fn next_u64(&self) -> u64 {
        self.0.fetch_add(0x9e37_79b9_7f4a_7c15, Ordering::Relaxed).rotate_left(17)
    }
}

fn host() -> Host {
    Host {
        vfs: Arc::new(MemoryVfs::new()),
        clock: Arc::new(Fixed(AtomicU64::new(0))),
        random: Arc::new(Fixed(AtomicU64::new(7))),
        adversary: never(),
        background: Background::Stepped,
    }
}

fn options() -> EnvironmentOptions {
    EnvironmentOptions::new()
        .page_bytes(512)
        .cache_bytes(32 * 512)
        .log_file_bytes(16 << 10)
        .log_block_bytes(512)
        .log_buffer_bytes(2048)
        .live_stats(None)
}

/// A value that has all its bytes, and is longer than a page where it is long.
fn value(n: u64, len: usize) -> Vec<u8> {
    (0..len as u64).map(|at| (n * 37 + at * 11) as u8).collect()
}

/// What the golden environment holds when it is recovered.
fn expected() -> BTreeMap<String, BTreeMap<Vec<u8>, Vec<u8>>> {
    let accounts = (0..40).filter(|n| n % 7 != 3).map(|n| {
        let len = if n % 5 == 0 { 60 } else { 30 };
        (format!("account {n:03}").into_bytes(), value(n, len))
    });
    let blobs = [(b"long".to_vec(), value(1, 900)), (b"short".to_vec(), value(2, 3))];
    [
        ("accounts".to_owned(), accounts.collect()),
        ("blobs".to_owned(), blobs.into()),
        ("cache".to_owned(), BTreeMap::new()),
    ]
    .into()
}

/// Work of every kind, a backup in the middle, and the death of the owner.
fn work(host: &Host) -> Result<()> {
    let env = Environment::open_on(host.clone(), HOME, options().add_data_dir("fast"))?;
    let mut txn = env.begin()?;
    let accounts = env.create_database_with(&mut txn, "accounts", DatabaseOptions::new())?;
    let fast = DatabaseOptions::new().data_dir("fast");
    let blobs = env.create_database_with(&mut txn, "blobs", fast)?;
    let volatile = DatabaseOptions::new().durable(false);
    let cache = env.create_database_with(&mut txn, "cache", volatile)?;
    for n in 0..40 {
        accounts.put(&mut txn, format!("account {n:03}"), value(n, 30))?;
    }
    blobs.put(&mut txn, "long", value(1, 900))?;
    cache.put(&mut txn, "gone", "after a crash")?;
    txn.commit()?;
    env.checkpoint()?;
    backup::back_up_on(host, Path::new(HOME), Path::new(REPOSITORY), &Progress::none())?;
    let mut txn = env.begin()?;
    for n in (0..40).step_by(5) {
        accounts.put(&mut txn, format!("account {n:03}"), value(n, 60))?;
    }
    let here = txn.savepoint()?;
    accounts.put(&mut txn, "never", "there")?;
    txn.rollback_to(&here)?;
    for n in (0..40).filter(|n| n % 7 == 3) {
        accounts.delete(&mut txn, format!("account {n:03}"))?;
    }
    blobs.put(&mut txn, "short", value(2, 3))?;
    txn.commit()?;
    env.restore_point("the end")?;
    let mut loser = env.begin()?;
    accounts.put(&mut loser, "account 001", "not committed")?;
    while env.step()? {}
    env.wait_durable(campanile::Lsn::MAX)?;
    std::mem::forget(loser);
    env.abandon();
    Ok(())
}

#[track_caller]
fn holds_what_is_expected(env: &Environment) {
    let snapshot = env.snapshot().unwrap();
    let expected = expected();
    let names: Vec<String> = expected.keys().cloned().collect();
    assert_eq!(env.databases(&snapshot).unwrap(), names);
    for (name, rows) in expected {
        let database = env.open_database_at(&snapshot, &name).unwrap();
        let found: Result<BTreeMap<_, _>> = database.range(&snapshot, ..).unwrap().collect();
        assert_eq!(found.unwrap(), rows, "{name}");
    }
}

/// Every file under a directory that is part of the environment.
fn files(vfs: &dyn Vfs, dir: &Path, found: &mut BTreeMap<String, Vec<u8>>) {
    for name in vfs.list(dir).unwrap() {
        let path = dir.join(&name);
        if vfs.list(&path).is_ok() {
            files(vfs, &path, found);
        } else if !PASSING.contains(&name.as_str()) {
            let file = vfs.open(&path, Open::Read).unwrap();
            let mut bytes = vec![0; file.len().unwrap() as usize];
            file.read_exact_at(&mut bytes, 0).unwrap();
            found.insert(path.to_str().unwrap().replace('\\', "/"), bytes);
        }
    }
}

fn all_files(host: &Host) -> BTreeMap<String, Vec<u8>> {
    let mut found = BTreeMap::new();
    for dir in [HOME, REPOSITORY] {
        files(&*host.vfs, Path::new(dir), &mut found);
    }
    found
}

/// Files as text: name and length, then what is not zero, 32 bytes a line.
fn as_text(files: &BTreeMap<String, Vec<u8>>) -> String {
    let mut text = String::new();
    for (name, bytes) in files {
        writeln!(text, "file {name} {}", bytes.len()).unwrap();
        for (line, bytes) in bytes.chunks(32).enumerate() {
            if bytes.iter().any(|byte| *byte != 0) {
                let hex: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
                writeln!(text, "{:06x} {hex}", line * 32).unwrap();
            }
        }
    }
    text
}

/// Puts the golden files on a new host.
fn golden() -> Host {
    let host = host();
    let mut file = None;
    for line in GOLDEN.lines() {
        let (first, rest) = line.split_once(' ').unwrap();
        if first == "file" {
            let (name, len) = rest.rsplit_once(' ').unwrap();
            let path = Path::new(name);
            host.vfs.create_dir(path.parent().unwrap()).unwrap();
            let made = host.vfs.open(path, Open::CreateNew).unwrap();
            made.set_len(len.parse().unwrap()).unwrap();
            file = Some(made);
        } else {
            let digits = rest.as_bytes().chunks(2);
            let byte = |pair: &[u8]| u8::from_str_radix(std::str::from_utf8(pair).unwrap(), 16);
            let bytes: Vec<u8> = digits.map(|pair| byte(pair).unwrap()).collect();
            let offset = u64::from_str_radix(first, 16).unwrap();
            file.as_ref().unwrap().write_all_at(&bytes, offset).unwrap();
        }
    }
    host
}

const GOLDEN: &str = include_str!("../golden/environment-1.txt");

#[test]
fn a_home_from_a_little_endian_machine_is_recovered_and_written_on() {
    let host = golden();
    let env = Environment::open_on(host.clone(), HOME, options()).unwrap();
    let report = env.recovery_report().expect("its owner died");
    assert_eq!(report.undo.transactions, 1);
    holds_what_is_expected(&env);
    assert!(env.verify().unwrap().is_clean());
    let accounts = env.open_database("accounts").unwrap();
    env.run(|txn| accounts.put(txn, "account 999", value(9, 40)).map(drop)).unwrap();
    env.close().unwrap();
    let env = Environment::open_on(host, HOME, options()).unwrap();
    assert!(env.recovery_report().is_none());
    let found = env.open_database("accounts").unwrap();
    assert_eq!(found.get(&env.snapshot().unwrap(), "account 999").unwrap(), Some(value(9, 40)));
}

#[test]
fn a_backup_from_a_little_endian_machine_is_restored_with_the_log_since() {
    let host = golden();
    let restore = RestoreOptions::new().environment(options()).logs(Path::new(HOME).join("log"));
    let report = restore.run_on(&host, Path::new(REPOSITORY), Path::new(OTHER)).unwrap();
    assert_eq!(report.data_dirs, ["fast"]);
    assert_eq!(data_dirs::list_on(&host, Path::new(OTHER)).unwrap()[1].files, 1);
    let env = Environment::open_on(host, OTHER, options()).unwrap();
    holds_what_is_expected(&env);
}

/// `CAMPANILE_WRITTEN` is what another machine printed.
#[test]
fn the_same_work_writes_the_same_bytes_everywhere() {
    let host = host();
    work(&host).unwrap();
    let files = all_files(&host);
    let text = as_text(&files);
    // FNV-1a over the text.
    let hash = text.bytes().fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3)
    });
    println!("written: {hash:016x} in {} files", files.len());
    if let Ok(theirs) = std::env::var("CAMPANILE_WRITTEN") {
        assert_eq!(format!("{hash:016x}"), theirs, "another machine wrote other bytes");
    }
    if GOLDEN.is_empty() && std::env::var_os("CAMPANILE_BLESS").is_some() {
        std::fs::write(golden_path(), text).unwrap();
    }
    let env = Environment::open_on(host, HOME, options()).unwrap();
    holds_what_is_expected(&env);
}
