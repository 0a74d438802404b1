//! Rows 27 to 31: backups, made well and made by hand, and log files in the wrong place.

use crate::case::{
    BOTH, Case, DATABASES, Files, HOME, Load, RESTORED, Seen, State, Way, bring_up, host_of,
    in_home, log_name, log_path,
};
use crate::table::situation;
use campanile::restore::{Target, catastrophic_on};
use campanile::{Environment, Lsn, Progress, backup, inspect};
use campanile_format::names;
use campanile_vfs::sim::{SimDisk, SimOptions};
use std::ops::ControlFlow;
use std::path::Path;
use std::sync::{Arc, Mutex};

/// A home in use: a program that goes on with the case.
struct Running {
    case: Case,
    env: Environment,
    /// The content after each commit.
    moments: Vec<(Lsn, State)>,
}

impl Running {
    fn on(case: Case) -> Running {
        let env = Environment::open_on(case.disk.host(), HOME, case.options.clone());
        let env = env.expect("recovers");
        let moments = vec![(Lsn::NONE, case.newest.clone())];
        Running { case, env, moments }
    }

    fn newest(&self) -> State {
        self.moments.last().expect("it begins with one").1.clone()
    }

    /// Writes a value to the key in all databases named.
    fn put(&mut self, databases: &[&str], number: usize) {
        let mut state = self.newest();
        let mut txn = self.env.begin().expect("begins");
        for name in databases {
            let key = format!("key{number:05}").into_bytes();
            let value = format!("<{name}> {} of {number:05}", self.moments.len()).into_bytes();
            let database = self.env.open_database_in(&mut txn, name).expect("is there");
            database.put(&mut txn, &key, &value).expect("is put");
            let rows = state.get_mut(*name).expect("is there");
            Arc::make_mut(rows).insert(key, value);
        }
        let lsn = txn.commit().expect("commits");
        self.moments.push((lsn, state));
    }

    fn files(&self) -> Files {
        let files = self.case.disk.snapshot_files().into_iter();
        let files = files.map(|(path, bytes)| (Path::new("/").join(path), bytes));
        files.filter(|(path, _)| path.starts_with(HOME)).collect()
    }
}

/// A hot copy of a home in which somebody writes between all that the copying does.
fn hot_copy_beside(keys: fn(usize) -> usize) -> (Case, Seen, Seen) {
    let running = Mutex::new(Running::on(Case::crashed(Load::Update)));
    let disk = Arc::clone(&running.lock().expect("alone").case.disk);
    let running = Arc::new(running);
    let hook = {
        let running = Arc::clone(&running);
        Progress::new(move |_| {
            let mut running = running.lock().expect("nobody panics");
            for _ in 0..12 {
                let count = running.moments.len();
                running.put(&DATABASES, keys(count));
            }
            running.env.checkpoint().expect("a checkpoint");
            ControlFlow::Continue(())
        })
    };
    let copy = Path::new(RESTORED);
    backup::hot_copy_on(&host_of(&disk), Path::new(HOME), copy, &hook).expect("a copy");
    let running = running.lock().expect("alone");
    assert!(running.moments.len() > 20, "only {} writes", running.moments.len());
    let options = running.case.options.clone();
    // Where it ends is the copy's to say; what it held there, ours.
    let report = catastrophic_on(&host_of(&disk.fork()), copy, &Target::End, options.clone());
    let report = report.expect("recovers");
    let at = inspect::parse_lsn(&report.restored.expect("a copy").at).expect("a position");
    let newest = running.moments.iter().rev().find(|(lsn, _)| *lsn < at).expect("one").1.clone();
    let case = Case { newest, ..running.case.clone() };
    let normal = bring_up(&disk.fork(), RESTORED, &options, Way::Normal);
    let catastrophic = bring_up(&disk.fork(), RESTORED, &options, Way::Catastrophic);
    (case, normal, catastrophic)
}

#[test]
fn row_27_a_hot_backup_and_normal_recovery() {
    let row = situation(27);
    let (case, normal, catastrophic) = hot_copy_beside(|count| count * 7 % 320);
    row.judge(row.ours[0], &case, Way::Normal, &normal, &["db_recover -c", RESTORED]);
    row.judge(row.ours[1], &case, Way::Catastrophic, &catastrophic, &[]);
}

#[test]
fn row_28_a_hot_backup_and_normal_recovery_without_conflicting_writes() {
    let row = situation(28);
    let (case, normal, catastrophic) = hot_copy_beside(|count| 320 + count);
    row.judge(row.ours[0], &case, Way::Normal, &normal, &["db_recover -c", RESTORED]);
    row.judge(row.ours[1], &case, Way::Catastrophic, &catastrophic, &[]);
}

/// What `cp` makes of a home in use when its parts are copied at different times.
fn by_hand(data: &Files, rest: &Files) -> Arc<SimDisk> {
    let disk = SimDisk::new(SimOptions::new(5));
    let is_data = |path: &Path| path.starts_with(in_home(names::DATA_DIR));
    let parts = data.iter().filter(|(path, _)| is_data(path));
    let parts = parts.chain(rest.iter().filter(|(path, _)| !is_data(path)));
    for (path, bytes) in parts {
        disk.put_file(path, bytes);
    }
    disk
}

#[test]
fn row_29_a_backup_by_hand_with_the_log_copied_before_the_data() {
    let mut running = Running::on(Case::crashed(Load::Update));
    let rest = running.files();
    for number in 0..100 {
        running.put(&DATABASES, number);
    }
    running.env.checkpoint().expect("a checkpoint");
    let case = Case { disk: by_hand(&running.files(), &rest), ..running.case };
    situation(29).both_ways(&case, &["file ", "LSN"]);
}

#[test]
fn row_30_log_files_in_each_others_place_or_repeated() {
    let case = Case::crashed(Load::Append);
    let (first, last) = case.needed_logs();
    let (one, other) = (log_path(first + 1), log_path(last));
    let (a, b) = (case.bytes(&one), case.bytes(&other));
    case.put(&one, &b);
    case.put(&other, &a);
    situation(30).both_ways(&case, &["log.", "does not belong here"]);
    case.comes_back(true, &case.newest);

    for load in BOTH {
        let case = Case::crashed(load);
        let (_, last) = case.needed_logs();
        case.put(&log_path(last + 1), &case.bytes(&log_path(last)));
        situation(30).both_ways(&case, &[&log_name(last + 1)]);
        case.comes_back(true, &case.newest);
    }
}

#[test]
fn row_31_a_log_file_of_another_environment() {
    for load in BOTH {
        let twin = Case::twin(load);
        let (first, last) = Case::crashed(load).needed_logs();
        for file in [first, last] {
            let case = Case::crashed(load);
            case.put(&log_path(file), &twin.bytes(&log_path(file)));
            situation(31).both_ways(&case, &[&log_name(file), "belongs to environment"]);
            let whole = if file == last { &case.archived } else { &case.newest };
            case.comes_back(load == Load::Append, whole);
        }
    }
}
