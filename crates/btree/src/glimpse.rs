//! From the root to a node without a latch.
//!
//! Owns: the optimistic descent. Promises: nothing read is believed before its page is known to
//! have been one state (B13), so that damage is reported only where there is some, no page is asked
//! for that the tree does not name, and a reader that is overtaken by splits, merges, evictions or
//! a removed file learns that it was. Writes nothing that another thread reads. Must never: loop
//! (levels fall by one, or the descent is given up), or hold a latch.

use campanile_format::{Lsn, PageId, Words, page};
use campanile_pagestore::{PageGlimpse, PageRead, PageVersion};

use crate::descend::{Shown, Target, check_fences, check_level, node_of};
use crate::error::TreeError;
use crate::tree::Tree;

/// Where a descent came to.
#[derive(Debug)]
pub(crate) enum Walk<T> {
    /// To what it was to find.
    Found(T),
    /// The tree has no such level.
    NotThatHigh,
    /// Nowhere: the tree changed on the way.
    Changed,
}

impl Walk<()> {
    /// Descents without latches before one with latches, which cannot be overtaken.
    pub const ATTEMPTS: usize = 3;
}

/// A page, and who says that it is the one.
#[derive(Debug)]
pub(crate) struct Place<'e> {
    /// `None`: it is the root, which never moves.
    parent: Option<PageGlimpse<'e>>,
    pub page: PageId,
}

impl Place<'_> {
    /// Whether `page`, seen here, is the root, and the root has another level than it had: it rose
    /// or fell between two looks, and is no damage.
    pub fn is_outgrown<S: Shown>(&self, page: &S, level: u8) -> bool {
        let node = node_of(page);
        self.parent.is_none() && node.is_node() && node.level() != level
    }

    /// Whether it still is the one.
    pub fn is_current(&self) -> bool {
        self.parent.is_none_or(|parent| parent.is_current())
    }
}

/// A leaf to look at: latched, or not to be believed before the look is over.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Leaf<'l> {
    id: PageId,
    words: Words<'l>,
    version: PageVersion,
}

impl Leaf<'_> {
    /// The LSN of the last record that changed the page.
    pub fn lsn(&self) -> Lsn {
        page::lsn(&self.words)
    }

    /// The state of the page: the same later means that nothing changed.
    pub fn version(&self) -> PageVersion {
        self.version
    }
}

impl Shown for Leaf<'_> {
    fn id(&self) -> PageId {
        self.id
    }
    #[inline]
    fn words(&self) -> Words<'_> {
        self.words
    }
}

impl<'l> From<PageGlimpse<'l>> for Leaf<'l> {
    fn from(page: PageGlimpse<'l>) -> Leaf<'l> {
        Leaf { id: page.id(), words: page.bytes(), version: page.version() }
    }
}

impl<'l, 'e> From<&'l PageRead<'e>> for Leaf<'l> {
    fn from(page: &'l PageRead<'e>) -> Leaf<'l> {
        Leaf { id: page.id(), words: page.bytes(), version: page.version() }
    }
}

/// What was concluded from a page, once it is known to have been one state: `None` if not.
fn certain<T>(
    page: &PageGlimpse<'_>,
    concluded: Result<T, TreeError>,
) -> Result<Option<T>, TreeError> {
    match concluded {
        // To be believed later, together with what follows from it.
        Ok(value) => Ok(Some(value)),
        Err(error) if page.is_current() => Err(error),
        Err(_) => Ok(None),
    }
}

