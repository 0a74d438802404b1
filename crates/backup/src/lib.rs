#![doc = include_str!("../README.md")]
#![forbid(unsafe_code)]
#![deny(clippy::unwrap_used, clippy::indexing_slicing)]
#![cfg_attr(test, allow(clippy::unwrap_used, clippy::indexing_slicing))]

mod archive;
mod archive_note;
mod bring_file;
mod chain;
mod copy_options;
mod copy_threads;
mod data_pages;
mod directory;
mod error;
mod gathered;
mod gone_files;
mod hot_backup;
mod increment_writer;
mod incremental;
mod keep_mark;
mod lineage;
mod log_copy;
mod log_pool;
mod manifest;
mod packing;
mod page_copy;
mod placing;
mod progress;
mod prune;
mod reason;
mod repository;
mod restore_files;
mod restored_file;
mod retention;
pub mod sealed;
mod shelf;
mod suspects;
mod throttle;
mod unpacking;
mod update;
mod verify_files;
mod verify_log;

pub use archive::{Archived, Archiver, Lag};
pub use archive_note::ArchiveNote;
pub use bring_file::bring_file;
pub use chain::{Chain, Link, must_be_whole};
pub use copy_options::CopyOptions;
pub use directory::Directory;
pub use error::BackupError;
pub use gathered::GatheredLogs;
pub use gone_files::Prior;
pub use hot_backup::{Copied, CopyOrder, first_needed, hot_copy};
pub use incremental::Base;
pub use keep_mark::KeepMark;
pub use log_pool::{LogFileFound, LogPool, TimelineFound, Unusable};
pub use manifest::{Compression, FileEntry, Manifest, Stored};
pub use placing::{DirectoryEntry, Placing};
pub use progress::{Hook, Step};
pub use prune::Pruned;
pub use reason::Reason;
pub use repository::{BackupFound, Repository};
pub use restore_files::{RestoreNote, RestorePlan, is_being_restored, write_files};
pub use restored_file::RestoredFile;
pub use retention::{
    BackupFact, Completed, Decision, Facts, History, LogFact, Policy, Verdict, decide,
};
pub use shelf::{Put, Shelf};
pub use update::{Updated, update_copy};
pub use verify_files::{FilesChecked, Finding};
pub use verify_log::{LogChecked, LogProof};
