//! Nested transactions, as their users know them.

use campanile::{Database, Environment, ErrorKind, Transaction};

struct Scene {
    _dir: tempfile::TempDir,
    env: Environment,
    db: Database,
}

fn scene() -> Scene {
    let dir = tempfile::tempdir().unwrap();
    let env = Environment::open(dir.path().join("home")).unwrap();
    let db = env.create_database("db").unwrap();
    Scene { _dir: dir, env, db }
}

impl Scene {
    /// Everything that is committed, `key=value` after `key=value`.
    fn committed(&self) -> String {
        let snapshot = self.env.snapshot().unwrap();
        let entries = self.db.range(&snapshot, ..).unwrap().map(|entry| {
            let (key, value) = entry.unwrap();
            format!("{}={}", String::from_utf8_lossy(&key), String::from_utf8_lossy(&value))
        });
        entries.collect::<Vec<_>>().join(" ")
    }

    fn put(&self, txn: &mut Transaction, pairs: &[(&str, &str)]) {
        for (key, value) in pairs {
            self.db.put(txn, key, value).unwrap();
        }
    }

    fn get(&self, txn: &Transaction, key: &str) -> Option<String> {
        self.db.get(txn, key).unwrap().map(|value| String::from_utf8(value).unwrap())
    }
}

#[test]
fn a_child_sees_its_parent_and_its_changes_are_the_parents_when_it_commits() {
    let scene = scene();
    let mut parent = scene.env.begin().unwrap();
    scene.put(&mut parent, &[("a", "1"), ("b", "1")]);
    let mut child = parent.nested().unwrap();
    assert_eq!(scene.get(&child, "a").as_deref(), Some("1"));
    scene.put(&mut child, &[("a", "2"), ("c", "2")]);
    child.commit().unwrap();
    assert_eq!(scene.get(&parent, "a").as_deref(), Some("2"));
    assert_eq!(scene.committed(), "", "nobody else sees it yet");
    scene.put(&mut parent, &[("d", "3")]);
    parent.commit().unwrap();
    assert_eq!(scene.committed(), "a=2 b=1 c=2 d=3");
}

#[test]
fn a_child_that_rolls_back_leaves_its_parent_as_it_was() {
    let scene = scene();
    let mut parent = scene.env.begin().unwrap();
    scene.put(&mut parent, &[("a", "1")]);
    let mut child = parent.nested().unwrap();
    scene.put(&mut child, &[("a", "2"), ("b", "2")]);
    child.abort().unwrap();
    assert_eq!(scene.get(&parent, "a").as_deref(), Some("1"));
    {
        let mut dropped = parent.nested().unwrap();
        scene.put(&mut dropped, &[("a", "3")]);
        scene.db.delete(&mut dropped, "a").unwrap();
    }
    parent.commit().unwrap();
    assert_eq!(scene.committed(), "a=1");
}

#[test]
fn a_parent_that_rolls_back_takes_its_committed_children_along() {
    let scene = scene();
    scene.env.run(|txn| scene.db.put(txn, "a", "0").map(drop)).unwrap();
    let mut parent = scene.env.begin().unwrap();
    scene.put(&mut parent, &[("a", "1")]);
    let mut child = parent.nested().unwrap();
    scene.put(&mut child, &[("a", "2"), ("b", "2")]);
    let mut grandchild = child.nested().unwrap();
    scene.put(&mut grandchild, &[("a", "3"), ("c", "3")]);
    grandchild.commit().unwrap();
    scene.put(&mut child, &[("d", "2")]);
    child.commit().unwrap();
    scene.put(&mut parent, &[("a", "4")]);
    parent.abort().unwrap();
    assert_eq!(scene.committed(), "a=0");
    assert_eq!(scene.env.stats().transactions.merged, 2);
    assert_eq!(scene.env.stats().transactions.active, 0);
    assert_eq!(scene.env.stats().locks.locks, 0);
}

#[test]
fn a_savepoint_of_the_parent_undoes_the_children_that_came_after_it() {
    let scene = scene();
    let mut parent = scene.env.begin().unwrap();
    let mut before = parent.nested().unwrap();
    scene.put(&mut before, &[("a", "1")]);
    before.commit().unwrap();
    let savepoint = parent.savepoint().unwrap();
    for round in 0..3 {
        let mut after = parent.nested().unwrap();
        scene.put(&mut after, &[("a", "2"), ("b", "2")]);
        after.commit().unwrap();
        parent.rollback_to(&savepoint).unwrap();
        assert_eq!(scene.get(&parent, "a").as_deref(), Some("1"), "round {round}");
        assert_eq!(scene.get(&parent, "b"), None);
    }
    scene.put(&mut parent, &[("c", "3")]);
    parent.commit().unwrap();
    assert_eq!(scene.committed(), "a=1 c=3");
}

