//! One side of a comparison: an environment or an export, as databases and pairs in order.
//!
//! Owns what makes them alike. Promises one state for all databases of a side. Must never change
//! a home.

use std::collections::BTreeMap;

use campanile_vfs::Host;

use super::Source;
use crate::cursor::Cursor;
use crate::environment::Environment;
use crate::error::{Error, ErrorKind, Result};
use crate::export::{Export, Found, Section, look};
use crate::options::EnvironmentOptions;
use crate::progress::Progress;
use crate::snapshot::Snapshot;

/// One side.
pub(super) enum Side {
    Environment { snapshot: Snapshot, env: Environment },
    Export(Export),
}

impl Side {
    pub fn open(host: &Host, source: Source<'_>, progress: &Progress) -> Result<Side> {
        let env = match source {
            Source::Environment(env) => env.clone(),
            Source::Path(path) => match look(host, path)? {
                Found::Other => {
                    let options = EnvironmentOptions::new().read_only(true);
                    let options = options.progress(progress.clone());
                    Environment::open_on(host.clone(), path, options)?
                }
                _ => return Ok(Side::Export(Export::open_on(host, path, progress)?)),
            },
        };
        Ok(Side::Environment { snapshot: env.snapshot()?, env })
    }

    pub fn shown(&self) -> String {
        match self {
            Side::Environment { env, .. } => format!("environment {}", env.home().display()),
            Side::Export(export) => {
                format!("export {} of {}", export.path().display(), export.manifest().time)
            }
        }
    }

    /// The databases, and whether each survives a crash.
    pub fn databases(&self) -> Result<BTreeMap<String, bool>> {
        match self {
            Side::Environment { snapshot, env } => {
                let mut found = BTreeMap::new();
                for name in env.databases(snapshot)? {
                    let durable = env.open_database_at(snapshot, &name)?.is_durable();
                    found.insert(name, durable);
                }
                Ok(found)
            }
            Side::Export(export) => {
                let databases = export.manifest().databases.iter();
                Ok(databases.map(|one| (one.name.clone(), one.durable)).collect())
            }
        }
    }

    /// Begins to read a database.
    pub fn stream(&self, name: &str, progress: &Progress) -> Result<Stream<'_>> {
        match self {
            Side::Environment { snapshot, env } => {
                let database = env.open_database_at(snapshot, name)?;
                Ok(Stream::Cursor(Box::new(database.cursor(snapshot)?)))
            }
            Side::Export(export) => {
                let database = export.manifest().database(name).ok_or_else(|| {
                    Error::new(ErrorKind::NotFound, format!("there is no database {name:?}"))
                })?;
                let section = export.section(database, "compare", progress)?;
                Ok(Stream::Section(Box::new(section)))
            }
        }
    }
}

/// The pairs of a database, in order.
pub(super) enum Stream<'s> {
    Cursor(Box<Cursor<'s>>),
    Section(Box<Section>),
}

impl Stream<'_> {
    pub fn next(&mut self) -> Result<Option<(Vec<u8>, Vec<u8>)>> {
        match self {
            Stream::Section(section) => section.next(),
            Stream::Cursor(cursor) => {
                if !cursor.next()? {
                    return Ok(None);
                }
                let key = cursor.key().unwrap_or_default().to_vec();
                Ok(Some((key, cursor.value()?.unwrap_or_default().to_vec())))
            }
        }
    }
}
