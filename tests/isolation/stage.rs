//! The stage: sessions on threads of their own, each doing one step when it is told to, so that a
//! schedule is exactly what is written down.
//!
//! Owns the sessions and the words of steps and answers. Promises that a step is over when every
//! session has answered or sits in a queue of the lock table: what blocks is read off the table,
//! never guessed from time. Must never sleep to make something happen.
//!
//! Steps: `begin`, `get K`, `put K V`, `insert K V`, `replace K V`, `delete K`, `scan`,
//! `scan LO HI` (HI left out of it, `-` for no bound), `scan-back LO HI`, `first`, `last`,
//! `equal V` and `divides N` (a scan that keeps some values), `add N` (to every value),
//! `delete-equal V`, `cursor K` (stays open over `value`, `next`, `write V`, `close`), `end`
//! (commits, or rolls back after an error), `abort`; `child` (steps are those of a nested
//! transaction until `merge` or `undo`).

use campanile::{
    Cursor, CursorMut, Database, Environment, Error, ErrorKind, Reads, Result, Snapshot,
    Transaction, TransactionOptions,
};
use campanile_format::planted::Selection;
use campanile_tests::history::Level;
use std::collections::BTreeMap;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

/// How long a step may take before the test gives up on it: the engine hangs.
const HANG: Duration = Duration::from_secs(30);

/// What a session says after a step.
struct Answer {
    session: usize,
    text: String,
    error: Option<Error>,
}

struct Session {
    steps: Option<Sender<String>>,
    thread: Option<JoinHandle<()>>,
    /// Steps that it was told and has not answered.
    open: usize,
}

/// An environment, one database in it, and sessions.
pub struct Stage {
    env: Environment,
    db: Database,
    sessions: BTreeMap<usize, Session>,
    answers: Receiver<Answer>,
    answer: Sender<Answer>,
    /// The latest error of each session.
    errors: BTreeMap<usize, Error>,
}

impl Stage {
    /// A stage on `env`, whose database `db` the sessions use.
    pub fn new(env: Environment, db: Database) -> Stage {
        let (answer, answers) = channel();
        Stage { env, db, sessions: BTreeMap::new(), answers, answer, errors: BTreeMap::new() }
    }

    /// The environment.
    pub fn env(&self) -> &Environment {
        &self.env
    }

    /// A session that begins transactions (or snapshots) of `level` with `options`.
    pub fn session(&mut self, number: usize, level: Level, options: TransactionOptions) {
        let (steps, inbox) = channel::<String>();
        let actor = Actor {
            number,
            env: self.env.clone(),
            db: self.db.clone(),
            level,
            options,
            inbox,
            answer: self.answer.clone(),
        };
        let bugs = Selection::here();
        let thread = std::thread::spawn(move || bugs.on(|| actor.run()));
        let session = Session { steps: Some(steps), thread: Some(thread), open: 0 };
        self.sessions.insert(number, session);
    }

    /// Tells a session a step and returns what came of it: its answer, `waits` if it waits for a
    /// lock, `queued` if it waited already; then what others could do because of it.
    pub fn step(&mut self, number: usize, step: &str) -> String {
        let session = self.sessions.get_mut(&number).expect("a session of this number");
        let queued = session.open > 0;
        session.open += 1;
        session.steps.as_ref().expect("open").send(step.to_owned()).expect("it listens");
        let answers = self.settle();
        let own = answers.get(&number).cloned().unwrap_or_default();
        let mut text = match (own.is_empty(), queued) {
            (false, _) => own.join(", "),
            (true, true) => "queued".to_owned(),
            (true, false) => "waits".to_owned(),
        };
        text.push_str(&others(&answers, number));
        text
    }

    /// Waits until a session that waits answers because its time is over.
    pub fn await_answer(&mut self, number: usize) -> String {
        let begun = Instant::now();
        loop {
            let answer = self.answers.recv_timeout(HANG).expect("an answer in time");
            let from = answer.session;
            let text = self.take(answer);
            if from == number {
                let answers = self.settle();
                return text + &others(&answers, number);
            }
            assert!(begun.elapsed() < HANG, "session {number} does not answer");
        }
    }

