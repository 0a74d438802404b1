//! Lock modes and which of them go together.
//!
//! Owns: the three parts of a mode, their compatibility and their least upper bound. Promises:
//! every pair of modes has an answer, so key locks and whole-database locks need no separate
//! tables. Must never: know who holds what.

use std::fmt;

/// How strongly one part of a lock is held.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub enum Part {
    /// Not at all.
    #[default]
    None,
    /// Together with others who only read.
    Shared,
    /// Alone.
    Exclusive,
}

impl Part {
    /// Both may be held by strangers at once.
    #[must_use]
    pub const fn is_compatible(self, other: Part) -> bool {
        match (self, other) {
            (Part::None, _) | (_, Part::None) | (Part::Shared, Part::Shared) => true,
            (Part::Exclusive, _) | (_, Part::Exclusive) => false,
        }
    }
}

/// What the holder of a lock on a whole intends to lock inside it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub enum Intent {
    /// Nothing.
    #[default]
    None,
    /// Shared locks.
    Shared,
    /// Exclusive locks.
    Exclusive,
}

impl Intent {
    /// A stranger may hold the whole in `part` at the same time.
    const fn is_compatible_with(self, part: Part) -> bool {
        match (self, part) {
            (Intent::None, _) | (_, Part::None) | (Intent::Shared, Part::Shared) => true,
            (Intent::Exclusive, _) | (_, Part::Exclusive) => false,
        }
    }
}

/// A lock mode: how the key (or the whole) is held, how the gap below the key is held, and what
/// is intended inside. Modes are compatible iff all their parts are.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub struct Mode {
    key: Part,
    gap: Part,
    intent: Intent,
}

impl Mode {
    /// No lock at all.
    pub const NONE: Mode = Mode::new(Part::None, Part::None);
    /// Shared: a key, or a whole database.
    pub const S: Mode = Mode::new(Part::Shared, Part::None);
    /// Exclusive: a key, or a whole database.
    pub const X: Mode = Mode::new(Part::Exclusive, Part::None);
    /// The gap below a key, shared: no one may insert there.
    pub const GAP_S: Mode = Mode::new(Part::None, Part::Shared);
    /// The gap below a key, exclusive: wanted for an instant by whoever inserts there.
    pub const GAP_X: Mode = Mode::new(Part::None, Part::Exclusive);
    /// A key and the gap below it, shared: a step of a serializable scan.
    pub const RANGE_S: Mode = Mode::new(Part::Shared, Part::Shared);
    /// A key and the gap below it, exclusive.
    pub const RANGE_X: Mode = Mode::new(Part::Exclusive, Part::Exclusive);
    /// A whole: shared locks will be taken inside.
    pub const IS: Mode = Mode::intention(Part::None, Intent::Shared);
    /// A whole: exclusive locks will be taken inside.
    pub const IX: Mode = Mode::intention(Part::None, Intent::Exclusive);
    /// A whole, shared, and exclusive locks will be taken inside.
    pub const SIX: Mode = Mode::intention(Part::Shared, Intent::Exclusive);

    /// A whole: exclusive locks will be taken inside, and its structure will change. The gap part
    /// of a whole stands for its structure: whoever has it exclusively ([`Mode::GAP_X`]) keeps off
    /// those who change, but nobody who has only promised to, or to read.
    pub const IX_CHANGING: Mode =
        Mode { key: Part::None, gap: Part::Shared, intent: Intent::Exclusive };

    /// A mode for a key and the gap below it.
    #[must_use]
    pub const fn new(key: Part, gap: Part) -> Mode {
        Mode { key, gap, intent: Intent::None }
    }

    /// A mode for a whole: held in `whole`, with locks to be taken inside. An intention that
    /// `whole` covers is dropped, so equal modes are equal values.
    #[must_use]
    pub const fn intention(whole: Part, intent: Intent) -> Mode {
        Mode { key: whole, gap: Part::None, intent }.canonical()
    }

    const fn canonical(self) -> Mode {
        match (self.key, self.intent) {
            (Part::Exclusive, _) | (Part::Shared, Intent::Shared) => {
                Mode { key: self.key, gap: self.gap, intent: Intent::None }
            }
            _ => self,
        }
    }

    /// The same without the gap.
    #[must_use]
    pub const fn without_gap(self) -> Mode {
        Mode { gap: Part::None, ..self }
    }

    /// How the key, or the whole, is held.
    #[must_use]
    pub const fn key(self) -> Part {
        self.key
    }

    /// How the gap below the key is held.
    #[must_use]
    pub const fn gap(self) -> Part {
        self.gap
    }

    /// What is intended inside the whole.
    #[must_use]
    pub const fn intent(self) -> Intent {
        self.intent
    }

    /// Whether strangers may hold both at once.
    #[must_use]
    pub const fn is_compatible(self, other: Mode) -> bool {
        self.key.is_compatible(other.key)
            && self.gap.is_compatible(other.gap)
            && self.intent.is_compatible_with(other.key)
            && other.intent.is_compatible_with(self.key)
    }

    /// The weakest mode that covers both: what a holder of one has after asking for the other.
    #[must_use]
    pub fn join(self, other: Mode) -> Mode {
        let key = self.key.max(other.key);
        let gap = self.gap.max(other.gap);
        let intent = self.intent.max(other.intent);
        Mode { key, gap, intent }.canonical()
    }

    /// Whether holding this is as good as holding `other`.
    #[must_use]
    pub fn covers(self, other: Mode) -> bool {
        self.join(other) == self
    }

    /// Whether nothing is held.
    #[must_use]
    pub fn is_none(self) -> bool {
        self == Mode::NONE
    }
}

/// A lock that is given back before its owner ends. It stands beside what the owner holds to its
/// end, whichever came first: giving one back leaves the other.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Brief {
    /// The key, shared ([`Mode::S`]): somebody looks at it. Any number of times at once.
    Look,
    /// The gap below the key, exclusively ([`Mode::GAP_X`]): somebody puts a key into it. Once at a
    /// time.
    Divide,
}

impl Brief {
    /// What is held meanwhile.
    #[must_use]
    pub const fn mode(self) -> Mode {
        match self {
            Brief::Look => Mode::S,
            Brief::Divide => Mode::GAP_X,
        }
    }
}

impl fmt::Display for Mode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let whole = match (self.key, self.intent) {
            (Part::None, Intent::None) => "",
            (Part::None, Intent::Shared) => "IS",
            (Part::None, Intent::Exclusive) => "IX",
            (Part::Shared, Intent::Exclusive) => "SIX",
            (Part::Shared, _) => "S",
            (Part::Exclusive, _) => "X",
        };
        let gap = match self.gap {
            Part::None => "",
            Part::Shared => "gapS",
            Part::Exclusive => "gapX",
        };
        match (whole, gap) {
            ("", "") => f.write_str("none"),
            ("", one) | (one, "") => f.write_str(one),
            (whole, gap) => write!(f, "{whole}+{gap}"),
        }
    }
}
