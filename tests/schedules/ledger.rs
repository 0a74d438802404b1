//! What every transaction was to do and what it was told, and the judgement: is this state one
//! that these transactions, each whole or not at all, can have left behind?
//!
//! Effects commute but for the order of the lists, so the set of transactions that are present
//! gives the state; each leaves a marker, so the state gives the set.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use campanile_tests::oracle::Rows;

/// The number of a transaction. Each attempt has one of its own.
pub type Token = u32;

pub const ACCOUNTS: u64 = 5;
pub const LISTS: u64 = 3;
pub const FILLERS: u64 = 24;
pub const BALANCE: u64 = 1000;

/// One thing that a transaction does.
#[derive(Clone, Debug)]
pub enum Effect {
    /// Takes from one account and gives to another.
    Move { from: u64, to: u64, amount: u64 },
    /// Puts its token at the end of a list.
    Append { list: u64 },
    /// Adds rows of its own.
    Fill { rows: u64, bytes: u64 },
    /// Deletes the rows of an earlier transaction of the same thread.
    Clear { of: Token, rows: u64 },
}

/// What is known of a transaction's end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fate {
    /// It may be there, or not: its commit was issued and nobody was told.
    InDoubt,
    /// Its commit was acknowledged, and promised this.
    Acknowledged(Promise),
    /// It is not there: it was rolled back, or never came to its commit.
    Gone,
    /// It is to wait for its coordinator, and nobody was told that it does.
    Preparing,
    /// It waits for its coordinator: nobody sees it, and every life knows it.
    Prepared,
    /// Its coordinator's decision was issued, and nobody was told that it is carried out.
    Resolving {
        /// The decision.
        commit: bool,
    },
}

/// How much an acknowledged commit withstands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Promise {
    /// Nothing but a clean close.
    Order,
    /// The end of the process.
    Process,
    /// The loss of power.
    Power,
}

/// One attempt at a transaction.
#[derive(Clone, Debug)]
pub struct Deed {
    pub thread: usize,
    pub effects: Vec<Effect>,
    pub fate: Fate,
}

/// All attempts.
#[derive(Clone, Debug, Default)]
pub struct Ledger(pub BTreeMap<Token, Deed>);

pub fn account_key(account: u64) -> String {
    format!("account {account}")
}

pub fn list_key(list: u64) -> String {
    format!("list {list}")
}

pub fn marker_key(token: Token) -> String {
    format!("marker {token:04}")
}

/// What a coordinator calls the transaction.
pub fn gid_of(token: Token) -> Vec<u8> {
    format!("deed {token}").into_bytes()
}

/// The transaction that a coordinator calls so.
pub fn token_of(gid: &[u8]) -> Option<Token> {
    std::str::from_utf8(gid).ok()?.strip_prefix("deed ")?.parse().ok()
}

pub fn row_key(token: Token, row: u64) -> String {
    // Rows of different transactions lie among each other.
    format!("row {row} {token:04}")
}

pub fn filler_key(filler: u64) -> String {
    format!("row {} {:04} filler", filler % 8, 5000 + filler)
}

pub fn row_value(token: Token, bytes: u64) -> Vec<u8> {
    vec![token as u8; bytes as usize]
}

/// What is in the database before anything is done.
pub fn founding() -> Rows {
    let mut rows = Rows::new();
    for account in 0..ACCOUNTS {
        rows.insert(account_key(account).into(), BALANCE.to_le_bytes().to_vec());
    }
    for list in 0..LISTS {
        rows.insert(list_key(list).into(), Vec::new());
    }
    for filler in 0..FILLERS {
        rows.insert(filler_key(filler).into(), vec![7; 40]);
    }
    rows
}

/// Why a state cannot be.
#[derive(Debug)]
pub struct Wrong(pub String);

impl fmt::Display for Wrong {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl Ledger {
    /// The tokens of transactions that withstand a failure that takes all below `promise`.
    pub fn must(&self, promise: Promise) -> BTreeSet<Token> {
        let kept = |fate| matches!(fate, Fate::Acknowledged(given) if given >= promise);
        self.0.iter().filter(|(_, deed)| kept(deed.fate)).map(|(token, _)| *token).collect()
    }

