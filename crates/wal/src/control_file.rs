//! The control file: reading and writing what recovery begins with.
//!
//! Owns the I/O of the two slots; what they say is `campanile_format::control`. Promises (W12) that
//! a whole slot is durable at any time, that the last one written without error counts, and that
//! the file appears whole or not at all. Must never overwrite the slot that counts, and never write
//! again after a failure.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use campanile_format::control::{
    CONTROL_FILE_BYTES, CONTROL_SLOT_BYTES, CONTROL_SLOT_OFFSETS, Chosen, Control, choose,
};
use campanile_format::planted::{self, Bug};
use campanile_format::{FormatError, names};
use campanile_sync::Mutex;
use campanile_vfs::{File, Host, Open, Poison, Vfs};

use crate::error::WalError;
use crate::rotate::sync_dir;
use crate::wal::fatal;

/// The control file of an open environment.
#[derive(Debug)]
pub struct ControlFile {
    file: Arc<dyn File>,
    poison: Poison,
    last: Mutex<Last>,
}

/// The slot that counts.
#[derive(Clone, Copy, Debug)]
struct Last {
    generation: u64,
    slot: usize,
}

fn path(home: &Path) -> PathBuf {
    home.join(names::CONTROL)
}

fn io(action: &'static str) -> impl FnOnce(std::io::Error) -> WalError {
    move |error| WalError::io(action, names::CONTROL, error)
}

impl ControlFile {
    /// Makes the control file of a new environment. The home has one from the moment this returns;
    /// a crash before leaves it without.
    pub fn create(
        host: &Host,
        poison: &Poison,
        home: &Path,
        control: &Control,
    ) -> Result<ControlFile, WalError> {
        poison.check()?;
        if host.vfs.exists(&path(home)).map_err(io("look for"))? {
            return Err(WalError::NotEmpty { file: path(home).display().to_string() });
        }
        ControlFile::put_whole(host, poison, home, control)
    }

    /// Makes a control file and gives it its name in one step, over the one that may have it.
    fn put_whole(
        host: &Host,
        poison: &Poison,
        home: &Path,
        control: &Control,
    ) -> Result<ControlFile, WalError> {
        let unfinished = format!("{}{}", names::CONTROL, names::UNFINISHED_SUFFIX);
        let failed = |action, error| fatal(poison, action, names::CONTROL, error);
        let temporary = home.join(unfinished);
        let file = host.vfs.open(&temporary, Open::OpenOrCreate).map_err(io("create"))?;
        // Both slots from the first day: damage to one is never the end of an environment.
        let [first, second] = CONTROL_SLOT_OFFSETS;
        let mut bytes = control.encode();
        bytes.resize((second - first) as usize, 0);
        bytes.extend(control.encode());
        bytes.resize(CONTROL_FILE_BYTES as usize, 0);
        file.write_all_at(&bytes, first).map_err(|error| failed("write", error))?;
        file.sync_data().map_err(|error| failed("sync", error))?;
        host.vfs.rename(&temporary, &path(home)).map_err(|error| failed("rename", error))?;
        sync_dir(host, poison, home)?;
        // By its own name from here on, so that whoever watches the disk knows what is written.
        let file = open(&*host.vfs, home, Open::ReadWrite)?;
        let last = Mutex::new(Last { generation: control.generation, slot: 0 });
        Ok(ControlFile { file, poison: poison.clone(), last })
    }

    /// What the control file of `home` says. Reads only.
    pub fn read(vfs: &dyn Vfs, home: &Path) -> Result<Control, WalError> {
        let file = open(vfs, home, Open::Read)?;
        Ok(load(&*file)?.control)
    }

    /// Opens the control file of `home` for writing, and says what counts.
    ///
    /// What counts is written once more first: it may have been read from a cache that a failed
    /// sync left behind, and the other slot, perhaps the only one on disk, is overwritten next. Not
    /// in its place, where a power cut could ruin it: into a new file that takes the name.
    pub fn open(
        host: &Host,
        poison: &Poison,
        home: &Path,
    ) -> Result<(ControlFile, Control), WalError> {
        poison.check()?;
        let control = ControlFile::read(&*host.vfs, home)?;
        Ok((ControlFile::put_whole(host, poison, home, &control)?, control))
    }

    /// Makes `control` what counts, durably; its generation is given here.
    ///
    /// Everything that `control` refers to is durable already: that is for the caller to see to.
    pub fn write(&self, control: &Control) -> Result<(), WalError> {
        self.poison.check()?;
        let mut last = self.last.lock();
        let next = Last { generation: last.generation + 1, slot: 1 - last.slot };
        let control = Control { generation: next.generation, ..*control };
        if planted::is(Bug::ControlSlotsTogether) {
            self.put(last.slot, &control)?;
        }
        self.put(next.slot, &control)?;
        *last = next;
        Ok(())
    }

    fn put(&self, slot: usize, control: &Control) -> Result<(), WalError> {
        let [first, second] = CONTROL_SLOT_OFFSETS;
        let offset = if slot == 0 { first } else { second };
        let failed = |action, error| fatal(&self.poison, action, names::CONTROL, error);
        let written = self.file.write_all_at(&control.encode(), offset);
        written.map_err(|error| failed("write", error))?;
        if planted::is(Bug::ControlSlotsTogether) {
            return Ok(());
        }
        self.file.sync_data().map_err(|error| failed("sync", error))
    }
}

fn open(vfs: &dyn Vfs, home: &Path, how: Open) -> Result<Arc<dyn File>, WalError> {
    vfs.open(&path(home), how).map_err(|error| match error.kind() {
        std::io::ErrorKind::NotFound => {
            WalError::NoControl { path: path(home).display().to_string() }
        }
        _ => WalError::io("open", names::CONTROL, error),
    })
}

fn load(file: &dyn File) -> Result<Chosen, WalError> {
    let mut slots = Vec::new();
    for offset in CONTROL_SLOT_OFFSETS {
        let mut slot = vec![0; CONTROL_SLOT_BYTES];
        let count = file.read_full_at(&mut slot, offset).map_err(io("read"))?;
        if count < slot.len() && offset + (count as u64) < file.len().map_err(io("measure"))? {
            return Err(io("read")(std::io::ErrorKind::UnexpectedEof.into()));
        }
        slot.truncate(count);
        slots.push(slot);
    }
    let slot = |index: usize| slots.get(index).map_or(&[][..], Vec::as_slice);
    choose(slot(0), slot(1)).map_err(|error| match error {
        FormatError::Corrupt(corrupt) => WalError::Corrupt {
            file: names::CONTROL.into(),
            offset: corrupt.at as u64,
            why: format!("neither of its two slots is whole: {corrupt}"),
        },
        source => WalError::Format { file: names::CONTROL.into(), source },
    })
}
