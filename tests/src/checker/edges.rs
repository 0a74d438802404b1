//! Which transaction comes before which, and why.
//!
//! Owns the dependency graph. Promises one reason for every edge and at most a few edges for each
//! read and append: writers of consecutive versions, the writer of the version that was read, the
//! writer of the version after it, and of the order of time only what does not follow anyway.

use super::Time;
use super::orders::{Orders, name, settled};
use crate::history::{Element, History, Key, Outcome};

/// Kinds of edges, as bits of a set.
pub const WRITE: u8 = 1;
/// A read of what was written.
pub const READ: u8 = 2;
/// A write over what was read.
pub const ANTI: u8 = 4;
/// Acknowledged before begun.
pub const TIME: u8 = 8;

/// Why one transaction comes before another.
#[derive(Clone, Copy, Debug)]
pub struct Edge {
    /// The later transaction.
    pub to: usize,
    /// One of [`WRITE`], [`READ`], [`ANTI`], [`TIME`].
    pub kind: u8,
    /// The promises made to the two turn it into an obligation (C1, C2).
    pub binding: bool,
    /// The read was one of a range.
    pub predicate: bool,
    key: Key,
    element: Option<Element>,
}

/// Transactions (by their place in the history) and edges between committed ones.
#[derive(Debug, Default)]
pub struct Graph {
    /// Edges by the earlier transaction.
    pub out: Vec<Vec<Edge>>,
}

impl Graph {
    fn add(&mut self, from: usize, edge: Edge) {
        if from != edge.to {
            self.out[from].push(edge);
        }
    }

    /// The reason in words.
    #[must_use]
    pub fn explain(&self, from: usize, edge: &Edge) -> String {
        let (a, b, key) = (name(from), name(edge.to), edge.key);
        let element = edge.element.map_or("nothing yet".to_owned(), |element| element.to_string());
        let how = if edge.predicate { " in a range" } else { "" };
        match edge.kind {
            WRITE => format!("{a} < {b}: {b} appended to key {key} after {a} ({element})"),
            READ => format!("{a} < {b}: {b} read{how} {a}'s {element} under key {key}"),
            ANTI => {
                format!("{a} < {b}: {a} read{how} key {key} up to {element}, {b} appended next")
            }
            _ => format!("{a} < {b}: {a} was acknowledged before {b} began"),
        }
    }
}

/// Finds all dependencies.
#[must_use]
pub fn build(history: &History, orders: &Orders, time: Time) -> Graph {
    let mut graph = Graph { out: vec![Vec::new(); history.txns.len()] };
    write_dependencies(orders, &mut graph);
    for (at, txn) in history.txns.iter().enumerate() {
        if txn.outcome != Outcome::Committed {
            continue;
        }
        for (op, list) in txn.outside_reads() {
            let predicate = matches!(op.action, crate::history::Action::ReadInRange(_));
            let read = Read { at, key: op.key, list: settled(history, orders, list), predicate };
            read_dependency(history, orders, &read, &mut graph);
            anti_dependencies(history, orders, &read, &mut graph);
        }
    }
    if time == Time::Binds {
        real_time(history, &mut graph);
    }
    graph
}

struct Read<'h> {
    at: usize,
    key: Key,
    list: &'h [Element],
    predicate: bool,
}

fn writer(orders: &Orders, element: Element) -> Option<usize> {
    orders.writer.get(&element).map(|(at, _)| *at)
}

fn write_dependencies(orders: &Orders, graph: &mut Graph) {
    let edge = |to, key, element| Edge {
        to,
        kind: WRITE,
        binding: true,
        predicate: false,
        key,
        element: Some(element),
    };
    for (key, order) in &orders.order {
        for pair in order.windows(2) {
            if let (Some(a), Some(b)) = (writer(orders, pair[0]), writer(orders, pair[1])) {
                graph.add(a, edge(b, *key, pair[0]));
            }
        }
    }
    for (key, unread) in &orders.unread {
        let Some(last) = orders.order.get(key).and_then(|order| order.last()) else { continue };
        let Some(a) = writer(orders, *last) else { continue };
        for b in unread {
            graph.add(a, edge(*b, *key, *last));
        }
    }
}

fn read_dependency(history: &History, orders: &Orders, read: &Read<'_>, graph: &mut Graph) {
    let Some(last) = read.list.last() else { return };
    let Some(from) = writer(orders, *last) else { return };
    let binding = history.txns[read.at].level.reads_committed();
    let (key, predicate) = (read.key, read.predicate);
    let element = Some(*last);
    graph.add(from, Edge { to: read.at, kind: READ, binding, predicate, key, element });
}

fn anti_dependencies(history: &History, orders: &Orders, read: &Read<'_>, graph: &mut Graph) {
    let order = orders.order.get(&read.key).map(Vec::as_slice).unwrap_or_default();
    if !order.starts_with(read.list) {
        return; // Reported as incompatible: it says nothing about what came next.
    }
    let binding = history.txns[read.at].level.protects_reads();
    let (key, predicate, element) = (read.key, read.predicate, read.list.last().copied());
    let edge = |to| Edge { to, kind: ANTI, binding, predicate, key, element };
    match order.get(read.list.len()) {
        Some(next) => {
            if let Some(to) = writer(orders, *next) {
                graph.add(read.at, edge(to));
            }
        }
        None => {
            for to in orders.unread.get(&read.key).into_iter().flatten() {
                graph.add(read.at, edge(*to));
            }
        }
    }
}

/// Edges from every transaction that was acknowledged to those that began later, without those
/// that follow from two others.
fn real_time(history: &History, graph: &mut Graph) {
    // Ends sort before beginnings of the same tick: ticks are unique, so it does not matter.
    let mut events: Vec<(u64, bool, usize)> = Vec::new();
    for (at, txn) in history.txns.iter().enumerate() {
        if txn.outcome == Outcome::Committed {
            events.push((txn.invoked, true, at));
            if txn.completed != u64::MAX {
                events.push((txn.completed, false, at));
            }
        }
    }
    events.sort_unstable();
    let mut frontier: Vec<usize> = Vec::new();
    let mut before: Vec<Vec<usize>> = vec![Vec::new(); history.txns.len()];
    for (_, begins, at) in events {
        if begins {
            for from in &frontier {
                let edge = Edge {
                    to: at,
                    kind: TIME,
                    binding: true,
                    predicate: false,
                    key: 0,
                    element: None,
                };
                graph.add(*from, edge);
            }
            before[at].clone_from(&frontier);
        } else {
            let covered = std::mem::take(&mut before[at]);
            frontier.retain(|txn| !covered.contains(txn));
            frontier.push(at);
        }
    }
}
