//! One data file of a backup, or some pages of it, put down as a file.
//!
//! Owns: [`bring_file`], the one way in which a single file leaves a backup. Promises that what is
//! put down was proven by every checksum of the backup, increments applied. Must never write over a
//! file that counts.

use std::collections::BTreeSet;
use std::path::Path;

use campanile_format::{FileId, PageNo, names};
use campanile_vfs::{Host, Open};

use crate::chain::Chain;
use crate::error::BackupError;
use crate::progress::{Hook, Meter};
use crate::shelf::Shelf;

/// Puts a data file of the newest backup of a chain down under the path `to`, not synced. False if
/// that backup does not hold it.
///
/// With pages named, only they and the first, which says what the file is, are put down, and the
/// others are as if they had never been written.
pub fn bring_file(
    host: &Host,
    (shelf, chain): (&dyn Shelf, &Chain),
    (file, pages): (FileId, Option<&BTreeSet<PageNo>>),
    to: &Path,
    hook: &mut Hook<'_>,
) -> Result<bool, BackupError> {
    let name = format!("{}/{}", names::DATA_DIR, names::data_file(file));
    let manifest = &chain.newest().manifest;
    if manifest.file(&name).is_none() {
        return Ok(false);
    }
    let failed = |source| BackupError::io("write", to.display().to_string(), source);
    let target = host.vfs.open(to, Open::OpenOrCreate).map_err(failed)?;
    target.set_len(0).map_err(failed)?;
    let mut from = chain.open(shelf, &name)?;
    let mut meter = Meter::new(hook);
    meter.phase("reading a data file of a backup", from.bytes())?;
    let page_bytes = u64::from(manifest.page_bytes.max(1));
    let wanted = |number: u64| {
        let chosen =
            |pages: &BTreeSet<PageNo>| pages.iter().any(|page| u64::from(page.0) == number);
        number == 0 || pages.is_none_or(chosen)
    };
    let (mut at, mut piece) = (0, Vec::new());
    while from.next(&mut piece)? {
        if pages.is_none() {
            target.write_all_at(&piece, at).map_err(failed)?;
        } else {
            let pages = (at / page_bytes..).zip(piece.chunks(page_bytes as usize));
            for (number, page) in pages.filter(|(number, _)| wanted(*number)) {
                target.write_all_at(page, number * page_bytes).map_err(failed)?;
            }
        }
        at += piece.len() as u64;
        meter.add(piece.len() as u64)?;
    }
    from.finish()?;
    Ok(true)
}