impl<'e> Tree<'e> {
    /// Looks at the leaf for `target`. What `look` sees may change under its eyes: its answer
    /// counts, and its errors count, only if they did not; else it is asked again. It keeps
    /// nothing but its answer, and must bear any bytes.
    pub(crate) fn look_at_leaf<R>(
        &self,
        target: Target<'_>,
        mut look: impl FnMut(Leaf<'_>) -> Result<R, TreeError>,
    ) -> Result<R, TreeError> {
        for _ in 0..Walk::ATTEMPTS {
            let Walk::Found(page) = self.glimpse_leaf(target)? else { continue };
            let answer = check_fences(&page, target).and_then(|()| look(Leaf::from(page)));
            if page.is_current() {
                return answer;
            }
        }
        let leaf = self.read_leaf(target)?;
        look(Leaf::from(&leaf))
    }

    /// The leaf for `target`; its fences are not checked yet.
    fn glimpse_leaf(&self, target: Target<'_>) -> Result<Walk<PageGlimpse<'e>>, TreeError> {
        let place = match self.glimpse_place(target, 0)? {
            Walk::Found(place) => place,
            Walk::NotThatHigh => return Ok(Walk::NotThatHigh),
            Walk::Changed => return Ok(Walk::Changed),
        };
        let Some(page) = self.glimpse_at(&place)? else { return Ok(Walk::Changed) };
        if place.is_outgrown(&page, 0) {
            return Ok(Walk::Changed);
        }
        Ok(match certain(&page, check_level(&page, Some(0)))? {
            Some(_) => Walk::Found(page),
            None => Walk::Changed,
        })
    }

    /// Where the node at `to_level` on the way to `target` is, and above it the node that names it.
    pub(crate) fn glimpse_place(
        &self,
        target: Target<'_>,
        to_level: u8,
    ) -> Result<Walk<Place<'e>>, TreeError> {
        let root = Place { parent: None, page: self.root() };
        let mut page = self.store().glimpse(root.page)?;
        let Some(mut level) = certain(&page, check_level(&page, None))? else {
            return Ok(Walk::Changed);
        };
        if level <= to_level {
            return Ok(match page.is_current() {
                false => Walk::Changed,
                true if level == to_level => Walk::Found(root),
                true => Walk::NotThatHigh,
            });
        }
        loop {
            let Some(place) = self.place_below(page, target)? else { return Ok(Walk::Changed) };
            level -= 1;
            if level == to_level {
                return Ok(Walk::Found(place));
            }
            let Some(child) = self.glimpse_at(&place)? else { return Ok(Walk::Changed) };
            if certain(&child, check_level(&child, Some(level)))?.is_none() {
                return Ok(Walk::Changed);
            }
            page = child;
        }
    }

    /// The nodes from the root to the leaf for `key`.
    pub(crate) fn glimpse_path(&self, key: &[u8]) -> Result<Walk<Vec<PageGlimpse<'e>>>, TreeError> {
        let mut page = self.store().glimpse(self.root())?;
        let Some(mut level) = certain(&page, check_level(&page, None))? else {
            return Ok(Walk::Changed);
        };
        let mut path = vec![page];
        while level > 0 {
            let Some(place) = self.place_below(page, Target::At(key))? else {
                return Ok(Walk::Changed);
            };
            let Some(child) = self.glimpse_at(&place)? else { return Ok(Walk::Changed) };
            level -= 1;
            if certain(&child, check_level(&child, Some(level)))?.is_none() {
                return Ok(Walk::Changed);
            }
            path.push(child);
            page = child;
        }
        Ok(Walk::Found(path))
    }

    fn place_below(
        &self,
        parent: PageGlimpse<'e>,
        target: Target<'_>,
    ) -> Result<Option<Place<'e>>, TreeError> {
        let page = certain(&parent, self.child_on_way(&parent, target))?;
        Ok(page.map(|page| Place { parent: Some(parent), page }))
    }

    /// The page at a place, which was that of its parent when the glimpse began; `None` if that is
    /// not certain.
    fn glimpse_at(&self, place: &Place<'e>) -> Result<Option<PageGlimpse<'e>>, TreeError> {
        let page = match self.store().try_glimpse(place.page) {
            Some(page) => page,
            // Not before the number is known to be a page of this tree.
            None if !place.is_current() => return Ok(None),
            None => match self.store().glimpse(place.page) {
                Ok(page) => page,
                Err(error) if place.is_current() => return Err(error.into()),
                Err(_) => return Ok(None),
            },
        };
        // In this order: the version of the page first, then whether its parent is unchanged.
        Ok(place.is_current().then_some(page))
    }
}
