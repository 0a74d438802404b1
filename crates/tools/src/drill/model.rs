//! What the environment must hold, known from the pipe alone.
//!
//! Owns the list of what was issued and acknowledged, and the comparison. Promises that the
//! engine is never asked for the answer: only which of the transactions in flight at a kill came
//! through is read from it, and each of those must be there whole or not at all.

use std::collections::BTreeMap;

use campanile::{Database, Environment, Lsn, Result, Snapshot, inspect};

use super::{
    ACCOUNT_COUNT, ACCOUNTS, Deed, JOURNAL, OPENING_BALANCE, PACKAGES, SCRATCH, account_key,
    journal_key, marked,
};

/// At most so many violations are described.
const VIOLATIONS_MAX: usize = 20;

/// What must be there.
#[derive(Debug)]
pub struct Model {
    /// The packages as they were loaded, in key order.
    packages: Vec<(Vec<u8>, Vec<u8>)>,
    balances: Vec<i64>,
    /// The last transaction that marked each package.
    marks: BTreeMap<usize, u64>,
    /// Transactions that are settled: 1 to this number.
    settled: u64,
    /// What was said to be about to commit since.
    issued: BTreeMap<u64, Vec<Deed>>,
    /// What was said to be committed since, and where in the log.
    acknowledged: BTreeMap<u64, Lsn>,
}

/// What a comparison found.
#[derive(Debug, Default)]
pub struct Findings {
    /// Transactions acknowledged in this round.
    pub acknowledged: u64,
    /// Transactions that were about to commit when the process was killed.
    pub in_flight: u64,
    /// Of these, those that came through.
    pub survived: u64,
    /// Acknowledged transactions that are gone and may be.
    pub lost: u64,
    /// What is wrong, in words.
    pub violations: Vec<String>,
    /// Violations that are not described.
    pub more_violations: u64,
}

impl Findings {
    fn wrong(&mut self, what: String) {
        if self.violations.len() < VIOLATIONS_MAX {
            self.violations.push(what);
        } else {
            self.more_violations += 1;
        }
    }
}

impl Model {
    /// The model of an environment that was just filled.
    pub fn new(env: &Environment) -> Result<Model> {
        let packages = env.open_database(PACKAGES)?;
        let packages: Result<Vec<_>> = packages.range(&env.snapshot()?, ..)?.collect();
        Ok(Model {
            packages: packages?,
            balances: vec![OPENING_BALANCE; ACCOUNT_COUNT as usize],
            marks: BTreeMap::new(),
            settled: 0,
            issued: BTreeMap::new(),
            acknowledged: BTreeMap::new(),
        })
    }

    /// How many packages there are.
    #[must_use]
    pub fn packages(&self) -> usize {
        self.packages.len()
    }

    /// What is in all accounts together, always.
    #[must_use]
    pub fn total(&self) -> i64 {
        ACCOUNT_COUNT as i64 * OPENING_BALANCE
    }

    /// Takes a line of the child.
    pub fn hear(&mut self, line: &str) {
        let mut words = line.splitn(3, ' ');
        let (kind, number) = (words.next(), words.next().and_then(|text| text.parse().ok()));
        match (kind, number) {
            (Some("I"), Some(number)) => {
                let deed = words.next().and_then(Deed::parse);
                self.issued.entry(number).or_default().extend(deed);
            }
            (Some("A"), Some(number)) => {
                let lsn = words.next().and_then(inspect::parse_lsn);
                self.acknowledged.insert(number, lsn.unwrap_or(Lsn::NONE));
            }
            _ => {}
        }
    }

    /// The last transaction that was there at the last comparison.
    #[must_use]
    pub fn settled(&self) -> u64 {
        self.settled
    }

    /// The last transaction that was acknowledged as committed before this place in the log.
    #[must_use]
    pub fn acknowledged_before(&self, end: Lsn) -> u64 {
        let before = self.acknowledged.iter().filter(|(_, lsn)| **lsn < end);
        before.map(|(number, _)| *number).max().unwrap_or(self.settled)
    }

    /// Compares the recovered environment with what must be there, and goes on from it.
    pub fn compare(&mut self, env: &Environment) -> Result<Findings> {
        self.compare_up_to(env, u64::MAX)
    }

