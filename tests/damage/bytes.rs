//! Damage to bytes: bits flipped, files cut and extended, sectors zeroed and swapped.

use crate::campaign::Patient;
use crate::damage::{Damage, Garbage, SECTOR_BYTES};
use crate::facts::{kinds, page_kinds};
use crate::sample::{closed, crashed, reserved, running, torn};
use crate::verdict::Verdict;
use campanile_tests::workload::Choices;
use std::collections::BTreeSet;
use std::sync::LazyLock;

static CRASHED: LazyLock<Patient> = LazyLock::new(|| Patient::new(crashed(1)));
static CLOSED: LazyLock<Patient> = LazyLock::new(|| Patient::new(closed(2)));
static TORN: LazyLock<Patient> = LazyLock::new(|| Patient::new(torn(3)));
static RUNNING: LazyLock<Patient> = LazyLock::new(|| Patient::new(running(5)));
static RESERVED: LazyLock<Patient> = LazyLock::new(|| Patient::new(reserved(4)));

fn patients() -> [&'static Patient; 5] {
    [&CRASHED, &RUNNING, &CLOSED, &TORN, &RESERVED]
}

/// All of `damages`, or so many of them, chosen by a fixed seed.
fn some(mut damages: Vec<Damage>, most: usize) -> Vec<Damage> {
    let wanted = std::env::var("CAMPANILE_DAMAGE").unwrap_or_default();
    if wanted == "all" {
        return damages;
    }
    let most = most * wanted.parse().unwrap_or(1);
    let mut choices = Choices::new(damages.len() as u64);
    while damages.len() > most {
        let at = choices.below(damages.len() as u64) as usize;
        damages.swap_remove(at);
    }
    damages
}

fn flips(patient: &Patient) -> Vec<Damage> {
    let files = patient.facts.files.iter();
    files
        .flat_map(|(path, bytes)| {
            let bits = 0..bytes.len() as u64 * 8;
            bits.map(|bit| Damage::Flip { path: path.clone(), bit })
        })
        .collect()
}

#[test]
fn the_samples_hold_every_kind_of_page_record_and_file() {
    let all: BTreeSet<&str> = patients().iter().flat_map(|p| kinds(&p.facts)).collect();
    let expected = [
        "abort",
        "active_txns",
        "checkpoint",
        "child_commit",
        "commit",
        "compensate",
        "durable",
        "file_create",
        "file_remove",
        "pad",
        "prepare",
        "restore_point",
        "update",
    ];
    assert!(all.iter().eq(expected.iter()), "{all:?}");
    for patient in [&CRASHED, &CLOSED] {
        let kinds = page_kinds(&patient.facts);
        assert!(kinds.iter().eq(["Inner", "Leaf", "Map", "Meta", "Overflow"].iter()), "{kinds:?}");
    }
}

#[test]
fn any_flipped_bit_is_detected_or_has_no_effect() {
    for patient in patients() {
        patient.suffer_all("flipped bits", &some(flips(patient), 600));
    }
}

#[test]
fn a_file_cut_anywhere_is_detected_or_has_no_effect() {
    for patient in patients() {
        let files = patient.facts.files.iter();
        let cuts: Vec<Damage> = files
            .flat_map(|(path, bytes)| {
                (0..bytes.len()).map(|len| Damage::Cut { path: path.clone(), len })
            })
            .collect();
        patient.suffer_all("cut files", &some(cuts, 250));
    }
}

#[test]
fn a_zeroed_sector_is_detected_or_has_no_effect() {
    for patient in patients() {
        let files = patient.facts.files.iter();
        let zeroed: Vec<Damage> = files
            .flat_map(|(path, bytes)| {
                let sectors = 0..bytes.len().div_ceil(SECTOR_BYTES);
                sectors.map(|sector| Damage::ZeroSector { path: path.clone(), sector })
            })
            .collect();
        patient.suffer_all("zeroed sectors", &some(zeroed, 120));
    }
}

#[test]
fn swapped_sectors_are_detected_or_have_no_effect() {
    for patient in patients() {
        let mut swapped = Vec::new();
        for (path, bytes) in &patient.facts.files {
            let sectors = bytes.len() / SECTOR_BYTES;
            for one in 0..sectors {
                for other in one + 1..sectors {
                    let sector = |at: usize| &bytes[at * SECTOR_BYTES..(at + 1) * SECTOR_BYTES];
                    if sector(one) != sector(other) {
                        swapped.push(Damage::SwapSectors { path: path.clone(), one, other });
                    }
                }
            }
        }
        patient.suffer_all("swapped sectors", &some(swapped, 250));
    }
}

#[test]
fn a_file_extended_by_garbage_is_read_as_before() {
    let garbage = [1, 7, 8, 32, 511, 512, 513, 5000].map(Garbage::Noise);
    let garbage = garbage.into_iter().chain([Garbage::Zeros(4096), Garbage::Itself(8192)]);
    for patient in patients() {
        let files = patient.facts.files.keys();
        let extended: Vec<Damage> = files
            .flat_map(|path| {
                garbage.clone().map(|with| Damage::Extend { path: path.clone(), with })
            })
            .collect();
        let tally = patient.suffer_all("extended files", &some(extended, 120));
        assert!(!tally.contains_key(&Verdict::Reported), "garbage behind the end was read");
    }
}
