//! Power failures at every I/O call of an export and of an import.

use campanile::export::{Export, Layout};
use campanile::import::ImportOptions;
use campanile::{Environment, ErrorKind, Progress};
use campanile_tests::life::read_all;
use campanile_vfs::sim::{CrashChoice, SimDisk, SimOptions};
use std::path::Path;
use std::sync::Arc;

use crate::stage::{FORMS, compare, export, fill, form, import, open, small, state_of};

const CHOICES: [CrashChoice; 4] =
    [CrashChoice::Nothing, CrashChoice::All, CrashChoice::Subset(1), CrashChoice::Subset(2)];

/// The states after a power failure at every call that `work` makes.
fn crash_states(disk: &Arc<SimDisk>, work: impl FnOnce()) -> Vec<(u64, Arc<SimDisk>)> {
    disk.capture_crash_points();
    work();
    let mut states = Vec::new();
    for (count, point) in disk.take_crash_points().into_iter().enumerate() {
        states.push((point.call, point.disk.reboot(CHOICES[count % CHOICES.len()])));
        states.push((point.call, point.disk.reboot(CHOICES[(count + 1) % CHOICES.len()])));
    }
    states
}

#[test]
fn an_export_that_is_cut_short_is_refused_and_made_again_elsewhere() {
    for how in FORMS {
        let disk = SimDisk::new(SimOptions::new(2));
        let env = open(&disk.host(), "/home");
        fill(&env, &small());
        env.close().unwrap();
        let env = open(&disk.host(), "/home");
        let states = crash_states(&disk, || {
            export(&disk.host(), &env, &form(how)).unwrap();
        });
        assert!(states.len() > 8, "{how:?}: {} calls", states.len());
        let (mut refused, mut complete) = (0, 0);
        for (call, disk) in states {
            let what = format!("{how:?}, call {call}");
            let env = open(&disk.host(), "/home");
            match compare(&disk.host(), &env) {
                Err(error) => {
                    let kinds = [ErrorKind::Corrupt, ErrorKind::NotFound];
                    assert!(kinds.contains(&error.kind()), "{what}: {error}");
                    refused += 1;
                }
                Ok(report) => {
                    // What does not survive a crash is empty in the home, and was exported.
                    let other = |name: &str| name != "cache";
                    let same = report
                        .databases
                        .iter()
                        .filter(|one| other(&one.name))
                        .all(|one| one.outcome == campanile::diff::Outcome::Same);
                    assert!(same, "{what}: {report}");
                    complete += 1;
                }
            }
            form(how).run_on(&disk.host(), &env, Path::new("/again")).unwrap();
            let again = Export::open_on(&disk.host(), Path::new("/again"), &Progress::none());
            again.unwrap().prove(&Progress::none()).unwrap();
        }
        let last = how.0 == Layout::Directory;
        assert!(refused > 0 && (complete > 0 || last), "{refused} refused, {complete} complete");
    }
}

#[test]
fn an_import_that_is_cut_short_leaves_each_database_whole_or_not_at_all() {
    let disk = SimDisk::new(SimOptions::new(3));
    let env = open(&disk.host(), "/home");
    let mut databases = small();
    databases.retain(|(_, durable, _)| *durable);
    fill(&env, &databases);
    export(&disk.host(), &env, &form(FORMS[0])).unwrap();
    env.close().unwrap();
    let other = open(&disk.host(), "/other");
    let old = vec![("accounts".to_owned(), true, [(b"old".to_vec(), b"1".to_vec())].into())];
    fill(&other, &old);
    let states = crash_states(&disk, || {
        import(&disk.host(), &other, &ImportOptions::new().replace(true)).unwrap();
    });
    let (new, old) = (state_of(&databases), state_of(&old));
    let mut seen = std::collections::BTreeSet::new();
    for (call, disk) in states {
        let env = Environment::open_on(disk.host(), "/other", crate::stage::options());
        let env = env.unwrap_or_else(|error| panic!("call {call}: {error}"));
        let state = read_all(&env).unwrap();
        for (name, rows) in &state {
            let whole = Some(rows) == new.get(name) || Some(rows) == old.get(name);
            assert!(whole, "call {call}: {name} is neither old nor new");
        }
        assert!(state.contains_key("accounts"), "call {call}");
        assert!(env.verify().unwrap().is_clean(), "call {call}");
        seen.insert(state.len());
        import(&disk.host(), &env, &ImportOptions::new().replace(true)).unwrap();
        assert_eq!(read_all(&env).unwrap(), new, "call {call}, again");
    }
    assert!(seen.len() > 1, "no crash came between two databases");
}
