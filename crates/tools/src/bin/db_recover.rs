//! `db_recover`: see [`campanile_tools::programs::recover`].

use std::process::ExitCode;

fn main() -> ExitCode {
    campanile_tools::program::main_alone(&campanile_tools::programs::recover::PROGRAM)
}
