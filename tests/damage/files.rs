//! Damage to whole files: gone, in another's place, twice, of another environment or another time.

use crate::campaign::Patient;
use crate::damage::Damage;
use crate::exam::{Complaint, Seen, View};
use crate::facts::{Files, files_of, log_name};
use crate::sample::{Sample, closed, crashed, in_home, log_path, reserved};
use crate::verdict::{Verdict, words};
use campanile::ErrorKind;
use campanile_format::{names, page};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::LazyLock;

static CRASHED: LazyLock<Patient> = LazyLock::new(|| Patient::new(crashed(1)));
static CLOSED: LazyLock<Patient> = LazyLock::new(|| Patient::new(closed(2)));

/// A file, and what is in it afterwards.
type Change = (PathBuf, Option<Vec<u8>>);

fn files(what: impl Into<String>, changed: Vec<Change>) -> Damage {
    Damage::Files { what: what.into(), changed }
}

/// The same environment, by its making, but another one.
fn twin_of(make: fn(u64) -> Sample) -> Files {
    files_of(&make(77).disk)
}

/// Both ways of opening end like this.
fn both(
    seen: &Seen,
    judge: impl Fn(&Result<View, Complaint>) -> Result<Verdict, String>,
) -> Result<Verdict, String> {
    let (read_only, opened) = (judge(&seen.read_only)?, judge(&seen.opened)?);
    if read_only == opened { Ok(opened) } else { Err(format!("{read_only:?}, then {opened:?}")) }
}

fn refused_naming(seen: &Seen, words: &[&str]) -> Result<Verdict, String> {
    both(seen, |result| match result {
        Ok(_) => Err("opened".to_owned()),
        Err(complaint) => {
            let named = words.iter().all(|word| complaint.text.contains(word));
            let is_damage = complaint.kind == ErrorKind::Corrupt;
            if named && is_damage { Ok(Verdict::Refused) } else { Err(complaint.to_string()) }
        }
    })
}

fn suffers(
    patient: &Patient,
    damage: &Damage,
    judge: impl FnOnce(&Seen) -> Result<Verdict, String>,
) {
    let name = patient.sample.name;
    match patient.suffer_judged(damage, judge) {
        Ok(verdict) => println!("{name:>9}: {damage}: {verdict:?}"),
        Err(what) => panic!("{name}: {damage}: {what}"),
    }
}

fn log_numbers(patient: &Patient) -> Vec<u32> {
    (patient.facts.first_log..=patient.facts.last_log).collect()
}

fn bytes_of(patient: &Patient, path: &PathBuf) -> Vec<u8> {
    patient.facts.files[path].clone()
}

#[test]
fn a_log_file_that_is_missing_is_named() {
    for patient in [&*CRASHED, &*CLOSED] {
        for number in log_numbers(patient) {
            let name = log_name(number);
            let damage = files(format!("{name} is gone"), vec![(log_path(number), None)]);
            let newest = number == patient.facts.last_log;
            suffers(patient, &damage, |seen| {
                // The last one leaves no name behind: that something was durable in it does.
                let name = if newest && patient.facts.first_log == number { "log" } else { &name };
                refused_naming(seen, &[name])
            });
        }
    }
}

#[test]
fn an_environment_without_its_logs_is_refused() {
    for patient in [&*CRASHED, &*CLOSED] {
        let all: Vec<Change> =
            patient.facts.files.keys().map(|path| (path.clone(), None)).collect();
        let is_log = |change: &Change| change.0.starts_with(in_home(names::LOG_DIR));
        let damage = files("all log files are gone", all.into_iter().filter(is_log).collect());
        suffers(patient, &damage, |seen| refused_naming(seen, &["log"]));
    }
}

