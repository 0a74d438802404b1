//! Copying data files by several threads.
//!
//! Owns the sharing of the files and of the hook. Promises that the caller's hook is called by the
//! caller's thread only; that the first error stops all threads, and that all of them have ended
//! when it returns; that with one job no thread is started. Must never decide what is copied.

use std::collections::VecDeque;
use std::ops::ControlFlow;
use std::sync::Arc;

use campanile_format::FileId;
use campanile_sync::{Condvar, Mutex, thread};
use campanile_vfs::Background;

use crate::data_pages::Tally;
use crate::error::BackupError;
use crate::hot_backup::Task;
use crate::manifest::FileEntry;
use crate::page_copy::copy_data_file;
use crate::progress::{Meter, Step};

type Files = Vec<FileEntry>;

/// Copies the files, oldest first as far as one thread goes.
pub(crate) fn copy_data_files(
    task: &Arc<Task>,
    files: Vec<FileId>,
    meter: &mut Meter<'_>,
) -> Result<(Files, Tally), BackupError> {
    let jobs = match task.host.background {
        Background::Stepped => 1,
        Background::Threads => task.options.jobs.min(files.len()),
    };
    let (mut entries, mut tally) = (Vec::new(), Tally::default());
    if jobs <= 1 {
        for file in files {
            entries.extend(copy_data_file(task, file, &mut tally, meter)?);
        }
        return Ok((entries, tally));
    }
    let board = Arc::new(Board::new(files, jobs));
    let mut workers = Vec::new();
    for _ in 0..jobs {
        let (task, shared) = (Arc::clone(task), Arc::clone(&board));
        let work = move || Worker { board: shared, result: None }.run(&task);
        let name = "campanile-backup".to_owned();
        match thread::Builder::new().name(name).spawn(work) {
            Ok(worker) => workers.push(worker),
            Err(error) => board.end(Err(BackupError::io("start a thread for", "backup", error))),
        }
    }
    let crew = Crew { board: &board, workers };
    let told = board.follow(meter);
    drop(crew);
    told?;
    let (mut entries, tally) = board.take()?;
    entries.sort_by(|a, b| a.name.cmp(&b.name));
    Ok((entries, tally))
}

/// The threads. They have ended when this is gone, also if the hook panicked: nobody copies
/// without the pin of whoever called.
struct Crew<'b> {
    board: &'b Board,
    workers: Vec<thread::JoinHandle<()>>,
}

impl Drop for Crew<'_> {
    fn drop(&mut self) {
        {
            let mut state = self.board.state.lock();
            // They are still at work only if the hook panicked.
            state.stop |= state.running > 0;
        }
        for worker in self.workers.drain(..) {
            // A worker that panicked said so, and has ended: see `Worker::drop`.
            let _ = worker.join();
        }
    }
}

/// What the threads share.
struct Board {
    state: Mutex<State>,
    news: Condvar,
}

struct State {
    left: VecDeque<FileId>,
    running: usize,
    stop: bool,
    /// Bytes done that the hook was not told of.
    done: u64,
    files: Files,
    tally: Tally,
    failed: Option<BackupError>,
}

impl Board {
    fn new(files: Vec<FileId>, running: usize) -> Board {
        let state = State {
            left: files.into(),
            running,
            stop: false,
            done: 0,
            files: Vec::new(),
            tally: Tally::default(),
            failed: None,
        };
        Board { state: Mutex::new(state), news: Condvar::new() }
    }

    /// The next file, unless there is none or all shall stop.
    fn next(&self) -> Option<FileId> {
        let mut state = self.state.lock();
        if state.stop { None } else { state.left.pop_front() }
    }

    /// So many bytes more are done; false if all shall stop.
    fn report(&self, bytes: u64) -> bool {
        let mut state = self.state.lock();
        state.done += bytes;
        self.news.notify_all();
        !state.stop
    }

    /// A thread has ended. The first error counts: others are of threads that were stopped.
    fn end(&self, result: Result<(Files, Tally), BackupError>) {
        let mut state = self.state.lock();
        match result {
            Ok((files, tally)) => {
                state.files.extend(files);
                state.tally.merge(tally);
            }
            Err(error) => {
                state.stop = true;
                state.failed.get_or_insert(error);
            }
        }
        state.running -= 1;
        self.news.notify_all();
    }

    /// Tells the hook until all threads have ended.
    fn follow(&self, meter: &mut Meter<'_>) -> Result<(), BackupError> {
        let mut answer = Ok(());
        let mut state = self.state.lock();
        while state.running > 0 {
            if state.done == 0 {
                self.news.wait(&mut state);
            }
            let done = std::mem::take(&mut state.done);
            if done > 0 && answer.is_ok() {
                drop(state);
                answer = meter.add(done);
                state = self.state.lock();
                state.stop |= answer.is_err();
            }
        }
        let done = std::mem::take(&mut state.done);
        drop(state);
        answer.and_then(|()| meter.add(done))
    }

    fn take(&self) -> Result<(Files, Tally), BackupError> {
        let mut state = self.state.lock();
        match state.failed.take() {
            Some(error) => Err(error),
            None => Ok((std::mem::take(&mut state.files), std::mem::take(&mut state.tally))),
        }
    }
}

/// A thread, which ends on the board whatever becomes of it.
struct Worker {
    board: Arc<Board>,
    result: Option<Result<(Files, Tally), BackupError>>,
}

impl Worker {
    fn run(mut self, task: &Task) {
        self.result = Some(self.copy(task));
    }

    fn copy(&self, task: &Task) -> Result<(Files, Tally), BackupError> {
        let (mut files, mut tally, mut told) = (Vec::new(), Tally::default(), 0);
        let mut hook = |step: &Step| {
            let more = step.done - told;
            told = step.done;
            match self.board.report(more) {
                true => ControlFlow::Continue(()),
                false => ControlFlow::Break(()),
            }
        };
        let mut meter = Meter::new(&mut hook);
        while let Some(file) = self.board.next() {
            files.extend(copy_data_file(task, file, &mut tally, &mut meter)?);
        }
        Ok((files, tally))
    }
}

impl Drop for Worker {
    fn drop(&mut self) {
        let panicked = || BackupError::Changed { why: "a thread of it panicked".to_owned() };
        self.board.end(self.result.take().unwrap_or_else(|| Err(panicked())));
    }
}
