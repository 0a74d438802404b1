//! Random programs: the simulated disk against memory, its crashes against what the rules allow,
//! and the same seed against itself.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use campanile_vfs::sim::{
    CrashChoice, Errno, Fault, FaultPlan, FaultRule, Lost, SimDisk, SimOptions, Trigger,
};
use campanile_vfs::{MemoryVfs, Open, Vfs};
use proptest::prelude::*;

#[derive(Clone, Debug)]
enum Step {
    Create(u8),
    Write { file: u8, offset: u16, len: u16, byte: u8 },
    SetLen { file: u8, len: u16 },
    Allocate { file: u8, end: u16 },
    Sync(u8),
    Rename(u8, u8),
    Remove(u8),
    SyncDir,
    List,
}

fn step() -> impl Strategy<Value = Step> {
    let file = 0..4_u8;
    prop_oneof![
        2 => file.clone().prop_map(Step::Create),
        8 => (file.clone(), 0..9000_u16, 0..3000_u16, any::<u8>())
            .prop_map(|(file, offset, len, byte)| Step::Write { file, offset, len, byte }),
        2 => (file.clone(), 0..9000_u16).prop_map(|(file, len)| Step::SetLen { file, len }),
        1 => (file.clone(), 0..9000_u16).prop_map(|(file, end)| Step::Allocate { file, end }),
        3 => file.clone().prop_map(Step::Sync),
        2 => (file.clone(), file.clone()).prop_map(|(from, to)| Step::Rename(from, to)),
        1 => file.prop_map(Step::Remove),
        2 => Just(Step::SyncDir),
        1 => Just(Step::List),
    ]
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    proptest::collection::vec(step(), 1..40)
}

fn home() -> &'static Path {
    Path::new("home")
}

fn name(file: u8) -> PathBuf {
    home().join(format!("f{file}"))
}

/// Does one step and says all that can be seen of it.
fn take(vfs: &dyn Vfs, step: &Step) -> String {
    let on = |file: u8| vfs.open(&name(file), Open::ReadWrite);
    let result = match step {
        Step::Create(file) => vfs.open(&name(*file), Open::CreateNew).map(|_| String::new()),
        Step::Write { file, offset, len, byte } => on(*file)
            .and_then(|file| file.write_at(&vec![*byte; usize::from(*len)], u64::from(*offset)))
            .map(|count| count.to_string()),
        Step::SetLen { file, len } => {
            on(*file).and_then(|file| file.set_len(u64::from(*len))).map(|()| String::new())
        }
        Step::Allocate { file, end } => {
            on(*file).and_then(|file| file.allocate(0, u64::from(*end))).map(|()| String::new())
        }
        Step::Sync(file) => on(*file).and_then(|file| file.sync_data()).map(|()| String::new()),
        Step::Rename(from, to) => vfs.rename(&name(*from), &name(*to)).map(|()| String::new()),
        Step::Remove(file) => vfs.remove(&name(*file)).map(|()| String::new()),
        Step::SyncDir => vfs.sync_dir(home()).map(|()| String::new()),
        Step::List => vfs.list(home()).map(|mut names| {
            names.sort();
            names.join(" ")
        }),
    };
    format!("{:?}", result.map_err(|error| error.kind()))
}

fn contents(vfs: &dyn Vfs) -> BTreeMap<String, Vec<u8>> {
    let read = |file: String| {
        let handle = vfs.open(&home().join(&file), Open::Read).unwrap();
        let mut bytes = vec![0; handle.len().unwrap() as usize];
        handle.read_exact_at(&mut bytes, 0).unwrap();
        (file, bytes)
    };
    vfs.list(home()).unwrap().into_iter().map(read).collect()
}

fn settled(options: SimOptions) -> std::sync::Arc<SimDisk> {
    let disk = SimDisk::new(options);
    disk.create_dir(home()).unwrap();
    disk.sync_dir(Path::new("")).unwrap();
    disk
}

