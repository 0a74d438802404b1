//! `db_hotbackup`: see [`campanile_tools::programs::hotbackup`].

use std::process::ExitCode;

fn main() -> ExitCode {
    campanile_tools::program::main_alone(&campanile_tools::programs::hotbackup::PROGRAM)
}