    /// The tokens of transactions that may be there.
    pub fn may(&self) -> BTreeSet<Token> {
        let may = |fate| match fate {
            Fate::InDoubt | Fate::Acknowledged(_) | Fate::Resolving { commit: true } => true,
            Fate::Gone | Fate::Preparing | Fate::Prepared => false,
            Fate::Resolving { commit: false } => false,
        };
        self.0.iter().filter(|(_, deed)| may(deed.fate)).map(|(token, _)| *token).collect()
    }

    /// What a new life says of who waits for a coordinator: those of `listed`. The fates of all who
    /// might have are known by that.
    pub fn settle(&mut self, listed: &BTreeSet<Token>) -> Result<(), Wrong> {
        if let Some(stray) = listed.iter().find(|token| !self.0.contains_key(token)) {
            return Err(Wrong(format!("{stray} is listed, and nobody prepared it")));
        }
        for (token, deed) in &mut self.0 {
            let fate = match (deed.fate, listed.contains(token)) {
                (Fate::Preparing | Fate::Prepared | Fate::Resolving { .. }, true) => Fate::Prepared,
                (Fate::Preparing | Fate::Resolving { commit: false }, false) => Fate::Gone,
                // The log says no more, so the decision is in it.
                (Fate::Resolving { commit: true }, false) => Fate::Acknowledged(Promise::Power),
                (Fate::InDoubt | Fate::Acknowledged(_) | Fate::Gone, false) => deed.fate,
                (_, listed) => {
                    return Err(Wrong(format!("{token} is listed: {listed}, but {deed:?}")));
                }
            };
            deed.fate = fate;
        }
        Ok(())
    }

    /// The coordinator has decided, durably.
    pub fn resolve(&mut self, token: Token, commit: bool) {
        if let Some(deed) = self.0.get_mut(&token) {
            deed.fate = if commit { Fate::Acknowledged(Promise::Power) } else { Fate::Gone };
        }
    }

    /// Which of the transactions are in the state.
    pub fn present(found: &Rows) -> BTreeSet<Token> {
        let markers = found.keys().filter_map(|key| key.strip_prefix(b"marker ".as_slice()));
        markers.filter_map(|digits| std::str::from_utf8(digits).ok()?.parse().ok()).collect()
    }

    /// Compares a state with the only one that its markers allow.
    pub fn judge(
        &self,
        found: &Rows,
        must: &BTreeSet<Token>,
        may: &BTreeSet<Token>,
    ) -> Result<BTreeSet<Token>, Wrong> {
        let present = Ledger::present(found);
        if let Some(lost) = must.iter().find(|token| !present.contains(token)) {
            return Err(Wrong(format!("{lost} is lost: {:?}", self.0.get(lost))));
        }
        if let Some(stray) = present.iter().find(|token| !may.contains(token)) {
            return Err(Wrong(format!("{stray} is there: {:?}", self.0.get(stray))));
        }
        let lists = self.judge_lists(found, &present)?;
        let mut expected = self.state_of(&present)?;
        expected.extend(lists);
        if *found != expected {
            let differs = |key: &&Vec<u8>| found.get(*key) != expected.get(*key);
            let keys = found.keys().chain(expected.keys()).filter(differs);
            let keys: BTreeSet<_> = keys.map(|key| String::from_utf8_lossy(key)).collect();
            return Err(Wrong(format!(
                "{keys:?} are not what transactions {present:?} leave behind: {self:?}"
            )));
        }
        Ok(present)
    }

    /// The state without the lists.
    fn state_of(&self, present: &BTreeSet<Token>) -> Result<Rows, Wrong> {
        let mut rows = founding();
        let mut balances = [BALANCE as i64; ACCOUNTS as usize];
        for token in present {
            rows.insert(marker_key(*token).into(), b"here".to_vec());
            for effect in &self.0[token].effects {
                match effect {
                    Effect::Move { from, to, amount } => {
                        balances[*from as usize] -= *amount as i64;
                        balances[*to as usize] += *amount as i64;
                    }
                    Effect::Append { .. } => {}
                    Effect::Fill { rows: count, bytes } => {
                        for row in 0..*count {
                            rows.insert(row_key(*token, row).into(), row_value(*token, *bytes));
                        }
                    }
                    Effect::Clear { of, rows: count } => {
                        if !present.contains(of) {
                            return Err(Wrong(format!("{token} is there without {of}, before it")));
                        }
                        for row in 0..*count {
                            rows.remove(row_key(*of, row).as_bytes());
                        }
                    }
                }
            }
        }
        for (account, balance) in balances.iter().enumerate() {
            rows.insert(account_key(account as u64).into(), balance.to_le_bytes().to_vec());
        }
        Ok(rows)
    }

