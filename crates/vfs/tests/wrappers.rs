//! The wrappers: what an observer sees, and what a recording counts.

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

use campanile_vfs::sim::{Errno, Fault, FaultPlan, FaultRule, SimDisk, SimOptions, Trigger};
use campanile_vfs::{
    Call, CallKind, LockMode, MemoryVfs, Observed, Observer, Open, Outcome, Recording, Vfs,
};

#[derive(Debug, Default)]
struct Diary(Mutex<Vec<String>>);

impl Observer for Diary {
    fn before(&self, call: &Call<'_>) {
        let Call { kind, path, target, handle, offset, len, data, .. } = call;
        let text = String::from_utf8_lossy(data);
        let to = target.map(|to| format!(" -> {}", to.display())).unwrap_or_default();
        self.0
            .lock()
            .unwrap()
            .push(format!("{kind} #{handle} {}{to} {offset}+{len} '{text}'", path.display()));
    }

    fn after(&self, call: &Call<'_>, outcome: Outcome<'_>) {
        let text = String::from_utf8_lossy(call.data);
        let outcome = outcome.map_err(|error| error.kind());
        self.0.lock().unwrap().push(format!("  {} {outcome:?} '{text}'", call.kind));
    }
}

#[test]
fn an_observer_sees_both_sides_of_every_call_with_its_bytes() {
    let diary = Arc::new(Diary::default());
    let observer: Arc<dyn Observer> = Arc::<Diary>::clone(&diary);
    let vfs = Observed::new(Arc::new(MemoryVfs::new()), observer);
    let (f, g) = (Path::new("f"), Path::new("g"));
    let file = vfs.open(f, Open::CreateNew).unwrap();
    file.write_all_at(b"abc", 5).unwrap();
    file.read_exact_at(&mut [0; 2], 6).unwrap();
    file.sync_data().unwrap();
    vfs.rename(f, g).unwrap();
    assert!(vfs.open(f, Open::Read).is_err());
    file.set_len(4).unwrap();
    let lines = diary.0.lock().unwrap().join("\n");
    let expected = "\
open #1 f 0+0 ''
  open Ok(0) ''
write #1 f 5+3 'abc'
  write Ok(3) 'abc'
read #1 f 6+2 ''
  read Ok(2) 'bc'
sync_data #1 f 0+0 ''
  sync_data Ok(0) ''
rename #0 f -> g 0+0 ''
  rename Ok(0) ''
open #2 f 0+0 ''
  open Err(NotFound) ''
set_len #1 f 4+0 ''
  set_len Ok(0) ''";
    assert_eq!(lines, expected);
}

#[test]
fn a_recording_counts_calls_bytes_and_failures_per_path() {
    let disk = SimDisk::new(SimOptions::new(1));
    let failing = FaultRule::new(Fault::Any(Errno::Eio), Trigger::Nth(1));
    disk.faults(FaultPlan::none().and(failing.for_calls(&[CallKind::SyncData])));
    let (vfs, counts) = Recording::wrap(disk);
    vfs.create_dir(Path::new("log")).unwrap();
    let path = PathBuf::from("log/log.1");
    let file = vfs.open(&path, Open::CreateNew).unwrap();
    file.write_all_at(&[1; 100], 0).unwrap();
    file.write_all_at(&[1; 50], 100).unwrap();
    file.sync_data().unwrap();
    assert!(file.sync_data().is_err());
    vfs.sync_dir(Path::new("log")).unwrap();
    vfs.lock(Path::new("lock"), LockMode::Shared).unwrap();
    let writes = counts.of(CallKind::Write, &path);
    assert_eq!((writes.calls, writes.bytes, writes.failed), (2, 150, 0));
    let syncs = counts.of(CallKind::SyncData, &path);
    assert_eq!((syncs.calls, syncs.failed), (2, 1));
    assert_eq!(counts.syncs("log"), 3);
    assert_eq!(counts.total(CallKind::Lock).calls, 1);
    assert_eq!(counts.of(CallKind::Read, &path).calls, 0);
    assert_eq!(counts.all().len(), 6);
    counts.reset();
    assert_eq!(counts.syncs(""), 0);
}
