//! The order of versions of every list, and what is wrong without looking at any graph.
//!
//! Owns who wrote what and in which order it became visible. Promises that the order of a list is
//! the longest list that anybody read, cut before the first element of an aborted transaction.

use super::{Anomaly, Kind};
use crate::history::{Element, History, Key, Outcome, Txn};
use std::collections::HashMap;

/// What the reads say about versions.
#[derive(Debug, Default)]
pub struct Orders {
    /// Who appended an element, to which key.
    pub writer: HashMap<Element, (usize, Key)>,
    /// Elements of a list in the order of their versions.
    pub order: HashMap<Key, Vec<Element>>,
    /// Committed appends that nobody ever read: they come after all that was read.
    pub unread: HashMap<Key, Vec<usize>>,
}

/// Reads the orders out of a history, or says why it is none.
pub fn infer(history: &History) -> Result<Orders, String> {
    let mut orders = Orders::default();
    for (at, txn) in history.txns.iter().enumerate() {
        if txn.outcome == Outcome::InDoubt {
            return Err(format!("{} is still in doubt", name(at)));
        }
        for (key, element) in txn.appends() {
            if orders.writer.insert(element, (at, key)).is_some() {
                return Err(format!("element {element} was appended twice"));
            }
        }
    }
    let mut read = std::collections::HashSet::new();
    for txn in &history.txns {
        for (op, list) in txn.outside_reads() {
            read.extend(list.iter().copied());
            let list = settled(history, &orders, list);
            let longest = orders.order.entry(op.key).or_default();
            if list.len() > longest.len() {
                *longest = list.to_vec();
            }
        }
    }
    for (at, txn) in history.txns.iter().enumerate() {
        // What a lost update overwrote was not made last; no more can be said of it.
        if txn.outcome != Outcome::Committed || !history.atomic_appends {
            continue;
        }
        for (key, element) in txn.appends() {
            if !read.contains(&element) {
                let unread = orders.unread.entry(key).or_default();
                if unread.last() != Some(&at) {
                    unread.push(at);
                }
            }
        }
    }
    Ok(orders)
}

/// The list up to the first element that was rolled back or has no writer.
pub(super) fn settled<'l>(
    history: &History,
    orders: &Orders,
    list: &'l [Element],
) -> &'l [Element] {
    let is_settled = |element: &Element| {
        let writer = orders.writer.get(element);
        writer.is_some_and(|(at, _)| history.txns[*at].outcome == Outcome::Committed)
    };
    let cut = list.iter().position(|element| !is_settled(element)).unwrap_or(list.len());
    &list[..cut]
}

/// What a transaction is called in proofs.
pub(super) fn name(at: usize) -> String {
    format!("T{at}")
}

/// Anomalies that show in single reads, and in pairs of them.
pub fn direct(history: &History, orders: &Orders) -> Vec<Anomaly> {
    let mut found = Vec::new();
    for (at, txn) in history.txns.iter().enumerate() {
        internal(at, txn, &mut found);
        for (op, list) in txn.outside_reads() {
            let read = Read { history, orders, at, txn, key: op.key, list };
            read.garbage(&mut found);
            read.aborted(&mut found);
            read.intermediate(&mut found);
            read.incompatible(&mut found);
        }
    }
    found
}

struct Read<'h> {
    history: &'h History,
    orders: &'h Orders,
    at: usize,
    txn: &'h Txn,
    key: Key,
    list: &'h [Element],
}