    /// Every list holds just the transactions that are present and went there, each once; and one
    /// order of all of them explains all lists and the order within each thread.
    fn judge_lists(&self, found: &Rows, present: &BTreeSet<Token>) -> Result<Rows, Wrong> {
        let mut rows = Rows::new();
        let mut before: BTreeSet<(Token, Token)> = BTreeSet::new();
        for list in 0..LISTS {
            let key = list_key(list).into_bytes();
            let value = found.get(&key).ok_or_else(|| Wrong(format!("list {list} is gone")))?;
            let tokens = tokens_in(value);
            let appends = |token: &&Token| {
                let appends =
                    |effect: &Effect| matches!(effect, Effect::Append { list: to } if *to == list);
                self.0[token].effects.iter().any(appends)
            };
            let expected: BTreeSet<Token> = present.iter().filter(appends).copied().collect();
            let there: BTreeSet<Token> = tokens.iter().copied().collect();
            if there != expected || there.len() != tokens.len() {
                return Err(Wrong(format!("list {list} is {tokens:?}, not {expected:?}")));
            }
            before.extend(tokens.windows(2).map(|pair| (pair[0], pair[1])));
            rows.insert(key, value.clone());
        }
        let mut last: BTreeMap<usize, Token> = BTreeMap::new();
        for token in present {
            if let Some(earlier) = last.insert(self.0[token].thread, *token) {
                before.insert((earlier, *token));
            }
        }
        match has_order(present, &before) {
            true => Ok(rows),
            false => Err(Wrong(format!("no order of transactions explains the lists: {before:?}"))),
        }
    }
}

/// The tokens of a list.
pub fn tokens_in(value: &[u8]) -> Vec<Token> {
    value
        .chunks(4)
        .map(|chunk| Token::from_le_bytes(chunk.try_into().unwrap_or([255; 4])))
        .collect()
}

fn has_order(tokens: &BTreeSet<Token>, before: &BTreeSet<(Token, Token)>) -> bool {
    let mut left = tokens.clone();
    loop {
        let free = |token: &&Token| !before.iter().any(|(a, b)| b == *token && left.contains(a));
        let Some(next) = left.iter().find(free).copied() else { return left.is_empty() };
        left.remove(&next);
    }
}

#[test]
fn the_judge_sees_a_lost_a_stray_a_cut_and_a_disordered_transaction() {
    let deed = |thread, effects: Vec<Effect>, fate| Deed { thread, effects, fate };
    let both = vec![Effect::Append { list: 0 }, Effect::Append { list: 1 }];
    let safe = Fate::Acknowledged(Promise::Power);
    let ledger = Ledger(BTreeMap::from([
        (1, deed(0, both.clone(), safe)),
        (2, deed(1, both, safe)),
        (3, deed(1, vec![Effect::Move { from: 0, to: 1, amount: 5 }], Fate::InDoubt)),
        (4, deed(0, vec![], Fate::Gone)),
    ]));
    let (must, may) = (ledger.must(Promise::Power), ledger.may());
    let list = |tokens: &[Token]| tokens.iter().flat_map(|t| t.to_le_bytes()).collect::<Vec<u8>>();
    let state = |markers: &[Token], first: &[Token], second: &[Token]| {
        let mut rows = founding();
        for token in markers {
            rows.insert(marker_key(*token).into(), b"here".to_vec());
        }
        rows.insert(list_key(0).into(), list(first));
        rows.insert(list_key(1).into(), list(second));
        rows
    };
    let verdict = |rows: &Rows| ledger.judge(rows, &must, &may).map_err(|wrong| wrong.0);
    assert!(verdict(&state(&[1, 2], &[1, 2], &[1, 2])).is_ok());
    assert!(verdict(&state(&[1], &[1], &[1])).unwrap_err().contains("2 is lost"));
    assert!(verdict(&state(&[1, 2, 4], &[1, 2], &[1, 2])).unwrap_err().contains("4 is there"));
    assert!(verdict(&state(&[1, 2, 3], &[1, 2], &[1, 2])).unwrap_err().contains("not what"));
    assert!(verdict(&state(&[1, 2], &[1, 2], &[1])).unwrap_err().contains("list 1"));
    assert!(verdict(&state(&[1, 2], &[1, 2], &[2, 1])).unwrap_err().contains("no order"));
}