    /// The latest error of a session.
    pub fn error(&self, number: usize) -> &Error {
        &self.errors[&number]
    }

    fn take(&mut self, answer: Answer) -> String {
        self.sessions.get_mut(&answer.session).expect("it is known").open -= 1;
        if let Some(error) = answer.error {
            self.errors.insert(answer.session, error);
        }
        answer.text
    }

    /// Until every session has answered or waits in the lock table.
    fn settle(&mut self) -> BTreeMap<usize, Vec<String>> {
        let begun = Instant::now();
        let mut answers: BTreeMap<usize, Vec<String>> = BTreeMap::new();
        loop {
            while let Ok(answer) = self.answers.try_recv() {
                let from = answer.session;
                let text = self.take(answer);
                answers.entry(from).or_default().push(text);
            }
            let busy = self.sessions.values().filter(|session| session.open > 0).count() as u64;
            if busy == 0 {
                return answers;
            }
            // Looked at twice, with no new wait in between: shards are counted one by one. And who
            // has looked for a deadlock has found what there is.
            let (first, second) = (self.env.stats().locks, self.env.stats().locks);
            let quiet = first.waits == second.waits && first.waiting == second.waiting;
            let searched = second.searches == second.waits;
            if quiet && searched && second.waiting == busy {
                match self.answers.try_recv() {
                    Err(_) => return answers,
                    Ok(answer) => {
                        let from = answer.session;
                        let text = self.take(answer);
                        answers.entry(from).or_default().push(text);
                    }
                }
            }
            assert!(begun.elapsed() < HANG, "{busy} sessions neither answer nor wait: {second:?}");
            std::thread::yield_now();
        }
    }

    /// What a snapshot shows, after all sessions are gone.
    pub fn finish(mut self) -> String {
        for session in self.sessions.values_mut() {
            drop(session.steps.take());
            session.thread.take().expect("joined once").join().expect("a session does not panic");
        }
        let snapshot = self.env.snapshot().expect("a snapshot");
        let rows: Result<Vec<_>> = self.db.range(&snapshot, ..).and_then(Iterator::collect);
        shown(&rows.expect("a scan"))
    }
}

fn others(answers: &BTreeMap<usize, Vec<String>>, number: usize) -> String {
    let others = answers.iter().filter(|(session, _)| **session != number);
    others.map(|(session, texts)| format!("; {session}: {}", texts.join(", "))).collect()
}

type Row = (Vec<u8>, Vec<u8>);

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

fn shown(rows: &[Row]) -> String {
    let rows: Vec<String> =
        rows.iter().map(|(key, value)| format!("{}={}", text(key), text(value))).collect();
    if rows.is_empty() { "-".to_owned() } else { rows.join(" ") }
}

fn number(value: &[u8]) -> u64 {
    text(value).parse().expect("values are numbers")
}

/// What errors are called in scripts.
pub fn name_of(error: &Error) -> String {
    match error.kind() {
        ErrorKind::Deadlock => "deadlock".to_owned(),
        ErrorKind::LockTimeout => "timeout".to_owned(),
        ErrorKind::TransactionTimeout => "late".to_owned(),
        ErrorKind::WouldBlock => "would-block".to_owned(),
        ErrorKind::SnapshotTooOld => "too-old".to_owned(),
        other => format!("{other:?}: {error}"),
    }
}

/// One session, in its thread.
struct Actor {
    number: usize,
    env: Environment,
    db: Database,
    level: Level,
    options: TransactionOptions,
    inbox: Receiver<String>,
    answer: Sender<Answer>,
}

/// What a session holds.
enum Held {
    Nothing,
    /// And whether a step of it failed.
    Txn(Box<Transaction>, bool),
    Snapshot(Snapshot),
}

impl Actor {
    fn run(&self) {
        let mut held = Held::Nothing;
        while let Ok(step) = self.inbox.recv() {
            let result = self.act(&mut held, &step);
            if let (Err(_), Held::Txn(_, failed)) = (&result, &mut held) {
                *failed = true;
            }
            self.say(result);
        }
    }

