//! The bytes of one file after a crash: rules D3-D7 on an [`Inode`].
//!
//! Owns how surviving sectors and lengths combine. Promises that each sector holds its durable
//! bytes or those of exactly one pending version, unless it is the one that tears or lies in the
//! block that is spoilt, and that bytes cut by a surviving truncation do not come back. Must
//! never decide what survives: the [`Verdict`] does.

use super::crash::Verdict;
use super::image::Image;
use super::inode::{Inode, Op, sectors};
use super::{Counters, Lost, Rule, SimOptions};

/// The byte that stands for old garbage (rule D7).
pub(super) const GARBAGE: u8 = 0xA5;

/// Sector, and the operation that wrote it; the versions of a sector in order of issue.
fn versions(inode: &Inode, sector_bytes: u64) -> Vec<(u64, usize)> {
    let mut versions = Vec::new();
    for (index, op) in inode.ops.iter().enumerate() {
        if let Op::Write { first, bytes, .. } = op {
            let end = first + bytes.len() as u64 / sector_bytes;
            versions.extend((*first..end).map(|sector| (sector, index)));
        }
    }
    versions.sort_unstable();
    versions
}

/// Distinct pending sectors, and whether a length is pending.
pub(super) fn pending(inode: &Inode, sector_bytes: u64) -> (u64, bool) {
    let mut versions = versions(inode, sector_bytes);
    versions.dedup_by_key(|version| version.0);
    (versions.len() as u64, inode.ops.iter().any(|op| matches!(op, Op::Len { .. })))
}

/// The sector that tears, and the write whose block is spoilt, as counted over the whole disk.
#[derive(Debug, Default)]
pub(super) struct Mishaps {
    /// Sectors still to pass before the one that tears.
    pub(super) tear_in: Option<u64>,
    /// Writes still to pass before the one that spoils its block.
    pub(super) spoil_in: Option<u64>,
}

/// A sector that survives.
struct Survivor {
    op: usize,
    sector: u64,
    torn: bool,
}

/// The content after the crash, and whether every pending operation of the file survived.
pub(super) fn survivors(
    inode: &Inode,
    verdict: &mut Verdict,
    mishaps: &mut Mishaps,
    options: &SimOptions,
) -> (Image, bool) {
    let counters = &options.counters;
    verdict.enter(inode.ops.iter().map(Op::seq));
    // What a failed sync dropped (F1) will not survive either.
    let mut complete = !inode.cache_astray;
    let mut kept = Vec::new();
    let versions = versions(inode, options.sector_bytes);
    let mut seqs = Vec::new();
    for group in versions.chunk_by(|one, other| one.0 == other.0) {
        seqs.clear();
        seqs.extend(group.iter().map(|(_, op)| inode.ops[*op].seq()));
        let torn = mishaps.tear_in == Some(0);
        mishaps.tear_in = mishaps.tear_in.and_then(|left| left.checked_sub(1));
        let mut version = verdict.sector(&seqs);
        if torn {
            version = version.max(1);
        }
        complete &= version == seqs.len() && !torn;
        if verdict.is_selective() {
            counters.count(match version {
                0 => Rule::SectorLost,
                version if version < seqs.len() => Rule::SectorOlder,
                _ => Rule::SectorKept,
            });
        }
        if let Some((sector, op)) = version.checked_sub(1).map(|index| group[index]) {
            kept.push(Survivor { op, sector, torn });
        }
    }
    let lens: Vec<u64> = inode.ops.iter().filter(|op| is_len(op)).map(Op::seq).collect();
    let lens_kept = if lens.is_empty() { 0 } else { verdict.length(&lens) };
    complete &= lens_kept == lens.len();
    if lens_kept < lens.len() {
        counters.count(Rule::LengthOld);
    }
    let mut image = replay(inode, kept, lens_kept, verdict, options);
    spoil(inode, &mut image, verdict, mishaps, options);
    (image, complete)
}

fn is_len(op: &Op) -> bool {
    matches!(op, Op::Len { .. })
}

