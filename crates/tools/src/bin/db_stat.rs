//! `db_stat`: see [`campanile_tools::programs::stat`].

use std::process::ExitCode;

fn main() -> ExitCode {
    campanile_tools::program::main_alone(&campanile_tools::programs::stat::PROGRAM)
}
