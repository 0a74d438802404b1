//! The bodies of the fuzz targets: plain functions over bytes, which must not panic, hang or
//! allocate without bound on any input. Checksums are made by the harness where fuzzing would
//! otherwise stop at them.

#[path = "mutated.rs"]
mod mutated;

pub use mutated::recover_mutated;

use campanile_format::codec::{Reader, Writer};
use campanile_format::frame::{self, FrameHeader, LogIdentity};
use campanile_format::log_file::LogFileHeader;
use campanile_format::record::Record;
use campanile_format::{
    EnvironmentId, Features, FileId, Lsn, Node, PageId, PageNo, PageOp, Plain, PlainMut, Timeline,
    TxnId, names, page, page_op, validate,
};
use campanile_tests::life::{Life, tiny};
use campanile_tests::oracle::{Oracle, State};
use campanile_tests::workload::{Durability, Step};
use campanile_vfs::sim::{SimDisk, SimOptions};
use campanile_vfs::{MemoryVfs, Open, Vfs};
use campanile_wal::{LogSet, find_end};
use std::path::Path;
use std::sync::{Arc, Mutex};

const PAGE_BYTES: usize = 512;
const ENVIRONMENT: EnvironmentId = EnvironmentId([7; 16]);

/// A page that is whole by its checksum and else anything; then an operation on it.
pub fn page_decode(data: &[u8]) {
    let id = PageId { file: FileId(16), page: PageNo(5) };
    let split = data.len().min(PAGE_BYTES);
    let mut bytes = vec![0; PAGE_BYTES];
    bytes[..split].copy_from_slice(&data[..split]);
    // The page claims to be the one that it is; everything else is the fuzzer's.
    bytes[page::PAGE_NO..page::PAGE_NO + 4].copy_from_slice(&id.page.0.to_le_bytes());
    bytes[page::FILE_ID..page::FILE_ID + 4].copy_from_slice(&id.file.0.to_le_bytes());
    page::seal(&mut bytes, id);
    let _ = page::check(&bytes, id);
    let node = Node::new(Plain(&bytes));
    let (key, mut out) = (&data[data.len() - data.len().min(20)..], Vec::new());
    // Total on any bytes, whether or not they are a node.
    let _ = (node.search(key), node.covers(key), node.child_for(key));
    for slot in 0..node.count().min(40) {
        node.key_into(slot, &mut out);
        let _ = node.value_into(slot, &mut out);
    }
    let valid = validate(&Plain(&bytes)).is_ok();
    let mut reader = Reader::new(&data[split..]);
    while let Ok(op) = PageOp::decode(&mut reader) {
        let mut encoded = Vec::new();
        op.encode(&mut Writer::new(&mut encoded));
        let again = PageOp::decode(&mut Reader::new(&encoded)).map(|again| again == op);
        assert_eq!(again.ok(), Some(true), "an operation reads back as it was written");
        let ops = [op];
        if valid && page_op::check_all(&ops, id, &Plain(&bytes)).is_ok() {
            page_op::apply_all(&ops, id, &mut PlainMut(&mut bytes), Lsn::new(1, 512));
            validate(&Plain(&bytes)).expect("a checked operation leaves a valid page");
        }
    }
}

/// Bytes that pass for one whole log record.
pub fn log_record_decode(data: &[u8]) {
    let identity = LogIdentity::new(ENVIRONMENT, Timeline(1));
    let _ = frame::parse(data, Lsn::new(1, 512), &identity);
    let _ = Record::decode(data);
    let mut framed = Vec::new();
    append_frame(data, &mut framed);
    if let Ok(record) = Record::decode(&framed) {
        let _ = campanile_format::describe::record(&record);
        let mut again = Vec::new();
        record.encode(&mut again);
        let again = Record::decode(&again).expect("what was encoded decodes");
        assert_eq!(again, record, "a record reads back as it was written");
    }
}

