//! What a comparison found.
//!
//! Owns the words. Must never leave a difference out of the count.

use std::fmt;

use serde::Serialize;

use crate::text::escape;

/// In what way a key, or a property, differs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum How {
    /// A alone has it.
    OnlyInA,
    /// B alone has it.
    OnlyInB,
    /// Both have the key, with different values.
    OtherValue,
}

impl fmt::Display for How {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            How::OnlyInA => "only in A",
            How::OnlyInB => "only in B",
            How::OtherValue => "other value",
        })
    }
}

/// A key that differs.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct KeyDiff {
    /// The key, spelled by [`escape`](crate::text::escape).
    pub key: String,
    /// In what way.
    pub how: How,
}

/// What was found of a database.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Outcome {
    /// The same pairs on both sides.
    Same,
    /// Not the same.
    Differs,
    /// A alone has it.
    OnlyInA,
    /// B alone has it.
    OnlyInB,
}

/// A database, compared.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct DatabaseDiff {
    /// Its name.
    pub name: String,
    /// What was found.
    pub outcome: Outcome,
    /// Pairs that are the same on both sides.
    pub alike: u64,
    /// Keys that A alone has.
    pub only_in_a: u64,
    /// Keys that B alone has.
    pub only_in_b: u64,
    /// Keys that both have, with different values.
    pub other_values: u64,
    /// Set if it survives a crash on one side only.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub durable_in: Option<How>,
    /// The first key that differs.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub first: Option<KeyDiff>,
    /// The first keys that differ, as many as were asked for.
    pub keys: Vec<KeyDiff>,
}

impl DatabaseDiff {
    pub(super) fn new(name: &str, outcome: Outcome) -> DatabaseDiff {
        DatabaseDiff {
            name: name.to_owned(),
            outcome,
            alike: 0,
            only_in_a: 0,
            only_in_b: 0,
            other_values: 0,
            durable_in: None,
            first: None,
            keys: Vec::new(),
        }
    }
}

impl fmt::Display for DatabaseDiff {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let DatabaseDiff { alike, only_in_a, only_in_b, other_values, .. } = self;
        let name = escape(self.name.as_bytes());
        match self.outcome {
            Outcome::Same => return write!(f, "{name}: same, {alike} pairs"),
            Outcome::OnlyInA => return write!(f, "{name}: only in A"),
            Outcome::OnlyInB => return write!(f, "{name}: only in B"),
            Outcome::Differs => write!(f, "{name}: differs")?,
        }
        if let Some(first) = &self.first {
            write!(f, " from key {} on ({})", first.key, first.how)?;
        }
        write!(
            f,
            ": {only_in_a} only in A, {only_in_b} only in B, {other_values} with other values, \
             {alike} alike"
        )?;
        match self.durable_in {
            Some(How::OnlyInA) => write!(f, "; durable in A, not in B"),
            Some(_) => write!(f, "; durable in B, not in A"),
            None => Ok(()),
        }
    }
}

/// Two sides, compared.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct DiffReport {
    /// What A is.
    pub a: String,
    /// What B is.
    pub b: String,
    /// The databases of both sides, in the order of their names.
    pub databases: Vec<DatabaseDiff>,
}

impl DiffReport {
    /// Whether both sides have the same databases with the same pairs.
    #[must_use]
    pub fn is_same(&self) -> bool {
        self.databases.iter().all(|database| database.outcome == Outcome::Same)
    }
}

impl fmt::Display for DiffReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, database) in self.databases.iter().enumerate() {
            if index > 0 {
                f.write_str("\n")?;
            }
            write!(f, "{database}")?;
        }
        Ok(())
    }
}
