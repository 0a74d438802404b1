//! The overlay against a plain memory file system that does the same.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use campanile_vfs::{MemoryVfs, Open, Vfs};
use proptest::prelude::*;

use super::OverlayVfs;

fn base() -> Arc<dyn Vfs> {
    let vfs: Arc<dyn Vfs> = Arc::new(MemoryVfs::new());
    vfs.create_dir(Path::new("/home")).unwrap();
    for (name, bytes) in [("a", 10_000), ("b", 3)] {
        let file = vfs.open(&PathBuf::from("/home").join(name), Open::CreateNew).unwrap();
        let content: Vec<u8> = (0..bytes).map(|n| (n % 251) as u8 + 1).collect();
        file.write_all_at(&content, 0).unwrap();
    }
    vfs
}

/// Every file with its content.
fn picture(vfs: &dyn Vfs) -> Vec<(String, Vec<u8>)> {
    let mut names = vfs.list(Path::new("/home")).unwrap();
    names.sort();
    names
        .into_iter()
        .map(|name| {
            let file = vfs.open(&Path::new("/home").join(&name), Open::Read).unwrap();
            let mut bytes = vec![0; usize::try_from(file.len().unwrap()).unwrap()];
            file.read_exact_at(&mut bytes, 0).unwrap();
            (name, bytes)
        })
        .collect()
}

#[derive(Clone, Debug)]
enum Act {
    Write(usize, u64, usize, bool),
    SetLen(usize, u64),
    Rename(usize, usize),
    Remove(usize),
    Create(usize),
    Allocate(usize, u64),
}

fn acts() -> impl Strategy<Value = Vec<Act>> {
    let file = 0_usize..4;
    let at = 0_u64..20_000;
    prop::collection::vec(
        prop_oneof![
            (file.clone(), at.clone(), 0_usize..9000, any::<bool>())
                .prop_map(|(f, o, l, zero)| Act::Write(f, o, l, zero)),
            (file.clone(), at.clone()).prop_map(|(f, l)| Act::SetLen(f, l)),
            (file.clone(), 0_usize..4).prop_map(|(f, t)| Act::Rename(f, t)),
            file.clone().prop_map(Act::Remove),
            file.clone().prop_map(Act::Create),
            (file, at).prop_map(|(f, l)| Act::Allocate(f, l)),
        ],
        0..12,
    )
}

fn perform(vfs: &dyn Vfs, act: &Act) -> bool {
    let path = |n: usize| PathBuf::from("/home").join(["a", "b", "c", "d"][n]);
    let open = |n: usize| vfs.open(&path(n), Open::ReadWrite);
    match *act {
        Act::Write(file, offset, len, zero) => open(file).is_ok_and(|file| {
            file.write_all_at(&vec![if zero { 0 } else { 0xEE }; len], offset).is_ok()
        }),
        Act::SetLen(file, len) => open(file).is_ok_and(|file| file.set_len(len).is_ok()),
        Act::Allocate(file, len) => open(file).is_ok_and(|file| file.allocate(0, len).is_ok()),
        // A file renamed to itself stays; both agree on that only trivially.
        Act::Rename(from, to) => from != to && vfs.rename(&path(from), &path(to)).is_ok(),
        Act::Remove(file) => vfs.remove(&path(file)).is_ok(),
        Act::Create(file) => vfs.open(&path(file), Open::CreateNew).is_ok(),
    }
}

proptest! {
    #[test]
    fn it_behaves_like_a_file_system_and_leaves_the_one_below_alone(acts in acts()) {
        let below = base();
        let before = picture(&*below);
        let overlay = OverlayVfs::new(Arc::clone(&below));
        let plain = base();
        for act in &acts {
            prop_assert_eq!(perform(&overlay, act), perform(&*plain, act), "{:?}", act);
            prop_assert_eq!(picture(&overlay), picture(&*plain), "after {:?}", act);
        }
        prop_assert_eq!(picture(&*below), before);
    }
}
