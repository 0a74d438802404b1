//! Exports, imports and comparisons: what comes back is what was there, whatever happens to the
//! files on their way. What must come back is known from the model, never from the engine.

mod beside_writers;
mod crashes;
mod damage;
mod failing_calls;
#[cfg(feature = "planted-bugs")]
mod planted;
mod round_trips;
mod stage;
#[path = "../backup/world.rs"]
#[allow(dead_code)]
mod world;
