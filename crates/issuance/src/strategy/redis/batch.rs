//! A batch's way: asked of Redis, committed, and told.

use std::collections::HashMap;

use firstcome_core::{Commit, EventId, UserId};
use firstcome_ledger::{Claim, Decision, EventRecord, IssuedCouponRecord, Tried, Won};
use futures_util::future::join_all;
use tokio::time::Instant;

use super::super::{OfEvent, Outcome, Strategy, by_event};
use super::calls::{Answer, Decided, Keys, Said};
use super::{Failed, LOAD_WAIT_MAX, RedisStrategy};
use crate::Undecided;

impl Strategy for RedisStrategy {
    /// One is decided while one is committed.
    const AT_ONCE: usize = 2;

    async fn decide(&self, batch: Vec<Claim>) -> Vec<Outcome> {
        let mut outcomes = vec![Err(Undecided::Unavailable); batch.len()];
        let groups = by_event(batch).into_iter().map(async |group| {
            let (users, user_of) = distinct(&group);
            (self.decide_users(group.event, &users).await, user_of, group.places)
        });
        for (of_users, user_of, places) in join_all(groups).await {
            let mut told = vec![false; of_users.len()];
            for (place, user) in places.into_iter().zip(user_of) {
                let outcome = of_users[user].clone();
                // The first claim of a user has won; their others meet what it won.
                outcomes[place] = match outcome {
                    Ok(Decision::Issued(coupon)) if told[user] => {
                        Ok(Decision::AlreadyClaimed(coupon))
                    }
                    outcome => outcome,
                };
                told[user] = true;
            }
        }
        outcomes
    }
}

/// Every user once, in the order of their first claims, and which of them each claim is of.
fn distinct(group: &OfEvent) -> (Vec<UserId>, Vec<usize>) {
    let mut users = Vec::with_capacity(group.claims.len());
    let mut index_of: HashMap<&UserId, usize> = HashMap::with_capacity(group.claims.len());
    let user_of = group.claims.iter().map(|claim| {
        *index_of.entry(&claim.user_id).or_insert_with(|| {
            users.push(claim.user_id.clone());
            users.len() - 1
        })
    });
    let user_of = user_of.collect();
    (users, user_of)
}

impl RedisStrategy {
    /// Decides the claims of different users on one event, in their order.
    async fn decide_users(&self, event: EventId, users: &[UserId]) -> Vec<Outcome> {
        let outcomes = self.try_decide(event, users).await;
        self.report(outcomes.as_ref().err().map(|untold| &untold.why));
        outcomes.unwrap_or_else(|Untold { why, decided }| match decided {
            Some(decided) => decided.claims.iter().map(uncommitted).collect(),
            None => vec![Err(why.undecided()); users.len()],
        })
    }

    async fn try_decide(&self, id: EventId, users: &[UserId]) -> Result<Vec<Outcome>, Untold> {
        let Some(event) = self.event(id).await? else {
            return Ok(vec![Ok(Decision::EventNotFound); users.len()]);
        };
        self.claimed().insert(id);
        let decided = self.ask(&event, users).await?;
        if decided.version != event.version {
            // An admin has changed it.
            self.forget(id);
        }
        let wins: Vec<Won> = users.iter().zip(&decided.claims).filter_map(won).collect();
        let is_new = decided.claims.iter().any(|said| matches!(said, Said::Won { .. }));
        let is_again = decided.claims.iter().any(|said| matches!(said, Said::Pending { .. }));
        let tried = if is_again { Tried::Perhaps } else { Tried::Never };
        let held = match self.commit(&event, decided.epoch, &wins, tried).await {
            Ok(held) => held,
            Err(why) => return Err(Untold { why, decided: Some(decided) }),
        };
        if is_new && event.commit != Commit::RedisStream {
            self.confirm(id, decided.epoch, decided.moment);
        }
        let has_met_the_epoch = match event.commit {
            // Who held their coupon before was told so whatever the epoch.
            Commit::Ledger => is_new,
            Commit::Kafka => !wins.is_empty(),
            // Redis alone answers for it.
            Commit::RedisStream => true,
        };
        if !has_met_the_epoch {
            self.standing(id, decided.epoch).await?;
        }
        Ok(self.outcomes(&event, users, &decided, held).await?)
    }

