//! A batch's way: asked of Redis, committed, and told.
//!
//! Each step is taken for all events of the batch together: a message to Redis, a transaction of
//! the ledger. An event that fails in one of them fails alone.

use std::collections::HashMap;
use std::sync::{MutexGuard, PoisonError};

use firstcome_cache::redis::ScriptCall;
use firstcome_core::{Commit, EventId, Sequence, Timestamp, UserId};
use firstcome_ledger::{Claim, Decision, EventRecord, IssuedCouponRecord, Told, Tried, Won};
use futures_util::future::{join, join_all};
use tokio::time::Instant;

use super::super::{OfEvent, Outcome, Strategy, by_event};
use super::calls::{Answer, Decided, Keys, Said};
use super::commits::Wins;
use super::terms::Terms;
use super::{EVENTS_MAX, Failed, LOAD_REST, LOAD_WAIT_MAX, RedisStrategy};
use crate::Undecided;

impl Strategy for RedisStrategy {
    /// One is decided while one is committed.
    const AT_ONCE: usize = 2;

    async fn decide(&self, batch: Vec<Claim>) -> Vec<Outcome> {
        let mut outcomes = vec![Err(Undecided::Unavailable); batch.len()];
        let groups: Vec<Group> = by_event(batch).into_iter().map(Group::of).collect();
        for (group, of_users) in groups.iter().zip(self.decide_groups(&groups).await) {
            let mut told = vec![false; of_users.len()];
            for (&place, &user) in group.places.iter().zip(&group.user_of) {
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

/// The claims of a batch on one event.
struct Group {
    event: EventId,
    /// Every user once, in the order of their first claims.
    users: Vec<UserId>,
    /// Which of them each claim is of.
    user_of: Vec<usize>,
    /// The places of the claims in the batch.
    places: Vec<usize>,
}

impl Group {
    fn of(OfEvent { event, claims, places }: OfEvent) -> Self {
        let mut users = Vec::with_capacity(claims.len());
        let mut index_of: HashMap<&UserId, usize> = HashMap::with_capacity(claims.len());
        let user_of = claims.iter().map(|claim| {
            *index_of.entry(&claim.user_id).or_insert_with(|| {
                users.push(claim.user_id.clone());
                users.len() - 1
            })
        });
        let user_of = user_of.collect();
        Self { event, users, user_of, places }
    }
}

/// What came of asking Redis of a group at first.
enum Asked<'a> {
    Decided(Verdicts<'a>),
    /// The event is to be loaded, or pseudonyms are needed.
    NotYet(EventRecord),
    NoEvent,
}

/// What Redis has said of a group.
struct Verdicts<'a> {
    event: EventRecord,
    users: &'a [UserId],
    decided: Decided,
    /// Those that are not known to be durable.
    wins: Vec<Won>,
}

impl Verdicts<'_> {
    /// Whether somebody has won just now.
    fn is_new(&self) -> bool {
        self.decided.claims.iter().any(|said| matches!(said, Said::Won { .. }))
    }

    fn wins(&self) -> Wins<'_> {
        let mut claims = self.decided.claims.iter();
        let is_again = claims.any(|said| matches!(said, Said::Pending { .. }));
        Wins {
            event: &self.event,
            epoch: self.decided.epoch,
            wins: &self.wins,
            told: Told::NotYet,
            tried: if is_again { Tried::Perhaps } else { Tried::Never },
        }
    }

    /// Whether making the wins durable has shown that the ledger goes by their epoch.
    fn has_met_the_epoch(&self, held: &[IssuedCouponRecord]) -> bool {
        match self.event.commit {
            // Who held their coupon before was told so whatever the epoch.
            Commit::Ledger => {
                let places = self.decided.claims.iter().filter_map(|said| match said {
                    Said::Won { sequence, .. } => Some((true, sequence)),
                    Said::Pending { sequence, .. } => Some((false, sequence)),
                    _ => None,
                });
                let mut places = places.zip(held);
                places.any(|((is_new, sequence), held)| is_new && held.sequence == *sequence)
            }
            Commit::Kafka => !self.wins.is_empty(),
            Commit::RedisStream => false,
        }
    }

    /// Whether somebody is told for good that they win nothing.
    fn is_final(&self) -> bool {
        self.decided.claims.iter().any(Said::is_final)
    }

    /// What is told when the wins could not be committed, or by a word that may no longer count:
    /// of them nothing is known, and the rest was not decided.
    fn uncommitted(&self) -> Vec<Outcome> {
        let outcome = |said: &Said| match said {
            Said::Won { .. } | Said::Pending { .. } => Err(Undecided::InDoubt),
            _ => Err(Undecided::Unavailable),
        };
        self.decided.claims.iter().map(outcome).collect()
    }
}

impl RedisStrategy {
    /// Decides the claims of each group's users, in their order.
    async fn decide_groups(&self, groups: &[Group]) -> Vec<Vec<Outcome>> {
        let asked = self.ask_all(groups).await;
        let verdicts = asked.iter().filter_map(|asked| match asked {
            Ok(Asked::Decided(verdicts)) => Some(verdicts),
            _ => None,
        });
        let verdicts: Vec<&Verdicts<'_>> = verdicts.collect();
        let later = groups.iter().zip(&asked).filter_map(|(group, asked)| match asked {
            Ok(Asked::NotYet(event)) => Some(self.decide_later(event, group)),
            _ => None,
        });
        // Who has won is recorded without waiting for an event that is being loaded.
        let (told, told_later) = join(self.tell_all(&verdicts), join_all(later)).await;
        let (mut told, mut told_later) = (told.into_iter(), told_later.into_iter());
        let told = groups.iter().zip(asked).map(|(group, asked)| match asked {
            Ok(Asked::Decided(_)) => told.next().expect("all verdicts are told"),
            Ok(Asked::NotYet(_)) => told_later.next().expect("all are told"),
            Ok(Asked::NoEvent) => Ok(vec![Ok(Decision::EventNotFound); group.users.len()]),
            Err(why) => Err(Untold::of(why, group.users.len())),
        });
        let told: Vec<Result<Vec<Outcome>, Untold>> = told.collect();
        self.report(told.iter().find_map(|told| Some(&told.as_ref().err()?.why)));
        told.into_iter().map(|told| told.unwrap_or_else(|untold| untold.outcomes)).collect()
    }

