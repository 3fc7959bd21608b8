//! The invariants of claims, over random histories of claims, lifecycle actions, changes of the
//! quantity and steps of the clock, forwards and backwards; each answer compared with the
//! reference.

use std::collections::{BTreeMap, HashMap, HashSet};

use firstcome_core::{
    Action, Code, CodeKey, EventId, EventNo, EventRule, IssuedCouponId, Sequence, Timestamp,
    UserId, Verdict, decide,
};
use proptest::collection::vec;
use proptest::prelude::{
    BoxedStrategy, Just, ProptestConfig, Strategy, TestCaseError, any, prop_assert, prop_assert_eq,
    prop_oneof, proptest,
};
use uuid::Uuid;

use crate::reference::Reference;
use crate::sample::{CLOSES_AT, OPENS_AT, SECOND, at, event, quantity, user};

/// One thing that happens to an event.
#[derive(Debug, Clone)]
enum Step {
    /// A batch of claims by users of these numbers.
    Claims(Vec<u8>),
    /// An admin's action.
    Act(Action),
    /// An admin asks for this quantity.
    Quantity(u32),
    /// The clock shows this many microseconds more, or fewer.
    Clock(i64),
}

fn step() -> BoxedStrategy<Step> {
    let action = prop_oneof![
        4 => Just(Action::Open),
        4 => Just(Action::Pause),
        8 => Just(Action::Resume),
        1 => Just(Action::Close),
    ];
    // Mostly small steps, some that jump over the window, and some back.
    let clock = prop_oneof![
        8 => 0..10 * SECOND,
        1 => 0..2 * 3_600 * SECOND,
        2 => -600 * SECOND..0,
        1 => -2 * 3_600 * SECOND..0,
    ];
    prop_oneof![
        12 => vec(0..24_u8, 0..12).prop_map(Step::Claims),
        4 => action.prop_map(Step::Act),
        2 => (1..16_u32).prop_map(Step::Quantity),
        3 => clock.prop_map(Step::Clock),
    ]
    .boxed()
}

/// What a user was told of a won claim.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Acknowledged {
    id: IssuedCouponId,
    sequence: Sequence,
    code: Code,
}

/// An event decided by the rule, with the rows that a ledger would hold and all that users heard.
struct Drop {
    id: EventId,
    key: CodeKey,
    rule: EventRule,
    now: Timestamp,
    rows: BTreeMap<UserId, Acknowledged>,
    acknowledged: Vec<(UserId, Acknowledged)>,
    quantity_max: u32,
    /// Someone was told `sold_out`, and no top-up came since.
    told_sold_out: bool,
}

impl Drop {
    fn new(secret: [u8; 16], first_quantity: u32, start: Timestamp) -> Self {
        Self {
            id: EventId::from_uuid(Uuid::from_bytes(secret)),
            key: CodeKey::new(secret),
            rule: EventRule { quantity: quantity(first_quantity), ..event() },
            now: start,
            rows: BTreeMap::new(),
            acknowledged: Vec::new(),
            quantity_max: first_quantity,
            told_sold_out: false,
        }
    }

    fn take(&mut self, step: &Step, reference: &mut Reference) -> Result<(), TestCaseError> {
        match *step {
            Step::Claims(ref numbers) => self.claim(numbers, reference)?,
            Step::Act(action) => {
                let applied = self.rule.apply(action, self.now);
                prop_assert_eq!(applied.is_ok(), reference.act(action, self.now));
                self.rule = applied.unwrap_or(self.rule);
            }
            Step::Quantity(asked) => {
                if reference.set_quantity(asked) {
                    self.told_sold_out &= asked <= self.rule.quantity.get();
                    self.rule.quantity = quantity(asked);
                    self.quantity_max = self.quantity_max.max(asked);
                }
            }
            Step::Clock(micros) => self.now = at(self.now.as_micros() + micros),
        }
        prop_assert_eq!(self.rule.state(self.now), reference.state(self.now));
        Ok(())
    }

    fn claim(&mut self, numbers: &[u8], reference: &mut Reference) -> Result<(), TestCaseError> {
        let batch: Vec<UserId> = numbers.iter().map(|number| user(&number.to_string())).collect();
        let held = |user: &UserId| self.rows.get(user).map(|row| row.sequence);
        let decided = decide(&self.rule, held, &batch, self.now);

        reference.look(self.now);
        let expected: Vec<Verdict> =
            batch.iter().map(|user| reference.claim(user, self.now)).collect();
        prop_assert_eq!(&decided.verdicts, &expected, "at {}", self.now);
        for (user, verdict) in batch.into_iter().zip(decided.verdicts) {
            self.note(user, verdict)?;
        }
        self.rule = decided.rule;
        Ok(())
    }

