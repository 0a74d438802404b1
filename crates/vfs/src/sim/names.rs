//! The simulated directories: durable entries, visible entries, and the changes between.
//!
//! Owns rule D8. Promises:
//!
//! * N1: what is visible is what is durable plus all pending changes, in order.
//! * N2: a rename is one change: no crash leaves neither name, or both.
//! * N3: `sync_dir` commits the changes of that directory only; a rename belongs to the directory
//!   of its new name.
//!
//! Must never look at file content.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::path::{Component, Path, PathBuf};
use std::sync::Arc;

use super::inode::InodeId;

pub(super) type DirId = u64;

/// The directory above all others; absolute and relative paths start there alike.
pub(super) const ROOT: DirId = 0;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Target {
    Dir(DirId),
    File(InodeId),
}

type Entries = BTreeMap<Arc<str>, Target>;

#[derive(Clone, Debug, Default)]
struct Dir {
    durable: Entries,
    visible: Entries,
}

/// A change of names since the directory was last synced.
#[derive(Clone, Debug)]
pub(super) struct NameOp {
    pub(super) seq: u64,
    pub(super) change: Change,
}

#[derive(Clone, Debug)]
pub(super) enum Change {
    Link { dir: DirId, name: Arc<str>, target: Target },
    Unlink { dir: DirId, name: Arc<str>, target: Target },
    Rename { from: (DirId, Arc<str>), to: (DirId, Arc<str>), target: Target },
}

impl Change {
    /// The directory whose sync commits it (N3).
    fn home(&self) -> DirId {
        match self {
            Change::Link { dir, .. } | Change::Unlink { dir, .. } => *dir,
            Change::Rename { to, .. } => to.0,
        }
    }

    fn touches(&self, place: &(DirId, Arc<str>)) -> bool {
        match self {
            Change::Link { dir, name, .. } | Change::Unlink { dir, name, .. } => {
                (*dir, name) == (place.0, &place.1)
            }
            Change::Rename { from, to, .. } => from == place || to == place,
        }
    }

    /// Makes the change in `entries`, whatever became of the changes before it.
    fn apply(&self, entries: &mut BTreeMap<DirId, Entries>) {
        match self {
            Change::Link { dir, name, target } => {
                entries.entry(*dir).or_default().insert(Arc::clone(name), *target);
            }
            Change::Unlink { dir, name, target } => {
                let dir = entries.entry(*dir).or_default();
                if dir.get(name) == Some(target) {
                    dir.remove(name);
                }
            }
            Change::Rename { from, to, target } => {
                // N2: the target had one name before, under whichever of its earlier names.
                entries.entry(from.0).or_default().retain(|_, there| there != target);
                entries.entry(to.0).or_default().insert(Arc::clone(&to.1), *target);
            }
        }
    }
}

/// The tree of names.
#[derive(Clone, Debug)]
pub(super) struct Names {
    dirs: BTreeMap<DirId, Arc<Dir>>,
    pub(super) ops: Vec<NameOp>,
    next_dir: DirId,
    /// Visible entries that no pending change will ever make durable (rule F1).
    astray: bool,
}

impl Names {
    pub(super) fn new() -> Names {
        let dirs = BTreeMap::from([(ROOT, Arc::new(Dir::default()))]);
        Names { dirs, ops: Vec::new(), next_dir: ROOT + 1, astray: false }
    }

    fn visible(&self, dir: DirId) -> Option<&Entries> {
        self.dirs.get(&dir).map(|dir| &dir.visible)
    }

    /// What `path` names, as everybody sees it now.
    pub(super) fn find(&self, path: &Path) -> Option<Target> {
        let mut at = Target::Dir(ROOT);
        for name in parts(path) {
            let Target::Dir(dir) = at else { return None };
            at = *self.visible(dir)?.get(name?)?;
        }
        Some(at)
    }

    pub(super) fn find_dir(&self, path: &Path) -> io::Result<DirId> {
        match self.find(path) {
            Some(Target::Dir(dir)) => Ok(dir),
            Some(Target::File(_)) => Err(refuse(io::ErrorKind::NotADirectory, path)),
            None => Err(refuse(io::ErrorKind::NotFound, path)),
        }
    }

    pub(super) fn find_file(&self, path: &Path) -> io::Result<InodeId> {
        match self.find(path) {
            Some(Target::File(inode)) => Ok(inode),
            Some(Target::Dir(_)) => Err(refuse(io::ErrorKind::IsADirectory, path)),
            None => Err(refuse(io::ErrorKind::NotFound, path)),
        }
    }

