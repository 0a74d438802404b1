//! Random programs without waiting, against a model that knows nothing of shards or queues.

use std::collections::BTreeMap;

use campanile_lock::{
    Brief, LockError, LockName, LockOptions, LockTable, Mode, OwnerId, OwnerInfo, Part, Wait,
};
use proptest::prelude::*;

const NAMES: u64 = 4;
const OWNERS: u64 = 5;
/// Owner `FIRST_CHILD + n` is nested in owner `n`.
const FIRST_CHILD: u64 = 100;

#[derive(Debug, Clone)]
enum Step {
    Acquire { owner: u64, name: u64, mode: Mode },
    Instant { owner: u64, name: u64, mode: Mode },
    Briefly { owner: u64, name: u64, brief: Brief },
    GiveBack { owner: u64, name: u64, brief: Brief },
    Release { owner: u64, name: u64 },
    Downgrade { owner: u64, name: u64 },
    End { owner: u64 },
    Commit { child: u64 },
}

fn mode() -> impl Strategy<Value = Mode> {
    let part = || prop_oneof![Just(Part::None), Just(Part::Shared), Just(Part::Exclusive)];
    let ranges = (part(), part()).prop_map(|(key, gap)| Mode::new(key, gap));
    let wholes = prop_oneof![Just(Mode::IS), Just(Mode::IX), Just(Mode::SIX)];
    prop_oneof![3 => ranges, 1 => wholes].prop_filter("no lock", |mode| !mode.is_none())
}

fn brief() -> impl Strategy<Value = Brief> {
    prop_oneof![3 => Just(Brief::Look), 1 => Just(Brief::Divide)]
}

fn step() -> impl Strategy<Value = Step> {
    let owner = || prop_oneof![0..OWNERS, FIRST_CHILD..FIRST_CHILD + OWNERS];
    prop_oneof![
        8 => (owner(), 0..NAMES, mode())
            .prop_map(|(owner, name, mode)| Step::Acquire { owner, name, mode }),
        1 => (owner(), 0..NAMES, mode())
            .prop_map(|(owner, name, mode)| Step::Instant { owner, name, mode }),
        3 => (owner(), 0..NAMES, brief())
            .prop_map(|(owner, name, brief)| Step::Briefly { owner, name, brief }),
        2 => (owner(), 0..NAMES, brief())
            .prop_map(|(owner, name, brief)| Step::GiveBack { owner, name, brief }),
        2 => (owner(), 0..NAMES).prop_map(|(owner, name)| Step::Release { owner, name }),
        1 => (owner(), 0..NAMES).prop_map(|(owner, name)| Step::Downgrade { owner, name }),
        2 => owner().prop_map(|owner| Step::End { owner }),
        1 => (FIRST_CHILD..FIRST_CHILD + OWNERS).prop_map(|child| Step::Commit { child }),
    ]
}

/// What somebody holds: to its end, and how often for a while.
#[derive(Clone, Copy, Default)]
struct Held {
    lasting: Mode,
    looks: u32,
    divides: u32,
}

impl Held {
    fn mode(self) -> Mode {
        let parts = [(self.looks, Mode::S), (self.divides, Mode::GAP_X)];
        let now = parts.into_iter().filter(|(count, _)| *count > 0);
        now.fold(self.lasting, |mode, (_, more)| mode.join(more))
    }

    fn count(&mut self, brief: Brief) -> &mut u32 {
        match brief {
            Brief::Look => &mut self.looks,
            Brief::Divide => &mut self.divides,
        }
    }
}

/// Who holds what: (name, owner).
#[derive(Default)]
struct Model(BTreeMap<(u64, u64), Held>);

impl Model {
    fn held(&self, owner: u64, name: u64) -> Held {
        self.0.get(&(name, owner)).copied().unwrap_or_default()
    }

    fn entry(&mut self, owner: u64, name: u64) -> &mut Held {
        self.0.entry((name, owner)).or_default()
    }

    /// Whatever the owner holds itself: its children may hinder it.
    fn may(&self, owner: u64, name: u64, mode: Mode) -> bool {
        let mut others = self.0.iter().filter(|((on, by), _)| {
            let ancestor = owner >= FIRST_CHILD && *by == owner - FIRST_CHILD;
            *on == name && *by != owner && !ancestor
        });
        others.all(|(_, held)| held.mode().is_compatible(mode))
    }

