//! Where to begin: the decision table of opening an environment.
//!
//! Owns: [`choose`], a pure function over what was found. Promises: nothing is created over
//! anything that could be an environment, and a log that goes on after a clean end is recovered,
//! not trusted. Must never: read a file itself.

use campanile_format::Lsn;

/// What the control file says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ControlState {
    /// There is none.
    Absent,
    /// There is one, and neither slot can be read.
    Damaged,
    /// The environment was closed, its log ended here.
    Clean(Lsn),
    /// The environment was open.
    Open,
    /// It is a hot copy: nothing may be read from it before catastrophic recovery.
    BackupCopy,
}

/// What stands in the log directory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LogState {
    /// No log file.
    None,
    /// One log file without a record: a creation that got no further.
    Empty,
    /// Records, or several files.
    Filled,
}

/// Where the log really ends, compared with the clean end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CleanEnd {
    /// Exactly there.
    Exact,
    /// Something stands beyond.
    Beyond,
}

/// What to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Start {
    /// Make a new environment.
    Create,
    /// Go on where the last owner stopped.
    Continue(Lsn),
    /// Recover; the reason is for the report.
    Recover(&'static str),
    /// Leave everything as it is; the reason is for the error.
    Refuse(&'static str),
}

/// The table: control file x log directory x whether there are data files x (for a clean close)
/// what the end of the log shows.
///
/// | control | log | data files | end | start |
/// | --- | --- | --- | --- | --- |
/// | absent | none or empty | none | | create |
/// | absent | anything else | | | refuse: the control file is lost |
/// | damaged | | | | refuse: the control file is damaged |
/// | backup copy | | | | refuse: it needs catastrophic recovery |
/// | clean or open | none | | | refuse: the log is lost |
/// | clean | there | | exact | continue |
/// | clean | there | | beyond | recover: somebody went on without saying so |
/// | open | there | | | recover: the last owner did not close |
#[must_use]
pub fn choose(control: ControlState, log: LogState, data: bool, end: CleanEnd) -> Start {
    match (control, log) {
        (ControlState::Absent, LogState::None | LogState::Empty) if !data => Start::Create,
        (ControlState::Absent, _) => Start::Refuse(
            "but there are data or log files: the control file is lost; restore from a backup",
        ),
        (ControlState::Damaged, _) => {
            Start::Refuse("both slots of the control file are damaged; restore from a backup")
        }
        (ControlState::BackupCopy, _) => Start::Refuse("it is a backup: run catastrophic recovery"),
        (ControlState::Clean(_) | ControlState::Open, LogState::None) => {
            Start::Refuse("the log directory is empty; put the log back, or restore from a backup")
        }
        (ControlState::Clean(at), _) => match end {
            CleanEnd::Exact => Start::Continue(at),
            CleanEnd::Beyond => Start::Recover("it was closed, but its log goes on after that"),
        },
        (ControlState::Open, _) => Start::Recover("it was not closed by its last owner"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const END: Lsn = Lsn::new(3, 4096);
    const LOGS: [LogState; 3] = [LogState::None, LogState::Empty, LogState::Filled];
    const ENDS: [CleanEnd; 2] = [CleanEnd::Exact, CleanEnd::Beyond];

    fn refused(start: Start) -> bool {
        matches!(start, Start::Refuse(_))
    }

    #[test]
    fn an_empty_directory_becomes_an_environment() {
        for log in [LogState::None, LogState::Empty] {
            let start = choose(ControlState::Absent, log, false, CleanEnd::Exact);
            assert_eq!(start, Start::Create);
        }
    }

    #[test]
    fn nothing_is_created_over_the_remains_of_an_environment() {
        for log in LOGS {
            assert!(refused(choose(ControlState::Absent, log, true, CleanEnd::Exact)));
        }
        assert!(refused(choose(ControlState::Absent, LogState::Filled, false, CleanEnd::Exact)));
    }

    #[test]
    fn a_damaged_control_file_is_refused_whatever_else_is_there() {
        for log in LOGS {
            for data in [false, true] {
                for end in ENDS {
                    assert!(refused(choose(ControlState::Damaged, log, data, end)));
                }
            }
        }
    }

    #[test]
    fn a_backup_copy_is_never_opened_as_it_is() {
        for log in LOGS {
            for data in [false, true] {
                for end in ENDS {
                    assert!(refused(choose(ControlState::BackupCopy, log, data, end)));
                }
            }
        }
    }

    #[test]
    fn an_environment_without_its_log_is_refused() {
        for control in [ControlState::Clean(END), ControlState::Open] {
            for end in ENDS {
                assert!(refused(choose(control, LogState::None, true, end)));
            }
        }
    }

    #[test]
    fn a_clean_end_is_trusted_only_if_the_log_ends_there() {
        let clean = ControlState::Clean(END);
        for log in [LogState::Empty, LogState::Filled] {
            assert_eq!(choose(clean, log, true, CleanEnd::Exact), Start::Continue(END));
            assert!(matches!(choose(clean, log, true, CleanEnd::Beyond), Start::Recover(_)));
        }
    }

    #[test]
    fn an_open_environment_is_recovered() {
        for log in [LogState::Empty, LogState::Filled] {
            for data in [false, true] {
                for end in ENDS {
                    let start = choose(ControlState::Open, log, data, end);
                    assert!(matches!(start, Start::Recover(_)));
                }
            }
        }
    }
}
