//! One thing that can happen to a file while nobody looks, and how it is done to a disk.

use crate::facts::Files;
use campanile_vfs::sim::SimDisk;
use std::fmt;
use std::path::{Path, PathBuf};

/// Bytes that a medium writes at once.
pub const SECTOR_BYTES: usize = 512;

/// Damage to one file, or to several.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Damage {
    /// Nothing.
    None,
    /// One bit is another.
    Flip { path: PathBuf, bit: u64 },
    /// The file ends here.
    Cut { path: PathBuf, len: usize },
    /// A sector holds zeros.
    ZeroSector { path: PathBuf, sector: usize },
    /// Two sectors stand in each other's place.
    SwapSectors { path: PathBuf, one: usize, other: usize },
    /// The file goes on with something that nobody wrote.
    Extend { path: PathBuf, with: Garbage },
    /// Whole files are others, or gone.
    Files { what: String, changed: Vec<(PathBuf, Option<Vec<u8>>)> },
}

/// What a file goes on with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Garbage {
    /// A pattern.
    Noise(usize),
    /// Zeros.
    Zeros(usize),
    /// Its own first bytes once more.
    Itself(usize),
}

impl Damage {
    /// Does it to the disk.
    pub fn apply(&self, disk: &SimDisk) {
        match self {
            Damage::None => {}
            Damage::Flip { path, bit } => disk.flip_bit(path, *bit).expect("the file is there"),
            Damage::Files { changed, .. } => {
                for (path, bytes) in changed {
                    match bytes {
                        Some(bytes) => disk.put_file(path, bytes),
                        None => disk.drop_file(path).expect("the file is there"),
                    }
                }
            }
            Damage::Cut { path, .. }
            | Damage::ZeroSector { path, .. }
            | Damage::SwapSectors { path, .. }
            | Damage::Extend { path, .. } => {
                disk.edit_file(path, |bytes| self.edit(bytes)).expect("the file is there");
            }
        }
    }

    fn edit(&self, bytes: &mut Vec<u8>) {
        match self {
            Damage::Cut { len, .. } => bytes.truncate(*len),
            Damage::ZeroSector { sector, .. } => {
                let end = bytes.len().min((sector + 1) * SECTOR_BYTES);
                bytes[sector * SECTOR_BYTES..end].fill(0);
            }
            Damage::SwapSectors { one, other, .. } => {
                let (low, high) = (one.min(other) * SECTOR_BYTES, one.max(other) * SECTOR_BYTES);
                let len = SECTOR_BYTES.min(bytes.len() - high);
                let (front, back) = bytes.split_at_mut(high);
                front[low..low + len].swap_with_slice(&mut back[..len]);
            }
            Damage::Extend { with, .. } => match *with {
                Garbage::Noise(count) => {
                    bytes.extend((0..count).map(|at| (at * 167 + 13) as u8 | 1));
                }
                Garbage::Zeros(count) => bytes.extend(std::iter::repeat_n(0, count)),
                Garbage::Itself(count) => {
                    let again: Vec<u8> = bytes.iter().cycle().take(count).copied().collect();
                    bytes.extend(again);
                }
            },
            Damage::None | Damage::Flip { .. } | Damage::Files { .. } => {}
        }
    }

    /// The file and the offsets whose bytes are others afterwards, or are gone.
    pub fn touched(&self, files: &Files) -> Option<(PathBuf, Vec<u64>)> {
        let (Damage::Flip { path, .. }
        | Damage::Cut { path, .. }
        | Damage::ZeroSector { path, .. }
        | Damage::SwapSectors { path, .. }
        | Damage::Extend { path, .. }) = self
        else {
            return None;
        };
        if let Damage::Flip { bit, .. } = self {
            return Some((path.clone(), vec![bit / 8]));
        }
        let before = &files[path];
        let mut after = before.clone();
        self.edit(&mut after);
        let len = before.len().max(after.len());
        let changed = (0..len).filter(|at| before.get(*at) != after.get(*at));
        Some((path.clone(), changed.map(|at| at as u64).collect()))
    }
}

impl fmt::Display for Damage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = |path: &Path| path.strip_prefix("/home").unwrap_or(path).display().to_string();
        match self {
            Damage::None => f.write_str("nothing"),
            Damage::Flip { path, bit } => {
                write!(f, "{}: bit {} of byte {} flipped", name(path), bit % 8, bit / 8)
            }
            Damage::Cut { path, len } => write!(f, "{}: cut to {len} bytes", name(path)),
            Damage::ZeroSector { path, sector } => {
                write!(f, "{}: sector {sector} zeroed", name(path))
            }
            Damage::SwapSectors { path, one, other } => {
                write!(f, "{}: sectors {one} and {other} swapped", name(path))
            }
            Damage::Extend { path, with } => write!(f, "{}: extended by {with:?}", name(path)),
            Damage::Files { what, .. } => f.write_str(what),
        }
    }
}