    /// The same for an environment that was restored: transactions after number `must` may be
    /// gone, from some point on.
    pub fn compare_up_to(&mut self, env: &Environment, must: u64) -> Result<Findings> {
        let mut findings = Findings {
            acknowledged: self.acknowledged.len() as u64,
            in_flight: self.issued.keys().filter(|n| !self.acknowledged.contains_key(n)).count()
                as u64,
            ..Findings::default()
        };
        let snapshot = env.snapshot()?;
        self.settle(&env.open_database(JOURNAL)?, &snapshot, must, &mut findings)?;
        self.compare_accounts(&env.open_database(ACCOUNTS)?, &snapshot, &mut findings)?;
        self.compare_packages(&env.open_database(PACKAGES)?, &snapshot, &mut findings)?;
        if let Some((key, _)) = env.open_database(SCRATCH)?.first(&snapshot)? {
            let key = String::from_utf8_lossy(&key);
            findings.wrong(format!("{key} of a transaction that was rolled back is visible"));
        }
        Ok(findings)
    }

    /// Reads from the journal which transactions came through, and takes their deeds over.
    fn settle(
        &mut self,
        journal: &Database,
        snapshot: &Snapshot,
        must: u64,
        findings: &mut Findings,
    ) -> Result<()> {
        let from = journal_key(self.settled + 1);
        for entry in journal.range(snapshot, from.as_str()..)? {
            let (key, value) = entry?;
            let number = self.settled + 1;
            if key != journal_key(number).as_bytes() {
                let found = String::from_utf8_lossy(&key);
                findings.wrong(format!("transaction {number} is missing, {found} is there"));
                return Ok(());
            }
            let deed = Deed::parse(&String::from_utf8_lossy(&value));
            let issued = self.issued.remove(&number).unwrap_or_default();
            match deed.filter(|deed| issued.contains(deed)) {
                Some(deed) => self.take_over(number, deed),
                None => findings.wrong(format!("transaction {number} is not what was issued")),
            }
            if self.acknowledged.remove(&number).is_none() {
                findings.survived += 1;
            }
            self.settled = number;
        }
        for number in std::mem::take(&mut self.acknowledged).into_keys() {
            if number <= must {
                findings.wrong(format!("transaction {number} was acknowledged and is gone"));
            } else {
                findings.lost += 1;
            }
        }
        self.issued.clear();
        Ok(())
    }

    fn take_over(&mut self, number: u64, deed: Deed) {
        match deed {
            Deed::Transfer { from, to, amount } => {
                self.balances[from as usize] -= amount;
                self.balances[to as usize] += amount;
            }
            Deed::Update { package } => {
                self.marks.insert(package, number);
            }
        }
    }

    fn compare_accounts(
        &self,
        accounts: &Database,
        snapshot: &Snapshot,
        findings: &mut Findings,
    ) -> Result<()> {
        let mut total = 0;
        let mut count = 0;
        for entry in accounts.range(snapshot, ..)? {
            let (key, value) = entry?;
            let found: Option<i64> = String::from_utf8_lossy(&value).parse().ok();
            let expected = self.balances.get(count).copied();
            if key != account_key(count as u64).as_bytes() || found != expected {
                let key = String::from_utf8_lossy(&key);
                findings.wrong(format!("{key} holds {found:?} and must hold {expected:?}"));
            }
            total += found.unwrap_or(0);
            count += 1;
        }
        if count != self.balances.len() || total != self.total() {
            findings.wrong(format!("{total} in {count} accounts, must be {}", self.total()));
        }
        Ok(())
    }

