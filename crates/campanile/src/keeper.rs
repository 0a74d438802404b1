//! The threads that keep an environment in order: log files made ready, pages written back,
//! checkpoints taken, ghosts and graves cleaned.
//!
//! Owns the threads and their rest. Promises that they end before the environment does, and that
//! an error they meet is logged and, if it poisons the environment, ends them; that a panic of
//! theirs poisons it. Must never hold a
//! handle that would keep the environment alive: they see the core, not the handles.

use std::sync::Arc;
use std::time::Duration;

use campanile_sync::thread::JoinHandle;
use campanile_sync::{Condvar, Mutex};

use crate::core::Core;
use crate::error::{Error, Result};

/// How long a thread rests when there is nothing to do.
const REST: Duration = Duration::from_millis(10);
/// How long it rests after an error that did not poison the environment.
const REST_AFTER_ERROR: Duration = Duration::from_secs(1);

/// The background threads of an environment.
#[derive(Debug)]
pub(crate) struct Keeper {
    bell: Arc<Bell>,
    threads: Vec<JoinHandle<()>>,
}

#[derive(Debug, Default)]
struct Bell {
    stop: Mutex<bool>,
    rung: Condvar,
}

impl Bell {
    /// Rests; true when it is time to stop.
    fn rest(&self, time: Duration) -> bool {
        let mut stop = self.stop.lock();
        if !*stop {
            self.rung.wait_for(&mut stop, time);
        }
        *stop
    }
}

impl Keeper {
    /// Starts the threads: one for the log, which commits wait for, one for pages and checkpoints,
    /// which may take long, one that cleans, and one that archives if the home has an archive.
    pub fn start(core: &Arc<Core>) -> Result<Keeper> {
        let mut keeper = Keeper { bell: Arc::default(), threads: Vec::new() };
        keeper.spawn(core, "campanile-log", |core| {
            core.txns.wal().step().map_err(crate::causes::wal)
        })?;
        keeper
            .spawn(core, "campanile-pages", |core| core.txns.step().map_err(crate::causes::txn))?;
        keeper.spawn(core, "campanile-clean", |core| {
            core.publish();
            core.clean()
        })?;
        if core.archives() {
            keeper.spawn(core, "campanile-archive", Core::archive)?;
        }
        Ok(keeper)
    }

    fn spawn(
        &mut self,
        core: &Arc<Core>,
        name: &'static str,
        step: fn(&Core) -> Result<bool>,
    ) -> Result<()> {
        let (core, bell) = (Arc::clone(core), Arc::clone(&self.bell));
        let thread = campanile_sync::thread::Builder::new()
            .name(name.into())
            .spawn(move || run(&core, &bell, name, step))
            .map_err(|error| Error::io("starting a background thread", error))?;
        self.threads.push(thread);
        Ok(())
    }
}

fn run(core: &Core, bell: &Bell, name: &str, step: fn(&Core) -> Result<bool>) {
    // A thread that is missing would not be missed: the log would only grow.
    let _alive = core.poison.if_unwound("background work was done");
    loop {
        let rest = match core.tend(step) {
            Ok(true) => Duration::ZERO,
            Ok(false) => REST,
            Err(error) if core.poison.is_poisoned() => {
                tracing::error!(thread = name, %error, "background work ends");
                return;
            }
            Err(error) => {
                tracing::warn!(thread = name, %error, "background work failed");
                REST_AFTER_ERROR
            }
        };
        if bell.rest(rest) {
            return;
        }
    }
}

impl Drop for Keeper {
    fn drop(&mut self) {
        *self.bell.stop.lock() = true;
        self.bell.rung.notify_all();
        for thread in self.threads.drain(..) {
            if thread.join().is_err() {
                tracing::error!("a background thread panicked");
            }
        }
    }
}
