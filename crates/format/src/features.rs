//! Feature bits of files: what a reader must know, and what it may ignore.
//!
//! Owns: the numbers and names of the bits. Promises: an unknown required bit is refused, by name
//! where a name is reserved; an unknown ignorable bit passes and is kept. Must never: reuse a bit.

use crate::error::FormatError;

/// Required bits that have a name, whether or not this build has the feature.
const NAMES: [(u32, &str); 5] = [
    (Features::ENCRYPTION, "encryption"),
    (Features::COMPRESSION, "compression"),
    (Features::BACKUP_COPY, "backup copy: run catastrophic recovery"),
    (Features::KEY_ORDER, "custom key order"),
    (Features::DATA_DIRS, "several data directories"),
];

/// The two words of feature bits that every header carries.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Features {
    /// A reader that does not know one of these must refuse the file.
    pub required: u32,
    /// A reader that does not know one of these reads the file as if it were not set.
    pub ignorable: u32,
}

impl Features {
    /// No feature at all: what this build writes.
    pub const NONE: Features = Features { required: 0, ignorable: 0 };
    /// Reserved: contents are encrypted.
    pub const ENCRYPTION: u32 = 1;
    /// Reserved: contents are compressed.
    pub const COMPRESSION: u32 = 1 << 1;
    /// A hot copy that is not consistent before catastrophic recovery: only in control files.
    pub const BACKUP_COPY: u32 = 1 << 2;
    /// Reserved: keys are not in byte order.
    pub const KEY_ORDER: u32 = 1 << 3;
    /// Data files in more than one directory, see `data_dirs`: only in control files.
    pub const DATA_DIRS: u32 = 1 << 4;

    /// Refuses required bits other than those that `known` has, naming them.
    pub fn check(self, what: &'static str, known: u32) -> Result<(), FormatError> {
        let bits = self.required & !known;
        if bits == 0 {
            return Ok(());
        }
        Err(FormatError::UnsupportedFeatures { what, bits, names: names(bits) })
    }
}

/// The names of `bits`, "bit 17" for one without a name.
fn names(bits: u32) -> String {
    let mut list = Vec::new();
    for number in 0..32u32 {
        let bit = 1 << number;
        if bits & bit != 0 {
            let name = NAMES.iter().find(|(known, _)| *known == bit);
            list.push(name.map_or_else(|| format!("bit {number}"), |(_, name)| (*name).into()));
        }
    }
    list.join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_unknown_required_bit_is_refused_by_name_and_an_ignorable_one_passes() {
        assert_eq!(Features { required: 0, ignorable: u32::MAX }.check("a file", 0), Ok(()));
        let features = Features { required: Features::ENCRYPTION | 1 << 17, ignorable: 0 };
        let text = features.check("a file", 0).unwrap_err().to_string();
        assert!(text.contains("a file requires"), "{text}");
        assert!(text.contains("encryption, bit 17"), "{text}");
    }

    #[test]
    fn a_bit_is_known_only_where_it_has_a_meaning() {
        let copy = Features { required: Features::BACKUP_COPY, ignorable: 0 };
        assert_eq!(copy.check("the control file", Features::BACKUP_COPY), Ok(()));
        let text = copy.check("the log file", 0).unwrap_err().to_string();
        assert!(text.contains("backup copy"), "{text}");
    }
}
