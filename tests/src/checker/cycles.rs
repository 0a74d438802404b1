//! Circles in the dependency graph, what they are called, and the shortest one as a proof.
//!
//! Owns Tarjan's algorithm on growing sets of edges and the searches inside a component. Promises
//! that a graph without a circle costs its size, and that every circle of binding edges is
//! reported under some name; which name depends on searches that stop after a while.

use super::edges::{ANTI, Edge, Graph, READ, TIME, WRITE};
use super::{Anomaly, Kind};
use crate::history::History;
use std::collections::{HashMap, VecDeque};

/// How many edges of a component a search starts from before it gives up naming.
const STARTS: usize = 400;

/// Circles of binding edges (forbidden), then circles of any edges (permitted).
pub(super) fn find(history: &History, graph: &Graph) -> Vec<Anomaly> {
    let all = WRITE | READ | ANTI | TIME;
    let mut found = Vec::new();
    if components(graph, &|edge| edge.kind & all != 0).is_empty() {
        return found;
    }
    for forbidden in [true, false] {
        let mut search = Search { history, graph, forbidden, found: &mut found };
        search.run();
    }
    found
}

struct Search<'h> {
    history: &'h History,
    graph: &'h Graph,
    /// Whether only binding edges count.
    forbidden: bool,
    found: &'h mut Vec<Anomaly>,
}

/// A circle: edges with the transactions they leave.
type Circle = Vec<(usize, Edge)>;

impl Search<'_> {
    fn run(&mut self) {
        for nodes in self.within(WRITE) {
            let circle = self.circle(&nodes, WRITE, |_| true, Rule::Any);
            self.note(Kind::G0, circle);
        }
        for nodes in self.within(WRITE | READ) {
            let circle = self.circle(&nodes, WRITE | READ, |edge| edge.kind == READ, Rule::Any);
            self.note(Kind::G1c, circle);
        }
        let mut named = Vec::new();
        for nodes in self.within(WRITE | READ | ANTI) {
            let is_anti = |edge: &Edge| edge.kind == ANTI;
            let single = self.circle(&nodes, WRITE | READ, is_anti, Rule::Any);
            self.note(Kind::GSingle, single);
            let spread = self.circle(&nodes, WRITE | READ | ANTI, is_anti, Rule::Apart);
            self.note(Kind::GNonadjacent, spread);
            let any = self.circle(&nodes, WRITE | READ | ANTI, is_anti, Rule::Again);
            let on_range =
                any.iter().flatten().any(|(_, edge)| edge.kind == ANTI && edge.predicate);
            self.note(if on_range { Kind::G2 } else { Kind::G2Item }, any);
            named.extend(nodes);
        }
        named.sort_unstable();
        for nodes in self.within(WRITE | READ | ANTI | TIME) {
            if nodes.iter().any(|node| named.binary_search(node).is_ok()) {
                continue; // Wrong without the order of time already.
            }
            let all = WRITE | READ | ANTI | TIME;
            let circle = self.circle(&nodes, all, |edge| edge.kind == TIME, Rule::Any);
            self.note(Kind::Realtime, circle);
        }
    }

    fn counts(&self, edge: &Edge, kinds: u8) -> bool {
        edge.kind & kinds != 0 && (edge.binding || !self.forbidden)
    }

    fn within(&self, kinds: u8) -> Vec<Vec<usize>> {
        components(self.graph, &|edge| self.counts(edge, kinds))
    }

    fn note(&mut self, kind: Kind, circle: Option<Circle>) {
        let Some(circle) = circle else { return };
        let binding = circle.iter().all(|(_, edge)| edge.binding);
        if binding != self.forbidden {
            return; // A circle of binding edges was noted in the first round.
        }
        let steps = circle.iter().map(|(from, edge)| self.graph.explain(*from, edge));
        let levels = circle.iter().map(|(from, _)| {
            let txn = &self.history.txns[*from];
            format!("T{from} {:?} [{}..{}] {:?}", txn.level, txn.invoked, txn.completed, txn.ops)
        });
        let steps: Vec<String> = steps.collect();
        let levels: Vec<String> = levels.collect();
        let proof = format!("{}\n    {}", steps.join("; "), levels.join("\n    "));
        let predicate = circle.iter().any(|(_, edge)| edge.kind == ANTI && edge.predicate);
        self.found.push(Anomaly { kind, forbidden: binding, predicate, proof });
    }

    /// The shortest circle in a component that begins with an edge chosen by `first` and returns
    /// over edges of `kinds` by the rule.
    fn circle(
        &self,
        nodes: &[usize],
        kinds: u8,
        first: impl Fn(&Edge) -> bool,
        rule: Rule,
    ) -> Option<Circle> {
        let inside: HashMap<usize, ()> = nodes.iter().map(|node| (*node, ())).collect();
        let mut best: Option<Circle> = None;
        let mut starts = 0;
        for from in nodes {
            for edge in &self.graph.out[*from] {
                let counts = edge.binding || !self.forbidden;
                if !counts || !first(edge) || !inside.contains_key(&edge.to) {
                    continue;
                }
                starts += 1;
                if starts > STARTS {
                    return best;
                }
                let back = self.path(edge.to, *from, &inside, kinds, rule);
                let Some(mut back) = back else { continue };
                back.insert(0, (*from, *edge));
                if best.as_ref().is_none_or(|best| back.len() < best.len()) {
                    best = Some(back);
                }
            }
        }
        best
    }

    /// The shortest way from `from` to `to`, in breadth. The state says what the rule needs to
    /// know: whether the last edge was an anti-dependency, or whether there was one at all.
    fn path(
        &self,
        from: usize,
        to: usize,
        inside: &HashMap<usize, ()>,
        kinds: u8,
        rule: Rule,
    ) -> Option<Circle> {
        let start = (from, rule == Rule::Apart);
        let mut came: HashMap<(usize, bool), ((usize, bool), Edge)> = HashMap::new();
        let mut queue = VecDeque::from([start]);
        while let Some(state) = queue.pop_front() {
            for edge in &self.graph.out[state.0] {
                if !self.counts(edge, kinds) || !inside.contains_key(&edge.to) {
                    continue;
                }
                let anti = edge.kind == ANTI;
                let flag = match rule {
                    Rule::Any => false,
                    Rule::Apart if anti && state.1 => continue,
                    Rule::Apart => anti,
                    Rule::Again => anti || state.1,
                };
                let next = (edge.to, flag);
                if next == start || came.contains_key(&next) {
                    continue;
                }
                came.insert(next, (state, *edge));
                let done = match rule {
                    Rule::Any => true,
                    // The first edge is an anti-dependency: the last must be none.
                    Rule::Apart => !flag,
                    Rule::Again => flag,
                };
                if edge.to == to && done {
                    return Some(trace(&came, start, next));
                }
                queue.push_back(next);
            }
        }
        None
    }
}