    /// Asks Redis, once the event is loaded.
    async fn ask(&self, event: &EventRecord, users: &[UserId]) -> Result<Decided, Failed> {
        let deadline = Instant::now() + LOAD_WAIT_MAX;
        let mut both = event.has_erased;
        loop {
            let pseudonym = |user| both.then(|| self.0.ledger.pseudonym_of(user));
            let users_asked = users.iter().map(|user| (user, pseudonym(user)));
            let call = Keys::of(event.id).claim(users_asked, both);
            let words: Vec<String> = self.0.redis.run(&call).await?;
            match Answer::read(&words, users.len()) {
                Some(Answer::Decided(decided)) => return Ok(decided),
                Some(Answer::NeedsPseudonyms) if !both => {
                    both = true;
                    self.forget(event.id);
                }
                Some(Answer::NotLoaded) if Instant::now() < deadline => {
                    self.sync_soon(event.id, deadline).await;
                }
                Some(Answer::NotLoaded) => return Err(Failed::NotLoaded),
                _ => return Err(Failed::Nonsense),
            }
        }
    }

    /// What each user is told. Held is what those have who have won now, or are pending.
    async fn outcomes(
        &self,
        event: &EventRecord,
        users: &[UserId],
        decided: &Decided,
        held: Vec<IssuedCouponRecord>,
    ) -> Result<Vec<Outcome>, Failed> {
        let mut before = self.held_before(event, users, decided).await?.into_iter();
        let mut committed = held.into_iter();
        let outcomes = decided.claims.iter().map(|said| match said {
            Said::Won { sequence, .. } => match committed.next() {
                Some(coupon) if coupon.sequence == *sequence => Ok(Decision::Issued(coupon)),
                Some(coupon) => Ok(Decision::AlreadyClaimed(coupon)),
                None => Err(Undecided::InDoubt),
            },
            Said::Pending { .. } => {
                let committed = committed.next();
                let coupon = before.next().flatten().or(committed);
                coupon.map(Decision::AlreadyClaimed).ok_or(Undecided::InDoubt)
            }
            Said::Confirmed { .. } => match before.next().flatten() {
                Some(coupon) => Ok(Decision::AlreadyClaimed(coupon)),
                None => {
                    // The ledger has never heard of it.
                    self.sync_now(event.id);
                    Err(Undecided::Unavailable)
                }
            },
            Said::SoldOut => Ok(Decision::SoldOut),
            Said::NotOpen => Ok(Decision::NotOpen { opens_at: decided.opens_at }),
            Said::Paused => Ok(Decision::Paused),
            Said::Closed => Ok(Decision::Closed),
            Said::Frozen => Err(Undecided::Unavailable),
        });
        Ok(outcomes.collect())
    }

    /// What those hold who have not won just now, in the order of the claims: as the ledger has it,
    /// or where only the commit has it yet, as it will be written.
    async fn held_before(
        &self,
        event: &EventRecord,
        users: &[UserId],
        decided: &Decided,
    ) -> Result<Vec<Option<IssuedCouponRecord>>, Failed> {
        let of_before = |(user, said): (&UserId, &Said)| match said {
            Said::Pending { .. } => Some((user.clone(), None)),
            Said::Confirmed { sequence, issued_at } => {
                let win = issued_at.map(|issued_at| Won {
                    user_id: user.clone(),
                    sequence: *sequence,
                    issued_at,
                });
                Some((user.clone(), win))
            }
            _ => None,
        };
        let before = users.iter().zip(&decided.claims).filter_map(of_before);
        let (before, wins): (Vec<UserId>, Vec<Option<Won>>) = before.unzip();
        if before.is_empty() {
            return Ok(Vec::new());
        }
        let mut held = self.0.ledger.held_of(event, &before).await?;
        if event.commit != Commit::Ledger {
            for (held, win) in held.iter_mut().zip(&wins) {
                if let (None, Some(win)) = (&held, win) {
                    let coupons = self.coupons(event, decided.epoch, std::slice::from_ref(win));
                    *held = coupons.await?.pop();
                }
            }
        }
        Ok(held)
    }
}

/// A win that is not known to be durable.
fn won((user_id, said): (&UserId, &Said)) -> Option<Won> {
    match *said {
        Said::Won { sequence, issued_at } | Said::Pending { sequence, issued_at } => {
            Some(Won { user_id: user_id.clone(), sequence, issued_at })
        }
        _ => None,
    }
}

/// Why the claims of a batch have no verdicts, and what Redis said of them if it did.
struct Untold {
    why: Failed,
    decided: Option<Decided>,
}

impl<E: Into<Failed>> From<E> for Untold {
    fn from(why: E) -> Self {
        Self { why: why.into(), decided: None }
    }
}

/// What is told when wins of a batch could not be committed: of them nothing is known, and the rest
/// was decided by a word that may no longer count.
fn uncommitted(said: &Said) -> Outcome {
    match said {
        Said::Won { .. } | Said::Pending { .. } => Err(Undecided::InDoubt),
        _ => Err(Undecided::Unavailable),
    }
}