    /// The directory that holds `path`, and its name there.
    fn place(&self, path: &Path) -> io::Result<(DirId, Arc<str>)> {
        let dir = self.find_dir(path.parent().unwrap_or(Path::new("")))?;
        let name = path.file_name().and_then(|name| name.to_str());
        let name = name.ok_or_else(|| refuse(io::ErrorKind::InvalidInput, path))?;
        Ok((dir, name.into()))
    }

    fn change(&mut self, seq: u64, change: Change) {
        let mut entries = BTreeMap::new();
        let (one, other) = match &change {
            Change::Link { dir, .. } | Change::Unlink { dir, .. } => (*dir, *dir),
            Change::Rename { from, to, .. } => (from.0, to.0),
        };
        for id in BTreeSet::from([one, other]) {
            let dir = self.dirs.get_mut(&id).expect("changed directories exist");
            entries.insert(id, std::mem::take(&mut Arc::make_mut(dir).visible));
        }
        change.apply(&mut entries);
        for (id, visible) in entries {
            let dir = self.dirs.get_mut(&id).expect("changed directories exist");
            Arc::make_mut(dir).visible = visible;
        }
        self.ops.push(NameOp { seq, change });
    }

    /// Names a new file.
    pub(super) fn link(&mut self, seq: u64, path: &Path, inode: InodeId) -> io::Result<()> {
        let (dir, name) = self.place(path)?;
        self.change(seq, Change::Link { dir, name, target: Target::File(inode) });
        Ok(())
    }

    pub(super) fn unlink(&mut self, seq: u64, path: &Path) -> io::Result<InodeId> {
        let inode = self.find_file(path)?;
        let (dir, name) = self.place(path)?;
        self.change(seq, Change::Unlink { dir, name, target: Target::File(inode) });
        Ok(inode)
    }

    /// Renames a file and returns which.
    pub(super) fn rename(&mut self, seq: u64, from: &Path, to: &Path) -> io::Result<InodeId> {
        let inode = match self.find(from) {
            Some(Target::Dir(_)) => return Err(refuse(io::ErrorKind::Unsupported, from)),
            _ => self.find_file(from)?,
        };
        if let Some(Target::Dir(_)) = self.find(to) {
            return Err(refuse(io::ErrorKind::IsADirectory, to));
        }
        let (from, to) = (self.place(from)?, self.place(to)?);
        if from != to {
            self.change(seq, Change::Rename { from, to, target: Target::File(inode) });
        }
        Ok(inode)
    }

    /// Makes a directory and its missing parents; each is a pending entry of its own parent.
    pub(super) fn create_dir(
        &mut self,
        mut seq: impl FnMut() -> u64,
        path: &Path,
    ) -> io::Result<()> {
        let mut at = ROOT;
        for name in parts(path) {
            let name = name.ok_or_else(|| refuse(io::ErrorKind::InvalidInput, path))?;
            at = match self.visible(at).and_then(|entries| entries.get(name)) {
                Some(Target::Dir(dir)) => *dir,
                Some(Target::File(_)) => return Err(refuse(io::ErrorKind::AlreadyExists, path)),
                None => {
                    let made = self.next_dir;
                    self.next_dir += 1;
                    self.dirs.insert(made, Arc::new(Dir::default()));
                    let target = Target::Dir(made);
                    self.change(seq(), Change::Link { dir: at, name: name.into(), target });
                    made
                }
            };
        }
        Ok(())
    }

    /// Removes an empty directory: a pending change of its parent. Until that is synced a crash may
    /// bring the directory back, with whatever entries of its own were durable.
    pub(super) fn remove_dir(&mut self, seq: u64, path: &Path) -> io::Result<()> {
        let removed = self.find_dir(path)?;
        if self.visible(removed).is_some_and(|entries| !entries.is_empty()) {
            return Err(refuse(io::ErrorKind::DirectoryNotEmpty, path));
        }
        let (dir, name) = self.place(path)?;
        self.change(seq, Change::Unlink { dir, name, target: Target::Dir(removed) });
        Ok(())
    }

    /// Puts a file into a directory behind everybody's back: it is durable at once.
    pub(super) fn plant(&mut self, dir: DirId, name: &str, inode: InodeId) {
        if let Some(dir) = self.dirs.get_mut(&dir).map(Arc::make_mut) {
            dir.visible.insert(name.into(), Target::File(inode));
            dir.durable.insert(name.into(), Target::File(inode));
        }
    }

    pub(super) fn list(&self, dir: &Path) -> io::Result<Vec<String>> {
        let dir = self.find_dir(dir)?;
        let names = self.visible(dir).into_iter().flat_map(BTreeMap::keys);
        Ok(names.map(|name| name.to_string()).collect())
    }