impl Read<'_> {
    fn note(&self, kind: Kind, forbidden: bool, what: &str, found: &mut Vec<Anomaly>) {
        let (level, key, list) = (self.txn.level, self.key, self.list);
        let proof = format!("{} ({level:?}) read {list:?} under key {key}: {what}", name(self.at));
        found.push(Anomaly { kind, forbidden, predicate: false, proof });
    }

    fn garbage(&self, found: &mut Vec<Anomaly>) {
        let mut sorted = self.list.to_vec();
        sorted.sort_unstable();
        if let Some(twice) = sorted.windows(2).find(|pair| pair[0] == pair[1]) {
            self.note(Kind::Garbage, true, &format!("{} stands there twice", twice[0]), found);
        }
        for element in self.list {
            match self.orders.writer.get(element) {
                Some((_, key)) if *key == self.key => {}
                Some((at, key)) => {
                    let what = format!("{} appended {element} to key {key}", name(*at));
                    self.note(Kind::Garbage, true, &what, found);
                }
                None => {
                    let what = format!("nobody appended {element}");
                    self.note(Kind::Garbage, true, &what, found);
                }
            }
        }
    }

    fn aborted(&self, found: &mut Vec<Anomaly>) {
        let rolled_back = self.list.iter().find_map(|element| {
            let (at, _) = self.orders.writer.get(element)?;
            let gone = *at != self.at && self.history.txns[*at].outcome == Outcome::Aborted;
            gone.then_some((*element, *at))
        });
        if let Some((element, at)) = rolled_back {
            let what = format!("{}, which appended {element}, was rolled back", name(at));
            self.note(Kind::G1a, self.txn.level.reads_committed(), &what, found);
        }
    }

    fn intermediate(&self, found: &mut Vec<Anomaly>) {
        let Some(last) = self.list.last() else { return };
        let Some((at, _)) = self.orders.writer.get(last) else { return };
        if *at == self.at {
            return;
        }
        let final_one = self.history.txns[*at].appends().filter(|(key, _)| *key == self.key).last();
        if let Some((_, final_one)) = final_one
            && final_one != *last
        {
            let what = format!("{} went on to append {final_one}", name(*at));
            self.note(Kind::G1b, self.txn.level.reads_committed(), &what, found);
        }
    }

    fn incompatible(&self, found: &mut Vec<Anomaly>) {
        let list = settled(self.history, self.orders, self.list);
        let order = self.orders.order.get(&self.key).map(Vec::as_slice).unwrap_or_default();
        let Some(at) = list.iter().zip(order).position(|(a, b)| a != b) else { return };
        let level_of = |element: Element| {
            let (at, _) = self.orders.writer.get(&element)?;
            Some(self.history.txns[*at].level)
        };
        // Where an append is a read and a write of a level that does not protect the read, one
        // may overwrite another: that update is lost, and permitted to be.
        let protected = [list[at], order[at]]
            .into_iter()
            .all(|element| level_of(element).is_some_and(|level| level.protects_reads()));
        let forbidden =
            (self.history.atomic_appends || protected) && self.txn.level.reads_committed();
        let what = format!("others read {order:?}");
        self.note(Kind::IncompatibleOrder, forbidden, &what, found);
    }
}

/// A transaction sees its own appends, and what it has protected does not change under it.
fn internal(at: usize, txn: &Txn, found: &mut Vec<Anomaly>) {
    // What the list must be now, if that is known; what it must end with.
    let mut known: HashMap<Key, Vec<Element>> = HashMap::new();
    let mut own: HashMap<Key, Vec<Element>> = HashMap::new();
    for op in &txn.ops {
        if let Some(element) = op.appended() {
            own.entry(op.key).or_default().push(element);
            if let Some(list) = known.get_mut(&op.key) {
                list.push(element);
            }
            continue;
        }
        let list = op.read().unwrap_or_default();
        let own = own.get(&op.key).map(Vec::as_slice).unwrap_or_default();
        let wrong = match known.get(&op.key) {
            Some(expected) if expected != list => Some(format!("expected {expected:?}")),
            None if !list.ends_with(own) => Some(format!("expected its own {own:?} at the end")),
            _ => None,
        };
        if let Some(what) = wrong {
            let (me, level, key) = (name(at), txn.level, op.key);
            let proof = format!("{me} ({level:?}) read {list:?} under key {key}: {what}");
            found.push(Anomaly { kind: Kind::Internal, forbidden: true, predicate: false, proof });
        }
        if txn.level.protects_reads() || !own.is_empty() {
            known.insert(op.key, list.to_vec());
        }
    }
}