    fn set(&mut self, owner: u64, name: u64, mode: Mode) {
        self.entry(owner, name).lasting = mode;
    }

    fn end(&mut self, owner: u64) {
        self.0.retain(|(_, by), _| *by != owner);
    }
}

fn name(number: u64) -> LockName {
    LockName::key(16, number)
}

fn register_child(table: &LockTable, child: u64) {
    let parent = Some(OwnerId(child - FIRST_CHILD));
    table.register(OwnerId(child), OwnerInfo { parent, ..OwnerInfo::default() });
}

fn run(table: &LockTable, model: &mut Model, step: &Step) {
    match *step {
        Step::Acquire { owner, name: on, mode } => {
            let answer = table.acquire(OwnerId(owner), name(on), mode, Wait::No);
            assert_eq!(answer.is_ok(), model.may(owner, on, mode), "{step:?}: {answer:?}");
            if answer.is_ok() {
                model.set(owner, on, model.held(owner, on).lasting.join(mode));
            }
        }
        // One at a time, says the caller.
        Step::Briefly { owner, name: on, brief: Brief::Divide }
            if model.held(owner, on).divides > 0 => {}
        Step::Briefly { owner, name: on, brief } => {
            let answer = table.acquire_briefly(OwnerId(owner), name(on), brief, Wait::No);
            assert_eq!(answer.is_ok(), model.may(owner, on, brief.mode()), "{step:?}: {answer:?}");
            if let Ok(given) = answer {
                let lasts = model.held(owner, on).lasting.covers(brief.mode());
                assert_eq!(given, !lasts, "{step:?}");
                *model.entry(owner, on).count(brief) += u32::from(given);
            }
        }
        Step::GiveBack { owner, name: on, brief } => {
            table.give_back(OwnerId(owner), name(on), brief);
            let count = model.entry(owner, on).count(brief);
            *count = count.saturating_sub(1);
        }
        Step::Instant { owner, name: on, mode } => {
            let answer = table.acquire_instant(OwnerId(owner), name(on), mode, Wait::No);
            let expected = model.may(owner, on, mode);
            assert_eq!(answer.is_ok(), expected, "{step:?}: {answer:?}");
            assert!(answer.is_ok() || matches!(answer, Err(LockError::WouldBlock { .. })));
        }
        Step::Release { owner, name: on } => {
            assert_eq!(table.release(OwnerId(owner), name(on)), model.held(owner, on).mode());
            *model.entry(owner, on) = Held::default();
        }
        Step::Downgrade { owner, name: on } => {
            let weaker =
                if model.held(owner, on).lasting.covers(Mode::S) { Mode::S } else { Mode::NONE };
            table.downgrade(OwnerId(owner), name(on), weaker);
            model.set(owner, on, weaker);
        }
        // A parent ends after its child, and the child begins again with the next one.
        Step::End { owner } => {
            let child = FIRST_CHILD + owner % FIRST_CHILD;
            table.release_all(OwnerId(child));
            model.end(child);
            table.release_all(OwnerId(owner));
            model.end(owner);
            register_child(table, child);
        }
        Step::Commit { child } => {
            let parent = child - FIRST_CHILD;
            table.transfer(OwnerId(child), OwnerId(parent));
            for on in 0..NAMES {
                let joined = model.held(child, on).lasting.join(model.held(parent, on).lasting);
                model.set(parent, on, joined);
            }
            model.end(child);
            register_child(table, child);
        }
    }
}

proptest! {
    #[test]
    fn random_programs_do_what_the_model_does(steps in prop::collection::vec(step(), 1..80)) {
        let table = LockTable::new(LockOptions { shards: 2, ..LockOptions::default() });
        let mut model = Model::default();
        (FIRST_CHILD..FIRST_CHILD + OWNERS).for_each(|child| register_child(&table, child));
        for step in &steps {
            run(&table, &mut model, step);
            table.assert_consistent();
            for owner in (0..OWNERS).chain(FIRST_CHILD..FIRST_CHILD + OWNERS) {
                for on in 0..NAMES {
                    let held = table.holds(OwnerId(owner), name(on));
                    prop_assert_eq!(held, model.held(owner, on).lasting, "{:?}", step);
                }
            }
        }
    }
}
