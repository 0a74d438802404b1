//! `db_printlog`: see [`campanile_tools::programs::printlog`].

use std::process::ExitCode;

fn main() -> ExitCode {
    campanile_tools::program::main_alone(&campanile_tools::programs::printlog::PROGRAM)
}
