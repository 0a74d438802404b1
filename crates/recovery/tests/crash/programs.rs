//! Programs: small ones by hand, and random ones by seed.

use campanile_txn::{CheckpointKind, Durability};

use crate::life::Op;

/// A small generator of numbers, good enough to choose steps.
pub struct Dice(u64);

impl Dice {
    pub fn new(seed: u64) -> Dice {
        Dice(seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1)
    }

    pub fn roll(&mut self, sides: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % sides
    }
}

pub fn setup() -> Vec<Op> {
    vec![
        Op::Create { who: 0, durable: true },
        Op::Create { who: 0, durable: true },
        Op::Commit { who: 0, durability: Durability::Sync },
    ]
}

pub fn random(seed: u64, steps: usize) -> Vec<Op> {
    let mut dice = Dice::new(seed);
    (0..steps).map(|_| random_step(&mut dice)).collect()
}

/// A program with nested and prepared transactions in it.
pub fn random_families(seed: u64, steps: usize) -> Vec<Op> {
    let mut dice = Dice::new(seed);
    let step = |dice: &mut Dice| {
        let who = dice.roll(2) as usize;
        match dice.roll(16) {
            0..=2 => Op::Begin { who },
            3..=4 => Op::End { who, commit: true },
            5 => Op::End { who, commit: false },
            6 => Op::Prepare { who },
            7 => Op::Resolve { who, commit: dice.roll(2) == 0 },
            8 if dice.roll(3) == 0 => Op::Reopen,
            _ => random_step(dice),
        }
    };
    (0..steps).map(|_| step(&mut dice)).collect()
}

fn random_step(dice: &mut Dice) -> Op {
    let who = dice.roll(2) as usize;
    let file = dice.roll(4) as usize;
    let key = dice.roll(12) as u8;
    match dice.roll(40) {
        0..=15 => Op::Put { who, file, key, len: 8 + dice.roll(10) as usize },
        16..=19 => Op::Delete { who, file, key },
        20..=21 => Op::PutLarge { who, file, len: 300 + dice.roll(1500) as usize },
        22..=23 => Op::Savepoint { who },
        24..=25 => Op::RollbackTo { who },
        26..=28 => Op::Commit { who, durability: Durability::Sync },
        29 => Op::Commit { who, durability: Durability::WriteNoSync },
        30..=31 => Op::Commit { who, durability: Durability::NoSync },
        32..=33 => Op::Abort { who },
        34 => Op::Create { who, durable: dice.roll(3) > 0 },
        35 => Op::Remove { file },
        36 => Op::Checkpoint(CheckpointKind::Full),
        37 => Op::Checkpoint(CheckpointKind::Fuzzy),
        _ => Op::Step,
    }
}