/// What a way back must be like.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Rule {
    Any,
    /// No two anti-dependencies in a row, counting the first edge of the circle.
    Apart,
    /// At least one more anti-dependency.
    Again,
}

type Came = HashMap<(usize, bool), ((usize, bool), Edge)>;

fn trace(came: &Came, start: (usize, bool), end: (usize, bool)) -> Circle {
    let mut way = Vec::new();
    let mut at = end;
    while at != start {
        let (before, edge) = came[&at];
        way.push((before.0, edge));
        at = before;
    }
    way.reverse();
    way
}

/// Strongly connected components of more than one transaction, by Tarjan, without recursion.
fn components(graph: &Graph, counts: &dyn Fn(&Edge) -> bool) -> Vec<Vec<usize>> {
    let count = graph.out.len();
    let mut tarjan = Tarjan {
        index: vec![usize::MAX; count],
        low: vec![0; count],
        on_stack: vec![false; count],
        stack: Vec::new(),
        next: 0,
        found: Vec::new(),
    };
    for root in 0..count {
        if tarjan.index[root] == usize::MAX && !graph.out[root].is_empty() {
            tarjan.visit(graph, counts, root);
        }
    }
    tarjan.found
}

struct Tarjan {
    index: Vec<usize>,
    low: Vec<usize>,
    on_stack: Vec<bool>,
    stack: Vec<usize>,
    next: usize,
    found: Vec<Vec<usize>>,
}

impl Tarjan {
    fn enter(&mut self, node: usize) {
        self.index[node] = self.next;
        self.low[node] = self.next;
        self.next += 1;
        self.stack.push(node);
        self.on_stack[node] = true;
    }

    fn visit(&mut self, graph: &Graph, counts: &dyn Fn(&Edge) -> bool, root: usize) {
        self.enter(root);
        let mut work = vec![(root, 0)];
        while let Some((node, at)) = work.last_mut() {
            let node = *node;
            if let Some(edge) = graph.out[node].get(*at) {
                *at += 1;
                let to = edge.to;
                if !counts(edge) {
                    continue;
                }
                if self.index[to] == usize::MAX {
                    self.enter(to);
                    work.push((to, 0));
                } else if self.on_stack[to] {
                    self.low[node] = self.low[node].min(self.index[to]);
                }
                continue;
            }
            work.pop();
            if let Some((parent, _)) = work.last() {
                self.low[*parent] = self.low[*parent].min(self.low[node]);
            }
            if self.low[node] == self.index[node] {
                self.leave(node);
            }
        }
    }

    fn leave(&mut self, root: usize) {
        let from = self.stack.iter().rposition(|node| *node == root).expect("it is on the stack");
        let nodes = self.stack.split_off(from);
        for node in &nodes {
            self.on_stack[*node] = false;
        }
        if nodes.len() > 1 {
            self.found.push(nodes);
        }
    }
}
