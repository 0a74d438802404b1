//! One transaction of a run: its effects, itself or in children, and its end, of whatever kind.

use campanile::{Durability, Error, Isolation, Transaction, TransactionOptions};
use campanile_sync::thread;

use crate::ledger::{
    ACCOUNTS, Effect, Fate, Promise, Token, account_key, gid_of, list_key, marker_key, row_key,
    row_value,
};
use crate::town::{Ending, Intent, Life, Shape, Town, open};

/// The number of a row that nobody may ever see.
const NEVER: u64 = 9;

impl Town {
    /// One attempt at an intent.
    pub fn attempt(&self, token: Token, intent: &Intent, effects: &[Effect]) -> Result<(), Error> {
        let options = TransactionOptions::new().isolation(intent.isolation);
        let mut txn = self.env.begin_with(options)?;
        self.carry_out_all(&mut txn, token, intent, effects)?;
        let ended = self.end(txn, token, intent.ending);
        self.count(intent);
        ended
    }

    /// An intent that the environment runs, as often as that takes.
    pub fn run(&self, life: &mut Life, intent: &Intent) -> Result<(), Error> {
        let options = TransactionOptions::new().isolation(intent.isolation);
        let mut attempts = 0;
        let ran = self.env.run_with(options, |txn| {
            if attempts > 0 {
                // That it is called again says that the last attempt was rolled back.
                self.set_fate(life.token, Fate::Gone);
                let last = life.token;
                life.cleared.retain(|(_, by)| *by != last);
                *open(&self.notes.retried) += 1;
            }
            attempts += 1;
            let (token, effects) = self.begin(life, intent);
            self.carry_out_all(txn, token, intent, &effects)?;
            self.set_fate(token, Fate::InDoubt);
            Ok(())
        });
        self.count(intent);
        match ran {
            Ok(()) => self.set_fate(life.token, Fate::Acknowledged(Promise::Power)),
            Err(error) if error.is_retryable() => self.set_fate(life.token, Fate::Gone),
            Err(error) => return Err(error),
        }
        Ok(())
    }

    fn count(&self, intent: &Intent) {
        let mut kinds = open(&self.notes.kinds);
        match intent.shape {
            Shape::Plain => {}
            Shape::Children => kinds.children += 1,
            Shape::Siblings => kinds.siblings += 1,
        }
        match intent.ending {
            Ending::Ticket { .. } => kinds.tickets += 1,
            Ending::Prepare { .. } => kinds.prepared += 1,
            Ending::Run => kinds.runs += 1,
            Ending::Commit(_) | Ending::GiveUp => {}
        }
        kinds.weaker += u64::from(intent.isolation != Isolation::Serializable);
    }

    fn carry_out_all(
        &self,
        txn: &mut Transaction,
        token: Token,
        intent: &Intent,
        effects: &[Effect],
    ) -> Result<(), Error> {
        match intent.shape {
            Shape::Plain => {
                for (nth, effect) in effects.iter().enumerate() {
                    self.carry_out(txn, token, effect, intent.isolation)?;
                    if nth == 0 && intent.digresses {
                        let savepoint = txn.savepoint()?;
                        self.digress(txn, token, intent.isolation)?;
                        txn.rollback_to(&savepoint)?;
                    }
                }
            }
            Shape::Children => {
                for effect in effects {
                    self.carry_out_below(txn, token, intent, effect, intent.digresses)?;
                }
            }
            Shape::Siblings => self.carry_out_beside(txn, token, intent, effects)?,
        }
        self.db.put(txn, marker_key(token), "here").map(drop)
    }

    /// What is rolled back, whatever becomes of the transaction.
    fn digress(
        &self,
        txn: &mut Transaction,
        token: Token,
        isolation: Isolation,
    ) -> Result<(), Error> {
        self.db.put(txn, row_key(token, NEVER), b"never to be seen")?;
        self.change_account(txn, u64::from(token) % ACCOUNTS, 77, isolation)
    }

    /// An effect in a child, and in a child of that what is rolled back.
    fn carry_out_below(
        &self,
        txn: &Transaction,
        token: Token,
        intent: &Intent,
        effect: &Effect,
        digresses: bool,
    ) -> Result<(), Error> {
        let mut child = txn.nested()?;
        self.carry_out(&mut child, token, effect, intent.isolation)?;
        if digresses {
            let mut lost = child.nested()?;
            self.digress(&mut lost, token, intent.isolation)?;
            lost.abort()?;
        }
        child.commit()
    }

    /// The effects in turns by two children at once, while their parent reads what one of them puts
    /// there and takes back.
    fn carry_out_beside(
        &self,
        txn: &Transaction,
        token: Token,
        intent: &Intent,
        effects: &[Effect],
    ) -> Result<(), Error> {
        let half = |first: usize| {
            let mut mine = effects.iter().skip(first).step_by(2);
            mine.try_for_each(|effect| {
                self.carry_out_below(txn, token, intent, effect, intent.digresses && first == 0)
            })
        };
        let (one, other, seen) = thread::scope(|scope| {
            let (one, other) = (scope.spawn(|| half(0)), scope.spawn(|| half(1)));
            let looks = || (0..2).map(|_| self.db.get(txn, row_key(token, NEVER)));
            let seen: Result<Vec<_>, Error> = looks().collect();
            let ended = |child: Result<_, _>| child.expect("a sibling does not panic");
            (ended(one.join()), ended(other.join()), seen)
        });
        one.and(other)?;
        if intent.isolation != Isolation::ReadUncommitted && seen?.iter().any(Option::is_some) {
            self.note_wrong(format!("{token} has seen what its child took back"));
        }
        Ok(())
    }