    /// Rule D8: commits the pending changes of one directory, and with a rename whatever went
    /// before on its two names.
    pub(super) fn sync_dir(&mut self, dir: DirId) {
        let mut commits: Vec<bool> = self.ops.iter().map(|op| op.change.home() == dir).collect();
        for index in (0..self.ops.len()).rev() {
            if let (true, Change::Rename { from, to, .. }) =
                (commits[index], &self.ops[index].change)
            {
                for (op, commit) in self.ops[..index].iter().zip(&mut commits) {
                    *commit |= op.change.touches(from) || op.change.touches(to);
                }
            }
        }
        let mut which = commits.iter().copied();
        let survivors = self.after(|_| which.next() == Some(true));
        for (id, durable) in survivors {
            if let Some(dir) = self.dirs.get_mut(&id).filter(|dir| dir.durable != durable) {
                Arc::make_mut(dir).durable = durable;
            }
        }
        let mut which = commits.iter().copied();
        self.ops.retain(|_| which.next() == Some(false));
    }

    /// Rule F1 a for a directory: its pending changes are forgotten without becoming durable.
    pub(super) fn lose(&mut self, dir: DirId) {
        self.ops.retain(|op| op.change.home() != dir);
        self.astray = true;
    }

    /// Rule F1 b for a directory: its pending changes are undone.
    pub(super) fn revert(&mut self, dir: DirId) {
        self.lose(dir);
        let mut entries = self.after(|_| true);
        if let (Some(visible), Some(dir)) = (entries.remove(&dir), self.dirs.get_mut(&dir)) {
            Arc::make_mut(dir).visible = visible;
        }
    }

    /// The durable entries with those pending changes that `survives` picks.
    fn after(&self, mut survives: impl FnMut(&NameOp) -> bool) -> BTreeMap<DirId, Entries> {
        let mut entries: BTreeMap<DirId, Entries> =
            self.dirs.iter().map(|(id, dir)| (*id, dir.durable.clone())).collect();
        for op in &self.ops {
            if survives(op) {
                op.change.apply(&mut entries);
            }
        }
        entries
    }

    /// The tree after a crash that `survives` decides: nothing pending, nothing unreachable.
    pub(super) fn after_crash(&self, survives: impl FnMut(&NameOp) -> bool) -> Names {
        if self.ops.is_empty() && !self.astray {
            return self.clone();
        }
        let mut entries = self.after(survives);
        let mut dirs = BTreeMap::new();
        let mut reach = vec![ROOT];
        while let Some(id) = reach.pop() {
            let durable = entries.remove(&id).unwrap_or_default();
            reach.extend(durable.values().filter_map(|target| match target {
                Target::Dir(dir) => Some(*dir),
                Target::File(_) => None,
            }));
            dirs.insert(id, Arc::new(Dir { visible: durable.clone(), durable }));
        }
        Names { dirs, ops: Vec::new(), next_dir: self.next_dir, astray: false }
    }

    /// Every visible file with its path, in path order of each directory.
    pub(super) fn files(&self) -> Vec<(PathBuf, InodeId)> {
        let mut found = Vec::new();
        let mut reach = vec![(PathBuf::new(), ROOT)];
        while let Some((path, id)) = reach.pop() {
            for (name, target) in self.visible(id).into_iter().flatten() {
                match target {
                    Target::File(inode) => found.push((path.join(&**name), *inode)),
                    Target::Dir(dir) => reach.push((path.join(&**name), *dir)),
                }
            }
        }
        found.sort();
        found
    }

    /// Files that some entry names: visible, durable or pending.
    pub(super) fn reachable(&self) -> BTreeSet<InodeId> {
        let mut found = BTreeSet::new();
        let mut note = |target: &Target| {
            if let Target::File(inode) = target {
                found.insert(*inode);
            }
        };
        for dir in self.dirs.values() {
            dir.visible.values().for_each(&mut note);
            dir.durable.values().for_each(&mut note);
        }
        for op in &self.ops {
            match &op.change {
                Change::Link { target, .. }
                | Change::Unlink { target, .. }
                | Change::Rename { target, .. } => note(target),
            }
        }
        found
    }

    /// Commits every pending change of every directory.
    pub(super) fn sync_everything(&mut self) {
        for dir in self.dirs.values_mut() {
            let dir = Arc::make_mut(dir);
            dir.durable = dir.visible.clone();
        }
        self.ops.clear();
        self.astray = false;
    }
}

/// The names in a path; `None` for one that is not Unicode or climbs.
fn parts(path: &Path) -> impl Iterator<Item = Option<&str>> {
    path.components().filter_map(|part| match part {
        Component::Normal(name) => Some(name.to_str()),
        Component::ParentDir => Some(None),
        Component::CurDir | Component::RootDir | Component::Prefix(_) => None,
    })
}

pub(super) fn refuse(kind: io::ErrorKind, path: &Path) -> io::Error {
    io::Error::new(kind, format!("{}: {kind}", path.display()))
}