    fn say(&self, result: Result<String>) {
        let (text, error) = match result {
            Ok(text) => (text, None),
            Err(error) => (name_of(&error), Some(error)),
        };
        // The stage is gone when a test has failed.
        let _ = self.answer.send(Answer { session: self.number, text, error });
    }

    fn act(&self, held: &mut Held, step: &str) -> Result<String> {
        let words: Vec<&str> = step.split(' ').collect();
        match words[..] {
            ["begin"] => {
                *held = match self.level {
                    Level::Snapshot => Held::Snapshot(self.env.snapshot()?),
                    _ => Held::Txn(Box::new(self.env.begin_with(self.options.clone())?), false),
                };
                Ok("ok".to_owned())
            }
            ["end"] => match std::mem::replace(held, Held::Nothing) {
                Held::Txn(txn, true) => txn.abort().map(|()| "aborted".to_owned()),
                Held::Txn(txn, false) => txn.commit().map(|_| "committed".to_owned()),
                Held::Snapshot(_) => Ok("committed".to_owned()),
                Held::Nothing => panic!("the session has not begun"),
            },
            ["abort"] => match std::mem::replace(held, Held::Nothing) {
                Held::Txn(txn, _) => txn.abort().map(|()| "aborted".to_owned()),
                _ => Ok("aborted".to_owned()),
            },
            ["cursor", key] => self.with_cursor(held, key),
            ["child"] => match held {
                Held::Txn(txn, _) => self.within(txn),
                _ => panic!("only a transaction has children"),
            },
            _ => match held {
                Held::Txn(txn, _) if is_write(words[0]) => self.write(txn, &words),
                _ => self.read(held, &words),
            },
        }
    }

    fn read(&self, held: &Held, words: &[&str]) -> Result<String> {
        match held {
            Held::Txn(txn, _) => self.look(&**txn, words),
            Held::Snapshot(snapshot) => self.look(snapshot, words),
            Held::Nothing => panic!("the session has not begun"),
        }
    }

    fn look(&self, r: &impl Reads, words: &[&str]) -> Result<String> {
        let db = &self.db;
        let all = || db.range(r, ..)?.collect::<Result<Vec<Row>>>();
        let kept = |keep: &dyn Fn(u64) -> bool| {
            let mut rows = all()?;
            rows.retain(|(_, value)| keep(number(value)));
            Ok(shown(&rows))
        };
        match *words {
            ["get", key] => {
                let value = db.get(r, key)?;
                Ok(value.map_or("-".to_owned(), |value| text(&value)))
            }
            ["scan"] => Ok(shown(&all()?)),
            ["scan", low, high] => {
                let range = bounds(low, high);
                let rows: Result<Vec<Row>> = db.range(r, range)?.collect();
                Ok(shown(&rows?))
            }
            ["scan-back", low, high] => {
                let range = bounds(low, high);
                let rows: Result<Vec<Row>> = db.range(r, range)?.rev().collect();
                Ok(shown(&rows?))
            }
            ["first"] => Ok(shown(db.first(r)?.as_slice())),
            ["last"] => Ok(shown(db.last(r)?.as_slice())),
            ["equal", value] => {
                let wanted: u64 = value.parse().expect("a number");
                kept(&|value| value == wanted)
            }
            ["divides", divisor] => {
                let divisor: u64 = divisor.parse().expect("a number");
                kept(&|value| value.is_multiple_of(divisor))
            }
            _ => panic!("no such step: {words:?}"),
        }
    }

    fn write(&self, txn: &mut Transaction, words: &[&str]) -> Result<String> {
        let db = &self.db;
        let yes_no = |yes| if yes { "yes".to_owned() } else { "no".to_owned() };
        match *words {
            ["put", key, value] => db.put(txn, key, value).map(|_| "ok".to_owned()),
            ["insert", key, value] => db.insert(txn, key, value).map(yes_no),
            ["replace", key, value] => db.replace(txn, key, value).map(yes_no),
            ["delete", key] => db.delete(txn, key).map(yes_no),
            ["add", by] => {
                let by: u64 = by.parse().expect("a number");
                let rows: Vec<Row> = db.range(txn, ..)?.collect::<Result<_>>()?;
                for (key, value) in rows {
                    db.put(txn, key, (number(&value) + by).to_string())?;
                }
                Ok("ok".to_owned())
            }
            ["delete-equal", value] => {
                let wanted: u64 = value.parse().expect("a number");
                let rows: Vec<Row> = db.range(txn, ..)?.collect::<Result<_>>()?;
                let mut deleted = 0;
                for (key, _) in rows.iter().filter(|(_, value)| number(value) == wanted) {
                    deleted += u64::from(db.delete(txn, key)?);
                }
                Ok(deleted.to_string())
            }
            _ => panic!("no such step: {words:?}"),
        }
    }