    /// Asks Redis of each group, all at once.
    async fn ask_all<'a>(&self, groups: &'a [Group]) -> Vec<Result<Asked<'a>, Failed>> {
        let events = join_all(groups.iter().map(|group| self.event_to_claim(group.event))).await;
        let known = || {
            events.iter().zip(groups).filter_map(|(event, group)| {
                event.as_ref().ok()?.as_ref().map(|known| (known, &group.users))
            })
        };
        self.claimed().extend(known().map(|((event, _), _)| event.id));
        let calls = known().map(|((event, validity), users)| {
            self.claim(event.id, users, event.has_erased, validity)
        });
        let calls: Vec<ScriptCall> = calls.collect();
        let mut answers = self.0.redis.run_all::<Vec<String>>(&calls).await.into_iter();
        let asked = events.into_iter().zip(groups).map(|(event, group)| {
            let Some((event, _)) = event? else { return Ok(Asked::NoEvent) };
            let answer = answers.next().expect("one for each call")?;
            match Answer::read(&answer, group.users.len()) {
                Some(Answer::Decided(decided)) => {
                    Ok(Asked::Decided(self.verdicts(event, group, decided)))
                }
                Some(Answer::NotLoaded | Answer::NeedsPseudonyms) => Ok(Asked::NotYet(event)),
                None => Err(Failed::Nonsense),
            }
        });
        asked.collect()
    }

    /// Decides the claims of a group whose event was not ready.
    async fn decide_later(
        &self,
        event: &EventRecord,
        group: &Group,
    ) -> Result<Vec<Outcome>, Untold> {
        let untold = |why| Untold::of(why, group.users.len());
        if let Some(told) = self.decide_over(event, &group.users).await.map_err(untold)? {
            return Ok(told);
        }
        let decided = self.ask(event, &group.users).await.map_err(untold)?;
        let verdicts = self.verdicts(event.clone(), group, decided);
        self.tell_all(&[&verdicts]).await.remove(0)
    }

    fn verdicts<'a>(&self, event: EventRecord, group: &'a Group, decided: Decided) -> Verdicts<'a> {
        if decided.version != event.version {
            // An admin has changed it.
            self.forget(event.id);
        }
        let users = &group.users;
        let claims = users.iter().zip(&decided.claims);
        let wins = claims.filter_map(|claim| won(claim, &decided.terms)).collect();
        Verdicts { event, users, decided, wins }
    }

    /// Makes the wins durable, and the word of each verdict sure; what each user is told then.
    async fn tell_all(&self, verdicts: &[&Verdicts<'_>]) -> Vec<Result<Vec<Outcome>, Untold>> {
        let wins: Vec<Wins<'_>> = verdicts.iter().map(|verdicts| verdicts.wins()).collect();
        let held = self.commit(&wins).await;
        let done =
            || verdicts.iter().zip(&held).filter_map(|(it, held)| Some((it, held.as_ref().ok()?)));
        let is_confirmed =
            |it: &&&Verdicts<'_>| it.is_new() && it.event.commit != Commit::RedisStream;
        self.confirm(done().map(|(it, _)| it).filter(is_confirmed).map(|it| {
            let Decided { epoch, moment, .. } = it.decided;
            Keys::of(it.event.id).confirm(epoch, [moment].into_iter())
        }));
        let unsure = done().filter(|(it, held)| {
            // Only Redis answers for what Redis alone has.
            it.event.commit != Commit::RedisStream && (it.is_final() || !it.has_met_the_epoch(held))
        });
        let unsure: Vec<_> = unsure.map(|(it, _)| (it.event.id, it.decided.epoch)).collect();
        let mut standings = self.standings(&unsure, None).await;
        let told = verdicts.iter().zip(held).map(|(verdicts, held)| {
            let standing = standings.remove(&verdicts.event.id);
            (verdicts, held, standing)
        });
        let told: Vec<_> = told.collect();
        let told = told.into_iter().map(async |(verdicts, held, standing)| {
            let untold = |why| Untold { why, outcomes: verdicts.uncommitted() };
            let held = held.map_err(untold)?;
            let standing = standing.transpose().map_err(untold)?;
            let (id, decided) = (verdicts.event.id, verdicts.decided.version);
            let is_old = standing.is_some_and(|standing| standing.version != decided);
            if is_old {
                let strategy = self.clone();
                tokio::spawn(async move { strategy.agree(id, decided).await });
            }
            self.outcomes(verdicts, held, is_old).await
        });
        join_all(told).await
    }

    fn claim(&self, event: EventId, users: &[UserId], both: bool, validity: &str) -> ScriptCall {
        let pseudonym = |user| both.then(|| self.0.ledger.pseudonym_of(user));
        Keys::of(event).claim(users.iter().map(|user| (user, pseudonym(user))), both, validity)
    }

    /// An event, and [for how long](Self::word_of_validity) its coupons are valid.
    async fn event_to_claim(&self, id: EventId) -> Result<Option<(EventRecord, String)>, Failed> {
        let Some(event) = self.event(id).await? else { return Ok(None) };
        let validity = self.word_of_validity(&event).await?;
        Ok(Some((event, validity)))
    }

    /// Asks Redis, once the event is loaded.
    async fn ask(&self, event: &EventRecord, users: &[UserId]) -> Result<Decided, Failed> {
        let deadline = self.load_deadline(event.id);
        let mut both = event.has_erased;
        let validity = self.word_of_validity(event).await?;
        loop {
            let claim = self.claim(event.id, users, both, &validity);
            let words: Vec<String> = self.0.redis.run(&claim).await?;
            match Answer::read(&words, users.len()) {
                Some(Answer::Decided(decided)) => {
                    self.waited().remove(&event.id);
                    return Ok(decided);
                }
                Some(Answer::NeedsPseudonyms) if !both => {
                    both = true;
                    self.forget(event.id);
                }
                Some(Answer::NotLoaded) if Instant::now() < deadline => {
                    self.sync_soon(event.id, deadline).await;
                }
                Some(Answer::NotLoaded) => {
                    self.sync_now(event.id);
                    return Err(Failed::NotLoaded);
                }
                _ => return Err(Failed::Nonsense),
            }
        }
    }

    /// Until when batches wait for an event that is not loaded. The claims on other events wait
    /// with them, so that after this nobody does for a while.
    pub(super) fn load_deadline(&self, event: EventId) -> Instant {
        let (mut waited, now) = (self.waited(), Instant::now());
        let is_old = |since: &Instant| now.duration_since(*since) >= LOAD_REST;
        if waited.len() >= EVENTS_MAX {
            waited.retain(|_, since| !is_old(since));
        }
        let since = waited.entry(event).or_insert(now);
        if is_old(since) {
            *since = now;
        }
        *since + LOAD_WAIT_MAX
    }

    fn waited(&self) -> MutexGuard<'_, HashMap<EventId, Instant>> {
        self.0.waited.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What each user is told. Held is what those have who have won now, or are pending. Where it
    /// cannot be looked up what those hold who have won before, they alone are told nothing; and
    /// where the event was changed since Redis has heard of it, those who win nothing.
    async fn outcomes(
        &self,
        Verdicts { event, users, decided, .. }: &Verdicts<'_>,
        held: Vec<IssuedCouponRecord>,
        is_old: bool,
    ) -> Result<Vec<Outcome>, Untold> {
        let (before, why) = match self.held_before(event, users, decided).await {
            Ok(before) => (before, None),
            Err(why) => (Vec::new(), Some(why)),
        };
        let mut before = before.into_iter();
        let mut committed = held.into_iter();
        let outcomes = decided.claims.iter().map(|said| match said {
            Said::Won { sequence, .. } => match committed.next() {
                Some(coupon) if coupon.sequence == *sequence => Ok(Decision::Issued(coupon)),
                Some(coupon) => Ok(Decision::AlreadyClaimed(coupon)),
                None => Err(Undecided::InDoubt),
            },
            Said::Pending { .. } => {
                let committed = committed.next().filter(|_| why.is_none());
                let coupon = before.next().flatten().or(committed);
                coupon.map(Decision::AlreadyClaimed).ok_or(Undecided::InDoubt)
            }
            Said::Confirmed { .. } => match before.next().flatten() {
                Some(coupon) => Ok(Decision::AlreadyClaimed(coupon)),
                None if why.is_some() => Err(Undecided::Unavailable),
                None => {
                    // The ledger has never heard of it.
                    self.sync_now(event.id);
                    Err(Undecided::Unavailable)
                }
            },
            said if is_old && said.is_final() => Err(Undecided::Unavailable),
            Said::SoldOut => Ok(Decision::SoldOut),
            Said::NotOpen => Ok(Decision::NotOpen { opens_at: decided.opens_at }),
            Said::Paused => Ok(Decision::Paused),
            Said::Closed => Ok(Decision::Closed),
            Said::Frozen => Err(Undecided::Unavailable),
        });
        let outcomes = outcomes.collect();
        match why {
            None => Ok(outcomes),
            Some(why) => Err(Untold { why, outcomes }),
        }
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
                let win = issued_at.map(|at| win_of(user, *sequence, at, &decided.terms));
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
                    *held = self.coupons(event, decided.epoch, std::slice::from_ref(win))?.pop();
                }
            }
        }
        Ok(held)
    }
}

/// A win that is not known to be durable.
fn won((user, said): (&UserId, &Said), terms: &Terms) -> Option<Won> {
    match *said {
        Said::Won { sequence, issued_at } | Said::Pending { sequence, issued_at } => {
            Some(win_of(user, sequence, issued_at, terms))
        }
        _ => None,
    }
}

fn win_of(user: &UserId, sequence: Sequence, issued_at: Timestamp, terms: &Terms) -> Won {
    Won { user_id: user.clone(), sequence, issued_at, validity: terms.of(issued_at) }
}

/// Why the claims of an event have no verdicts.
struct Untold {
    why: Failed,
    /// What each user is told instead.
    outcomes: Vec<Outcome>,
}

impl Untold {
    /// The same for all of so many users.
    fn of(why: Failed, users: usize) -> Self {
        let outcomes = vec![Err(why.undecided()); users];
        Self { why, outcomes }
    }
}
