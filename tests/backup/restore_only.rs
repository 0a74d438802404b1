//! Selected databases as of a moment, brought into an environment that goes on.

use campanile::restore::{RestoreOnly, RestoreOptions, Target};
use campanile::{Environment, ErrorKind};
use campanile_tests::life::read_all;
use campanile_vfs::Vfs;
use campanile_wal::LogPin;
use std::path::Path;

use crate::world::{
    HOME, OTHER, World, assert_same, contents, host_of, log_dir, options, repository,
};

fn as_of(target: Target) -> RestoreOnly {
    let restore = RestoreOptions::new().target(target).logs(log_dir(HOME));
    RestoreOnly::new(restore).environment(options())
}

/// A home with a backup and all of the log since, and a moment in between.
fn history(seed: u64) -> (World, LogPin, usize) {
    let mut world = World::new(seed);
    let pin = LogPin::take(&world.host(), &log_dir(HOME)).unwrap();
    world.burst(60);
    world.back_up();
    world.burst(40);
    let moment = world.moments.len() - 1;
    world.burst(40);
    (world, pin, moment)
}

#[test]
fn databases_come_back_as_of_a_moment_beside_those_that_are_in_use() {
    let (world, _pin, moment) = history(300);
    let moment = world.moments[moment].clone();
    let target = Target::Lsn { at: moment.lsn, inclusive: true };
    let mut expected = world.newest();
    let mut only = as_of(target);
    for (name, rows) in &moment.state {
        let new_name = format!("{name}.before");
        only = only.database_as(name, &new_name);
        expected.insert(new_name, rows.clone());
    }
    let report = only.into_environment(repository(), &world.env).unwrap();
    for one in &report.databases {
        assert_eq!(one.content.pairs, moment.state[&one.name].len() as u64, "{}", one.name);
    }
    assert_same(&read_all(&world.env).unwrap(), &expected, "beside the others");
    assert!(!world.disk.exists(Path::new("/home.restore-only")).unwrap(), "scratch is removed");
    world.env.clone().close().unwrap();
    assert_same(&contents(&world.disk, HOME), &expected, "after a close");
}

#[test]
fn a_new_home_is_made_of_selected_databases() {
    let (world, _pin, _) = history(310);
    let state = world.newest();
    let (name, rows) = state.iter().next().unwrap();
    let only = as_of(Target::End).database_as(name, "saved");
    only.into_home_on(&world.host(), repository(), Path::new(OTHER), true).unwrap();
    let expected = [("saved".to_owned(), rows.clone())].into_iter().collect();
    assert_same(&contents(&world.disk, OTHER), &expected, "a new home");
}

#[test]
fn names_that_are_taken_or_unknown_are_refused_before_anything_is_written() {
    let (world, _pin, _) = history(320);
    let state = world.newest();
    let (host, name) = (world.host(), state.keys().next().unwrap());
    let into = |only: RestoreOnly| only.into_environment(repository(), &world.env).unwrap_err();
    let error = into(as_of(Target::End).database(name));
    assert_eq!(error.kind(), ErrorKind::AlreadyExists, "{error}");
    let twice = as_of(Target::End).database_as(name, "x").database_as(name, "x");
    assert_eq!(into(twice).kind(), ErrorKind::InvalidArgument);
    let unknown = as_of(Target::End).database_as(name, "x").database_as("nobody", "y");
    let error = into(unknown);
    assert_eq!(error.kind(), ErrorKind::NotFound, "{error}");
    assert!(error.to_string().contains(name.as_str()), "{error}");
    assert_same(&read_all(&world.env).unwrap(), &state, "nothing was written");
    let none = as_of(Target::End).database_as(name, "x");
    let error = none.into_home_on(&host, repository(), Path::new("/nowhere"), false).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::NotFound, "{error}");
}

#[test]
fn what_an_attempt_left_is_removed_and_what_it_did_not_make_is_not() {
    let (world, _pin, _) = history(330);
    let state = world.newest();
    let name = state.keys().next().unwrap();
    let scratch = Path::new("/home.restore-only");
    // Refused in the middle: the scratch directory stays behind, and the next attempt takes it.
    let unknown = as_of(Target::End).database_as("nobody", "y");
    unknown.into_environment(repository(), &world.env).unwrap_err();
    assert!(world.disk.exists(scratch).unwrap());
    as_of(Target::End).database_as(name, "x").into_environment(repository(), &world.env).unwrap();
    assert!(!world.disk.exists(scratch).unwrap());
    // Somebody else's directory is left alone.
    Environment::open_on(host_of(&world.disk), scratch, options()).unwrap().close().unwrap();
    let error = as_of(Target::End).database_as(name, "y");
    let error = error.into_environment(repository(), &world.env).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::AlreadyExists, "{error}");
    Environment::open_on(host_of(&world.disk), scratch, options()).unwrap().close().unwrap();
}