proptest! {
    #![proptest_config(ProptestConfig {
        failure_persistence: None,
        ..ProptestConfig::with_cases(300)
    })]

    #[test]
    fn without_a_crash_the_simulated_disk_is_memory(steps in steps(), big in any::<bool>()) {
        let memory = MemoryVfs::new();
        memory.create_dir(home()).unwrap();
        let sector_bytes = if big { 4096 } else { 512 };
        let mut disk = settled(SimOptions { sector_bytes, ..SimOptions::new(1) });
        for (index, step) in steps.iter().enumerate() {
            prop_assert_eq!(take(&*disk, step), take(&memory, step), "step {}", index);
            if index % 7 == 6 {
                // Neither a fork nor the death of the process can be seen.
                disk = match index % 2 {
                    0 => disk.fork(),
                    _ => disk.reboot(CrashChoice::ProcessCrash),
                };
            }
        }
        prop_assert_eq!(contents(&*disk), contents(&memory));
        prop_assert_eq!(contents(&*disk.reboot(CrashChoice::All)), contents(&memory));
    }

    /// Rules D2-D8: after a crash every byte of a file is the durable one, or one that was written
    /// there since, or what a lost byte reads as; every length is one that the file had since.
    #[test]
    fn a_crash_invents_nothing(steps in steps(), seed in any::<u64>(), choice in 0..6_u8) {
        let disk = settled(SimOptions { lost: Lost::Mixed, ..SimOptions::new(seed) });
        disk.put_file(&name(0), &[7; 3000]);
        let mut lens = BTreeSet::from([3000]);
        let mut bytes: Vec<BTreeSet<u8>> = vec![BTreeSet::from([0, 0xA5]); 12_000];
        bytes[..3000].iter_mut().for_each(|there| there.extend([7]));
        let file = disk.open(&name(0), Open::ReadWrite).unwrap();
        for step in &steps {
            match step {
                Step::Write { offset, len, byte, .. } => {
                    let (offset, len) = (usize::from(*offset), usize::from(*len));
                    file.write_all_at(&vec![*byte; len], offset as u64).unwrap();
                    bytes[offset..offset + len].iter_mut().for_each(|there| there.extend([*byte]));
                }
                Step::SetLen { len, .. } => file.set_len(u64::from(*len)).unwrap(),
                Step::Sync(0) => {
                    file.sync_data().unwrap();
                    let now = disk.file_bytes(&name(0)).unwrap();
                    lens.clear();
                    for (at, byte) in now.iter().enumerate() {
                        bytes[at] = BTreeSet::from([*byte]);
                    }
                    (now.len()..12_000).for_each(|at| bytes[at] = BTreeSet::from([0, 0xA5]));
                }
                _ => {}
            }
            let len = file.len().unwrap();
            // A cut and a new growth make zeros or garbage of what was there.
            if lens.iter().any(|before| *before > len) {
                (len as usize..12_000).for_each(|at| bytes[at].extend([0, 0xA5]));
            }
            lens.insert(len);
        }
        let pending = disk.pending();
        let choice = match choice {
            0 => CrashChoice::Nothing,
            1 => CrashChoice::Prefix(seed % (pending.ops + 1)),
            2 => CrashChoice::FilePrefixes(seed),
            3 => CrashChoice::DropSector(seed % (pending.sectors + 1)),
            4 => CrashChoice::Bits(seed),
            _ => CrashChoice::Subset(seed),
        };
        let after = disk.reboot(choice).file_bytes(&name(0)).unwrap();
        prop_assert!(lens.contains(&(after.len() as u64)), "{} of {:?}", after.len(), lens);
        let wrong = after.iter().enumerate().find(|(at, byte)| !bytes[*at].contains(byte));
        prop_assert_eq!(wrong, None);
    }

    #[test]
    fn the_same_seed_gives_the_same_trace(steps in steps(), seed in any::<u64>()) {
        let live = |seed: u64| {
            let disk = settled(SimOptions { adversary: true, ..SimOptions::harsh(seed) });
            let some = Trigger::OneIn(9);
            disk.faults(
                FaultPlan::one(Fault::Any(Errno::Eio), some)
                    .and(FaultRule::new(Fault::ShortWrite, some))
                    .and(FaultRule::new(Fault::LostWrite, some))
                    .and(FaultRule::new(Fault::StrayFile, some)),
            );
            steps.iter().for_each(|step| drop(take(&*disk, step)));
            let reborn = disk.reboot(CrashChoice::Subset(seed));
            steps.iter().for_each(|step| drop(take(&*reborn, step)));
            let host = reborn.host();
            let drawn = (host.random.next_u64(), host.clock.now_us());
            (reborn.trace_hash(), reborn.snapshot_files(), drawn)
        };
        let one = live(seed);
        prop_assert_eq!(&one, &live(seed));
        prop_assert_ne!(one.0, live(seed ^ 1).0);
    }
}