#[test]
fn savepoints_and_cursors_work_inside_a_child() {
    let scene = scene();
    let mut parent = scene.env.begin().unwrap();
    scene.put(&mut parent, &[("a", "1"), ("b", "1"), ("c", "1")]);
    let mut child = parent.nested().unwrap();
    let savepoint = child.savepoint().unwrap();
    let mut cursor = scene.db.cursor_mut(&mut child).unwrap();
    while cursor.next().unwrap() {
        cursor.delete().unwrap();
    }
    assert_eq!(scene.db.range(&*child, ..).unwrap().count(), 0);
    child.rollback_to(&savepoint).unwrap();
    scene.put(&mut child, &[("b", "2")]);
    assert_eq!(scene.db.range(&*child, ..).unwrap().count(), 3);
    child.commit().unwrap();
    let error = parent.rollback_to(&savepoint).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::InvalidArgument, "a savepoint of the child");
    parent.commit().unwrap();
    assert_eq!(scene.committed(), "a=1 b=2 c=1");
}

#[test]
fn siblings_on_several_threads_each_commit_or_roll_back_alone() {
    let scene = scene();
    let mut parent = scene.env.begin().unwrap();
    scene.put(&mut parent, &[("count", "0")]);
    std::thread::scope(|scope| {
        for thread in 0..4 {
            let (scene, parent) = (&scene, &parent);
            scope.spawn(move || {
                for round in 0..25 {
                    let mut child = parent.nested().unwrap();
                    let key = format!("{thread}-{round:02}");
                    scene.put(&mut child, &[(key.as_str(), "x")]);
                    if round % 3 == 0 { child.abort() } else { child.commit() }.unwrap();
                }
            });
        }
    });
    scene.put(&mut parent, &[("count", "64")]);
    let kept = scene.db.range(&parent, ..).unwrap().count();
    assert_eq!(kept, 1 + 4 * 16);
    parent.commit().unwrap();
    assert_eq!(scene.committed().split(' ').count(), kept);
    assert_eq!(scene.env.stats().locks.locks, 0);
}

#[test]
fn any_depth_is_undone_from_within() {
    fn descend(scene: &Scene, parent: &mut Transaction, depth: usize) {
        scene.put(parent, &[("deep", &depth.to_string()), (&format!("{depth:03}"), "x")]);
        if depth < 60 {
            let mut child = parent.nested().unwrap();
            descend(scene, &mut child, depth + 1);
            child.commit().unwrap();
        }
    }
    let scene = scene();
    let mut outermost = scene.env.begin().unwrap();
    scene.put(&mut outermost, &[("deep", "none")]);
    let savepoint = outermost.savepoint().unwrap();
    descend(&scene, &mut outermost, 0);
    assert_eq!(scene.get(&outermost, "deep").as_deref(), Some("60"));
    outermost.rollback_to(&savepoint).unwrap();
    outermost.commit().unwrap();
    assert_eq!(scene.committed(), "deep=none");
}

#[test]
fn databases_that_a_child_makes_drops_or_empties_follow_its_fate() {
    let scene = scene();
    let env = &scene.env;
    env.run(|txn| scene.db.put(txn, "a", "1").map(drop)).unwrap();
    let parent = env.begin().unwrap();
    let mut child = parent.nested().unwrap();
    env.empty_database_in(&mut child, "db").unwrap();
    assert_eq!(scene.get(&child, "a"), None);
    child.abort().unwrap();
    assert_eq!(scene.get(&parent, "a").as_deref(), Some("1"));
    let mut child = parent.nested().unwrap();
    env.empty_database_in(&mut child, "db").unwrap();
    let mut grandchild = child.nested().unwrap();
    assert_eq!(scene.get(&grandchild, "a"), None, "what an ancestor did is seen");
    scene.put(&mut grandchild, &[("b", "2")]);
    grandchild.commit().unwrap();
    child.commit().unwrap();
    assert_eq!(scene.get(&parent, "b").as_deref(), Some("2"));
    assert_eq!(scene.committed(), "a=1");
    parent.commit().unwrap();
    assert_eq!(scene.committed(), "b=2");
}