    /// Steps of a nested transaction.
    fn within(&self, parent: &Transaction) -> Result<String> {
        let mut child = parent.nested()?;
        self.say(Ok("ok".to_owned()));
        loop {
            let Ok(step) = self.inbox.recv() else { return Ok("gone".to_owned()) };
            let words: Vec<&str> = step.split(' ').collect();
            let done = match words[..] {
                ["merge"] => return child.commit().map(|()| "ok".to_owned()),
                ["undo"] => return child.abort().map(|()| "ok".to_owned()),
                ["child"] => self.within(&child),
                _ if is_write(words[0]) => self.write(&mut child, &words),
                _ => self.look(&*child, &words),
            };
            self.say(done);
        }
    }

    /// Steps as long as a cursor is open.
    fn with_cursor(&self, held: &mut Held, key: &str) -> Result<String> {
        match held {
            Held::Nothing => panic!("the session has not begun"),
            Held::Snapshot(snapshot) => {
                let mut cursor = self.db.cursor(snapshot)?;
                cursor.seek_exactly(key)?;
                self.read_on(&mut cursor, |_, _| panic!("a snapshot writes nothing"))
            }
            Held::Txn(txn, failed) => {
                let mut cursor = self.db.cursor_mut(txn)?;
                cursor.seek_exactly(key)?;
                let result = self.read_on(&mut cursor, |cursor, value| cursor.put(value).map(drop));
                *failed |= result.is_err();
                result
            }
        }
    }

    fn read_on<C: Moves>(
        &self,
        cursor: &mut C,
        write: impl Fn(&mut C, &str) -> Result<()>,
    ) -> Result<String> {
        self.say(cursor.here());
        loop {
            let Ok(step) = self.inbox.recv() else { return Ok("gone".to_owned()) };
            let words: Vec<&str> = step.split(' ').collect();
            match words[..] {
                ["close"] => return Ok("ok".to_owned()),
                ["value"] => self.say(cursor.here()),
                ["next"] => {
                    let moved = cursor.forward();
                    self.say(moved.and_then(|_| cursor.here()));
                }
                ["write", value] => {
                    let written = write(cursor, value).map(|()| "ok".to_owned());
                    match written {
                        Ok(_) => self.say(written),
                        Err(_) => return written,
                    }
                }
                _ => panic!("no such step while a cursor is open: {step}"),
            }
        }
    }
}

/// What both kinds of cursors can do.
trait Moves {
    fn forward(&mut self) -> Result<bool>;
    fn here(&mut self) -> Result<String>;
}

impl Moves for Cursor<'_> {
    fn forward(&mut self) -> Result<bool> {
        self.next()
    }

    fn here(&mut self) -> Result<String> {
        Ok(self.value()?.map_or("-".to_owned(), text))
    }
}

impl Moves for CursorMut<'_> {
    fn forward(&mut self) -> Result<bool> {
        self.next()
    }

    fn here(&mut self) -> Result<String> {
        Ok(self.value()?.map_or("-".to_owned(), text))
    }
}

fn is_write(word: &str) -> bool {
    ["put", "insert", "replace", "delete", "add", "delete-equal"].contains(&word)
}

type Bounds = (std::ops::Bound<String>, std::ops::Bound<String>);

fn bounds(low: &str, high: &str) -> Bounds {
    use std::ops::Bound::{Excluded, Included, Unbounded};
    let low = if low == "-" { Unbounded } else { Included(low.to_owned()) };
    let high = if high == "-" { Unbounded } else { Excluded(high.to_owned()) };
    (low, high)
}
