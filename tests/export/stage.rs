//! Environments to export, in every form that an export has.

use campanile::diff::{DiffOptions, DiffReport, Source};
use campanile::export::{Compression, Export, ExportOptions, Layout};
use campanile::import::{ImportOptions, ImportReport};
use campanile::{DatabaseOptions, Environment, EnvironmentOptions, Error, Progress};
use campanile_tests::oracle::{Rows, State};
use campanile_vfs::Host;
use std::path::Path;
use std::sync::Arc;

pub const EXPORT: &str = "/saved";

/// Every form: as a directory and as one file, plain and packed.
pub const FORMS: [(Layout, Compression); 4] = [
    (Layout::Directory, Compression::None),
    (Layout::Directory, Compression::Zstd),
    (Layout::File, Compression::None),
    (Layout::File, Compression::Zstd),
];

pub fn form((layout, compression): (Layout, Compression)) -> ExportOptions {
    ExportOptions::new().layout(layout).compression(compression)
}

pub fn options() -> EnvironmentOptions {
    EnvironmentOptions::new().page_bytes(4096).cache_bytes(64 * 4096)
}

pub fn open(host: &Host, home: &str) -> Environment {
    Environment::open_on(host.clone(), home, options()).expect("a home")
}

/// A database of a model: its name, whether it survives a crash, what it holds.
pub type Kept = (String, bool, Rows);

/// An environment that holds this.
pub fn fill(env: &Environment, databases: &[Kept]) {
    for (name, durable, rows) in databases {
        env.run(|txn| {
            let options = DatabaseOptions::new().durable(*durable);
            let database = env.create_database_with(txn, name, options)?;
            rows.iter().try_for_each(|(key, value)| database.put(txn, key, value).map(|_| ()))
        })
        .expect("a load");
    }
}

/// A few small databases with every kind of name and content.
pub fn small() -> Vec<Kept> {
    let rows = |count: u8| (0..count).map(|n| (vec![b'k', n], vec![n; usize::from(n)])).collect();
    vec![
        ("accounts".to_owned(), true, rows(7)),
        ("a b/\u{e9}".to_owned(), true, Rows::from([(vec![0, 255, b'\\'], vec![b'\n'])])),
        ("empty".to_owned(), true, Rows::new()),
        ("cache".to_owned(), false, rows(2)),
    ]
}

pub fn export(host: &Host, env: &Environment, how: &ExportOptions) -> Result<(), Error> {
    how.run_on(host, env, Path::new(EXPORT)).map(|_| ())
}

pub fn import(host: &Host, env: &Environment, how: &ImportOptions) -> Result<ImportReport, Error> {
    how.run(env, &Export::open_on(host, Path::new(EXPORT), &Progress::none())?)
}

/// The environment against the export.
pub fn compare(host: &Host, env: &Environment) -> Result<DiffReport, Error> {
    let export = Source::Path(Path::new(EXPORT));
    DiffOptions::new().run_on(host, Source::Environment(env), export)
}

pub fn state_of(databases: &[Kept]) -> State {
    databases.iter().map(|(name, _, rows)| (name.clone(), Arc::new(rows.clone()))).collect()
}

/// The names of the databases that do not survive a crash.
pub fn volatile(env: &Environment) -> Vec<String> {
    let snapshot = env.snapshot().expect("a snapshot");
    let mut names = env.databases(&snapshot).expect("names");
    names.retain(|name| !env.open_database_at(&snapshot, name).expect("it is there").is_durable());
    names
}
