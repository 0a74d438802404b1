//! Seeded programs: sequences of steps that a user could make, over several databases, with keys
//! and values at every size that the format treats differently. Pure data; `life` carries them out.

/// A small, fast, seeded source of choices (SplitMix64, Steele et al., OOPSLA 2014).
#[derive(Clone, Debug)]
pub struct Choices(u64);

impl Choices {
    /// The same seed gives the same choices.
    pub fn new(seed: u64) -> Choices {
        Choices(seed)
    }

    /// The next 64 bits.
    pub fn draw(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// A number below `bound`.
    pub fn below(&mut self, bound: u64) -> u64 {
        assert!(bound > 0, "nothing to choose from");
        self.draw() % bound
    }

    /// True once in `n` times on average.
    pub fn one_in(&mut self, n: u64) -> bool {
        self.below(n) == 0
    }

    /// One of the given things.
    pub fn pick<'a, T>(&mut self, from: &'a [T]) -> &'a T {
        &from[self.below(from.len() as u64) as usize]
    }
}

/// How durable a commit is asked to be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Durability {
    /// Synced before it is acknowledged.
    Sync,
    /// Handed to the operating system before it is acknowledged.
    WriteNoSync,
    /// Acknowledged at once.
    NoSync,
}

/// One step of a program. Databases go by number; steps that do not fit the moment are skipped.
#[allow(missing_docs, reason = "the fields are named by what they are")]
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Step {
    /// Creates the database in the running transaction.
    Create { database: usize, durable: bool },
    /// Drops it with all its rows.
    Drop { database: usize },
    /// Gives it the name of another, free number.
    Rename { database: usize, to: usize },
    /// Removes every row at once.
    Empty { database: usize },
    /// Sets a row.
    Put { database: usize, key: Vec<u8>, value: Vec<u8> },
    /// Removes the n-th row (modulo their count) in key order.
    Delete { database: usize, nth: usize },
    /// Removes up to `count` neighbouring rows from the n-th on: leaves run empty and merge.
    DeleteRun { database: usize, nth: usize, count: usize },
    /// Sets a savepoint.
    Savepoint,
    /// Undoes everything since the newest savepoint.
    RollbackTo,
    /// Commits the running transaction.
    Commit(Durability),
    /// Rolls the running transaction back.
    Abort,
    /// Takes a checkpoint.
    Checkpoint,
    /// Lets the background work take a step.
    Background,
    /// Closes the environment and opens it again.
    Reopen,
    /// Reads everything, forward and backward, and compares with the model.
    Check,
}

/// What a program should stress.
#[derive(Clone, Copy, Debug)]
pub struct Shape {
    /// Steps in the program.
    pub steps: usize,
    /// Number of databases that it uses.
    pub databases: usize,
    /// Page size that keys and values are scaled to.
    pub page_bytes: usize,
    /// Whether some databases are not durable.
    pub volatile: bool,
    /// Whether databases are created, dropped, renamed and emptied all the time.
    pub catalog: bool,
    /// Whether commits are sometimes relaxed.
    pub relaxed: bool,
}

impl Shape {
    /// A short program with everything in it.
    pub fn mixed(steps: usize) -> Shape {
        Shape { steps, databases: 3, page_bytes: 512, volatile: true, catalog: true, relaxed: true }
    }
}

/// The program of this seed and shape. It begins by creating and filling its databases.
pub fn program(seed: u64, shape: Shape) -> Vec<Step> {
    let mut choices = Choices::new(seed ^ 0x0c0f_fee0_0dd5_eed5);
    let mut steps = Vec::with_capacity(shape.steps + shape.databases * 2);
    for database in 0..shape.databases {
        let durable = !(shape.volatile && database + 1 == shape.databases);
        steps.push(Step::Create { database, durable });
    }
    steps.push(Step::Commit(Durability::Sync));
    while steps.len() < shape.steps {
        steps.push(step(&mut choices, shape));
    }
    steps.push(Step::Check);
    steps
}

