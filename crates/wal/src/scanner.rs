//! Reading a stretch of the log, forward or backward.
//!
//! Owns [`Scanner`]. Promises every record of the stretch, once, in order, or an error, after which
//! there is nothing more: a scan with a hole in it cannot be had. Must never write, and never take
//! the end of what it can read for the end of the stretch.

use campanile_format::record::kind;
use campanile_format::{Lsn, names};

use crate::error::WalError;
use crate::log_set::{Link, LogSet};
use crate::read::RecordBuf;
use crate::walker::{Step, Walker};
use crate::window::{Spot, Window};

/// An iterator over the records of a stretch of the log: see [`LogSet::forward`] and
/// [`LogSet::backward`].
#[derive(Debug)]
pub struct Scanner {
    way: Way,
}

#[derive(Debug)]
enum Way {
    Forward {
        walker: Walker,
        to: Lsn,
    },
    Backward(Backward),
    /// Past the last record, or past an error.
    Over,
}

#[derive(Debug)]
struct Backward {
    logs: LogSet,
    /// The files still to read, newest last.
    chain: Vec<Link>,
    window: Option<Window>,
    number: u32,
    /// Offsets of the file's records still to give, oldest first. A record knows the distance to
    /// the one before it, but the end of a file does not: so they are listed going forward.
    starts: Vec<u32>,
    to: Lsn,
}

impl Scanner {
    pub(crate) fn forward(logs: &LogSet, from: Lsn, to: Lsn) -> Result<Scanner, WalError> {
        if from >= to {
            return Ok(Scanner { way: Way::Over });
        }
        let walker = Walker::start(logs, from)?;
        Ok(Scanner { way: Way::Forward { walker, to } })
    }

    pub(crate) fn backward(logs: &LogSet, from: Lsn, to: Lsn) -> Result<Scanner, WalError> {
        if from <= to {
            return Ok(Scanner { way: Way::Over });
        }
        let mut chain = logs.chain(to)?;
        chain.retain(|link| link.number <= from.file());
        let Some(last) = chain.last_mut().filter(|link| link.number == from.file()) else {
            let why = format!("the log is to be read backward from {from}");
            return Err(WalError::Missing { file: names::log_file(from.file()), why });
        };
        last.ends = Some(from);
        let logs = logs.clone();
        let backward = Backward { logs, chain, window: None, number: 0, starts: Vec::new(), to };
        Ok(Scanner { way: Way::Backward(backward) })
    }

    fn advance(&mut self) -> Result<Option<RecordBuf>, WalError> {
        match &mut self.way {
            Way::Forward { walker, to } => forward(walker, *to),
            Way::Backward(backward) => backward.advance(),
            Way::Over => Ok(None),
        }
    }
}

impl Iterator for Scanner {
    type Item = Result<(Lsn, RecordBuf), WalError>;

    fn next(&mut self) -> Option<Self::Item> {
        let next = self.advance().transpose();
        if !matches!(next, Some(Ok(_))) {
            self.way = Way::Over;
        }
        Some(next?.map(|record| (record.lsn(), record)))
    }
}

impl std::iter::FusedIterator for Scanner {}

fn forward(walker: &mut Walker, to: Lsn) -> Result<Option<RecordBuf>, WalError> {
    if walker.at() < to {
        walker.pass_pads()?;
    }
    if walker.at() >= to {
        return Ok(None);
    }
    let at = walker.at();
    match walker.step()? {
        Step::Record(lsn, frame) => Ok(Some(RecordBuf::new(lsn, frame.bytes.to_vec()))),
        Step::Bad { why, .. } => Err(WalError::corrupt_at(at, why)),
    }
}

impl Backward {
    fn advance(&mut self) -> Result<Option<RecordBuf>, WalError> {
        loop {
            if let (Some(offset), Some(window)) = (self.starts.pop(), self.window.as_mut()) {
                let lsn = Lsn::new(self.number, offset);
                if lsn < self.to {
                    return Ok(None);
                }
                return match window.spot(offset.into(), u64::MAX)? {
                    Spot::Record(frame) => Ok(Some(RecordBuf::new(lsn, frame.bytes.to_vec()))),
                    Spot::Bad(_, why) => Err(WalError::corrupt_at(lsn, why)),
                };
            }
            let Some(link) = self.chain.pop() else {
                return Ok(None);
            };
            self.list(&link)?;
        }
    }

    /// Lists the records of a file.
    fn list(&mut self, link: &Link) -> Result<(), WalError> {
        let mut window = self.logs.window(link.number, link.header.file_bytes, link.identity())?;
        let until = link.ends.map_or(u64::from(link.header.file_bytes), |end| end.offset().into());
        let mut at = u64::from(link.header.first_record().offset());
        while at < until {
            match window.spot(at, until)? {
                Spot::Record(frame) => {
                    if frame.header.kind != kind::PAD {
                        self.starts.push(u32::try_from(at).unwrap_or(u32::MAX));
                    }
                    at += frame.total_bytes() as u64;
                }
                Spot::Bad(_, why) => {
                    let lsn = Lsn::new(link.number, u32::try_from(at).unwrap_or(u32::MAX));
                    return Err(WalError::corrupt_at(lsn, why));
                }
            }
        }
        self.number = link.number;
        self.window = Some(window);
        Ok(())
    }
}
