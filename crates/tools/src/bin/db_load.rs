//! `db_load`: see [`campanile_tools::programs::load`].

use std::process::ExitCode;

fn main() -> ExitCode {
    campanile_tools::program::main_alone(&campanile_tools::programs::load::PROGRAM)
}
