//! Reaching into a simulated disk from outside, for tests of bad input.
//!
//! Owns edits that no call makes: damage at rest, files that appear and vanish. Promises that they
//! are durable at once and are not counted as calls; files that appear or vanish settle whatever
//! names were pending. Must never be mistaken for the engine's I/O.

use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::image::Image;
use super::inode::Inode;
use super::{SimDisk, SimOptions};

impl SimDisk {
    /// A disk that holds these files, all durable.
    pub fn from_files(options: SimOptions, files: &BTreeMap<PathBuf, Vec<u8>>) -> Arc<SimDisk> {
        let disk = SimDisk::new(options);
        disk.load_files(files);
        disk
    }

    /// Every file with its content, as everybody sees it now.
    pub fn snapshot_files(&self) -> BTreeMap<PathBuf, Vec<u8>> {
        let state = self.state();
        let files = state.names.files().into_iter();
        files.map(|(path, id)| (path, state.inode(id).cache.to_vec())).collect()
    }

    /// Puts these files on the disk, in place of those with the same names.
    pub fn load_files(&self, files: &BTreeMap<PathBuf, Vec<u8>>) {
        for (path, bytes) in files {
            self.put_file(path, bytes);
        }
    }

    /// Puts one file on the disk, making its directories.
    ///
    /// # Panics
    ///
    /// If a file stands where a directory is needed, or the other way round.
    pub fn put_file(&self, path: &Path, bytes: &[u8]) {
        let mut state = self.state();
        let inode = state.add_inode(Inode::durable(Image::of(bytes)));
        let up = path.parent().unwrap_or(Path::new(""));
        let sequence = &mut state.sequence.clone();
        state.names.create_dir(|| sequence.next(), up).expect("no file stands in the way");
        let seq = sequence.next();
        if state.names.find_file(path).is_ok() {
            state.names.unlink(seq, path).expect("found above");
        }
        let seq = sequence.next();
        state.names.link(seq, path, inode).expect("no directory stands in the way");
        state.sequence = sequence.clone();
        state.names.sync_everything();
        state.collect();
    }

    /// Takes a file off the disk.
    pub fn drop_file(&self, path: &Path) -> io::Result<()> {
        let mut state = self.state();
        let seq = state.sequence.next();
        state.names.unlink(seq, path)?;
        state.names.sync_everything();
        state.collect();
        Ok(())
    }

    /// A file's content, as everybody sees it now.
    pub fn file_bytes(&self, path: &Path) -> io::Result<Vec<u8>> {
        let state = self.state();
        let id = state.names.find_file(path)?;
        Ok(state.inode(id).cache.to_vec())
    }

    /// A file's durable content: what `CrashChoice::Nothing` would leave of it.
    pub fn durable_bytes(&self, path: &Path) -> io::Result<Vec<u8>> {
        let state = self.state();
        let id = state.names.find_file(path)?;
        Ok(state.inode(id).durable.to_vec())
    }

    /// Replaces a file's content; handles see it too.
    pub fn edit_file(&self, path: &Path, edit: impl FnOnce(&mut Vec<u8>)) -> io::Result<()> {
        let mut bytes = self.file_bytes(path)?;
        edit(&mut bytes);
        let mut state = self.state();
        let id = state.names.find_file(path)?;
        state.inodes.insert(id, Arc::new(Inode::durable(Image::of(&bytes))));
        Ok(())
    }

    /// Overwrites bytes below the length, on the medium and in the cache: cheap on large files.
    pub fn overwrite(&self, path: &Path, offset: u64, bytes: &[u8]) -> io::Result<()> {
        let mut state = self.state();
        let id = state.names.find_file(path)?;
        state.inode_mut(id).0.overwrite(bytes, offset);
        Ok(())
    }

    /// Flips one bit, counted from the start of the file.
    pub fn flip_bit(&self, path: &Path, bit: u64) -> io::Result<()> {
        let mut state = self.state();
        let id = state.names.find_file(path)?;
        let (inode, _) = state.inode_mut(id);
        let mut byte = [0];
        inode.cache.read(&mut byte, bit / 8);
        inode.overwrite(&[byte[0] ^ 1 << (bit % 8)], bit / 8);
        Ok(())
    }

    /// Evicts the clean part of the cache: after a failed sync (F1 a) the old bytes come back.
    pub fn drop_caches(&self) {
        let sector_bytes = self.options().sector_bytes;
        for inode in self.state().inodes.values_mut() {
            if inode.cache_astray {
                Arc::make_mut(inode).evict(sector_bytes);
            }
        }
    }
}
