//! Access methods: how a database arranges its entries.
//!
//! Owns: their numbers on disk and their names. Promises: numbers are never reused, and a method
//! that this build lacks is refused by name. Must never: know how a method works.

use std::fmt;

use crate::error::FormatError;

/// Methods whose numbers are reserved, for the sake of a clear refusal.
const RESERVED: [(u8, &str); 4] = [(2, "hash"), (3, "queue"), (4, "recno"), (5, "heap")];

/// How a database arranges its entries.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum AccessMethod {
    /// B+tree: keys in order.
    BTree,
}

impl AccessMethod {
    /// Its number on disk. 0 means "none", for log records that belong to no database.
    #[must_use]
    pub const fn code(self) -> u8 {
        match self {
            Self::BTree => 1,
        }
    }

    /// Its name, as dumps and listings print it.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::BTree => "btree",
        }
    }

    /// The method with number `code`; `what` names the structure that holds the number.
    pub fn from_code(code: u8, what: &'static str) -> Result<Self, FormatError> {
        if code == Self::BTree.code() {
            return Ok(Self::BTree);
        }
        let known = RESERVED.iter().find(|(number, _)| *number == code);
        let name = known.map_or_else(|| format!("number {code}"), |(_, name)| (*name).into());
        Err(FormatError::UnknownAccessMethod { what, name })
    }
}

impl fmt::Display for AccessMethod {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_method_of_a_later_build_is_refused_by_name() {
        assert_eq!(AccessMethod::from_code(1, "a row"), Ok(AccessMethod::BTree));
        let text = |code| AccessMethod::from_code(code, "a row").unwrap_err().to_string();
        assert_eq!(text(3), "a row uses access method queue, which this build does not have");
        assert!(text(99).contains("number 99"));
    }
}
