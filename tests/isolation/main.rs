//! Isolation: what every level promises, and what it does not. Schedules step by step with exact
//! outcomes (`hermitage`, `stability`, `phantoms`, `victims`), and random histories from many
//! threads, judged by theory (`histories`, `crashes`).

mod crashes;
mod flocks;
mod hermitage;
mod histories;
mod phantom_sweep;
mod phantoms;
#[cfg(feature = "planted-bugs")]
mod planted;
mod script;
mod second_opinion;
mod stability;
mod stage;
mod victims;
