//! The 38 situations that Berkeley DB was measured in, each as a test: the situation is made with
//! Campanile, an operator's ways are tried (normal recovery, catastrophic recovery, a restore from
//! the repository), and the outcome must be the one that the table says: right data by an
//! independent model, or a refusal that names what is wrong. None may be silent.
//!
//! `table.rs` holds the rows, `crates/backup/MATRIX.md` is written from it, and a test keeps rows,
//! document and tests in step. `--nocapture` prints what each situation was answered with.

mod case;
mod child;
mod copies;
mod data;
mod document;
mod log;
mod machine;
mod processes;
mod table;
mod versions;