#[test]
fn a_child_undoes_databases_that_are_not_durable_too() {
    let scene = scene();
    let env = &scene.env;
    let options = campanile::DatabaseOptions::new().durable(false);
    let mut txn = env.begin().unwrap();
    let cache = env.create_database_with(&mut txn, "cache", options).unwrap();
    cache.put(&mut txn, "k", "0").unwrap();
    txn.commit().unwrap();
    let mut parent = env.begin().unwrap();
    cache.put(&mut parent, "k", "1").unwrap();
    let savepoint = parent.savepoint().unwrap();
    for value in ["2", "3"] {
        let mut child = parent.nested().unwrap();
        cache.put(&mut child, "k", value).unwrap();
        child.commit().unwrap();
    }
    let after = parent.savepoint().unwrap();
    parent.rollback_to(&after).unwrap();
    assert_eq!(cache.get(&parent, "k").unwrap().as_deref(), Some(&b"3"[..]));
    parent.rollback_to(&savepoint).unwrap();
    assert_eq!(cache.get(&parent, "k").unwrap().as_deref(), Some(&b"1"[..]));
    let mut child = parent.nested().unwrap();
    cache.put(&mut child, "k", "4").unwrap();
    child.commit().unwrap();
    parent.abort().unwrap();
    let snapshot = env.snapshot().unwrap();
    assert_eq!(cache.get(&snapshot, "k").unwrap().as_deref(), Some(&b"0"[..]));
}

#[test]
fn a_snapshot_sees_all_of_a_family_or_nothing() {
    let scene = scene();
    scene.env.run(|txn| scene.db.put(txn, "a", "0").map(drop)).unwrap();
    let parent = scene.env.begin().unwrap();
    for round in 0..50 {
        let mut child = parent.nested().unwrap();
        scene.put(&mut child, &[("a", &round.to_string()), ("b", "x")]);
        if round % 2 == 0 { child.commit() } else { child.abort() }.unwrap();
        assert_eq!(scene.committed(), "a=0");
    }
    let before = scene.env.snapshot().unwrap();
    parent.commit().unwrap();
    assert_eq!(scene.db.get(&before, "a").unwrap().as_deref(), Some(&b"0"[..]));
    assert_eq!(scene.db.get(&before, "b").unwrap(), None);
    assert_eq!(scene.committed(), "a=48 b=x");
    drop(before);
    assert_eq!(scene.env.stats().transactions.version_bytes, 0);
}

/// Swapping handles takes a child out of the borrow of its parent.
#[test]
fn a_parent_that_ends_before_its_children_is_rolled_back_after_them() {
    let scene = scene();
    let mut parent = scene.env.begin().unwrap();
    let mut stray = scene.env.begin_with(campanile::TransactionOptions::new()).unwrap();
    {
        let mut child = parent.nested().unwrap();
        std::mem::swap(&mut *child, &mut stray);
        // What the handle of the child holds now is a transaction of its own.
        child.commit().unwrap();
    }
    let mut child = stray;
    scene.put(&mut child, &[("a", "child")]);
    let error = scene.db.put(&mut parent, "b", "parent").unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Busy, "{error}");
    assert_eq!(parent.savepoint().unwrap_err().kind(), ErrorKind::Busy);
    let error = parent.commit().unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Busy, "{error}");
    assert_eq!(scene.db.put(&mut child, "c", "").unwrap_err().kind(), ErrorKind::MustRollBack);
    assert_eq!(scene.env.clone().close().unwrap_err().kind(), ErrorKind::Busy);
    let error = child.commit().unwrap_err();
    assert_eq!(error.kind(), ErrorKind::MustRollBack, "{error}");
    assert_eq!(scene.committed(), "");
    assert_eq!(scene.env.stats().transactions.active, 0);
    assert_eq!(scene.env.stats().locks.locks, 0);
    let Scene { env, db, _dir } = scene;
    drop(db);
    env.close().unwrap();
}

#[test]
fn siblings_wait_for_each_other_and_go_on_when_the_lock_is_their_parents() {
    let scene = scene();
    let parent = scene.env.begin().unwrap();
    let mut first = parent.nested().unwrap();
    scene.put(&mut first, &[("k", "first")]);
    std::thread::scope(|scope| {
        let (scene, parent) = (&scene, &parent);
        let second = scope.spawn(move || {
            let mut second = parent.nested().unwrap();
            let before = scene.get(&second, "k");
            scene.put(&mut second, &[("k", "second")]);
            second.commit().unwrap();
            before
        });
        while scene.env.stats().locks.waiting == 0 {
            std::thread::yield_now();
        }
        first.commit().unwrap();
        assert_eq!(second.join().unwrap().as_deref(), Some("first"));
    });
    parent.commit().unwrap();
    assert_eq!(scene.committed(), "k=second");
}

