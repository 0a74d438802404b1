//! A lock that was not granted, in words that users understand.
//!
//! Owns: [`LockRefused`]. Promises: names both transactions, the database and the key, and what to
//! do next. The lock table knows none of the last two; whoever asks has them at hand and adds them
//! when, and only when, the answer is no. Must never: cost anything while the answer is yes.

use std::fmt;

use campanile_format::FileId;
use campanile_lock::{LockError, Mode, Part};

/// What a lock is on, in a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Place<'k> {
    /// The whole file.
    Whole,
    /// A key, or the gap below it.
    Key(&'k [u8]),
    /// The end, above all keys.
    End,
}

/// Why a lock was not granted, and what it would have been on.
#[derive(Clone, Debug)]
pub struct LockRefused {
    /// What the lock table says.
    pub error: LockError,
    /// The file.
    pub file: FileId,
    place: String,
}

/// A key longer than this is shown in part.
const SHOWN_BYTES: usize = 48;

impl LockRefused {
    pub(crate) fn new(error: LockError, file: FileId, place: Place<'_>) -> LockRefused {
        let place = match place {
            Place::Whole => String::new(),
            Place::Key(key) => format!("key {}", readable(key)),
            Place::End => "the end".to_owned(),
        };
        LockRefused { error, file, place }
    }

    /// The whole story, with a name for the file, such as `database "accounts"`.
    #[must_use]
    pub fn describe(&self, file: &str) -> String {
        let on = |mode: &Mode| self.wanted(*mode, file);
        match &self.error {
            LockError::Deadlock { victim, other, mode, .. } => format!(
                "{victim} was chosen as the victim of a deadlock with {other} while waiting {}: \
                 roll back and run it again",
                on(mode)
            ),
            LockError::Timeout { owner, other, mode, waited, .. } => format!(
                "{owner} waited {} ms {}, which {other} has or wants first: roll back and run it \
                 again",
                waited.as_millis(),
                on(mode)
            ),
            LockError::WouldBlock { other, mode, .. } => format!(
                "a transaction that does not wait would have to wait {}, which {other} has or \
                 wants first: roll back and run it again",
                on(mode)
            ),
            error => error.to_string(),
        }
    }

    fn wanted(&self, mode: Mode, file: &str) -> String {
        let doing = match (mode.key(), mode.gap()) {
            (Part::Exclusive, _) => "to write",
            (_, Part::Exclusive) => "to insert below",
            (_, Part::Shared) => "to scan up to",
            (Part::Shared, Part::None) => "to read",
            (Part::None, Part::None) => "to use",
        };
        match self.place.is_empty() {
            true => format!("{doing} {file}"),
            false => format!("{doing} {} of {file}", self.place),
        }
    }
}

impl fmt::Display for LockRefused {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.describe(&format!("file {}", self.file)))
    }
}

impl std::error::Error for LockRefused {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        Some(&self.error)
    }
}

/// A key as people can read it: quoted, other bytes than printable ones as `\xNN`.
fn readable(key: &[u8]) -> String {
    let shown = &key[..key.len().min(SHOWN_BYTES)];
    let more = if shown.len() < key.len() { "..." } else { "" };
    format!("\"{}\"{more}", shown.escape_ascii())
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use campanile_lock::LockName;

    use super::*;

    #[test]
    fn it_names_both_transactions_the_database_and_the_key() {
        let error = LockError::Deadlock {
            victim: "nightly job".into(),
            other: "transaction 7".into(),
            name: LockName::key(16, 99),
            mode: Mode::X,
        };
        let refused = LockRefused::new(error, FileId(16), Place::Key(b"al\xffice"));
        let text = refused.describe("database \"accounts\"");
        for part in ["nightly job", "transaction 7", "\"al\\xffice\"", "database \"accounts\""] {
            assert!(text.contains(part), "{part} is missing: {text}");
        }
        assert!(refused.to_string().contains("file 16"), "{refused}");
    }

    #[test]
    fn long_keys_are_shown_in_part() {
        let error = LockError::Timeout {
            owner: "transaction 1".into(),
            other: "transaction 2".into(),
            name: LockName::key(16, 99),
            mode: Mode::GAP_X,
            waited: Duration::from_millis(20),
        };
        let refused = LockRefused::new(error, FileId(16), Place::Key(&[b'a'; 2000]));
        let text = refused.to_string();
        assert!(
            text.len() < 250 && text.contains("...") && text.contains("insert below"),
            "{text}"
        );
    }
}
