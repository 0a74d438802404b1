//! `db_checkpoint`: see [`campanile_tools::programs::checkpoint`].

use std::process::ExitCode;

fn main() -> ExitCode {
    campanile_tools::program::main_alone(&campanile_tools::programs::checkpoint::PROGRAM)
}