fn step(choices: &mut Choices, shape: Shape) -> Step {
    let database = choices.below(shape.databases as u64) as usize;
    let nth = choices.below(1 << 20) as usize;
    match choices.below(100) {
        0..=54 => Step::Put { database, key: key(choices, shape), value: value(choices, shape) },
        55..=66 => Step::Delete { database, nth },
        67..=69 => Step::DeleteRun { database, nth, count: 1 + choices.below(24) as usize },
        70..=80 => Step::Commit(durability(choices, shape)),
        81..=83 => Step::Abort,
        84..=85 => Step::Savepoint,
        86..=87 => Step::RollbackTo,
        88..=89 => Step::Checkpoint,
        90..=93 => Step::Background,
        94 => Step::Check,
        95 if shape.steps > 40 => Step::Reopen,
        96..=99 if shape.catalog => catalog_step(choices, shape, database),
        _ => Step::Background,
    }
}

fn catalog_step(choices: &mut Choices, shape: Shape, database: usize) -> Step {
    match choices.below(6) {
        0 => Step::Drop { database },
        1 => Step::Rename { database, to: choices.below(shape.databases as u64) as usize },
        2 => Step::Empty { database },
        _ => Step::Create { database, durable: !(shape.volatile && choices.one_in(4)) },
    }
}

pub(crate) fn durability(choices: &mut Choices, shape: Shape) -> Durability {
    match choices.below(if shape.relaxed { 8 } else { 1 }) {
        6 => Durability::WriteNoSync,
        7 => Durability::NoSync,
        _ => Durability::Sync,
    }
}

/// Keys that collide often enough to be updated and deleted, some with a long common beginning.
pub(crate) fn key(choices: &mut Choices, shape: Shape) -> Vec<u8> {
    let number = choices.below(200);
    let longest = shape.page_bytes / 4;
    match choices.below(12) {
        0 => Vec::new(),
        1 => {
            let mut key = vec![b'p'; longest - 3];
            key.extend_from_slice(format!("{number:03}").as_bytes());
            key
        }
        2 => {
            let mut key = vec![b'q'; choices.below(longest as u64 / 2) as usize];
            key.extend_from_slice(format!("/{number}").as_bytes());
            key
        }
        3 => vec![0, number as u8, 0xff, 0],
        _ => format!("key{number:04}").into_bytes(),
    }
}

/// Values around the sizes where storage changes: empty, inline, just out of line, several extents.
pub(crate) fn value(choices: &mut Choices, shape: Shape) -> Vec<u8> {
    let page = shape.page_bytes as u64;
    let len = match choices.below(24) {
        0 => 0,
        1..=15 => choices.below(40),
        16..=18 => choices.below(page / 4),
        19 => page / 4 + choices.below(5) - 2,
        20 => page / 2 + choices.below(page),
        21 => page * (1 + choices.below(6)) + choices.below(3),
        _ => choices.below(80),
    };
    let seed = choices.draw();
    let mut filler = Choices::new(seed);
    let mut value: Vec<u8> = (0..len).map(|_| filler.draw() as u8).collect();
    // Runs of one byte as well: torn sectors of equal content hide bugs, so most is random.
    if choices.one_in(5) {
        value.fill(b'v');
    }
    value
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_same_seed_gives_the_same_program_and_another_seed_another() {
        let shape = Shape::mixed(120);
        assert_eq!(program(7, shape), program(7, shape));
        assert_ne!(program(7, shape), program(8, shape));
    }

    #[test]
    fn programs_hold_every_kind_of_step_and_value() {
        let steps: Vec<Step> = (0..40).flat_map(|seed| program(seed, Shape::mixed(200))).collect();
        let has = |wanted: fn(&Step) -> bool| assert!(steps.iter().any(wanted));
        has(|step| matches!(step, Step::Drop { .. }));
        has(|step| matches!(step, Step::Rename { .. }));
        has(|step| matches!(step, Step::Empty { .. }));
        has(|step| matches!(step, Step::Reopen));
        has(|step| matches!(step, Step::RollbackTo));
        has(|step| matches!(step, Step::Commit(Durability::NoSync)));
        has(|step| matches!(step, Step::Put { value, .. } if value.len() > 2048));
        has(|step| matches!(step, Step::Put { key, .. } if key.len() == 128));
    }
}