#[test]
fn log_files_in_each_others_place_are_named() {
    let numbers = log_numbers(&CRASHED);
    for one in &numbers {
        for other in numbers.iter().filter(|other| *other > one) {
            let (a, b) = (log_path(*one), log_path(*other));
            let swapped = vec![
                (a.clone(), Some(bytes_of(&CRASHED, &b))),
                (b.clone(), Some(bytes_of(&CRASHED, &a))),
            ];
            let damage = files(format!("log files {one} and {other} are swapped"), swapped);
            suffers(&CRASHED, &damage, |seen| {
                refused_naming(seen, &[&log_name(*other)])
                    .or_else(|_| refused_naming(seen, &[&log_name(*one)]))
            });
        }
    }
}

#[test]
fn a_log_file_repeated_under_another_number_is_named() {
    for patient in [&*CRASHED, &*CLOSED] {
        let numbers = log_numbers(patient);
        let next = patient.facts.last_log + 1;
        for from in &numbers {
            for to in numbers.iter().copied().chain([next, next + 1, next + 1000]) {
                if *from == to {
                    continue;
                }
                let copy = vec![(log_path(to), Some(bytes_of(patient, &log_path(*from))))];
                let damage = files(format!("log file {from} repeated as {to}"), copy);
                suffers(patient, &damage, |seen| refused_naming(seen, &[&log_name(to)]));
            }
        }
    }
}

#[test]
fn a_log_file_of_another_environment_is_named() {
    for (patient, make) in
        [(&*CRASHED, crashed as fn(u64) -> Sample), (&*CLOSED, closed as fn(u64) -> Sample)]
    {
        let twin = twin_of(make);
        let next = patient.facts.last_log + 1;
        for number in log_numbers(patient) {
            let path = log_path(number);
            let theirs = vec![(path.clone(), Some(twin[&path].clone()))];
            let damage = files(format!("log file {number} is of another environment"), theirs);
            suffers(patient, &damage, |seen| {
                refused_naming(seen, &[&log_name(number), "belongs to environment"])
            });
            let theirs = vec![(log_path(next), Some(twin[&path].clone()))];
            let damage = files(format!("log file {next} is of another environment"), theirs);
            suffers(patient, &damage, |seen| refused_naming(seen, &[&log_name(next)]));
        }
    }
}

#[test]
fn old_log_that_recovery_begins_behind_may_go() {
    let patient = &*CRASHED;
    let old: Vec<Change> = patient
        .facts
        .files
        .keys()
        .filter(|path| {
            let name = path.file_name().unwrap_or_default().to_string_lossy();
            names::parse_log_file(&name).is_some_and(|number| number < patient.facts.first_log)
                || name.starts_with("spare.")
        })
        .map(|path| (path.clone(), None))
        .collect();
    assert!(!old.is_empty());
    suffers(patient, &files("old log and spares are gone", old), |seen| {
        both(seen, |result| patient.case().exact(result, Verdict::OldLog))
    });
}

#[test]
fn without_a_control_file_nothing_is_opened_and_nothing_made() {
    for patient in [&*CRASHED, &*CLOSED] {
        let control = in_home(names::CONTROL);
        let damage = files("the control file is gone", vec![(control.clone(), None)]);
        suffers(patient, &damage, |seen| {
            match (&seen.read_only, &seen.opened) {
                (Err(read_only), Err(opened)) if opened.kind == ErrorKind::Corrupt => {
                    // Reading only does not look further than that nothing is there.
                    let kinds = [ErrorKind::Corrupt, ErrorKind::NotFound];
                    assert!(kinds.contains(&read_only.kind), "{read_only}");
                    Ok(Verdict::Refused)
                }
                (_, Err(complaint)) => Err(complaint.to_string()),
                (_, Ok(_)) => Err("opened".to_owned()),
            }
        });
        let noise = vec![(control, Some(vec![0xa5; 8192]))];
        let damage = files("both control slots are noise", noise);
        suffers(patient, &damage, |seen| refused_naming(seen, &["control"]));
    }
}

