//! How a simulated disk is set up.
//!
//! Owns the profiles of the fault model that a whole run has or has not. Must never hold state.

use std::sync::Arc;

use super::Counters;

/// What a lost part of a file that grew reads as (rule D7).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Lost {
    /// Zeros.
    Zeros,
    /// Old garbage: bytes 0xA5.
    Garbage,
    /// Either, by seed and file.
    Mixed,
}

/// The setting of a simulated disk.
#[derive(Clone, Debug)]
pub struct SimOptions {
    /// Decides everything that is left to chance.
    pub seed: u64,
    /// Bytes that the medium writes at once: 512 or 4096.
    pub sector_bytes: u64,
    /// The physical block of D6: what a write may spoil around it. A multiple of the sector; 4096
    /// as disks have it, less for engines in miniature whose pages are smaller than that.
    pub block_bytes: u64,
    /// Profile of D5, "no sector atomicity": `Subset` and `FilePrefixes` may tear one sector.
    pub torn_sectors: bool,
    /// Profile of D6, "no power-safe overwrite": `Subset` may spoil a block around a write.
    pub collateral: bool,
    /// Profile of D8, "rename without data": a file renamed before its data was synced is empty
    /// under its new name, unless all its data survived.
    pub rename_without_data: bool,
    /// What lost bytes inside a file read as.
    pub lost: Lost,
    /// Whether the host's adversary strikes.
    pub adversary: bool,
    /// Whether calls are logged from the start.
    pub log_calls: bool,
    /// Where activations are counted; share it to count over many disks.
    pub counters: Arc<Counters>,
}

impl SimOptions {
    /// Sectors of 512 bytes, written whole, and no other profile.
    pub fn new(seed: u64) -> SimOptions {
        SimOptions { seed, ..SimOptions::default() }
    }

    /// Every profile of the fault model that makes a crash worse.
    pub fn harsh(seed: u64) -> SimOptions {
        SimOptions {
            torn_sectors: true,
            collateral: true,
            rename_without_data: true,
            ..SimOptions::new(seed)
        }
    }
}

impl Default for SimOptions {
    fn default() -> SimOptions {
        SimOptions {
            seed: 0,
            sector_bytes: 512,
            block_bytes: 4096,
            torn_sectors: false,
            collateral: false,
            rename_without_data: false,
            lost: Lost::Mixed,
            adversary: false,
            log_calls: false,
            counters: Arc::default(),
        }
    }
}
