//! Modes: the whole compatibility matrix, and the laws of join and cover.

use campanile_lock::{Intent, Mode, Part};

use crate::harness::{A, Scene};

const PARTS: [Part; 3] = [Part::None, Part::Shared, Part::Exclusive];
const INTENTS: [Intent; 3] = [Intent::None, Intent::Shared, Intent::Exclusive];

/// Every mode there is.
fn all() -> Vec<Mode> {
    let mut modes = Vec::new();
    for key in PARTS {
        modes.extend(INTENTS.map(|intent| Mode::intention(key, intent)));
        modes.extend(PARTS.map(|gap| Mode::new(key, gap)));
    }
    let joined: Vec<Mode> = modes.iter().flat_map(|a| modes.iter().map(|b| a.join(*b))).collect();
    modes.extend(joined);
    modes.sort_unstable_by_key(Mode::to_string);
    modes.dedup();
    modes
}

/// Reads a matrix of `+` and `-` and holds it against the code, on modes and on a table.
fn assert_matrix(names: &[(&str, Mode)], matrix: &str) {
    let rows: Vec<&str> = matrix.lines().map(str::trim).filter(|row| !row.is_empty()).collect();
    assert_eq!(rows.len(), names.len() + 1);
    let header: Vec<&str> = rows[0].split_whitespace().collect();
    assert!(header.iter().zip(names).all(|(a, (b, _))| a == b));
    for (row, (name, held)) in rows[1..].iter().zip(names) {
        let cells: Vec<&str> = row.split_whitespace().collect();
        assert_eq!(cells[0], *name);
        for (cell, (other, wanted)) in cells[1..].iter().zip(names) {
            let expected = *cell == "+";
            assert_eq!(held.is_compatible(*wanted), expected, "{name} and {other}");
            if !held.is_none() && !wanted.is_none() {
                let scene = Scene::new();
                scene.take(1, A, *held);
                assert_eq!(scene.ask(2, A, *wanted).is_ok(), expected, "{name} then {other}");
            }
        }
    }
}

#[test]
fn key_and_gap_modes_are_compatible_as_in_the_matrix() {
    let mode = |key: usize, gap: usize| Mode::new(PARTS[key], PARTS[gap]);
    let names = [
        ("NN", mode(0, 0)),
        ("NS", mode(0, 1)),
        ("NX", mode(0, 2)),
        ("SN", mode(1, 0)),
        ("SS", mode(1, 1)),
        ("SX", mode(1, 2)),
        ("XN", mode(2, 0)),
        ("XS", mode(2, 1)),
        ("XX", mode(2, 2)),
    ];
    let matrix = "
           NN NS NX SN SS SX XN XS XX
        NN  +  +  +  +  +  +  +  +  +
        NS  +  +  -  +  +  -  +  +  -
        NX  +  -  -  +  -  -  +  -  -
        SN  +  +  +  +  +  +  -  -  -
        SS  +  +  -  +  +  -  -  -  -
        SX  +  -  -  +  -  -  -  -  -
        XN  +  +  +  -  -  -  -  -  -
        XS  +  +  -  -  -  -  -  -  -
        XX  +  -  -  -  -  -  -  -  -
    ";
    assert_matrix(&names, matrix);
}

#[test]
fn whole_database_modes_are_compatible_as_in_the_matrix() {
    let names =
        [("IS", Mode::IS), ("IX", Mode::IX), ("S", Mode::S), ("SIX", Mode::SIX), ("X", Mode::X)];
    let matrix = "
            IS IX S SIX X
        IS   +  + +  +  -
        IX   +  + -  -  -
        S    +  - +  -  -
        SIX  +  - -  -  -
        X    -  - -  -  -
    ";
    assert_matrix(&names, matrix);
}

#[test]
fn whole_database_modes_join_as_in_the_matrix() {
    let modes = [Mode::IS, Mode::IX, Mode::S, Mode::SIX, Mode::X];
    let joins = [
        ["IS", "IX", "S", "SIX", "X"],
        ["IX", "IX", "SIX", "SIX", "X"],
        ["S", "SIX", "S", "SIX", "X"],
        ["SIX", "SIX", "SIX", "SIX", "X"],
        ["X", "X", "X", "X", "X"],
    ];
    for (a, row) in modes.iter().zip(joins) {
        for (b, expected) in modes.iter().zip(row) {
            assert_eq!(a.join(*b).to_string(), expected, "{a} and {b}");
        }
    }
}

#[test]
fn compatibility_is_symmetric_and_weaker_modes_are_compatible_with_more() {
    for a in all() {
        assert!(a.is_compatible(Mode::NONE));
        for b in all() {
            assert_eq!(a.is_compatible(b), b.is_compatible(a), "{a} and {b}");
            for c in all() {
                if a.covers(b) && a.is_compatible(c) {
                    assert!(b.is_compatible(c), "{a} covers {b} but not against {c}");
                }
            }
        }
    }
}

#[test]
fn join_is_the_least_upper_bound() {
    for a in all() {
        assert_eq!(a.join(a), a);
        assert_eq!(a.join(Mode::NONE), a);
        for b in all() {
            let join = a.join(b);
            assert_eq!(join, b.join(a));
            assert!(join.covers(a) && join.covers(b));
            for c in all() {
                assert_eq!(join.join(c), a.join(b.join(c)));
                assert!(!(c.covers(a) && c.covers(b)) || c.covers(join), "{a} {b} {c}");
                // What conflicts with neither does not conflict with both: parts are orthogonal,
                // so a holder is asked for nothing that it did not ask for itself.
                let together = a.is_compatible(c) && b.is_compatible(c);
                assert_eq!(join.is_compatible(c), together, "{a} + {b} against {c}");
            }
        }
    }
}

#[test]
fn modes_have_names() {
    let names: Vec<String> = all().iter().map(Mode::to_string).collect();
    let mut distinct = names.clone();
    distinct.dedup();
    assert_eq!(names, distinct);
    assert_eq!(Mode::RANGE_S.to_string(), "S+gapS");
    assert_eq!(Mode::GAP_X.to_string(), "gapX");
    assert_eq!(Mode::SIX.to_string(), "SIX");
    assert_eq!(Mode::NONE.to_string(), "none");
}
