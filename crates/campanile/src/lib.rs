//! Campanile: an embedded, transactional key-value store.

mod error;
pub mod text;

pub use error::{Error, ErrorKind, Result};