/// The first bytes choose the header of a frame, the rest is its payload.
fn append_frame(data: &[u8], out: &mut Vec<u8>) {
    let at = |index: usize| data.get(index).copied().unwrap_or_default();
    let header = FrameHeader {
        kind: at(0),
        access_method: at(1),
        flags: u16::from(at(2)) << 8,
        txn: TxnId(u64::from(at(3))),
        prev: Lsn::new(u32::from(at(4) > 0), u32::from(at(5))),
    };
    frame::begin(&header, out, |out| out.extend_from_slice(data.get(6..).unwrap_or_default()));
}

/// A log file: the first byte says what is done to it, the rest is cut into records.
pub fn log_scan(data: &[u8]) {
    let Some((mode, rest)) = data.split_first() else { return };
    let identity = LogIdentity::new(ENVIRONMENT, Timeline(1));
    let header = LogFileHeader {
        features: Features::default(),
        environment: ENVIRONMENT,
        timeline: Timeline(1),
        file: 1,
        file_bytes: 1 << 20,
        predecessor_end: Lsn::NONE,
        predecessor_timeline: Timeline(1),
        created_us: 0,
        block_bytes: 512,
    };
    let mut file = header.encode();
    let mut back = 0;
    for piece in rest.chunks(40) {
        let start = file.len();
        append_frame(piece, &mut file);
        let at = Lsn::new(1, u32::try_from(start).expect("a small file"));
        frame::finish(&mut file[start..], at, back, &identity);
        back = u32::try_from(file.len() - start).expect("a small record");
    }
    match mode % 4 {
        1 => file.truncate(file.len() - usize::from(*mode).min(file.len() / 2)),
        2 => {
            let at = 512 + usize::from(*mode) * 7;
            if let Some(byte) = file.get_mut(at) {
                *byte ^= 0x40;
            }
        }
        3 => file.extend_from_slice(rest),
        _ => {}
    }
    let vfs: Arc<dyn Vfs> = Arc::new(MemoryVfs::new());
    let dir = Path::new("/log");
    vfs.create_dir(dir).expect("memory");
    let out = vfs.open(&dir.join(names::log_file(1)), Open::CreateNew).expect("memory");
    out.write_all_at(&file, 0).expect("memory");
    if let Ok(logs) = LogSet::open(&vfs, dir, ENVIRONMENT, Timeline(1)) {
        let _ = find_end(&logs, Lsn::new(1, 512), Lsn::NONE);
    }
}

/// Text for `db_load`.
pub fn dump_loader(data: &[u8]) {
    let _ = campanile::text::check(data);
}

/// A program over the public interface: each step agrees with a `BTreeMap`.
pub fn operations(data: &[u8]) {
    let disk = SimDisk::new(SimOptions::new(u64::from(data.first().copied().unwrap_or(1))));
    let oracle = Arc::new(Mutex::new(Oracle::starting_at(State::new(), vec![])));
    let life = Life::open(disk.host(), tiny(), oracle).expect("a new environment opens");
    let mut steps = vec![
        Step::Create { database: 0, durable: true },
        Step::Create { database: 1, durable: true },
    ];
    steps.extend(data.chunks(4).take(400).map(step));
    steps.push(Step::Check);
    if let Err(end) = life.run(&steps) {
        panic!("{end:?}");
    }
}

fn step(code: &[u8]) -> Step {
    let at = |index: usize| code.get(index).copied().unwrap_or_default();
    let database = usize::from(at(1) & 1);
    let (nth, size) = (usize::from(at(2)), usize::from(at(3)));
    match at(0) % 16 {
        0..=6 => {
            let key = vec![at(2); size % 128];
            Step::Put { database, key, value: vec![at(3); size * (1 + nth % 8)] }
        }
        7 => Step::Delete { database, nth },
        8 => Step::DeleteRun { database, nth, count: 1 + size % 32 },
        9 => Step::Commit(Durability::Sync),
        10 => Step::Abort,
        11 => Step::Savepoint,
        12 => Step::RollbackTo,
        13 => Step::Checkpoint,
        14 => Step::Background,
        _ => Step::Empty { database },
    }
}
