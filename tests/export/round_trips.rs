//! Out and in again: every name, every byte, every form.

use campanile::export::{Export, ExportOptions};
use campanile::import::ImportOptions;
use campanile::{Environment, ErrorKind, Progress};
use campanile_tests::life::read_all;
use campanile_tests::oracle::Rows;
use campanile_vfs::Host;
use proptest::prelude::*;
use std::path::Path;

use crate::stage::{
    EXPORT, FORMS, Kept, compare, export, fill, form, import, open, small, state_of, volatile,
};
use crate::world::assert_same;

/// Exports what `databases` say, imports it elsewhere, and compares all with all.
fn there_and_back(databases: &[Kept], how: &ExportOptions) {
    let host = Host::memory();
    let env = open(&host, "/home");
    fill(&env, databases);
    export(&host, &env, how).expect("an export");
    let other = open(&host, "/other");
    let report = import(&host, &other, &ImportOptions::new()).expect("an import");
    assert_eq!(report.databases.len(), databases.len());
    assert_same(&read_all(&other).unwrap(), &state_of(databases), "imported");
    assert_eq!(volatile(&other), volatile(&env));
    assert!(compare(&host, &env).unwrap().is_same());
    assert!(compare(&host, &other).unwrap().is_same());
    let prints =
        |env: &Environment| env.fingerprints(&env.snapshot().unwrap(), &Progress::none()).unwrap();
    assert_eq!(prints(&env), prints(&other));
    assert!(other.verify().unwrap().is_clean());
}

#[test]
fn small_databases_of_every_kind_come_back_in_every_form() {
    for how in FORMS {
        there_and_back(&small(), &form(how));
        there_and_back(&[], &form(how));
    }
}

#[test]
fn values_of_megabytes_come_back() {
    let long = |len: usize| (0..len).map(|at| (at / 7) as u8).collect::<Vec<u8>>();
    let rows = Rows::from([
        (b"a".to_vec(), long((1 << 20) - 1)),
        (b"b".to_vec(), long(1 << 20)),
        (b"c".to_vec(), long((1 << 20) + 1)),
        (b"d".to_vec(), long(5_000_000)),
        (b"e".to_vec(), Vec::new()),
    ]);
    for how in FORMS {
        there_and_back(&[("films".to_owned(), true, rows.clone())], &form(how));
    }
}

#[test]
fn many_pages_come_back() {
    let row = |n: u32| (n.to_le_bytes().repeat(4), vec![n as u8; (n % 300) as usize]);
    let rows: Rows = (0..20_000).map(row).collect();
    there_and_back(&[("many".to_owned(), true, rows)], &form(FORMS[3]));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]
    #[test]
    fn any_databases_come_back(
        databases in prop::collection::btree_map(
            "[aA%~./\\\\ =\u{e9}\u{0}\n]{1,20}|.{1,60}|con|campanile-export",
            (any::<bool>(), prop::collection::btree_map(
                prop::collection::vec(any::<u8>(), 0..300),
                prop::collection::vec(any::<u8>(), 0..3000),
                0..30,
            )),
            0..8,
        ),
        how in 0..FORMS.len(),
    ) {
        let databases: Vec<Kept> =
            databases.into_iter().map(|(name, (durable, rows))| (name, durable, rows)).collect();
        there_and_back(&databases, &form(FORMS[how]));
    }
}

#[test]
fn what_is_selected_comes_alone_and_under_its_new_name() {
    let host = Host::memory();
    let env = open(&host, "/home");
    fill(&env, &small());
    export(&host, &env, &ExportOptions::new()).unwrap();
    let other = open(&host, "/other");
    let how = ImportOptions::new().only_as("accounts", "saved").only("empty");
    import(&host, &other, &how).unwrap();
    let state = read_all(&other).unwrap();
    assert_eq!(state.keys().collect::<Vec<_>>(), ["empty", "saved"]);
    assert_eq!(*state["saved"], small()[0].2);
    let error = import(&host, &other, &ImportOptions::new().only("none")).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::NotFound);
    let twice = ImportOptions::new().only_as("empty", "x").only_as("accounts", "x");
    assert_eq!(import(&host, &other, &twice).unwrap_err().kind(), ErrorKind::InvalidArgument);

    let part = ExportOptions::new().only("empty");
    let report = part.run_on(&host, &env, Path::new("/part")).unwrap();
    assert!(!report.manifest.whole && report.manifest.databases.len() == 1);
    let none = ExportOptions::new().only("none").run_on(&host, &env, Path::new("/none"));
    assert_eq!(none.unwrap_err().kind(), ErrorKind::NotFound);
    assert!(!host.vfs.exists(Path::new("/none")).unwrap());
}

#[test]
fn a_name_that_is_taken_is_refused_before_anything_happens_and_replaced_when_asked() {
    let host = Host::memory();
    let env = open(&host, "/home");
    fill(&env, &small());
    export(&host, &env, &form(FORMS[2])).unwrap();
    let other = open(&host, "/other");
    let old = vec![("empty".to_owned(), false, Rows::from([(b"old".to_vec(), b"1".to_vec())]))];
    fill(&other, &old);
    let handle = other.open_database("empty").unwrap();
    let error = import(&host, &other, &ImportOptions::new()).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::AlreadyExists);
    assert!(error.to_string().contains("--replace"), "{error}");
    assert_same(&read_all(&other).unwrap(), &state_of(&old), "refused");

    let before = other.snapshot().unwrap();
    let report = import(&host, &other, &ImportOptions::new().replace(true)).unwrap();
    let replaced = report.databases.iter().filter(|one| one.replaced).count();
    assert_eq!(replaced, 1);
    assert_same(&read_all(&other).unwrap(), &state_of(&small()), "replaced");
    assert_eq!(volatile(&other), ["cache"], "the kind is the exported one's");
    assert_eq!(handle.get(&before, "old").unwrap().as_deref(), Some(&b"1"[..]));
    drop(before);
    other.close().unwrap();
    assert_same(&read_all(&open(&host, "/other")).unwrap(), &state_of(&small()), "reopened");
}