#[test]
fn a_control_file_of_another_environment_is_refused() {
    for (patient, make) in
        [(&*CRASHED, crashed as fn(u64) -> Sample), (&*CLOSED, closed as fn(u64) -> Sample)]
    {
        let control = in_home(names::CONTROL);
        let theirs = vec![(control.clone(), Some(twin_of(make)[&control].clone()))];
        let damage = files("the control file is of another environment", theirs);
        suffers(patient, &damage, |seen| refused_naming(seen, &["belongs to environment"]));
    }
}

#[test]
fn a_double_write_file_that_is_gone_foreign_or_noise_changes_nothing_unless_pages_are_torn() {
    for (patient, make) in
        [(&*CRASHED, crashed as fn(u64) -> Sample), (&*CLOSED, closed as fn(u64) -> Sample)]
    {
        let path = in_home(names::DOUBLE_WRITE);
        let contents = [
            ("gone", None),
            ("of another environment", Some(twin_of(make)[&path].clone())),
            ("noise", Some(vec![0x5a; 5000])),
            ("empty", Some(Vec::new())),
        ];
        for (what, bytes) in contents {
            let damage = files(format!("double-write file {what}"), vec![(path.clone(), bytes)]);
            suffers(patient, &damage, |seen| {
                both(seen, |result| patient.case().exact(result, Verdict::CopyNotNeeded))
            });
        }
    }
}

fn data_paths(patient: &Patient) -> Vec<PathBuf> {
    let files = patient.facts.files.keys();
    files.filter(|path| path.starts_with(in_home(names::DATA_DIR))).cloned().collect()
}

/// Refused, or reported by reads or the verification, with the file or its database named.
fn reported(patient: &Patient, seen: &Seen, path: &Path) -> Result<Verdict, String> {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    let file = names::parse_data_file(&name).ok_or("no data file")?;
    let spellings = [format!("file {file}"), name.into_owned()];
    let named = |text: &str| spellings.iter().any(|spelling| text.contains(spelling));
    both(seen, |result| match result {
        Err(complaint) if complaint.kind == ErrorKind::Corrupt && named(&complaint.text) => {
            Ok(Verdict::Reported)
        }
        Err(complaint) => Err(complaint.to_string()),
        Ok(view) => {
            let whole = patient.case().shows(view, patient.sample.newest())?;
            let found = view.findings().iter().any(|finding| named(finding));
            match (whole, found) {
                (_, true) => Ok(Verdict::Reported),
                (true, false) if view.findings().is_empty() => Ok(Verdict::Mended),
                _ => Err(words(view)),
            }
        }
    })
}

#[test]
fn a_data_file_that_is_missing_is_named() {
    for patient in [&*CRASHED, &*CLOSED] {
        for path in data_paths(patient) {
            let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
            let damage = files(format!("{name} is gone"), vec![(path.clone(), None)]);
            suffers(patient, &damage, |seen| {
                let verdict = reported(patient, seen, &path)?;
                let lost = patient.facts.control.clean_end.is_some();
                if lost && verdict == Verdict::Mended {
                    return Err("a lost file was not missed".to_owned());
                }
                Ok(verdict)
            });
        }
    }
}

#[test]
fn a_data_file_of_another_environment_is_named() {
    for (patient, make) in
        [(&*CRASHED, crashed as fn(u64) -> Sample), (&*CLOSED, closed as fn(u64) -> Sample)]
    {
        let twin = twin_of(make);
        // A file that was never written to is the same everywhere.
        let differs = |path: &PathBuf| twin[path] != patient.facts.files[path];
        for path in data_paths(patient).into_iter().filter(differs) {
            let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
            let theirs = vec![(path.clone(), Some(twin[&path].clone()))];
            let damage = files(format!("{name} is of another environment"), theirs);
            suffers(patient, &damage, |seen| match reported(patient, seen, &path)? {
                Verdict::Mended => Err("nobody noticed".to_owned()),
                verdict => Ok(verdict),
            });
        }
    }
}

