//! Random histories of an event, and what the rule says of each.

use std::cell::RefCell;
use std::collections::{BTreeSet, HashMap};
use std::fmt::Debug;

use firstcome_core::{
    Action, EventRule, EventState, Quantity, Sequence, Timestamp, UserId, Verdict, Window, decide,
};
use proptest::collection::vec;
use proptest::prelude::{Just, Strategy, prop_oneof};
use proptest::test_runner::{Config, TestRunner};

/// One step of a history.
#[derive(Debug, Clone)]
pub enum Step<O> {
    /// These users claim, as one batch.
    Claim(Vec<UserId>),
    /// An admin asks for this.
    Change(Change),
    /// What else befalls whoever decides.
    Other(O),
}

/// What an admin asks for.
#[derive(Debug, Clone, Copy)]
pub enum Change {
    /// Another quantity.
    Quantity(Quantity),
    /// Another window.
    Window(Window),
    /// The next state of its life.
    Act(Action),
}

/// Whether an event is open by any clock of these years.
#[derive(Debug, Clone, Copy)]
enum Period {
    Ahead,
    Now,
    Past,
}

impl Period {
    fn window(self) -> Window {
        let [from, until] = match self {
            Self::Ahead => ["2098-01-01T00:00:00Z", "2099-01-01T00:00:00Z"],
            Self::Now => ["2026-01-01T00:00:00Z", "2099-01-01T00:00:00Z"],
            Self::Past => ["2000-01-01T00:00:00Z", "2001-01-01T00:00:00Z"],
        }
        .map(|moment| Timestamp::parse_rfc3339(moment).expect("a moment"));
        Window::new(from, until).expect("a window")
    }
}

/// Histories of an event until it is closed, by hand or by the clock, and for a while after that.
fn histories<O: Debug + Clone>(
    other: impl Strategy<Value = O> + Clone,
) -> impl Strategy<Value = Vec<Step<O>>> {
    let by_clock = Change::Window(Period::Past.window());
    let end = prop_oneof![Just(Change::Act(Action::Close)), Just(by_clock)];
    let end = changed(end);
    let (before, after) = (vec(scene(other.clone()), 10..20), vec(scene(other), 0..4));
    (before, end, after).prop_map(|(before, end, after)| {
        before.into_iter().chain([end]).chain(after).flatten().collect()
    })
}

/// Some steps that belong together.
fn scene<O: Debug + Clone>(other: impl Strategy<Value = O>) -> impl Strategy<Value = Vec<Step<O>>> {
    let quantity = (1..20_u32).prop_map(|it| Quantity::parse(it.into()).expect("a quantity"));
    let window =
        prop_oneof![3 => Just(Period::Ahead), 2 => Just(Period::Now)].prop_map(Period::window);
    let action = prop_oneof![
        1 => Just(Action::Open),
        4 => Just(Action::Pause),
        3 => Just(Action::Resume),
    ];
    let change = prop_oneof![
        1 => quantity.prop_map(Change::Quantity),
        3 => window.prop_map(Change::Window),
        4 => action.prop_map(Change::Act),
    ];
    prop_oneof![
        3 => claim().prop_map(|claim| vec![claim]),
        6 => changed(change),
        1 => other.prop_map(|other| vec![Step::Other(other)]),
    ]
}

/// A change, and who meets it.
fn changed<O: Debug>(change: impl Strategy<Value = Change>) -> impl Strategy<Value = Vec<Step<O>>> {
    (change, claim()).prop_map(|(change, claim)| vec![Step::Change(change), claim])
}

/// A batch of claims by few users, some of them more than once.
fn claim<O: Debug>() -> impl Strategy<Value = Step<O>> {
    let user = (0..32_u8).prop_map(|number| UserId::parse(&format!("u{number}")).expect("a user"));
    vec(user, 1..12).prop_map(Step::Claim)
}

impl Change {
    /// The event afterwards; none where the change is refused.
    #[must_use]
    pub fn of(self, rule: EventRule, now: Timestamp) -> Option<EventRule> {
        match self {
            Self::Quantity(quantity) if quantity.get() < rule.issued => None,
            Self::Quantity(quantity) => Some(EventRule { quantity, ..rule }),
            Self::Window(window) => {
                let moves = window != rule.window;
                let is_late = moves && rule.state(now) == EventState::Closed;
                (!is_late).then_some(EventRule { window, ..rule })
            }
            Self::Act(action) => rule.apply(action, now).ok(),
        }
    }
}

/// The rule alone, with a map for a ledger.
#[derive(Debug)]
pub struct Reference {
    rule: EventRule,
    holders: HashMap<UserId, Sequence>,
    met: BTreeSet<&'static str>,
}

impl Reference {
    /// Of an event that nobody has claimed on yet.
    #[must_use]
    pub fn new(rule: EventRule) -> Self {
        Self { rule, holders: HashMap::new(), met: BTreeSet::new() }
    }

    /// How many have won.
    #[must_use]
    pub const fn issued(&self) -> u32 {
        self.rule.issued
    }

    /// What each claim of a batch is to be told.
    pub fn claim(&mut self, users: &[UserId], now: Timestamp) -> Vec<Verdict> {
        let decided = decide(&self.rule, |user| self.holders.get(user).copied(), users, now);
        self.rule = decided.rule;
        for (user, verdict) in users.iter().zip(&decided.verdicts) {
            self.met.insert(kind(verdict));
            if let Verdict::Issued(sequence) = verdict {
                self.holders.insert(user.clone(), *sequence);
            }
        }
        decided.verdicts
    }

    /// Whether a change is made.
    pub fn change(&mut self, change: Change, now: Timestamp) -> bool {
        let changed = change.of(self.rule, now);
        self.rule = changed.unwrap_or(self.rule);
        changed.is_some()
    }
}

/// Every kind of verdict.
const KINDS: [&str; 6] = ["issued", "already_claimed", "sold_out", "not_open", "paused", "closed"];

const fn kind(verdict: &Verdict) -> &'static str {
    match verdict {
        Verdict::Issued(_) => "issued",
        Verdict::AlreadyClaimed(_) => "already_claimed",
        Verdict::SoldOut => "sold_out",
        Verdict::NotOpen { .. } => "not_open",
        Verdict::Paused => "paused",
        Verdict::Closed => "closed",
    }
}

/// Has so many random histories followed, each beside a reference, which is handed back. Together
/// they are to meet every kind of verdict.
pub fn check<O: Debug + Clone>(
    cases: u32,
    other: impl Strategy<Value = O> + Clone,
    follow: impl Fn(Vec<Step<O>>) -> Reference,
) {
    let config = Config { cases, failure_persistence: None, ..Config::default() };
    let met = RefCell::new(BTreeSet::new());
    TestRunner::new(config)
        .run(&histories(other), |steps| {
            met.borrow_mut().extend(follow(steps).met);
            Ok(())
        })
        .expect("every history is decided as the rule decides it");
    assert_eq!(met.into_inner(), BTreeSet::from(KINDS), "kinds of verdicts that they have met");
}
