//! A batch of claims on its way to verdicts, whatever the database.

use std::collections::{HashMap, HashSet};

use firstcome_core::{
    CodeKey, CouponId, Decided, EventId, EventNo, EventRule, IssuedCouponId, Quantity, Sequence,
    Timestamp, UserId, Validity, Verdict, Window, decide,
};

use super::{Answer, Claim, Decision};
use crate::records::{self, EventColumns, sound};
use crate::{DecidedElsewhere, IssuedCouponRecord, LedgerError};

/// What the decider knows of an event.
#[derive(Debug, Clone)]
pub(crate) struct LiveEvent {
    pub(super) no: EventNo,
    pub(super) id: EventId,
    pub(super) coupon_id: CouponId,
    pub(super) rule: EventRule,
    pub(super) validity: Validity,
    /// Grows with every change of the event that is no claim.
    pub(super) version: u64,
    /// Whether some of its winners stand there under a pseudonym.
    pub(super) has_erased: bool,
    /// By whose word its coupons are issued, where that is not the ledger's own.
    pub(super) epoch: u64,
}

impl TryFrom<EventColumns> for LiveEvent {
    type Error = LedgerError;

    fn try_from(row: EventColumns) -> Result<Self, LedgerError> {
        let [opens_at, closes_at] = [row.opens_at, row.closes_at].map(Timestamp::from_micros);
        Ok(Self {
            no: records::event_no(row.no)?,
            id: EventId::from_uuid(row.id),
            coupon_id: CouponId::from_uuid(row.coupon_id),
            rule: EventRule {
                quantity: sound(Quantity::parse(row.quantity.into()), "events.quantity")?,
                issued: sound(u32::try_from(row.issued), "events.issued")?,
                window: sound(Window::new(opens_at, closes_at), "an event's window")?,
                opened_early: row.opened_early,
                paused: row.paused,
                closed: row.closed,
            },
            validity: records::validity(row.valid_from, row.valid_until, row.valid_days)?,
            version: sound(u64::try_from(row.version), "events.version")?,
            has_erased: row.erased > 0,
            epoch: sound(u64::try_from(row.epoch), "events.epoch")?,
        })
    }
}

/// A winner.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Win {
    pub(super) id: IssuedCouponId,
    pub(super) event_no: EventNo,
    pub(super) user_id: UserId,
    pub(super) sequence: Sequence,
    pub(super) issued_at: Timestamp,
    pub(super) valid_from: Timestamp,
    pub(super) expires_at: Timestamp,
}

impl Win {
    /// What the winner holds from now on.
    pub(super) fn into_issued_coupon(self, event: &LiveEvent, key: &CodeKey) -> IssuedCouponRecord {
        IssuedCouponRecord {
            id: self.id,
            event_id: event.id,
            coupon_id: event.coupon_id,
            user_id: self.user_id,
            sequence: self.sequence,
            code: key.code(event.no, self.sequence),
            issued_at: self.issued_at,
            valid_from: self.valid_from,
            expires_at: self.expires_at,
            used_at: None,
            revoked_at: None,
        }
    }
}

/// Coupons that users of the batch held before it.
pub(super) type Held = HashMap<IssuedCouponId, IssuedCouponRecord>;

/// The claims of a batch on one event.
pub(super) struct Group {
    pub(super) event_id: EventId,
    /// Their places in the batch.
    places: Vec<usize>,
    pub(super) users: Vec<UserId>,
    /// What each of the users holds or would hold.
    pub(super) ids: Vec<IssuedCouponId>,
}

/// A group with its verdicts.
pub(super) struct DecidedGroup {
    pub(super) group: Group,
    pub(super) decided: Decided,
    pub(super) wins: Vec<Win>,
}

/// Sorts a batch by event, keeping the order of the claims on each.
pub(super) fn group(batch: &[Claim]) -> Vec<Group> {
    let mut groups: Vec<Group> = Vec::new();
    let mut by_event: HashMap<EventId, usize> = HashMap::new();
    for (place, claim) in batch.iter().enumerate() {
        let index = *by_event.entry(claim.event_id).or_insert_with(|| {
            let event_id = claim.event_id;
            groups.push(Group { event_id, places: Vec::new(), users: Vec::new(), ids: Vec::new() });
            groups.len() - 1
        });
        groups[index].places.push(place);
        groups[index].users.push(claim.user_id.clone());
        groups[index].ids.push(IssuedCouponId::derive(claim.event_id, &claim.user_id));
    }
    groups
}

impl Group {
    /// Every user once, in the order of their first claims, beside what each would hold.
    pub(super) fn takers(&self) -> Vec<(IssuedCouponId, &UserId)> {
        let mut seen = HashSet::with_capacity(self.ids.len());
        let takers = self.ids.iter().copied().zip(&self.users);
        takers.filter(|(id, _)| seen.insert(*id)).collect()
    }

    /// Leaves the claims to the decider that has the word on the event.
    pub(super) fn leave(&self, answers: &mut [Answer]) {
        for &place in &self.places {
            answers[place] = Err(DecidedElsewhere);
        }
    }

    /// Decides the claims by the rule.
    pub(super) fn decide(self, event: &LiveEvent, held: &Held, now: Timestamp) -> DecidedGroup {
        let sequence_held = |user: &UserId| -> Option<Sequence> {
            if held.is_empty() {
                return None;
            }
            held.get(&IssuedCouponId::derive(event.id, user)).map(|record| record.sequence)
        };
        let decided = decide(&event.rule, sequence_held, &self.users, now);
        let (valid_from, expires_at) = event.validity.of_issue(now);
        let wins = self.users.iter().zip(&self.ids).zip(&decided.verdicts);
        let wins = wins.filter_map(|((user, id), verdict)| match verdict {
            Verdict::Issued(sequence) => Some(Win {
                id: *id,
                event_no: event.no,
                user_id: user.clone(),
                sequence: *sequence,
                issued_at: now,
                valid_from,
                expires_at,
            }),
            _ => None,
        });
        DecidedGroup { wins: wins.collect(), group: self, decided }
    }
}

impl DecidedGroup {
    /// Puts each verdict in its place among the answers to the batch.
    pub(super) fn answer(
        &self,
        event: &LiveEvent,
        held: &Held,
        key: &CodeKey,
        answers: &mut [Answer],
    ) {
        let Self { group, decided, wins } = self;
        let coupon = |sequence: Sequence, id: IssuedCouponId| {
            let first = wins.first().filter(|first| first.sequence <= sequence);
            let place = first.map(|first| (sequence.get() - first.sequence.get()) as usize);
            match place.and_then(|place| wins.get(place)) {
                Some(win) => win.clone().into_issued_coupon(event, key),
                None => held.get(&id).cloned().expect("decided by what was held"),
            }
        };
        for (index, verdict) in decided.verdicts.iter().enumerate() {
            let id = group.ids[index];
            answers[group.places[index]] = Ok(match *verdict {
                Verdict::Issued(sequence) => Decision::Issued(coupon(sequence, id)),
                Verdict::AlreadyClaimed(sequence) => Decision::AlreadyClaimed(coupon(sequence, id)),
                Verdict::SoldOut => Decision::SoldOut,
                Verdict::NotOpen { opens_at } => Decision::NotOpen { opens_at },
                Verdict::Paused => Decision::Paused,
                Verdict::Closed => Decision::Closed,
            });
        }
    }
}
