//! The drill: kill a busy process again and again, recover, and prove that nothing committed is
//! lost and nothing uncommitted is there.
//!
//! Owns the work that is done, in the words that parent and child use for it. Parent and child
//! share nothing but the home and a pipe: the child says what it is about to commit, and that it
//! was committed; the parent keeps the list, kills, recovers and compares. `disaster` goes on from
//! there: what was committed is destroyed, and restored.

pub mod child;
pub mod disaster;
pub mod model;
pub mod report;
pub mod rounds;

use std::fmt;
use std::io::Read;

use campanile::{Environment, EnvironmentOptions, LoadOptions, text};

use crate::failure::Failure;

/// The databases of the drill.
pub const PACKAGES: &str = "packages";
/// Account number to balance.
pub const ACCOUNTS: &str = "accounts";
/// Number of a transaction to what it did.
pub const JOURNAL: &str = "journal";
/// The number of the last transaction.
pub const STATE: &str = "state";
/// What only transactions that are rolled back ever write to.
pub const SCRATCH: &str = "scratch";
/// The key in [`STATE`].
pub const LAST: &str = "last";

/// How many accounts there are.
pub const ACCOUNT_COUNT: u64 = 1000;
/// What is in each at the beginning.
pub const OPENING_BALANCE: i64 = 1000;

/// The environment of the drill: small sizes, so that log files, checkpoints and evictions come
/// often.
pub fn options() -> EnvironmentOptions {
    Environment::options()
        .cache_bytes(2 << 20)
        .log_file_bytes(1 << 20)
        .log_buffer_bytes(256 << 10)
        .checkpoint_log_bytes(1 << 20)
}

/// What one transaction does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Deed {
    /// Moves money from one account to another.
    Transfer {
        /// The account that gives.
        from: u64,
        /// The account that takes.
        to: u64,
        /// How much.
        amount: i64,
    },
    /// Marks a package, by its place in key order, with the number of the transaction.
    Update {
        /// Which package.
        package: usize,
    },
}

impl fmt::Display for Deed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Deed::Transfer { from, to, amount } => write!(f, "T {from} {to} {amount}"),
            Deed::Update { package } => write!(f, "P {package}"),
        }
    }
}

impl Deed {
    /// Reads what `Display` wrote.
    #[must_use]
    pub fn parse(text: &str) -> Option<Deed> {
        let mut words = text.split(' ');
        let deed = match words.next()? {
            "T" => Deed::Transfer {
                from: words.next()?.parse().ok()?,
                to: words.next()?.parse().ok()?,
                amount: words.next()?.parse().ok()?,
            },
            "P" => Deed::Update { package: words.next()?.parse().ok()? },
            _ => return None,
        };
        words.next().is_none().then_some(deed)
    }
}

/// The key of an account.
#[must_use]
pub fn account_key(account: u64) -> String {
    format!("account-{account:04}")
}

/// The key of a transaction in the journal.
#[must_use]
pub fn journal_key(number: u64) -> String {
    format!("{number:012}")
}

/// The value of a package that transaction `number` has marked.
#[must_use]
pub fn marked(original: &[u8], number: u64) -> Vec<u8> {
    let mut value = original.to_vec();
    value.extend_from_slice(format!("\t#{number}").as_bytes());
    value
}

/// The value without its mark.
#[must_use]
pub fn unmarked(value: &[u8]) -> &[u8] {
    match value.windows(2).rposition(|two| two == b"\t#") {
        // Real summaries begin with a # too, but go on with something else than digits.
        Some(at) if value[at + 2..].iter().all(u8::is_ascii_digit) => &value[..at],
        _ => value,
    }
}

/// The real data: Debian packages, as Berkeley DB dumped them.
const SHIPPED: &[u8] = include_bytes!("../data/packages.print.dump.zst");

/// The text of the shipped dump.
pub fn shipped_dump() -> Result<Vec<u8>, Failure> {
    let mut text = Vec::new();
    zstd::Decoder::new(SHIPPED)
        .and_then(|mut decoder| decoder.read_to_end(&mut text))
        .map_err(|error| Failure::io("unpacking the shipped data", error))?;
    Ok(text)
}

/// Fills a new environment.
pub fn fill(env: &Environment) -> Result<(), Failure> {
    let dump = shipped_dump()?;
    let mut reader = text::Reader::new(&dump[..], "packages.print.dump");
    env.load(&mut reader, &LoadOptions::new().database(PACKAGES))?;
    let accounts = env.create_database(ACCOUNTS)?;
    env.create_database(JOURNAL)?;
    env.create_database(SCRATCH)?;
    let state = env.create_database(STATE)?;
    env.run(|txn| {
        for account in 0..ACCOUNT_COUNT {
            accounts.put(txn, account_key(account), OPENING_BALANCE.to_string())?;
        }
        state.put(txn, LAST, "0")
    })?;
    Ok(())
}
