//! Every byte of an export changed, and every cut of its files: refused, or the same content.

use campanile::export::{Export, Layout};
use campanile::import::ImportOptions;
use campanile::{Environment, Progress};
use campanile_tests::life::read_all;
use campanile_vfs::Host;
use campanile_vfs::sim::{SimDisk, SimOptions};
use campanile_vfs::{Call, CallKind, Observed, Observer};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use crate::stage::{
    EXPORT, FORMS, Kept, compare, export, fill, form, import, open, small, state_of,
};

/// One in so many damaged exports is imported, too.
const IMPORTED: usize = 61;

struct Exam {
    disk: Arc<SimDisk>,
    host: Host,
    env: Environment,
    databases: Vec<Kept>,
    tried: usize,
    refused: usize,
}

impl Exam {
    fn new(how: (Layout, campanile::export::Compression)) -> Exam {
        let disk = SimDisk::new(SimOptions::new(1));
        let host = disk.host();
        let env = open(&host, "/home");
        let databases = small();
        fill(&env, &databases);
        export(&host, &env, &form(how)).unwrap();
        Exam { disk, host, env, databases, tried: 0, refused: 0 }
    }

    fn files(&self) -> BTreeMap<PathBuf, Vec<u8>> {
        let all = self.disk.snapshot_files();
        let inside = |path: &Path| Path::new("/").join(path).starts_with(EXPORT);
        let found: BTreeMap<PathBuf, Vec<u8>> =
            all.into_iter().filter(|(path, _)| inside(path)).collect();
        assert!(!found.is_empty());
        found
    }

    /// With `bytes` in the place of a file, is the export refused, or as good as before?
    fn try_with(&mut self, path: &Path, bytes: &[u8], what: &str) {
        self.disk.put_file(path, bytes);
        self.tried += 1;
        match compare(&self.host, &self.env) {
            Err(_) => self.refused += 1,
            Ok(report) => assert!(report.is_same(), "{what} was believed: {report}"),
        }
        if self.tried.is_multiple_of(IMPORTED) {
            self.import(what);
        }
    }

    fn import(&self, what: &str) {
        let host = Host { vfs: self.disk.host().vfs, ..Host::memory() };
        let other = open(&Host::memory(), "/other");
        let state = state_of(&self.databases);
        match import(&host, &other, &ImportOptions::new()) {
            Ok(_) => assert_eq!(read_all(&other).unwrap(), state, "{what} was imported"),
            Err(_) => assert!(read_all(&other).unwrap().is_empty(), "{what} was half imported"),
        }
    }
}

pub fn every_byte_counts() {
    for how in FORMS {
        let mut exam = Exam::new(how);
        for (path, bytes) in exam.files() {
            for at in 0..bytes.len() {
                for flip in [1, 1 << (1 + at % 7)] {
                    let mut damaged = bytes.clone();
                    damaged[at] ^= flip;
                    let what = format!("{how:?}: {}, byte {at} ^ {flip}", path.display());
                    exam.try_with(&path, &damaged, &what);
                }
            }
            exam.disk.put_file(&path, &bytes);
        }
        // Some bytes mean nothing: the page size in a header, the case of a digit in a checksum.
        assert!(exam.refused * 10 > exam.tried * 8, "{} of {}", exam.refused, exam.tried);
        assert!(compare(&exam.host, &exam.env).unwrap().is_same());
    }
}

#[test]
fn every_byte_of_an_export_counts() {
    every_byte_counts();
}

#[test]
fn every_cut_of_an_export_is_refused() {
    for how in FORMS {
        let mut exam = Exam::new(how);
        for (path, bytes) in exam.files() {
            for len in 0..bytes.len() {
                let what = format!("{how:?}: {} cut at {len}", path.display());
                exam.try_with(&path, &bytes[..len], &what);
            }
            let longer = [&bytes[..], b"\n"].concat();
            exam.try_with(&path, &longer, "one byte more");
            exam.disk.put_file(&path, &bytes);
        }
        // The last line end may go, and so may what ends the seal.
        assert!(exam.tried - exam.refused < 20, "{} of {}", exam.refused, exam.tried);
    }
}

#[test]
fn files_that_are_missing_or_changed_places_are_named() {
    let exam = Exam::new(FORMS[0]);
    let files = exam.files();
    let dumps: Vec<&PathBuf> =
        files.keys().filter(|path| path.extension().is_some_and(|e| e == "dump")).collect();
    assert_eq!(dumps.len(), exam.databases.len());
    exam.disk.put_file(dumps[0], &files[dumps[1]]);
    let error = compare(&exam.host, &exam.env).unwrap_err().to_string();
    assert!(error.contains("it holds"), "{error}");
    exam.disk.put_file(dumps[0], &files[dumps[0]]);
    exam.disk.drop_file(dumps[2]).unwrap();
    let error = compare(&exam.host, &exam.env).unwrap_err();
    assert!(error.is_corruption() && error.to_string().contains("missing"), "{error}");
    let other = open(&Host::memory(), "/other");
    import(&exam.host, &other, &ImportOptions::new()).unwrap_err();
    assert!(read_all(&other).unwrap().is_empty());
    exam.disk.drop_file(&Path::new(EXPORT).join("export.json")).unwrap();
    let error = Export::open_on(&exam.host, Path::new(EXPORT), &Progress::none()).unwrap_err();
    assert!(error.to_string().contains("not finished"), "{error}");
}

/// Spoils a file when it is opened for the second time.
#[derive(Debug)]
struct Spoils {
    disk: Arc<SimDisk>,
    path: PathBuf,
    spoilt: Vec<u8>,
    opened: AtomicU64,
}

impl Observer for Spoils {
    fn before(&self, call: &Call<'_>) {
        let ours = call.kind == CallKind::Open && call.path == self.path;
        if ours && self.opened.fetch_add(1, Ordering::Relaxed) == 1 {
            self.disk.put_file(&self.path, &self.spoilt);
        }
    }
}

pub fn what_changes_once_it_was_proven() {
    let exam = Exam::new(FORMS[0]);
    let path = Path::new(EXPORT).join("accounts.dump");
    let mut spoilt = exam.disk.file_bytes(&path).unwrap();
    // The value of the last pair.
    let at = spoilt.len() - "\nDATA=END\n".len() - 1;
    spoilt[at] = if spoilt[at] == b'7' { b'8' } else { b'7' };
    let disk = Arc::clone(&exam.disk);
    let spoils = Arc::new(Spoils { disk, path, spoilt, opened: AtomicU64::new(0) });
    let watched: Arc<dyn Observer> = Arc::clone(&spoils) as _;
    let host = Host { vfs: Observed::new(exam.disk.host().vfs, watched), ..exam.disk.host() };
    let other = open(&Host::memory(), "/other");
    let error = import(&host, &other, &ImportOptions::new()).expect_err("it was spoilt");
    assert_eq!(spoils.opened.load(Ordering::Relaxed), 2, "{error}");
    assert!(error.is_corruption() && error.to_string().contains("kept: a b"), "{error}");
    let state = read_all(&other).unwrap();
    assert_eq!(state.keys().collect::<Vec<_>>(), ["a b/\u{e9}"], "what came before it");
}

#[test]
fn an_export_that_changes_once_it_was_proven_is_noticed_in_the_transaction() {
    what_changes_once_it_was_proven();
}
