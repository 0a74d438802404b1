//! The one place that spells the names of files in a home.
//!
//! Owns: every name and its parser. Promises: `parse(name(n)) == Some(n)` and nothing else parses,
//! so a stray file is never taken for ours. Must never: touch a file system.

use crate::ids::FileId;

/// Folder of the data files, in the home.
pub const DATA_DIR: &str = "data";
/// Which directories hold data files besides [`DATA_DIR`], in the home.
pub const DATA_DIRS: &str = "data_dirs";
/// Whose data directory this is, in every directory that [`DATA_DIRS`] names.
pub const DATA_DIR_MARK: &str = "campanile.data";
/// Folder of the log files, in the home.
pub const LOG_DIR: &str = "log";
/// The control file, in the home.
pub const CONTROL: &str = "control";
/// The double-write file, in the home.
pub const DOUBLE_WRITE: &str = "doublewrite";
/// In [`LOG_DIR`]: who reads the log from outside holds its lock, shared; who gives log files up
/// holds it alone.
pub const LOG_READERS: &str = "readers.lock";
/// In the log directory: whoever archives its files holds the lock of this file.
pub const LOG_ARCHIVER: &str = "archiver.lock";
/// Where log files go before they are given up, in the home: see the crate `backup`.
pub const ARCHIVE: &str = "archive";
/// Says that the home is being restored and does not count yet.
pub const RESTORING: &str = "restoring";
/// Says that the directory is the scratch space of `restore --only`, which may empty it.
pub const SCRATCH: &str = "restore-only";
/// The file whose lock makes one process the owner of the home.
pub const LOCK: &str = "campanile.lock";
/// What the owner of the home publishes of itself; nobody needs it.
pub const LIVE_STATS: &str = "campanile.stats";
/// Suffix of a file that is being made and does not count yet.
pub const UNFINISHED_SUFFIX: &str = ".tmp";

const DATA_PREFIX: &str = "data.";
const LOG_PREFIX: &str = "log.";
/// Digits of the number: enough for any `u32`, so that names sort as numbers do.
const DIGITS: usize = 10;

/// `data.0000000007`: the file of a database, in [`DATA_DIR`].
#[must_use]
pub fn data_file(file: FileId) -> String {
    format!("{DATA_PREFIX}{:010}", file.0)
}

/// The file id in a data file's name; `None` for any other name.
#[must_use]
pub fn parse_data_file(name: &str) -> Option<FileId> {
    parse(name, DATA_PREFIX).map(FileId)
}

/// `log.0000000001`: a file of the log, in [`LOG_DIR`].
#[must_use]
pub fn log_file(number: u32) -> String {
    format!("{LOG_PREFIX}{number:010}")
}

/// The number in a log file's name; `None` for any other name.
#[must_use]
pub fn parse_log_file(name: &str) -> Option<u32> {
    parse(name, LOG_PREFIX)
}

fn parse(name: &str, prefix: &str) -> Option<u32> {
    let digits = name.strip_prefix(prefix)?;
    if digits.len() != DIGITS || !digits.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    digits.parse().ok().filter(|number| *number != 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_read_back_and_sort_as_their_numbers() {
        assert_eq!(data_file(FileId(7)), "data.0000000007");
        assert_eq!(log_file(1), "log.0000000001");
        for number in [1, 9, 10, u32::MAX] {
            assert_eq!(parse_log_file(&log_file(number)), Some(number));
            assert_eq!(parse_data_file(&data_file(FileId(number))), Some(FileId(number)));
        }
        assert!(log_file(9) < log_file(10));
    }

    #[test]
    fn a_stray_name_is_not_ours() {
        let strays = [
            "log.1",
            "log.00000000001",
            "log.000000000a",
            "log.+000000001",
            "log.0000000000",
            "log.4294967296",
            "log.0000000001.tmp",
            "LOG.0000000001",
            "data.0000000001",
            "",
            "log.",
        ];
        for stray in strays {
            assert_eq!(parse_log_file(stray), None, "{stray}");
        }
        assert_eq!(parse_data_file("log.0000000001"), None);
    }
}
