//! The log's end in memory: where the next record goes, and what is not written yet.
//!
//! Owns positions: LSNs are assigned here and nowhere else. Promises that records follow each other
//! without a gap within a file, that none crosses from one file into the next (W3), and that every
//! record can be read from here until it can be read from its file. Must never do I/O: moving to
//! the next file only takes a note of it, which the writer of the file acts on.

use std::sync::Arc;

use campanile_format::frame::{self, FRAME_BYTES, LogIdentity};
use campanile_format::record::{Body, Record};
use campanile_format::{Lsn, TxnId};

use crate::options::WalOptions;

/// Largest buffer whose memory is kept for the next records.
const KEEP_BYTES: usize = 4 << 20;

/// Consecutive records of one file.
#[derive(Debug)]
pub(crate) struct Segment {
    /// Where the first one starts.
    pub(crate) start: Lsn,
    /// Where the log ended in the file before; looked at if `start` is the first record of a file.
    pub(crate) predecessor_end: Lsn,
    /// The records.
    pub(crate) bytes: Vec<u8>,
}

impl Segment {
    /// Where the last record ends.
    pub(crate) fn end(&self) -> Lsn {
        Lsn(self.start.0 + self.bytes.len() as u64)
    }

    /// The record that starts at `lsn`, if it is here.
    fn record(&self, lsn: Lsn) -> Option<&[u8]> {
        if lsn < self.start || lsn >= self.end() {
            return None;
        }
        let from = self.bytes.get((lsn.0 - self.start.0) as usize..)?;
        from.get(..frame::peek_total_bytes(from).ok()?)
    }
}

/// The records that are not in their file yet, and the positions around them.
#[derive(Debug)]
pub(crate) struct Buffer {
    /// Where the next record starts, if it fits.
    end: Lsn,
    /// Start of the last record in the file of `end`; none before the first of this opening.
    last: Lsn,
    /// Length of the file of `end`.
    limit: u32,
    /// Length of the files to come.
    file_bytes: u32,
    /// Where records begin in the files to come: the length of a physical block.
    block_bytes: u32,
    identity: LogIdentity,
    /// Records that nobody has begun to write.
    pending: Vec<Segment>,
    pending_bytes: usize,
    /// Records that are being written.
    in_flight: Option<Arc<Vec<Segment>>>,
    /// A buffer that was written, for reuse.
    reusable: Vec<u8>,
    /// The log says up to here that it is durable.
    pub(crate) claimed: Lsn,
    /// End of the last record that says more than that.
    pub(crate) news: Lsn,
    /// The latest wall-clock time in a record.
    pub(crate) time_us: u64,
}

impl Buffer {
    /// An empty buffer before `end`, in a file of `limit` bytes.
    pub(crate) fn new(end: Lsn, limit: u32, options: &WalOptions) -> Buffer {
        Buffer {
            end,
            last: Lsn::NONE,
            limit,
            file_bytes: options.file_bytes,
            block_bytes: options.block_bytes,
            identity: options.identity(),
            pending: Vec::new(),
            pending_bytes: 0,
            in_flight: None,
            reusable: Vec::new(),
            claimed: end,
            news: end,
            time_us: 0,
        }
    }

    /// Where the next record starts, or where the file ends before it.
    pub(crate) fn end(&self) -> Lsn {
        self.end
    }

    /// Bytes that nobody has begun to write.
    pub(crate) fn pending_bytes(&self) -> usize {
        self.pending_bytes
    }

    /// Whether a record of `bytes` goes into the file of `end`.
    pub(crate) fn fits(&self, bytes: usize) -> bool {
        bytes <= (self.limit - self.end.offset()) as usize
    }

    /// How full the file of `end` is: used and whole bytes.
    pub(crate) fn filled(&self) -> (u32, u32) {
        (self.end.offset(), self.limit)
    }