#[test]
fn an_export_never_takes_the_place_of_anything() {
    let host = Host::memory();
    let env = open(&host, "/home");
    fill(&env, &small());
    for how in FORMS {
        for target in ["/home", "/home/control", "/saved"] {
            if target == "/saved" {
                form(how).run_on(&host, &env, Path::new(&format!("/{how:?}"))).unwrap();
                continue;
            }
            let error = form(how).run_on(&host, &env, Path::new(target)).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::AlreadyExists, "{target}: {error}");
        }
        let again = form(how).run_on(&host, &env, Path::new(&format!("/{how:?}"))).unwrap_err();
        assert_eq!(again.kind(), ErrorKind::AlreadyExists);
    }
    assert_same(&read_all(&env).unwrap(), &state_of(&small()), "untouched");
}

#[test]
fn a_key_too_long_for_the_pages_here_is_refused_and_nothing_is_left() {
    let host = Host::memory();
    let env = open(&host, "/home");
    let rows: Rows = (0..50_u8).map(|n| (vec![n; 20 + usize::from(n) * 10], vec![n])).collect();
    fill(&env, &[("long".to_owned(), true, rows)]);
    export(&host, &env, &form(FORMS[0])).unwrap();
    let tiny = campanile_tests::life::tiny();
    let other = Environment::open_on(host.clone(), "/other", tiny).unwrap();
    let error = import(&host, &other, &ImportOptions::new()).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::InvalidArgument, "{error}");
    assert!(read_all(&other).unwrap().is_empty());
    assert!(other.verify().unwrap().is_clean());
}

#[test]
fn every_kind_of_difference_is_counted_and_the_first_is_named() {
    let host = Host::memory();
    let env = open(&host, "/home");
    fill(&env, &small());
    export(&host, &env, &form(FORMS[1])).unwrap();
    let accounts = env.open_database("accounts").unwrap();
    env.run(|txn| {
        accounts.put(txn, [b'k', 3], "other")?;
        accounts.delete(txn, [b'k', 5])?;
        accounts.put(txn, "z", "new")?;
        env.drop_database_in(txn, "empty")?;
        env.create_database_with(txn, "more", campanile::DatabaseOptions::new())?;
        env.drop_database_in(txn, "cache")?;
        let cache = env.create_database_with(txn, "cache", campanile::DatabaseOptions::new())?;
        (0..2_u8).try_for_each(|n| cache.put(txn, [b'k', n], vec![n; usize::from(n)]).map(|_| ()))
    })
    .unwrap();
    let report = compare(&host, &env).unwrap();
    assert!(!report.is_same());
    assert_eq!(
        report.to_string(),
        "a b/\\c3\\a9: same, 1 pairs\n\
         accounts: differs from key k\\03 on (other value): 1 only in A, 1 only in B, 1 with other \
         values, 5 alike\n\
         cache: differs: 0 only in A, 0 only in B, 0 with other values, 2 alike; durable in A, \
         not in B\n\
         empty: only in B\n\
         more: only in A"
    );
}

#[test]
fn a_cancelled_export_leaves_nothing() {
    let host = Host::memory();
    let env = open(&host, "/home");
    let rows: Rows = (0..3000_u16).map(|n| (n.to_le_bytes().to_vec(), Vec::new())).collect();
    fill(&env, &[("a".to_owned(), true, Rows::new()), ("b".to_owned(), true, rows)]);
    for how in FORMS {
        let stop = Progress::new(|_| std::ops::ControlFlow::Break(()));
        let target = format!("/{how:?}");
        let cancelled = form(how).progress(stop).run_on(&host, &env, Path::new(&target));
        assert_eq!(cancelled.unwrap_err().kind(), ErrorKind::Cancelled);
        assert!(!host.vfs.exists(Path::new(&target)).unwrap());
        let home = host.vfs.list(Path::new("/")).unwrap_or_default();
        assert!(home.iter().all(|name| !name.ends_with(".tmp")), "{home:?}");
    }
    // And one that is not cancelled has the place.
    export(&host, &env, &form(FORMS[0])).unwrap();
    let stop = Progress::new(|step| match step.phase.starts_with("import") {
        true => std::ops::ControlFlow::Break(()),
        false => std::ops::ControlFlow::Continue(()),
    });
    let other = open(&host, "/other");
    let how = ImportOptions::new().progress(stop);
    assert_eq!(import(&host, &other, &how).unwrap_err().kind(), ErrorKind::Cancelled);
    assert_eq!(read_all(&other).unwrap().keys().collect::<Vec<_>>(), ["a"], "b was cancelled");
    Export::open_on(&host, Path::new(EXPORT), &Progress::none())
        .unwrap()
        .prove(&Progress::none())
        .unwrap();
}
