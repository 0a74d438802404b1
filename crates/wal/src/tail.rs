//! What it means when the log does not go on: the decision table.
//!
//! Owns the table, and nothing else: no I/O, no state. Promises that damage below a position known
//! durable is never taken for the end of the log, that an I/O error is never taken for anything
//! but itself, and that every combination of inputs has its line. Must never look at bytes.
//!
//! | successor | found here | proven beyond | survivors | verdict |
//! | --- | --- | --- | --- | --- |
//! | ends here | anything, not even read | any | any | the log goes on in that file |
//! | ends beyond, or none | a record | any | any | take it |
//! | ends beyond, or none | a pad | any | any | pass over it |
//! | ends beyond, or none | unreadable | any | any | I/O error |
//! | ends beyond | nothing, or damage | any | any | corruption |
//! | none | nothing, or damage | yes | any | corruption |
//! | none | damage | no | any | torn tail |
//! | none | nothing | no | yes | torn tail |
//! | none | nothing | no | no | clean end |
//!
//! *Successor*: where the next file says that this one ends. *Proven beyond*: something durable
//! says that the log was durable beyond this position. *Survivors*: valid records behind it.

/// What stands at a position where a record could start.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Found {
    /// A whole record that ends within the file.
    Record,
    /// A whole pad: the rest of a block, with nothing to say.
    Pad,
    /// Zeros, or the end of the file: nothing was ever written here.
    Nothing,
    /// Anything else: part of a record, a stale one, a damaged one, one that crosses the file's
    /// stated end.
    Damage,
    /// The operating system did not give the bytes.
    Unreadable,
}

/// What the header of the next file says about the end of this one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Successor {
    /// There is no next file.
    None,
    /// This file ends at this position.
    EndsHere,
    /// This file ends at a later position.
    EndsBeyond,
}

/// Everything the decision depends on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Evidence {
    /// What stands here.
    pub found: Found,
    /// What the next file says.
    pub successor: Successor,
    /// Something durable says that the log was durable beyond this position: a record before or
    /// behind it, or the control file.
    pub below_durable: bool,
    /// There are valid records of this file behind this position.
    pub survivors: bool,
}

/// What to do about it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Verdict {
    /// Take the record and go on behind it.
    Take,
    /// Go on behind the pad.
    Skip,
    /// Go on with the next file.
    NextFile,
    /// The log ends here, and nothing follows.
    CleanEnd,
    /// The log ends here. What follows was never acknowledged: a write that a crash interrupted.
    TornTail,
    /// The log was durable here and no longer is what was written. Refuse to go on.
    Corruption,
    /// It cannot be known what stands here. Refuse to go on; nothing is wrong with the log yet.
    IoError,
}

impl Evidence {
    /// The table.
    #[must_use]
    pub fn judge(self) -> Verdict {
        match (self.successor, self.found) {
            (Successor::EndsHere, _) => Verdict::NextFile,
            (_, Found::Record) => Verdict::Take,
            (_, Found::Pad) => Verdict::Skip,
            (_, Found::Unreadable) => Verdict::IoError,
            (Successor::EndsBeyond, Found::Nothing | Found::Damage) => Verdict::Corruption,
            (Successor::None, _) if self.below_durable => Verdict::Corruption,
            (Successor::None, Found::Damage) => Verdict::TornTail,
            (Successor::None, Found::Nothing) if self.survivors => Verdict::TornTail,
            (Successor::None, Found::Nothing) => Verdict::CleanEnd,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The table once more, written from the document and not from the code: every combination.
    #[test]
    fn every_combination_has_its_verdict() {
        use Found::{Damage, Nothing, Pad, Record, Unreadable};
        let mut seen = 0;
        for found in [Record, Pad, Nothing, Damage, Unreadable] {
            for successor in [Successor::None, Successor::EndsHere, Successor::EndsBeyond] {
                for below_durable in [false, true] {
                    for survivors in [false, true] {
                        let evidence = Evidence { found, successor, below_durable, survivors };
                        assert_eq!(evidence.judge(), expected(evidence), "{evidence:?}");
                        seen += 1;
                    }
                }
            }
        }
        assert_eq!(seen, 60);
    }

    fn expected(evidence: Evidence) -> Verdict {
        let Evidence { found, successor, below_durable, survivors } = evidence;
        if successor == Successor::EndsHere {
            return Verdict::NextFile;
        }
        if found == Found::Record {
            return Verdict::Take;
        }
        if found == Found::Pad {
            return Verdict::Skip;
        }
        if found == Found::Unreadable {
            return Verdict::IoError;
        }
        let proven = successor == Successor::EndsBeyond || below_durable;
        if proven {
            return Verdict::Corruption;
        }
        if found == Found::Nothing && !survivors { Verdict::CleanEnd } else { Verdict::TornTail }
    }

    #[test]
    fn what_is_proven_durable_is_never_cut() {
        for found in [Found::Record, Found::Pad, Found::Nothing, Found::Damage, Found::Unreadable] {
            for successor in [Successor::None, Successor::EndsBeyond] {
                for survivors in [false, true] {
                    let evidence = Evidence { found, successor, below_durable: true, survivors };
                    let verdict = evidence.judge();
                    assert!(!matches!(verdict, Verdict::CleanEnd | Verdict::TornTail));
                }
            }
        }
    }
}