    /// Binds a frame to the end of the log and takes it in.
    pub(crate) fn place(&mut self, frame: &mut [u8]) -> Lsn {
        if !self.fits(frame.len()) {
            self.next_file();
            assert!(self.fits(frame.len()), "a log record larger than a log file");
        } else if self.pending.is_empty() {
            self.open_segment(Lsn::NONE);
        }
        let at = self.end;
        let back = if self.last.is_none() { 0 } else { at.offset() - self.last.offset() };
        frame::finish(frame, at, back, &self.identity);
        if let Some(segment) = self.pending.last_mut() {
            segment.bytes.extend_from_slice(frame);
        }
        self.pending_bytes += frame.len();
        self.last = at;
        self.end = Lsn(at.0 + frame.len() as u64);
        at
    }

    /// Ends the log at a multiple of `block` with a pad, so that what follows does not touch the
    /// physical block of what is there. If less than a frame is left in the block, one more is
    /// given up; at the end of a file nothing can follow in it anyway. Returns the pad's length.
    pub(crate) fn pad(&mut self, block: u32) -> usize {
        let end = self.end.offset();
        let boundary = |from: u32| from.next_multiple_of(block).min(self.limit);
        let mut gap = (boundary(end) - end) as usize;
        if gap == 0 {
            return 0;
        }
        if gap < FRAME_BYTES {
            gap = (boundary(boundary(end) + 1) - end) as usize;
        }
        if gap < FRAME_BYTES {
            return 0;
        }
        let body = Body::Pad { bytes: (gap - FRAME_BYTES) as u32 };
        let mut frame = Vec::with_capacity(gap);
        Record { txn: TxnId::SYSTEM, prev: Lsn::NONE, body }.encode(&mut frame);
        self.place(&mut frame);
        gap
    }

    /// The log goes on in the next file; this one ends here.
    pub(crate) fn next_file(&mut self) {
        let predecessor_end = self.end;
        let number = self.end.file().checked_add(1);
        let number = number.unwrap_or_else(|| panic!("log file numbers are used up"));
        self.end = Lsn::new(number, self.block_bytes);
        self.last = Lsn::NONE;
        self.limit = self.file_bytes;
        self.open_segment(predecessor_end);
    }

    fn open_segment(&mut self, predecessor_end: Lsn) {
        let mut bytes = std::mem::take(&mut self.reusable);
        bytes.clear();
        self.pending.push(Segment { start: self.end, predecessor_end, bytes });
    }

    /// What is to be written, oldest first. It stays readable until [`Buffer::landed`].
    pub(crate) fn take(&mut self) -> Option<Arc<Vec<Segment>>> {
        assert!(self.in_flight.is_none(), "the log has one writer at a time");
        if self.pending.is_empty() {
            return None;
        }
        let segments = std::mem::take(&mut self.pending);
        self.pending_bytes = 0;
        let segments = Arc::new(segments);
        self.in_flight = Some(Arc::clone(&segments));
        Some(segments)
    }

    /// What was taken is in its files, and `batch` was the writer's hold on it.
    pub(crate) fn landed(&mut self, batch: Arc<Vec<Segment>>) {
        self.in_flight = None;
        let segments = Arc::into_inner(batch).unwrap_or_default();
        let last = segments.into_iter().next_back().map(|segment| segment.bytes);
        self.reusable = last.filter(|bytes| bytes.capacity() <= KEEP_BYTES).unwrap_or_default();
    }

    /// A copy of the record that starts at `lsn`, if it is not in its file yet.
    pub(crate) fn record(&self, lsn: Lsn) -> Option<Vec<u8>> {
        let in_flight = self.in_flight.iter().flat_map(|batch| batch.iter());
        let mut segments = in_flight.chain(&self.pending);
        segments.find_map(|segment| segment.record(lsn)).map(<[u8]>::to_vec)
    }

    /// Whether `lsn` lies in what is not in its file yet.
    pub(crate) fn covers(&self, lsn: Lsn) -> bool {
        let in_flight = self.in_flight.iter().flat_map(|batch| batch.iter());
        let first = in_flight.chain(&self.pending).next();
        first.is_some_and(|segment| lsn >= segment.start)
    }
}
