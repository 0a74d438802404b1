//! What one call to a [`Vfs`](crate::Vfs) or [`File`](crate::File) was, as a value.
//!
//! Owns the vocabulary shared by the observing wrapper, the recording wrapper and the simulated
//! disk's log. Must never hold more than a description: no handle, no file.

use std::fmt;
use std::io;
use std::path::Path;
use std::sync::Arc;

/// Which call.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum CallKind {
    /// [`Vfs::open`](crate::Vfs::open)
    Open,
    /// [`Vfs::remove`](crate::Vfs::remove)
    Remove,
    /// [`Vfs::rename`](crate::Vfs::rename)
    Rename,
    /// [`Vfs::create_dir`](crate::Vfs::create_dir)
    CreateDir,
    /// [`Vfs::list`](crate::Vfs::list)
    List,
    /// [`Vfs::exists`](crate::Vfs::exists)
    Exists,
    /// [`Vfs::sync_dir`](crate::Vfs::sync_dir)
    SyncDir,
    /// [`Vfs::lock`](crate::Vfs::lock)
    Lock,
    /// [`File::read_at`](crate::File::read_at)
    Read,
    /// [`File::write_at`](crate::File::write_at)
    Write,
    /// [`File::sync_data`](crate::File::sync_data)
    SyncData,
    /// [`File::sync_all`](crate::File::sync_all)
    SyncAll,
    /// [`File::len`](crate::File::len)
    Len,
    /// [`File::set_len`](crate::File::set_len)
    SetLen,
    /// [`File::allocate`](crate::File::allocate)
    Allocate,
    /// [`Vfs::remove_dir`](crate::Vfs::remove_dir)
    RemoveDir,
}

impl CallKind {
    /// All of them, in declaration order.
    pub const ALL: [CallKind; 16] = [
        CallKind::Open,
        CallKind::Remove,
        CallKind::Rename,
        CallKind::CreateDir,
        CallKind::List,
        CallKind::Exists,
        CallKind::SyncDir,
        CallKind::Lock,
        CallKind::Read,
        CallKind::Write,
        CallKind::SyncData,
        CallKind::SyncAll,
        CallKind::Len,
        CallKind::SetLen,
        CallKind::Allocate,
        CallKind::RemoveDir,
    ];

    /// True for the three calls that make something durable.
    pub fn is_sync(self) -> bool {
        matches!(self, CallKind::SyncData | CallKind::SyncAll | CallKind::SyncDir)
    }

    /// True for calls that cannot change what is on the disk.
    pub fn only_looks(self) -> bool {
        matches!(self, CallKind::Read | CallKind::Len | CallKind::List | CallKind::Exists)
    }

    /// The name, as one word.
    pub fn name(self) -> &'static str {
        match self {
            CallKind::Open => "open",
            CallKind::Remove => "remove",
            CallKind::Rename => "rename",
            CallKind::CreateDir => "create_dir",
            CallKind::List => "list",
            CallKind::Exists => "exists",
            CallKind::SyncDir => "sync_dir",
            CallKind::Lock => "lock",
            CallKind::Read => "read",
            CallKind::Write => "write",
            CallKind::SyncData => "sync_data",
            CallKind::SyncAll => "sync_all",
            CallKind::Len => "len",
            CallKind::SetLen => "set_len",
            CallKind::Allocate => "allocate",
            CallKind::RemoveDir => "remove_dir",
        }
    }
}

impl fmt::Display for CallKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// One call, while it is being made.
#[derive(Clone, Copy, Debug)]
pub struct Call<'a> {
    /// Which call of its observer it is, from 0.
    pub index: u64,
    /// What it asks for.
    pub kind: CallKind,
    /// The file or directory.
    pub path: &'a Path,
    /// The new name, for a rename.
    pub target: Option<&'a Path>,
    /// Which open handle; 0 for calls that are not made through one.
    pub handle: u64,
    /// Where, for calls that have a place; the new length for `set_len`.
    pub offset: u64,
    /// How many bytes were asked for.
    pub len: u64,
    /// The bytes of a write; once a read has returned, the bytes that it read.
    pub data: &'a [u8],
}

/// How a call ended: a count (bytes moved, a length, a number of names, 1 for yes), or an error.
pub type Outcome<'a> = Result<u64, &'a io::Error>;

/// A call that has been made, for lists of call sites.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LoggedCall {
    /// Its index, from 0.
    pub index: u64,
    /// What it asked for.
    pub kind: CallKind,
    /// The file or directory.
    pub path: Arc<Path>,
    /// Where, for calls that have a place; the new length for `set_len`.
    pub offset: u64,
    /// How many bytes were asked for.
    pub len: u64,
    /// How it failed, if it did.
    pub failed: Option<io::ErrorKind>,
}

impl LoggedCall {
    /// The call site as a class: the call and the file's name with its numbers masked, such as
    /// `write log/log.#`.
    pub fn site(&self) -> String {
        let mut site = format!("{} ", self.kind);
        let mut in_number = false;
        for letter in self.path.to_string_lossy().chars() {
            if letter.is_ascii_digit() {
                if !in_number {
                    site.push('#');
                }
                in_number = true;
            } else {
                in_number = false;
                site.push(letter);
            }
        }
        site
    }
}

impl fmt::Display for LoggedCall {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let LoggedCall { index, kind, path, offset, len, failed } = self;
        write!(f, "{index}: {kind} {} {offset}+{len}", path.display())?;
        match failed {
            Some(kind) => write!(f, " failed: {kind}"),
            None => Ok(()),
        }
    }
}