    fn end(&self, txn: Transaction, token: Token, ending: Ending) -> Result<(), Error> {
        match ending {
            Ending::GiveUp => txn.abort(),
            Ending::Commit(durability) => {
                let promise = match durability {
                    Durability::Sync => Promise::Power,
                    Durability::WriteNoSync => Promise::Process,
                    _ => Promise::Order,
                };
                self.issue(token, || txn.commit_with(durability))?;
                self.set_fate(token, Fate::Acknowledged(promise));
                Ok(())
            }
            Ending::Ticket { waits } => {
                let ticket = self.issue(token, || txn.commit_ticket())?;
                self.set_fate(token, Fate::Acknowledged(Promise::Order));
                if waits {
                    ticket.wait()?;
                    self.set_fate(token, Fate::Acknowledged(Promise::Power));
                }
                Ok(())
            }
            Ending::Prepare { commit, by_name } => self.prepare(txn, token, commit, by_name),
            Ending::Run => unreachable!("the environment ends it"),
        }
    }

    /// A commit, which nobody knows the outcome of until it returns.
    fn issue<T>(
        &self,
        token: Token,
        commit: impl FnOnce() -> Result<T, Error>,
    ) -> Result<T, Error> {
        self.set_fate(token, Fate::InDoubt);
        let issued = commit();
        if issued.as_ref().is_err_and(Error::is_retryable) {
            self.set_fate(token, Fate::Gone);
        }
        issued
    }

    /// In two phases. While it waits nobody sees it; others may meet its locks.
    fn prepare(
        &self,
        txn: Transaction,
        token: Token,
        commit: bool,
        by_name: bool,
    ) -> Result<(), Error> {
        let gid = gid_of(token);
        self.set_fate(token, Fate::Preparing);
        let handle = txn.prepare(&gid)?;
        self.set_fate(token, Fate::Prepared);
        if !self.env.prepared().iter().any(|known| known.gid == gid) {
            self.note_wrong(format!("{token} is prepared and not listed"));
        }
        let looked = self.report();
        self.set_fate(token, Fate::Resolving { commit });
        // Also if the look failed: others wait for the locks.
        match (commit, by_name) {
            (true, true) => self.env.commit_prepared(&gid).map(drop)?,
            (true, false) => handle.commit().map(drop)?,
            (false, true) => self.env.abort_prepared(&gid)?,
            (false, false) => handle.abort()?,
        }
        open(&self.notes.ledger).resolve(token, commit);
        looked
    }

    fn carry_out(
        &self,
        txn: &mut Transaction,
        token: Token,
        effect: &Effect,
        isolation: Isolation,
    ) -> Result<(), Error> {
        match effect {
            Effect::Move { from, to, amount } => {
                self.change_account(txn, *from, -(*amount as i64), isolation)?;
                self.change_account(txn, *to, *amount as i64, isolation)?;
            }
            Effect::Append { list } => {
                let key = list_key(*list);
                let mut value = self.to_change(txn, &key, isolation)?;
                value.extend_from_slice(&token.to_le_bytes());
                self.db.put(txn, &key, value)?;
            }
            Effect::Fill { rows, bytes } => {
                for row in 0..*rows {
                    self.db.put(txn, row_key(token, row), row_value(token, *bytes))?;
                }
            }
            Effect::Clear { of, rows } => {
                for row in 0..*rows {
                    if !self.db.delete(txn, row_key(*of, row))? {
                        self.note_wrong(format!("{token}: row {row} of {of} is not there"));
                    }
                }
            }
        }
        Ok(())
    }

    fn change_account(
        &self,
        txn: &mut Transaction,
        account: u64,
        by: i64,
        isolation: Isolation,
    ) -> Result<(), Error> {
        let key = account_key(account);
        let Ok(bytes) = self.to_change(txn, &key, isolation)?.try_into() else {
            self.note_wrong(format!("account {account} has no balance"));
            return Ok(());
        };
        let balance = i64::from_le_bytes(bytes) + by;
        self.db.put(txn, &key, balance.to_le_bytes())?;
        Ok(())
    }

    /// What is changed next: a serializable transaction need not say so.
    fn to_change(
        &self,
        txn: &mut Transaction,
        key: &str,
        isolation: Isolation,
    ) -> Result<Vec<u8>, Error> {
        let value = match isolation {
            Isolation::Serializable => self.db.get(txn, key)?,
            _ => self.db.get_for_update(txn, key)?,
        };
        Ok(value.unwrap_or_default())
    }
}
