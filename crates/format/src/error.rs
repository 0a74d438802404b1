//! What is wrong with bytes that were read.
//!
//! Owns: [`Corrupt`], the answer of every check of a page or record, and [`FormatError`], which
//! adds what is not damage but a file of another build. Promises: cheap to make, names the field
//! and the byte offset. Must never: describe a bug of ours (those are asserted).

use thiserror::Error;

/// Bytes that no build of Campanile ever wrote: damage, or not our file at all.
///
/// `at` counts bytes from the start of what was decoded (a page, a record, a header); callers
/// add the file, the page or the LSN.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[error("{what} is invalid (byte {at})")]
pub struct Corrupt {
    /// The field or rule that does not hold, in words that fit "... is invalid".
    pub what: &'static str,
    /// Byte offset from the start of what was decoded.
    pub at: usize,
}

impl Corrupt {
    /// Damage named `what` at byte `at`.
    #[must_use]
    pub fn new(what: &'static str, at: usize) -> Self {
        Self { what, at }
    }
}

/// Why a header or a record cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum FormatError {
    /// The bytes are damaged.
    #[error(transparent)]
    Corrupt(#[from] Corrupt),
    /// The file was written by a build with another version of this structure.
    #[error(
        "{what} has format version {found}, this build reads version {supported}: \
         use a build that knows version {found}"
    )]
    UnsupportedVersion {
        /// The structure.
        what: &'static str,
        /// The version in the file.
        found: u16,
        /// The version of this build.
        supported: u16,
    },
    /// The file needs features that this build does not have.
    #[error("{what} requires features this build does not have ({names}): use a newer build")]
    UnsupportedFeatures {
        /// The structure.
        what: &'static str,
        /// The unknown required bits.
        bits: u32,
        /// Their names, or their numbers where this build has no name.
        names: String,
    },
    /// A record of a kind that this build does not know.
    #[error("log record kind {kind} is not known to this build: use a newer build")]
    UnknownRecordKind {
        /// The kind byte.
        kind: u8,
    },
    /// A record or a file of an access method that this build does not have.
    #[error("{what} uses access method {name}, which this build does not have")]
    UnknownAccessMethod {
        /// The structure.
        what: &'static str,
        /// Its name, or its number where this build has no name.
        name: String,
    },
    /// Keys in an order that this build does not have.
    #[error("the keys are in order {name:?}, which this build does not have")]
    UnknownKeyOrder {
        /// Its name in the file.
        name: String,
    },
    /// A known structure with a value that only a newer build could have written.
    #[error("{what} {value} is not known to this build: use a newer build")]
    UnknownTag {
        /// What the tag selects.
        what: &'static str,
        /// The tag.
        value: u32,
    },
}

impl FormatError {
    /// True for damage, false for a file of another build.
    #[must_use]
    pub fn is_corruption(&self) -> bool {
        matches!(self, Self::Corrupt(_))
    }
}