#[test]
fn a_deadlock_of_siblings_has_one_victim_and_the_parent_goes_on() {
    let scene = scene();
    let parent = scene.env.begin().unwrap();
    let barrier = std::sync::Barrier::new(2);
    let outcomes: Vec<bool> = std::thread::scope(|scope| {
        let (scene, parent, barrier) = (&scene, &parent, &barrier);
        let sides = [("a", "b"), ("b", "a")].map(|(mine, theirs)| {
            scope.spawn(move || {
                let mut child = parent.nested().unwrap();
                scene.put(&mut child, &[(mine, mine)]);
                barrier.wait();
                match scene.db.put(&mut child, theirs, mine) {
                    Ok(_) => child.commit().map(|()| true).unwrap(),
                    Err(error) => {
                        assert_eq!(error.kind(), ErrorKind::Deadlock, "{error}");
                        child.abort().map(|()| false).unwrap()
                    }
                }
            })
        });
        sides.map(|side| side.join().unwrap()).to_vec()
    });
    assert_eq!(outcomes.iter().filter(|committed| **committed).count(), 1);
    parent.commit().unwrap();
    let winner = if outcomes[0] { "a=a b=a" } else { "a=b b=b" };
    assert_eq!(scene.committed(), winner);
    assert_eq!(scene.env.stats().locks.deadlocks, 1);
    assert_eq!(scene.env.stats().locks.locks, 0);
}

#[test]
fn a_deadlock_with_a_stranger_is_found_through_the_family() {
    let scene = scene();
    let mut stranger = scene.env.begin().unwrap();
    scene.put(&mut stranger, &[("s", "stranger")]);
    std::thread::scope(|scope| {
        let scene = &scene;
        let mut parent = scene.env.begin().unwrap();
        scene.put(&mut parent, &[("p", "parent")]);
        let mut child = parent.nested().unwrap();
        let waits_for_parent = scope.spawn(move || {
            let result = scene.db.put(&mut stranger, "p", "stranger");
            result.and_then(|_| stranger.commit()).map_err(|error| error.kind())
        });
        while scene.env.stats().locks.waiting == 0 {
            std::thread::yield_now();
        }
        // The stranger waits for the parent, which cannot end before its child.
        let ours = scene.db.put(&mut child, "s", "child").map_err(|error| error.kind());
        if ours.is_ok() { child.commit() } else { child.abort() }.unwrap();
        parent.commit().unwrap();
        let theirs = waits_for_parent.join().unwrap();
        let lost = [ours.err(), theirs.err()];
        assert_eq!(lost.iter().flatten().collect::<Vec<_>>(), [&ErrorKind::Deadlock], "{lost:?}");
    });
    assert_eq!(scene.env.stats().locks.locks, 0);
}

#[test]
fn what_a_parent_has_scanned_stays_scanned_when_a_child_inserted_there_and_rolled_back() {
    let scene = scene();
    let env = &scene.env;
    env.run(|txn| scene.db.put(txn, "a", "").and(scene.db.put(txn, "z", ""))).unwrap();
    let parent = env.begin().unwrap();
    assert_eq!(scene.db.range(&parent, ..).unwrap().count(), 2);
    let mut child = parent.nested().unwrap();
    scene.put(&mut child, &[("m", "child")]);
    child.abort().unwrap();
    for key in ["b", "m", "n"] {
        let hasty = campanile::TransactionOptions::new().no_wait(true);
        let mut other = env.begin_with(hasty).unwrap();
        let result = scene.db.put(&mut other, key, "phantom");
        let error = result.expect_err(key);
        assert_eq!(error.kind(), ErrorKind::WouldBlock, "{key}: {error}");
    }
    assert_eq!(scene.db.range(&parent, ..).unwrap().count(), 2);
    parent.commit().unwrap();
}

#[test]
fn locks_of_a_child_that_rolled_back_are_free_but_for_those_of_its_parent() {
    let scene = scene();
    let env = &scene.env;
    let mut parent = env.begin().unwrap();
    scene.put(&mut parent, &[("p", "parent")]);
    let mut child = parent.nested().unwrap();
    scene.put(&mut child, &[("p", "child"), ("c", "child")]);
    child.abort().unwrap();
    let try_put = |key| {
        let hasty = campanile::TransactionOptions::new().no_wait(true);
        let mut other = env.begin_with(hasty).unwrap();
        scene.db.put(&mut other, key, "other").map(drop).map_err(|error| error.kind())
    };
    assert_eq!(try_put("c"), Ok(()));
    assert_eq!(try_put("p"), Err(ErrorKind::WouldBlock));
    let mut child = parent.nested().unwrap();
    scene.put(&mut child, &[("c", "child")]);
    child.commit().unwrap();
    assert_eq!(try_put("c"), Err(ErrorKind::WouldBlock));
    parent.commit().unwrap();
    assert_eq!(try_put("c"), Ok(()));
}
