//! `db_dump`: see [`campanile_tools::programs::dump`].

use std::process::ExitCode;

fn main() -> ExitCode {
    campanile_tools::program::main_alone(&campanile_tools::programs::dump::PROGRAM)
}
