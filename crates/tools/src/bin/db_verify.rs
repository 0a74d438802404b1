//! `db_verify`: see [`campanile_tools::programs::verify`].

use std::process::ExitCode;

fn main() -> ExitCode {
    campanile_tools::program::main_alone(&campanile_tools::programs::verify::PROGRAM)
}