/// Plays the surviving operations on the durable image, in order of issue.
fn replay(
    inode: &Inode,
    mut kept: Vec<Survivor>,
    lens_kept: usize,
    verdict: &mut Verdict,
    options: &SimOptions,
) -> Image {
    kept.sort_unstable_by_key(|survivor| (survivor.op, survivor.sector));
    let mut kept = kept.into_iter().peekable();
    let mut image = inode.durable.clone();
    let garbage = match options.lost {
        // Where nothing is lost, what a file grew by is what the file system promised: zeros.
        _ if verdict.keeps_all() => false,
        Lost::Zeros => false,
        Lost::Garbage => true,
        Lost::Mixed => verdict.dice().coin(),
    };
    let mut lens_seen = 0;
    let mut grown_from = u64::MAX;
    for (index, op) in inode.ops.iter().enumerate() {
        match op {
            Op::Len { len, .. } => {
                lens_seen += 1;
                if lens_seen <= lens_kept {
                    let old = image.len();
                    image.set_len(*len);
                    if *len > old {
                        image.fill(old, *len, if garbage { GARBAGE } else { 0 });
                    }
                    grown_from = grown_from.min(old).min(*len);
                }
            }
            Op::Write { first, bytes, .. } => {
                while let Some(Survivor { sector, torn, .. }) =
                    kept.next_if(|survivor| survivor.op == index)
                {
                    let from = (sector - first) * options.sector_bytes;
                    let new = &bytes[from as usize..(from + options.sector_bytes) as usize];
                    let at = sector * options.sector_bytes;
                    if torn {
                        tear(&mut image, new, at, verdict, &options.counters);
                    } else {
                        image.write_within(new, at);
                    }
                }
            }
        }
    }
    count_growth(inode, &image, grown_from, garbage, &options.counters);
    image
}

/// Rule D5: the sector is part new, part old, cut at any byte.
fn tear(image: &mut Image, new: &[u8], at: u64, verdict: &mut Verdict, counters: &Counters) {
    let dice = verdict.dice();
    let cut = 1 + dice.below(new.len() as u64 - 1) as usize;
    let mut torn = vec![0; new.len()];
    image.read(&mut torn, at);
    let old = torn.clone();
    if dice.coin() {
        torn[..cut].copy_from_slice(&new[..cut]);
    } else {
        torn[cut..].copy_from_slice(&new[cut..]);
    }
    image.write_within(&torn, at);
    let there = image.len().saturating_sub(at).min(new.len() as u64) as usize;
    if torn[..there] != old[..there] && torn[..there] != new[..there] {
        counters.count(Rule::SectorTorn);
    }
}

/// Counts rule D7 if bytes in the grown part are not what was written there. One look at the
/// first megabyte has to do: files may be large and sparse.
fn count_growth(inode: &Inode, image: &Image, from: u64, garbage: bool, counters: &Counters) {
    let len = image.len().min(from.saturating_add(1 << 20));
    if from >= len {
        return;
    }
    let (mut after, mut meant) = (vec![0; (len - from) as usize], vec![0; (len - from) as usize]);
    image.read(&mut after, from);
    inode.cache.read(&mut meant, from);
    if after != meant {
        counters.count(if garbage { Rule::LengthGarbage } else { Rule::LengthZeros });
    }
}

/// Rule D6: a whole physical block around one unsynced write becomes garbage.
fn spoil(
    inode: &Inode,
    image: &mut Image,
    verdict: &mut Verdict,
    mishaps: &mut Mishaps,
    options: &SimOptions,
) {
    for op in &inode.ops {
        let Op::Write { first, bytes, .. } = op else { continue };
        let here = mishaps.spoil_in == Some(0);
        mishaps.spoil_in = mishaps.spoil_in.and_then(|left| left.checked_sub(1));
        if !here {
            continue;
        }
        let dice = verdict.dice();
        let from = first * options.sector_bytes;
        let size = options.block_bytes.max(options.sector_bytes);
        let (first_block, end_block) = sectors(from, bytes.len() as u64, size);
        let block = first_block + dice.below(end_block - first_block);
        let junk: Vec<u8> = (0..size / 8).flat_map(|_| dice.next().to_le_bytes()).collect();
        if block * size < image.len() {
            image.write_within(&junk, block * size);
            options.counters.count(Rule::Collateral);
        }
    }
}