#[test]
fn data_files_in_each_others_place_are_named() {
    for patient in [&*CRASHED, &*CLOSED] {
        let paths = data_paths(patient);
        for (at, one) in paths.iter().enumerate() {
            for other in &paths[at + 1..] {
                let swapped = vec![
                    (one.clone(), Some(bytes_of(patient, other))),
                    (other.clone(), Some(bytes_of(patient, one))),
                ];
                let damage = files(format!("{one:?} and {other:?} are swapped"), swapped);
                suffers(patient, &damage, |seen| {
                    reported(patient, seen, one).or_else(|_| reported(patient, seen, other))
                });
            }
        }
    }
}

/// A whole data file of an earlier time. Log records that its pages lack are found out in replay.
/// Where there is nothing to replay, an old file that is whole in itself cannot be told from the
/// right one: then it shows what it held at its time, and nothing else.
#[test]
fn an_older_copy_of_a_data_file_is_found_out_by_replay() {
    let patient = &*CRASHED;
    let older = older_copies();
    let mut found_out = 0;
    for (path, bytes) in &older {
        let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        let damage = files(
            format!("{name} is of an earlier time"),
            vec![(path.clone(), Some(bytes.clone()))],
        );
        suffers(patient, &damage, |seen| {
            let verdict = reported(patient, seen, path)?;
            found_out += u64::from(verdict == Verdict::Reported);
            Ok(verdict)
        });
    }
    assert!(found_out > 0, "no older copy was found out");
}

/// Data files of the crashed sample as they were at its first checkpoint.
fn older_copies() -> BTreeMap<PathBuf, Vec<u8>> {
    let early = files_of(&crate::sample::crashed_early(1).disk);
    let data = in_home(names::DATA_DIR);
    let present = |path: &PathBuf| CRASHED.facts.files.contains_key(path);
    early.into_iter().filter(|(path, _)| path.starts_with(&data) && present(path)).collect()
}

#[test]
fn files_that_nobody_knows_are_left_alone() {
    let patient = Patient::new(reserved(4));
    let strangers = vec![
        (in_home("notes.txt"), Some(b"remember the milk".to_vec())),
        (in_home("data").join("data.0000000001.orig"), Some(vec![1; 900])),
        (in_home("data").join("data.1"), Some(vec![2; 512])),
        (in_home("log").join("log.1"), Some(vec![3; 4096])),
        (in_home("log").join("log.0000000001~"), Some(vec![4; 4096])),
        (in_home("control.tmp"), Some(vec![5; 100])),
    ];
    let damage = files("strange files everywhere", strangers.clone());
    suffers(&patient, &damage, |seen| {
        let verdict = both(seen, |result| patient.case().exact(result, Verdict::NoChange))?;
        let after = files_of(&seen.after);
        for (path, bytes) in &strangers {
            if path.extension().is_none_or(|end| end != "tmp") && after.get(path) != bytes.as_ref()
            {
                return Err(format!("{path:?} was changed"));
            }
        }
        Ok(verdict)
    });
}

#[test]
fn a_data_file_that_the_catalog_does_not_know_is_reported_and_left_alone() {
    let patient = &*CRASHED;
    let mut meta = vec![0; patient.facts.page_bytes];
    meta[page::KIND] = 1;
    let path = in_home(names::DATA_DIR).join("data.0000000900");
    let damage = files("an unknown data file", vec![(path.clone(), Some(meta.clone()))]);
    suffers(patient, &damage, |seen| {
        let verdict = both(seen, |result| {
            let view = result.as_ref().map_err(ToString::to_string)?;
            let whole = patient.case().shows(view, patient.sample.newest())?;
            let found = view.findings().iter().any(|finding| finding.contains("file 900"));
            if whole && found { Ok(Verdict::Reported) } else { Err(words(view)) }
        })?;
        let kept = files_of(&seen.after).get(&path) == Some(&meta);
        if kept { Ok(verdict) } else { Err("it was changed".to_owned()) }
    });
}
