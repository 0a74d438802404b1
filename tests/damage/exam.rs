//! Looking at a damaged home in every way a user could: the log printed, opened for reading only,
//! opened with recovery; each time everything read forward and backward, verified and dumped.
//! Collects what was shown and judges nothing.

use crate::sample::Sample;
use campanile::inspect::{self, LogOptions};
use campanile::text::Writer;
use campanile::{
    DumpOptions, Environment, EnvironmentOptions, Error, ErrorKind, RecoveryReport, Snapshot,
    VerifyReport,
};
use campanile_tests::life::HOME;
use campanile_vfs::Host;
use campanile_vfs::sim::SimDisk;
use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

/// An error as users see it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Complaint {
    /// Its kind.
    pub kind: ErrorKind,
    /// Its words.
    pub text: String,
}

impl From<Error> for Complaint {
    fn from(error: Error) -> Complaint {
        Complaint { kind: error.kind(), text: error.to_string() }
    }
}

impl fmt::Display for Complaint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}: {}", self.kind, self.text)
    }
}

/// Rows as they came, and the error that ended them, if one did.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Scan {
    /// The rows.
    pub rows: Vec<(Vec<u8>, Vec<u8>)>,
    /// Why there are no more.
    pub broke: Option<Complaint>,
}

/// What one database showed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Shown {
    /// From the first row on.
    pub forward: Scan,
    /// From the last row back.
    pub backward: Scan,
    /// Pairs in its dump.
    pub dumped: Result<u64, Complaint>,
}

/// What an environment that could be opened showed.
#[derive(Debug)]
pub struct View {
    /// What recovery said.
    pub report: Option<RecoveryReport>,
    /// The names of its databases.
    pub names: Result<Vec<String>, Complaint>,
    /// Those that could be opened, or why not.
    pub databases: BTreeMap<String, Result<Shown, Complaint>>,
    /// The verification.
    pub verify: Result<VerifyReport, Complaint>,
}

impl View {
    /// Every error that any of it met.
    pub fn complaints(&self) -> Vec<&Complaint> {
        let mut all: Vec<&Complaint> = self.names.as_ref().err().into_iter().collect();
        for shown in self.databases.values() {
            match shown {
                Ok(shown) => {
                    all.extend(&shown.forward.broke);
                    all.extend(&shown.backward.broke);
                    all.extend(shown.dumped.as_ref().err());
                }
                Err(complaint) => all.push(complaint),
            }
        }
        all.extend(self.verify.as_ref().err());
        all
    }

    /// What the verification found, in words.
    pub fn findings(&self) -> &[String] {
        self.verify.as_ref().map_or(&[], |report| &report.damage)
    }
}

/// Everything that was seen of a damaged home.
pub struct Seen {
    /// Printing the log: how many records, and the error that ended it.
    pub log: (u64, Option<Complaint>),
    /// Opened for reading only.
    pub read_only: Result<View, Complaint>,
    /// Opened, recovered if need be.
    pub opened: Result<View, Complaint>,
    /// Closing after that; nothing if it was not opened.
    pub close: Option<Result<(), Complaint>>,
    /// The disk in the end.
    pub after: Arc<SimDisk>,
}

/// Looks at the home on `disk`, which is changed by it.
pub fn examine(sample: &Sample, disk: &Arc<SimDisk>) -> Seen {
    let host = disk.host();
    let log = print_log(&host);
    let _ = inspect::home_on(&host, HOME);
    let options = sample.options.clone().create(false);
    let read_only = Environment::open_on(host.clone(), HOME, options.clone().read_only(true));
    let read_only = read_only.map(|env| look(&env)).map_err(Complaint::from);
    let (opened, close) = open(&host, options);
    Seen { log, read_only, opened, close, after: Arc::clone(disk) }
}

type Closed = Option<Result<(), Complaint>>;

fn open(host: &Host, options: EnvironmentOptions) -> (Result<View, Complaint>, Closed) {
    match Environment::open_on(host.clone(), HOME, options) {
        Ok(env) => {
            let view = look(&env);
            (Ok(view), Some(env.close().map_err(Complaint::from)))
        }
        Err(error) => (Err(error.into()), None),
    }
}

fn print_log(host: &Host) -> (u64, Option<Complaint>) {
    let records = match inspect::log_on(host, HOME, &LogOptions::new()) {
        Ok(records) => records,
        Err(error) => return (0, Some(error.into())),
    };
    let mut count = 0;
    for record in records {
        match record {
            Ok(_) => count += 1,
            Err(error) => return (count, Some(error.into())),
        }
    }
    (count, None)
}

fn look(env: &Environment) -> View {
    let report = env.recovery_report().cloned();
    let verify = env.verify().map_err(Complaint::from);
    let mut databases = BTreeMap::new();
    let names = env.snapshot().and_then(|snapshot| {
        let names = env.databases(&snapshot)?;
        for name in &names {
            databases.insert(name.clone(), show(env, &snapshot, name).map_err(Complaint::from));
        }
        Ok(names)
    });
    View { report, names: names.map_err(Complaint::from), databases, verify }
}

fn show(env: &Environment, snapshot: &Snapshot, name: &str) -> campanile::Result<Shown> {
    let db = env.open_database_at(snapshot, name)?;
    let forward = scan(db.range(snapshot, ..)?);
    let backward = scan(db.range(snapshot, ..)?.rev());
    let mut writer = Writer::new(std::io::sink());
    let dumped = env.dump(snapshot, name, &mut writer, &DumpOptions::new());
    let dumped = dumped.map(|report| report.pairs).map_err(Complaint::from);
    Ok(Shown { forward, backward, dumped })
}

fn scan(entries: impl Iterator<Item = campanile::Result<(Vec<u8>, Vec<u8>)>>) -> Scan {
    let mut scan = Scan::default();
    for entry in entries {
        match entry {
            Ok(row) => scan.rows.push(row),
            Err(error) => {
                scan.broke = Some(error.into());
                break;
            }
        }
    }
    scan
}
