//! One run of a program: where its words go.
//!
//! Owns the rule that standard output carries the result and nothing else (one JSON document, or
//! one a line, with `--json`), and standard error carries notes, progress and failures. Must never
//! print decoration where no terminal is.

use std::fmt;
use std::io::{self, IsTerminal, Write};
use std::ops::ControlFlow;
use std::sync::Mutex;
use std::time::Duration;

use campanile::Progress;
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use serde::Serialize;

use crate::failure::Failure;

/// One run of a program.
#[derive(Debug)]
pub struct Session {
    name: String,
}

impl Session {
    /// A run of the program called `name` in messages.
    pub fn new(name: impl Into<String>) -> Session {
        Session { name: name.into() }
    }

    /// Tells something that is not the result.
    pub fn note(&self, what: impl fmt::Display) {
        eprintln!("{}: {what}", self.name);
    }

    /// Prints a line of the result.
    pub fn line(&self, text: impl fmt::Display) -> Result<(), Failure> {
        writeln!(io::stdout(), "{text}").map_err(|e| Failure::io("writing standard output", e))
    }

    /// Prints the result as one JSON document.
    pub fn json(&self, value: &impl Serialize) -> Result<(), Failure> {
        let text = serde_json::to_string_pretty(value)
            .map_err(|e| Failure::io("writing JSON", io::Error::from(e)))?;
        self.line(text)
    }

    /// Prints one of many results as JSON on a line of its own.
    pub fn json_line(&self, value: &impl Serialize) -> Result<(), Failure> {
        let text = serde_json::to_string(value)
            .map_err(|e| Failure::io("writing JSON", io::Error::from(e)))?;
        self.line(text)
    }

    /// A hook that shows how far long work is: a bar on a terminal, nothing elsewhere unless
    /// `always`, and then a line each time another tenth is done.
    #[must_use]
    pub fn progress(&self, always: bool) -> Progress {
        if io::stderr().is_terminal() {
            return bar();
        }
        if always { lines(self.name.clone()) } else { Progress::none() }
    }
}

fn bar() -> Progress {
    let bar = ProgressBar::with_draw_target(None, ProgressDrawTarget::stderr_with_hz(8));
    let known = ProgressStyle::with_template("{msg:24} {wide_bar} {percent:>3}%  eta {eta}");
    let open = ProgressStyle::with_template("{msg:24} {spinner} {human_pos} {prefix}");
    let (Ok(known), Ok(open)) = (known, open) else { return Progress::none() };
    bar.enable_steady_tick(Duration::from_millis(200));
    Progress::new(move |step| {
        match step.total {
            Some(total) => {
                bar.set_style(known.clone());
                bar.set_length(total);
            }
            None => bar.set_style(open.clone()),
        }
        bar.set_prefix(step.unit.to_owned());
        bar.set_message(step.phase.to_owned());
        bar.set_position(step.done);
        if step.total.is_some_and(|total| step.done >= total) {
            bar.finish_and_clear();
            bar.reset();
        }
        ControlFlow::Continue(())
    })
}

fn lines(name: String) -> Progress {
    let last = Mutex::new((String::new(), 0));
    Progress::new(move |step| {
        let Some(total) = step.total.filter(|total| *total > 0) else {
            return ControlFlow::Continue(());
        };
        let tenth = step.done.saturating_mul(10) / total;
        if let Ok(mut last) = last.lock()
            && (last.0 != step.phase || last.1 < tenth)
        {
            *last = (step.phase.to_owned(), tenth);
            let percent = step.done.saturating_mul(100) / total;
            eprintln!("{name}: {} {percent} %", step.phase);
        }
        ControlFlow::Continue(())
    })
}
