//! `db_archive`: see [`campanile_tools::programs::archive`].

use std::process::ExitCode;

fn main() -> ExitCode {
    campanile_tools::program::main_alone(&campanile_tools::programs::archive::PROGRAM)
}
