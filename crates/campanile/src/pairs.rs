//! One walk over all pairs of a database, for whoever wants them all.
//!
//! Owns the loop and the limit up to which a value is held in memory. Promises the pairs of one
//! state, the reader's, in the order of their keys. Must never hold more than one pair, nor all of
//! a long value.

use std::io::{self, Read};

use crate::database::Database;
use crate::error::{Error, Result};
use crate::progress::Progress;
use crate::view::Reads;

/// Values longer than this are not held in memory.
const STREAMED_BYTES: u64 = 1 << 20;
/// How many pairs go by between two reports of progress.
pub(crate) const PAIRS_PER_REPORT: u64 = 1024;

/// Takes pairs.
pub(crate) trait Sink {
    /// A pair.
    fn pair(&mut self, key: &[u8], value: &[u8]) -> Result<()>;

    /// A pair whose value has `len` bytes, too many to hold.
    fn long_pair(&mut self, key: &[u8], len: u64, value: &mut dyn Read) -> Result<()>;
}

/// How much went by.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Walked {
    pub pairs: u64,
    pub bytes: u64,
}

/// Gives all pairs of `database` to `sink`.
pub(crate) fn walk(
    database: &Database,
    reader: &impl Reads,
    sink: &mut dyn Sink,
    phase: &str,
    progress: &Progress,
) -> Result<Walked> {
    let mut walked = Walked::default();
    let mut cursor = database.cursor(reader)?;
    while cursor.next()? {
        let key = cursor.key().unwrap_or_default().to_vec();
        let len = cursor.value_len().unwrap_or(0);
        if len > STREAMED_BYTES {
            let Some(mut value) = database.value_reader(reader, &key)? else { continue };
            sink.long_pair(&key, len, &mut value)?;
        } else {
            sink.pair(&key, cursor.value()?.unwrap_or_default())?;
        }
        walked.pairs += 1;
        walked.bytes += key.len() as u64 + len;
        if walked.pairs.is_multiple_of(PAIRS_PER_REPORT) {
            progress.report(phase, walked.pairs, None, "pairs")?;
        }
    }
    Ok(walked)
}

/// An error of the output, or of the value that was being copied there.
pub(crate) fn explain(doing: &str, error: io::Error) -> Error {
    match error.downcast::<Error>() {
        Ok(error) => error,
        Err(error) => Error::io(doing, error),
    }
}