    /// Writes down what a user heard; a new win becomes a row.
    fn note(&mut self, user: UserId, verdict: Verdict) -> Result<(), TestCaseError> {
        let sequence = match verdict {
            Verdict::Issued(sequence) => {
                prop_assert!(!self.told_sold_out, "I6: {user} won after sold out");
                let last = self.rows.values().map(|row| row.sequence.get()).max().unwrap_or(0);
                prop_assert_eq!(sequence.get(), last + 1, "I7: the next sequence");
                let row = self.coupon(&user, sequence);
                let twice = self.rows.insert(user.clone(), row);
                prop_assert_eq!(twice, None, "I2: {} has two rows", user);
                sequence
            }
            Verdict::AlreadyClaimed(sequence) => sequence,
            Verdict::SoldOut => {
                self.told_sold_out = true;
                return Ok(());
            }
            Verdict::NotOpen { .. } | Verdict::Paused | Verdict::Closed => return Ok(()),
        };
        let told = self.coupon(&user, sequence);
        self.acknowledged.push((user, told));
        Ok(())
    }

    /// The coupon as every path computes it from user and sequence.
    fn coupon(&self, user: &UserId, sequence: Sequence) -> Acknowledged {
        let no = EventNo::new(1).expect("a small number");
        let id = IssuedCouponId::derive(self.id, user);
        Acknowledged { id, sequence, code: self.key.code(no, sequence) }
    }

    /// I1, I2, I3 and I7 of the whole history.
    fn check_history(&self, reference: &Reference) -> Result<(), TestCaseError> {
        let users: HashSet<&UserId> = self.acknowledged.iter().map(|(user, _)| user).collect();
        prop_assert!(users.len() <= self.quantity_max as usize, "I1: {} users", users.len());

        let mut first: HashMap<&UserId, Acknowledged> = HashMap::new();
        for (user, told) in &self.acknowledged {
            prop_assert_eq!(self.rows.get(user), Some(told), "I2: the row of {}", user);
            prop_assert_eq!(first.entry(user).or_insert(*told), told, "I3: {} heard two", user);
        }
        prop_assert_eq!(self.rows.len(), users.len(), "I2: a row that nobody was told of");
        let ids: HashSet<IssuedCouponId> = self.rows.values().map(|row| row.id).collect();
        let codes: HashSet<Code> = self.rows.values().map(|row| row.code).collect();
        prop_assert_eq!((ids.len(), codes.len()), (users.len(), users.len()), "I2: ids, codes");

        let mut line: Vec<(u32, &UserId)> =
            self.rows.iter().map(|(user, row)| (row.sequence.get(), user)).collect();
        line.sort_unstable();
        let places: Vec<u32> = line.iter().map(|(place, _)| *place).collect();
        prop_assert_eq!(places, (1..=self.rule.issued).collect::<Vec<_>>(), "I7: no holes");
        let winners: Vec<&UserId> = line.into_iter().map(|(_, user)| user).collect();
        prop_assert_eq!(winners, reference.winners(), "I7: in the order of winning");
        Ok(())
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 1_000, ..ProptestConfig::default() })]

    #[test]
    fn every_history_keeps_the_invariants(
        secret in any::<[u8; 16]>(),
        first_quantity in 1..12_u32,
        start in OPENS_AT - 20 * SECOND..CLOSES_AT + SECOND,
        steps in vec(step(), 1..60),
    ) {
        let mut event = Drop::new(secret, first_quantity, at(start));
        let mut reference = Reference::new(event.rule.window, first_quantity);
        for step in &steps {
            event.take(step, &mut reference)?;
        }
        event.check_history(&reference)?;
    }

    /// How claims fall into batches makes no difference to anyone.
    #[test]
    fn batches_make_no_difference(
        numbers in vec(0..24_u8, 0..60),
        cuts in vec(1..9_usize, 60),
        stock in 1..16_u32,
    ) {
        let mut one = Drop::new([1; 16], stock, at(OPENS_AT));
        let mut reference = Reference::new(one.rule.window, stock);
        one.claim(&numbers, &mut reference)?;

        let mut cut = Drop::new([1; 16], stock, at(OPENS_AT));
        let mut reference = Reference::new(cut.rule.window, stock);
        let mut rest = numbers.as_slice();
        for size in cuts {
            let (batch, later) = rest.split_at(size.min(rest.len()));
            cut.claim(batch, &mut reference)?;
            rest = later;
        }
        prop_assert_eq!(one.acknowledged, cut.acknowledged);
        prop_assert_eq!(one.rule, cut.rule);
    }
}
