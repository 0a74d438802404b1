//! The control file: where recovery begins.
//!
//! Owns: the two alternating slots and the choice between them. Promises: a slot fits one sector;
//! as long as slots are written in turn and synced, at least one is always whole; a slot of a
//! newer build is never passed over in favour of an older one. Must never: be written while the
//! checkpoint it names is not durable.

use crate::codec::Reader;
use crate::error::{Corrupt, FormatError};
use crate::features::Features;
use crate::header::{self, HeaderKind};
use crate::ids::{EnvironmentId, FileId, Lsn, Timeline, TxnId};

/// Bytes of one slot.
pub const CONTROL_SLOT_BYTES: usize = 512;
/// Where the two slots begin: in different physical blocks, so that no torn write hits both.
pub const CONTROL_SLOT_OFFSETS: [u64; 2] = [0, 4096];
/// Length of the whole file.
pub const CONTROL_FILE_BYTES: u64 = 8192;
/// The version of the control file that this build reads and writes.
pub const CONTROL_VERSION: u16 = 1;

const KIND: HeaderKind = HeaderKind {
    magic: *b"CampCtrl",
    what: "the control file",
    version: CONTROL_VERSION,
    features: Features::BACKUP_COPY | Features::DATA_DIRS,
};

/// What a slot says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Control {
    /// Feature bits.
    pub features: Features,
    /// The environment.
    pub environment: EnvironmentId,
    /// The history that is being written.
    pub timeline: Timeline,
    /// Page size of every data file.
    pub page_bytes: u32,
    /// Length of new log files.
    pub log_file_bytes: u32,
    /// Counts the writes of the control file; the larger of two whole slots counts.
    pub generation: u64,
    /// The last checkpoint record; [`Lsn::NONE`] before the first.
    pub checkpoint: Lsn,
    /// Where redo begins.
    pub redo: Lsn,
    /// The log was durable up to here when the slot was written.
    pub durable: Lsn,
    /// `Some(end)` after a clean close: every page is on disk and the log ends exactly there.
    pub clean_end: Option<Lsn>,
    /// No transaction has this number yet, or any above it.
    pub next_txn: TxnId,
    /// No file has this number yet, or any above it.
    pub next_file: FileId,
    /// Wall-clock time of writing, microseconds since 1970.
    pub time_us: u64,
}

impl Control {
    /// The slot's bytes.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        header::encode(&KIND, self.features, CONTROL_SLOT_BYTES, |writer| {
            writer.bytes(&self.environment.0);
            writer.u32(self.timeline.0);
            writer.u32(self.page_bytes);
            writer.u32(self.log_file_bytes);
            writer.u32(u32::from(self.clean_end.is_some()));
            writer.u64(self.generation);
            writer.u64(self.checkpoint.0);
            writer.u64(self.redo.0);
            writer.u64(self.durable.0);
            writer.u64(self.clean_end.unwrap_or(Lsn::NONE).0);
            writer.u64(self.next_txn.0);
            writer.u32(self.next_file.0);
            writer.u32(0);
            writer.u64(self.time_us);
        })
    }

    /// Reads one slot: [`CONTROL_SLOT_BYTES`] bytes.
    pub fn decode(slot: &[u8]) -> Result<Self, FormatError> {
        let Some(slot) = slot.get(..CONTROL_SLOT_BYTES) else {
            return Err(Corrupt::new("control slot (too short)", slot.len()).into());
        };
        let (features, mut reader) = header::decode(&KIND, slot)?;
        let control = Self::decode_fields(features, &mut reader)?;
        if !control.page_bytes.is_power_of_two() {
            return Err(Corrupt::new("page size", 44).into());
        }
        Ok(control)
    }

    fn decode_fields(features: Features, reader: &mut Reader<'_>) -> Result<Self, Corrupt> {
        let environment = EnvironmentId(reader.array("environment id")?);
        let timeline = Timeline(reader.u32("timeline")?);
        let page_bytes = reader.u32("page size")?;
        let log_file_bytes = reader.u32("log file length")?;
        let clean_at = reader.position();
        let clean = match reader.u32("clean flag")? {
            0 => false,
            1 => true,
            _ => return Err(Corrupt::new("clean flag", clean_at)),
        };
        let generation = reader.u64("generation")?;
        let checkpoint = Lsn(reader.u64("checkpoint LSN")?);
        let redo = Lsn(reader.u64("redo LSN")?);
        let durable = Lsn(reader.u64("durable LSN")?);
        let end = Lsn(reader.u64("clean end LSN")?);
        let next_txn = TxnId(reader.u64("next transaction")?);
        let next_file = FileId(reader.u32("next file")?);
        reader.u32("reserved field")?;
        let time_us = reader.u64("time")?;
        Ok(Self {
            features,
            environment,
            timeline,
            page_bytes,
            log_file_bytes,
            generation,
            checkpoint,
            redo,
            durable,
            clean_end: clean.then_some(end),
            next_txn,
            next_file,
            time_us,
        })
    }
}

/// The slot that counts, and what was found in the other one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Chosen {
    /// What the environment goes by.
    pub control: Control,
    /// The slot that said so, 0 or 1. The next write goes to the other one.
    pub slot: usize,
    /// Why the other slot does not count, if it is damaged: a torn write, or worse.
    pub other: Option<FormatError>,
}

/// Chooses between the two slots: the larger generation among the whole ones.
///
/// A whole slot that only a newer build can read is an error, whatever the other one says: it may
/// be the one that counts. Two damaged slots are an error too: the control file is lost.
pub fn choose(slot_a: &[u8], slot_b: &[u8]) -> Result<Chosen, FormatError> {
    let (a, b) = (Control::decode(slot_a), Control::decode(slot_b));
    for result in [&a, &b] {
        if let Err(error) = result
            && !error.is_corruption()
        {
            return Err(error.clone());
        }
    }
    match (a, b) {
        (Ok(a), Ok(b)) if b.generation > a.generation => {
            Ok(Chosen { control: b, slot: 1, other: None })
        }
        (Ok(control), Ok(_)) => Ok(Chosen { control, slot: 0, other: None }),
        (Ok(control), Err(error)) => Ok(Chosen { control, slot: 0, other: Some(error) }),
        (Err(error), Ok(control)) => Ok(Chosen { control, slot: 1, other: Some(error) }),
        (Err(error), Err(_)) => Err(error),
    }
}
