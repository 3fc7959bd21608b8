//! The claim rule: the reference that every strategy is compared with.

use std::collections::HashMap;

use crate::{EventRule, EventState, Sequence, Timestamp, UserId};

/// The answer to one claim.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// Won just now.
    Issued(Sequence),
    /// The user holds one already: the coupon with this sequence.
    AlreadyClaimed(Sequence),
    /// Every coupon is issued.
    SoldOut,
    /// The event's window has not begun.
    NotOpen {
        /// When it begins.
        opens_at: Timestamp,
    },
    /// Paused by hand.
    Paused,
    /// The event has ended.
    Closed,
}

/// What [`decide`] answers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Decided {
    /// One verdict for each claim, in the order of the batch.
    pub verdicts: Vec<Verdict>,
    /// The event afterwards.
    pub rule: EventRule,
}

/// Decides a batch of claims on one event, in their order, at one moment.
///
/// `held` tells the sequence of the coupon that a user held before the batch. A second claim of a
/// user within the batch meets the coupon that the first one won. An event whose window has ended
/// leaves as closed, so that it stays closed even if a clock steps back.
#[must_use]
pub fn decide<H>(rule: &EventRule, held: H, batch: &[UserId], now: Timestamp) -> Decided
where
    H: Fn(&UserId) -> Option<Sequence>,
{
    let quantity = rule.quantity.get();
    assert!(rule.issued <= quantity, "more coupons issued than the event has");
    let mut after = *rule;
    after.closed |= now >= rule.window.closes_at();

    let mut won: HashMap<&UserId, Sequence> = HashMap::new();
    let verdicts = batch
        .iter()
        .map(|user| {
            if let Some(sequence) = won.get(user).copied().or_else(|| held(user)) {
                return Verdict::AlreadyClaimed(sequence);
            }
            match after.state(now) {
                EventState::Closed => Verdict::Closed,
                EventState::Paused => Verdict::Paused,
                EventState::Scheduled => Verdict::NotOpen { opens_at: rule.window.opens_at() },
                EventState::SoldOut => Verdict::SoldOut,
                EventState::Open => {
                    after.issued += 1;
                    let sequence = Sequence::parse(i128::from(after.issued))
                        .expect("an open event has issued fewer than its quantity");
                    won.insert(user, sequence);
                    Verdict::Issued(sequence)
                }
            }
        })
        .collect();

    assert!(after.issued >= rule.issued && after.issued <= quantity, "stock went out of bounds");
    Decided { verdicts, rule: after }
}
