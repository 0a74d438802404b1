//! Prepared transactions of a home that is not open here.
//!
//! Owns nothing: it reads the log as recovery would. Must never write or take the home's lock: it
//! works beside a running owner, and tells what was durable a moment ago.

use std::path::Path;

use campanile_recovery::PreparedReport;
use campanile_vfs::Host;

use crate::error::Result;
use crate::progress::Progress;
use crate::{causes, start};

/// The prepared transactions in the home in the directory `home` that nobody has resolved, as its
/// log tells. Reads the log from the last checkpoint on.
///
/// ```
/// # let dir = tempfile::tempdir()?;
/// # let home = dir.path();
/// use campanile::{Environment, inspect};
///
/// let env = Environment::open(home)?;
/// drop(env.begin()?.prepare(b"order 66")?);
/// env.close()?;
/// assert_eq!(inspect::prepared(home)?[0].gid.as_deref(), Some("order 66"));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub fn prepared(home: impl AsRef<Path>) -> Result<Vec<PreparedReport>> {
    prepared_on(&Host::os(), home)
}

/// The same on another host.
pub fn prepared_on(host: &Host, home: impl AsRef<Path>) -> Result<Vec<PreparedReport>> {
    let progress = Progress::none();
    let hook = &mut start::hook(&progress);
    let report = campanile_recovery::dry_run(host, home.as_ref(), hook);
    Ok(report.map_err(causes::recovery)?.prepared)
}