    fn compare_packages(
        &self,
        packages: &Database,
        snapshot: &Snapshot,
        findings: &mut Findings,
    ) -> Result<()> {
        let mut found = packages.range(snapshot, ..)?;
        for (index, (key, original)) in self.packages.iter().enumerate() {
            let expected = match self.marks.get(&index) {
                Some(number) => marked(original, *number),
                None => original.clone(),
            };
            let entry = found.next().transpose()?;
            if entry.as_ref() != Some(&(key.clone(), expected)) {
                let name = String::from_utf8_lossy(key);
                findings.wrong(format!("package {name} is not as the last update left it"));
                return Ok(());
            }
        }
        if found.next().transpose()?.is_some() {
            findings.wrong("there are packages that nobody put there".to_owned());
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use campanile::host::Host;

    use super::*;
    use crate::drill::{fill, options};

    fn filled() -> (Environment, Model) {
        let env = Environment::open_on(Host::memory(), "/home", options()).unwrap();
        fill(&env).unwrap();
        let model = Model::new(&env).unwrap();
        (env, model)
    }

    fn transfer(env: &Environment, number: u64, deed: &str, from: &str, to: &str) {
        let accounts = env.open_database(ACCOUNTS).unwrap();
        let journal = env.open_database(JOURNAL).unwrap();
        env.run(|txn| {
            journal.put(txn, journal_key(number), deed)?;
            accounts.put(txn, account_key(1), from)?;
            accounts.put(txn, account_key(2), to)
        })
        .unwrap();
    }

    #[test]
    fn what_was_acknowledged_and_is_there_is_no_violation() {
        let (env, mut model) = filled();
        transfer(&env, 1, "T 1 2 5", "995", "1005");
        for line in ["R", "I 1 T 1 2 5", "A 1", "I 2 P 7"] {
            model.hear(line);
        }
        let findings = model.compare(&env).unwrap();
        assert!(findings.violations.is_empty(), "{:?}", findings.violations);
        assert_eq!((findings.acknowledged, findings.in_flight, findings.survived), (1, 1, 0));
    }

    #[test]
    fn what_was_acknowledged_and_is_gone_is_a_violation() {
        let (env, mut model) = filled();
        model.hear("I 1 T 1 2 5");
        model.hear("A 1");
        let findings = model.compare(&env).unwrap();
        assert_eq!(findings.violations, ["transaction 1 was acknowledged and is gone"]);
    }

    #[test]
    fn what_was_not_archived_may_be_gone_and_is_counted() {
        let (env, mut model) = filled();
        transfer(&env, 1, "T 1 2 5", "995", "1005");
        for line in ["I 1 T 1 2 5", "A 1 3/4096", "I 2 P 7", "A 2 3/8192", "I 3 P 8", "A 3 4/512"] {
            model.hear(line);
        }
        assert_eq!(model.settled(), 0);
        let archived = model.acknowledged_before(Lsn::new(3, 8192));
        assert_eq!(archived, 1, "the record of the second begins where the archive ends");
        let findings = model.compare_up_to(&env, archived).unwrap();
        assert!(findings.violations.is_empty(), "{:?}", findings.violations);
        assert_eq!(findings.lost, 2);
    }

    #[test]
    fn what_was_archived_must_not_be_gone() {
        let (env, mut model) = filled();
        for line in ["I 1 P 7", "A 1 3/4096", "I 2 P 8", "A 2 3/8192"] {
            model.hear(line);
        }
        let findings = model.compare_up_to(&env, 1).unwrap();
        assert_eq!(findings.violations, ["transaction 1 was acknowledged and is gone"]);
        assert_eq!(findings.lost, 1);
    }

    #[test]
    fn half_a_transaction_is_a_violation() {
        let (env, mut model) = filled();
        transfer(&env, 1, "T 1 2 5", "995", "1000");
        model.hear("I 1 T 1 2 5");
        let findings = model.compare(&env).unwrap();
        assert_eq!(findings.survived, 1);
        assert_eq!(findings.violations.len(), 2, "{:?}", findings.violations);
    }

    #[test]
    fn what_nobody_committed_is_a_violation() {
        let (env, mut model) = filled();
        let scratch = env.open_database(SCRATCH).unwrap();
        env.run(|txn| scratch.put(txn, "scratch-1", "x")).unwrap();
        let packages = env.open_database(PACKAGES).unwrap();
        env.run(|txn| packages.put(txn, "zsh", "rewritten")).unwrap();
        let findings = model.compare(&env).unwrap();
        assert_eq!(findings.violations.len(), 2, "{:?}", findings.violations);
    }

    #[test]
    fn deeds_and_marks_read_back() {
        for deed in [Deed::Transfer { from: 1, to: 2, amount: 3 }, Deed::Update { package: 15_000 }]
        {
            assert_eq!(Deed::parse(&deed.to_string()), Some(deed));
        }
        assert_eq!(Deed::parse("P 1 2"), None);
        let value = marked(b"1.0\tnet", 77);
        assert_eq!(value, b"1.0\tnet\t#77");
        assert_eq!(crate::drill::unmarked(&value), b"1.0\tnet");
        let summary = b"0.1\trust\t9\t#[derive] support";
        assert_eq!(crate::drill::unmarked(&marked(summary, 5)), summary);
        assert_eq!(crate::drill::unmarked(summary), summary);
    }
}
