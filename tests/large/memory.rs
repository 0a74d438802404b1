//! Peak memory of this process, as the operating system counts it.
//!
//! Owns reading `/proc/self/status`. Promises that the bound is checked against the largest amount
//! that was ever resident, file mappings of the program itself included. Where there is no such
//! file nothing is checked, and the output says so.

use std::fs;

/// The highest amount of resident memory, counted from the start of the measurement.
#[derive(Debug)]
pub struct Peak {
    /// Resident at the start; none where it cannot be read.
    start: Option<u64>,
    bound: u64,
    worst: u64,
}

impl Peak {
    /// Begins to measure against `bound` more bytes than there are now.
    pub fn start(bound: u64) -> Peak {
        forget_peak();
        Peak { start: resident("VmRSS:"), bound, worst: 0 }
    }

    /// What was resident at most since the last call, in words.
    pub fn since_last(&mut self) -> String {
        let (Some(start), Some(peak)) = (self.start, resident("VmHWM:")) else {
            return "memory not measured here".to_owned();
        };
        let grown = peak.saturating_sub(start);
        self.worst = self.worst.max(grown);
        forget_peak();
        let mib = |bytes: u64| bytes as f64 / f64::from(1 << 20);
        format!("peak {:.1} MiB of {:.1} MiB allowed", mib(grown), mib(self.bound))
    }

    /// Fails if more than the bound was ever resident.
    pub fn finish(mut self) {
        println!("at the end: {}", self.since_last());
        let (worst, bound) = (self.worst, self.bound);
        assert!(worst <= bound, "{worst} bytes were resident at the peak, allowed are {bound}");
    }
}

/// Lets the kernel count the peak from now on. Where it refuses, peaks are those of the whole life:
/// the bound holds all the same, only the output is less telling.
fn forget_peak() {
    let _ = fs::write("/proc/self/clear_refs", "5");
}

/// A field of the status file, in bytes.
fn resident(field: &str) -> Option<u64> {
    let status = fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find(|line| line.starts_with(field))?;
    let kib: u64 = line.split_whitespace().nth(1)?.parse().ok()?;
    Some(kib << 10)
}
