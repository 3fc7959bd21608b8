//! Taking a batch: one message decides it and commits, by what this process knows of the event.

use std::collections::HashSet;

use firstcome_core::{EventId, IssuedCouponId, Timestamp, UserId};
use sqlx::Error;
use tokio::time::{Instant, timeout};

use super::super::batch::{Group, LiveEvent, group};
use super::super::{Answer, Claim, Decision};
use super::known::{Guess, Known};
use super::{ClaimConnection, Claimer, Decided, NotCommitted, is_stale};
use crate::LedgerError;
use crate::entity::issued_coupon;

/// Who claims of one event.
pub(crate) struct Asking<'a> {
    pub(super) event_id: EventId,
    pub(super) known: Known,
    /// The moment that decides; none for the database's own.
    pub(super) now: Option<Timestamp>,
    /// What each user would get, in the order of the claims, every user once.
    pub(super) takers: Vec<(IssuedCouponId, &'a UserId)>,
    /// Whether none of them is known to hold one.
    pub(super) all_new: bool,
}

/// What a statement that decides by itself has found, and what it did.
pub(crate) struct Taken {
    /// The event before.
    pub(super) event: LiveEvent,
    pub(super) now_micros: i64,
    pub(super) held: Vec<issued_coupon::Model>,
    /// How many coupons it has issued.
    pub(super) wins: i64,
}

/// What became of a batch that was to be taken.
pub(super) enum TakeOutcome {
    Told(Vec<Answer>),
    /// It was not taken: nothing of it was written.
    Nothing,
    /// The same, and another try would not do better.
    Failed(LedgerError),
    /// The answer was lost; how the event was before.
    Unknown(Known),
}

impl<C: ClaimConnection> Claimer<C> {
    /// Takes a batch, if it is on one event that was open a batch ago.
    pub(super) async fn take(&self, batch: &[Claim]) -> TakeOutcome {
        let Some(first) = batch.first().filter(|_| C::TAKES) else { return TakeOutcome::Nothing };
        let event_id = first.event_id;
        if batch.iter().any(|claim| claim.event_id != event_id) {
            return TakeOutcome::Nothing;
        }
        let group = group(batch).remove(0);
        let takers = group.takers();
        let Some(Guess { known, all_new }) = self.known.guess(event_id, &takers) else {
            return TakeOutcome::Nothing;
        };
        // Whoever looks first tells better why there is no connection.
        let Ok(mut connected) = self.connection().await else { return TakeOutcome::Nothing };
        let asking = Asking { event_id, known, now: self.clock.given(), takers, all_new };
        let begun = Instant::now();
        let taking = timeout(self.limits.statement_timeout, connected.connection.take(&asking));
        let taken = match taking.await.unwrap_or(Err(NotCommitted::Unknown(LedgerError::Late))) {
            Ok(taken) => taken,
            Err(NotCommitted::Unknown(_)) => return TakeOutcome::Unknown(known),
            Err(NotCommitted::Refused(error)) => {
                if is_unique_violation(&error) {
                    self.known.met_holders(event_id);
                    return TakeOutcome::Nothing;
                }
                if is_stale(&error, connected.is_new) {
                    return TakeOutcome::Nothing;
                }
                return TakeOutcome::Failed(error);
            }
        };
        self.give_back(connected);
        let Some(taken) = taken else {
            self.known.was_wrong(event_id);
            return TakeOutcome::Nothing;
        };
        match self.check(group, taken) {
            Ok(decided) => {
                if decided.wins().next().is_some() {
                    self.metrics.commit.record(begun.elapsed());
                }
                let issued = decided.groups.first().map_or(0, |(_, it)| it.decided.rule.issued);
                self.known.was_right(event_id, issued, decided.holders());
                TakeOutcome::Told(self.answers(batch.len(), &decided))
            }
            Err(error) => {
                tracing::error!(error.message = %error, "a batch is not as it should be");
                TakeOutcome::Unknown(known)
            }
        }
    }

    /// The verdicts of the rule on what a statement has decided by itself, which must be the same.
    fn check(&self, group: Group, taken: Taken) -> Result<Decided, LedgerError> {
        let Taken { event, now_micros, held, wins } = taken;
        let held = self.held(std::slice::from_ref(&event), held)?;
        let now = self.clock.deciding(now_micros);
        let group = group.decide(&event, &held, now);
        if i64::try_from(group.wins.len()) != Ok(wins) || group.decided.rule.closed {
            let told = group.wins.len();
            return Err(LedgerError::Corrupt(format!(
                "{wins} coupons were issued where the rule says {told}"
            )));
        }
        Ok(Decided { groups: vec![(event, group)], left: Vec::new(), held, now })
    }
}

/// The answers to a batch of which an earlier transaction with an unknown end may have won some:
/// what is held from after the event was known has just been won, as far as a user's first claim
/// goes.
pub(super) fn told_as_won(mut answers: Vec<Answer>, batch: &[Claim], known: Known) -> Vec<Answer> {
    let mut told = HashSet::new();
    for (answer, claim) in answers.iter_mut().zip(batch) {
        if !told.insert(&claim.user_id) {
            continue;
        }
        if let Ok(Decision::AlreadyClaimed(coupon)) = answer
            && coupon.sequence.get() > known.issued
        {
            *answer = Ok(Decision::Issued(coupon.clone()));
        }
    }
    answers
}

pub(super) fn is_unique_violation(error: &LedgerError) -> bool {
    matches!(error, LedgerError::Driver(Error::Database(error)) if error.is_unique_violation())
}
