//! `campanile`: all programs as subcommands.

use std::process::ExitCode;

fn main() -> ExitCode {
    campanile_tools::program::main_umbrella(campanile_tools::programs::ALL)
}
