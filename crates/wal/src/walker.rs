//! Going along the log: record by record, from file to file.
//!
//! Owns the steps that every forward reading takes. Promises to cross from one file to the next
//! exactly where the next one says that the first ended, and to say what stands at a bad spot
//! instead of judging it. Must never skip anything.

use campanile_format::frame::Frame;
use campanile_format::log_file::LOG_BLOCK_BYTES_MIN;
use campanile_format::record::kind;
use campanile_format::{Lsn, names};

use crate::error::WalError;
use crate::log_set::{Link, LogSet};
use crate::tail::{Found, Successor};
use crate::window::{Spot, Window};

/// A position in the log, and the files around it.
#[derive(Debug)]
pub(crate) struct Walker {
    logs: LogSet,
    chain: Vec<Link>,
    index: usize,
    window: Window,
    at: Lsn,
}

/// What stands where the walker stood.
pub(crate) enum Step<'w> {
    /// A record; the walker stands behind it now.
    Record(Lsn, Frame<'w>),
    /// No record; the walker has not moved.
    Bad { found: Found, why: String, successor: Successor },
}

impl Walker {
    /// Stands at `from`, where a record should start or a file end.
    pub(crate) fn start(logs: &LogSet, from: Lsn) -> Result<Walker, WalError> {
        let misplaced = |why: &str| Err(WalError::NoRecord { lsn: from, why: why.to_owned() });
        if from.offset() < LOG_BLOCK_BYTES_MIN || !from.offset().is_multiple_of(8) {
            return misplaced("no record starts at such an offset");
        }
        let chain = logs.chain(from)?;
        let Some(link) = chain.first() else {
            return misplaced("there is no log");
        };
        let window = logs.window(link.number, link.header.file_bytes, link.identity())?;
        Ok(Walker { logs: logs.clone(), chain, index: 0, window, at: from })
    }

    /// Where the walker stands.
    pub(crate) fn at(&self) -> Lsn {
        self.at
    }

    /// The newest file of the log.
    pub(crate) fn newest(&self) -> u32 {
        self.chain.last().map_or(0, |link| link.number)
    }

    /// Where the log ended in the file before the newest one; [`Lsn::NONE`] if there is none.
    pub(crate) fn predecessor_end(&self) -> Lsn {
        self.chain.last().map_or(Lsn::NONE, |link| link.header.predecessor_end)
    }

    /// Where the records of the newest file begin.
    pub(crate) fn newest_first(&self) -> Lsn {
        self.chain.last().map_or(Lsn::NONE, |link| link.header.first_record())
    }

    pub(crate) fn window(&mut self) -> &mut Window {
        &mut self.window
    }

    fn stated_end(&self) -> Option<Lsn> {
        self.chain.get(self.index).and_then(|link| link.ends)
    }

    /// Moves into the next file while the present one is said to end here.
    pub(crate) fn cross(&mut self) -> Result<(), WalError> {
        while let Some(ends) = self.stated_end() {
            if self.at < ends {
                break;
            }
            if self.at > ends {
                let file = names::log_file(self.at.file());
                let why = format!("the next file says that {file} ended at {ends}");
                return Err(WalError::corrupt_at(self.at, why));
            }
            let Some(next) = self.chain.get(self.index + 1) else { break };
            let (number, bytes) = (next.number, next.header.file_bytes);
            self.window = self.logs.window(number, bytes, next.identity())?;
            self.at = next.header.first_record();
            self.index += 1;
        }
        Ok(())
    }

    /// Moves on behind pads and ended files: to where a record stands, or none.
    pub(crate) fn pass_pads(&mut self) -> Result<(), WalError> {
        self.cross()?;
        while self.window.kind_at(self.at.offset().into())? == Some(kind::PAD) {
            let until = self.stated_end().map_or(u64::MAX, |end| end.offset().into());
            match self.window.spot(self.at.offset().into(), until)? {
                Spot::Record(pad) => self.at = Lsn(self.at.0 + pad.total_bytes() as u64),
                Spot::Bad(..) => return Ok(()),
            }
            self.cross()?;
        }
        Ok(())
    }

    /// Looks at what stands here, across pads and file ends, and passes it if it is a record.
    pub(crate) fn step(&mut self) -> Result<Step<'_>, WalError> {
        self.pass_pads()?;
        let (at, ends) = (self.at, self.stated_end());
        let until = ends.map_or(u64::MAX, |end| end.offset().into());
        match self.window.spot(at.offset().into(), until)? {
            Spot::Record(frame) => {
                self.at = Lsn(at.0 + frame.total_bytes() as u64);
                Ok(Step::Record(at, frame))
            }
            Spot::Bad(found, why) => {
                let successor = match ends {
                    None => Successor::None,
                    Some(_) => Successor::EndsBeyond,
                };
                Ok(Step::Bad { found, why, successor })
            }
        }
    }
}
