//! What is done for events in the background: pending wins whose batch has died are made durable,
//! and what another process has changed in the ledger is followed in Redis.
//!
//! A process looks often after the events that it has claims on, a bounded number at a time, and
//! one of all processes looks now and then after every event that is open: most of 10,000 have
//! nothing to be done.

use std::convert::Infallible;
use std::mem;
use std::time::Duration;

use firstcome_cache::redis::{Cmd, RedisError, cmd};
use firstcome_core::limits::CLAIM_BATCH_MAX;
use firstcome_core::{Commit, EventId, Timestamp};
use firstcome_ledger::{EventRecord, Won};
use firstcome_tasks::anew;
use futures_util::{StreamExt as _, stream};
use tokio::sync::watch::{self, Sender};
use tokio::time::{Instant, MissedTickBehavior, interval};

use super::calls::{Keys, Look, Pending, PendingBatch};
use super::terms::Terms;
use super::{Failed, RedisStrategy};
use crate::out_of_reach::kept_events;

/// How often a process looks after its own events.
const LOOK_EVERY: Duration = Duration::from_millis(500);
/// How often one of all processes looks after every event.
const SWEEP_EVERY: Duration = Duration::from_secs(5);
/// How often a worker looks for wins that only Redis has.
const CARRY_EVERY: Duration = Duration::from_millis(100);
/// How often it looks at every event for that.
const LIST_EVERY: Duration = Duration::from_secs(1);
/// Events that are looked after.
const EVENTS_MAX: u64 = 10_000;
/// Events that are looked after at the same time.
const AT_ONCE: usize = 32;
/// Events that are looked at in one message, and of its own by a process at a time.
pub(super) const LOOKS_AT_ONCE: usize = 256;
/// Pending batches that are read at once.
const STEP: usize = 8;
/// More batches than are ever pending.
const BATCHES_MAX: usize = 10_000_000;
/// How old a pending win is before anyone but its batch makes it durable.
const ORPHANED: Duration = Duration::from_secs(2);
/// How long the quantity may be half lowered: who did it is dead then.
pub(super) const LOWERING_MAX: Duration = Duration::from_secs(20);

/// How many of these batches are made durable at once, from the first on: a transaction for each
/// would take as long for a few wins.
fn together(batches: &[PendingBatch]) -> usize {
    let mut wins = 0;
    let fits = |batch: &&PendingBatch| {
        wins += batch.wins.len();
        wins <= CLAIM_BATCH_MAX
    };
    batches.iter().take(STEP).take_while(fits).count().max(1)
}

/// Which pending wins are made durable.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Scope {
    /// Those of batches before this moment, by the clock of Redis: by whoever keeps the event, who
    /// has Redis follow the ledger too. All where there is none.
    pub(super) before: Option<Timestamp>,
    /// What was lowered before this moment is nobody's any more.
    pub(super) lowered_before: Option<Timestamp>,
    /// As many as there is time for.
    pub(super) until: Option<Instant>,
    /// Also those that are pending no more since the event is being rebuilt, which may still be
    /// written until it is: that is waited for by whoever asks again.
    pub(super) in_doubt: bool,
}

/// What became of the batches that were pending when somebody looked.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct Settled {
    /// Their wins are durable now.
    pub(super) done: usize,
    /// They are too young to be anyone's but their batch's.
    pub(super) left: usize,
}

impl RedisStrategy {
    /// Looks after events until it is stopped.
    pub(crate) async fn keep(self) {
        match anew(|| self.keep_on()).await {}
    }

    async fn keep_on(&self) -> Infallible {
        let mut look = interval(LOOK_EVERY);
        look.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut swept = Instant::now();
        let mut turns = None;
        let mut round = Vec::new();
        loop {
            look.tick().await;
            if round.is_empty() {
                round.extend(mem::take(&mut *self.claimed()));
            }
            let own = round.split_off(round.len().saturating_sub(LOOKS_AT_ONCE));
            // Whoever claims is told, and the log with them, what stands in the way.
            let _ = self.look_after_own(own).await;
            if swept.elapsed() >= SWEEP_EVERY {
                swept = Instant::now();
                if turns.is_none() {
                    turns = self.turns().await;
                }
                if let Some(turns) = &turns {
                    let _ = self.sweep(turns).await;
                }
            }
            self.rebuild_left();
        }
    }

    /// Writes the wins that only Redis has to the ledger, and measures what waits, until it is
    /// stopped.
    pub async fn carry(self) {
        let (told, listed) = watch::channel(Vec::new());
        let carries = anew(|| self.carry_on(&told));
        let measures = anew(|| self.measure_on(listed.clone()));
        match tokio::join!(carries, measures).0 {}
    }

    async fn carry_on(&self, told: &Sender<Vec<EventId>>) -> Infallible {
        let mut look = interval(CARRY_EVERY);
        look.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut listed: Option<Instant> = None;
        let mut events = Vec::new();
        loop {
            look.tick().await;
            let lists = listed.is_none_or(|listed| listed.elapsed() >= LIST_EVERY);
            if lists && let Ok(open) = self.kept_events(&[Commit::RedisStream]).await {
                told.send_replace(open.iter().map(|event| event.id).collect());
                events = open;
                listed = Some(Instant::now());
            }
            // Between two lists, only those that had something the last time.
            let carried = mem::take(&mut events).into_iter().map(|event| async move {
                let settled = self.settle_pending(&event, Scope::default()).await;
                (event, settled.is_ok_and(|settled| settled == Settled::default()))
            });
            let mut carried = stream::iter(carried).buffer_unordered(AT_ONCE);
            while let Some((event, is_done)) = carried.next().await {
                if !is_done {
                    events.push(event);
                }
            }
        }
    }

    /// Events with one of these commits that are not over, or have not been for long.
    pub(super) async fn kept_events(&self, commits: &[Commit]) -> Result<Vec<EventRecord>, Failed> {
        Ok(kept_events(&self.0.ledger, commits, EVENTS_MAX).await?)
    }

    /// Events that this process has had claims on; what is not done with is looked after again.
    async fn look_after_own(&self, own: Vec<EventId>) -> Result<(), Failed> {
        if own.is_empty() {
            return Ok(());
        }
        let scope = match self.orphaned().await {
            Ok(scope) => scope,
            Err(failed) => {
                self.claimed().extend(own);
                return Err(failed);
            }
        };
        let mut events = Vec::with_capacity(own.len());
        for id in own {
            match self.event(id).await {
                Ok(event) => events.extend(event),
                Err(_) => _ = self.claimed().insert(id),
            }
        }
        for (event, settled) in self.settle_each(events, scope).await {
            if settled.map_or(true, |settled| settled.left > 0) {
                self.claimed().insert(event.id);
            }
        }
        Ok(())
    }

    /// The key by which the processes on this ledger take turns; other ledgers may share the Redis.
    async fn turns(&self) -> Option<String> {
        let secret = self.0.ledger.secret("sweep").await.ok()?;
        let name = u128::from_le_bytes(*secret.first_chunk().expect("32 bytes"));
        Some(format!("firstcome:sweep:{name:032x}"))
    }

    /// Every open event, unless another process has just done it.
    async fn sweep(&self, turns: &str) -> Result<(), Failed> {
        let mut turn = cmd("SET");
        let lasts = u64::try_from(SWEEP_EVERY.as_millis()).expect("seconds") * 9 / 10;
        turn.arg(turns).arg(1).arg("NX").arg("PX").arg(lasts);
        if self.0.redis.call::<Option<String>>(&turn).await?.is_none() {
            return Ok(());
        }
        let swept = self.sweep_all().await;
        if swept.is_err() {
            // Another may reach what this process does not.
            let _ = self.0.redis.call::<i64>(cmd("DEL").arg(turns)).await;
        }
        swept
    }

    async fn sweep_all(&self) -> Result<(), Failed> {
        let scope = self.orphaned().await?;
        let settled = self.settle_each(self.kept_events(&Commit::ALL).await?, scope).await;
        let is_done = |(event, settled): &(EventRecord, Result<Settled, Failed>)| {
            let is_over = event.rule.closed
                || scope.before.is_some_and(|before| event.rule.window.closes_at() < before);
            is_over && settled.as_ref().is_ok_and(|settled| settled.left == 0)
        };
        let done = settled.iter().filter(|settled| is_done(settled));
        let done: Vec<EventId> = done.map(|(event, _)| event.id).collect();
        for some in done.chunks(LOOKS_AT_ONCE) {
            self.expire(some).await;
        }
        Ok(())
    }

    /// [Settles](Self::settle_pending) each of these events. Most have nothing to be done, which is
    /// seen of many at once.
    pub(super) async fn settle_each(
        &self,
        mut events: Vec<EventRecord>,
        scope: Scope,
    ) -> Vec<(EventRecord, Result<Settled, Failed>)> {
        let mut all = Vec::with_capacity(events.len());
        while !events.is_empty() {
            let some = events.split_off(events.len().saturating_sub(LOOKS_AT_ONCE));
            let looks = self.looks(&some).await;
            let settled = some.into_iter().zip(looks).map(|(event, look)| async move {
                let settled = match look {
                    Ok(look) => self.settle_seen(&event, look, scope).await,
                    Err(error) => Err(error.into()),
                };
                (event, settled)
            });
            all.extend(stream::iter(settled).buffer_unordered(AT_ONCE).collect::<Vec<_>>().await);
        }
        all
    }

    /// What whoever keeps events makes durable: the wins of batches that must have died.
    async fn orphaned(&self) -> Result<Scope, Failed> {
        let age =
            self.0.journal.as_ref().map_or(ORPHANED, |it| ORPHANED.max(it.delivery_timeout()));
        let now = self.now().await?.as_micros();
        let ago = |time: Duration| {
            let time = i64::try_from(time.as_micros()).expect("seconds");
            Some(Timestamp::from_micros(now - time))
        };
        let (before, lowered_before) = (ago(age), ago(LOWERING_MAX));
        Ok(Scope { before, lowered_before, ..Scope::default() })
    }

    /// The moment by the clock that decides.
    pub(super) async fn now(&self) -> Result<Timestamp, Failed> {
        let (seconds, micros): (i64, i64) = self.0.redis.call(&cmd("TIME")).await?;
        Ok(Timestamp::from_micros(seconds * 1_000_000 + micros))
    }

    pub(super) async fn look(&self, event: EventId) -> Result<Look, Failed> {
        Ok(self.0.redis.call(&Keys::of(event).look()).await?)
    }

    /// How each of these events stands. Where Redis alone has wins, what is pending is told even if
    /// nothing else is known any more.
    async fn looks(&self, events: &[EventRecord]) -> Vec<Result<Look, RedisError>> {
        let redis = &self.0.redis;
        let calls: Vec<_> = events.iter().map(|event| Keys::of(event.id).look()).collect();
        let mut looks = redis.call_all::<Look>(&calls).await;
        let unknown = events.iter().zip(&mut looks).filter(|(event, look)| {
            let was_decided = event.commit == Commit::RedisStream && event.epoch > 0;
            was_decided && matches!(look, Ok((None, ..)))
        });
        let unknown = unknown.map(|(event, look)| (Keys::of(event.id).count_pending(), look));
        let (calls, unknown): (Vec<Cmd>, Vec<_>) = unknown.unzip();
        for (look, counted) in unknown.into_iter().zip(redis.call_all::<u64>(&calls).await) {
            match (look, counted) {
                (Ok((_, pending, ..)), Ok(counted)) => *pending = Some(counted),
                (look, Err(error)) => *look = Err(error),
                (Err(_), Ok(_)) => {}
            }
        }
        looks
    }

    /// Makes wins durable that are pending.
    pub(super) async fn settle_pending(
        &self,
        event: &EventRecord,
        scope: Scope,
    ) -> Result<Settled, Failed> {
        let look = self.looks(std::slice::from_ref(event)).await.remove(0)?;
        self.settle_seen(event, look, scope).await
    }

    /// The same, as somebody has just seen the event. What was rebuilt since is refused, or
    /// recorded already.
    async fn settle_seen(
        &self,
        event: &EventRecord,
        (epoch, pending, lowered_at, loading, version): Look,
        scope: Scope,
    ) -> Result<Settled, Failed> {
        // What is being rebuilt is rebuilt by who is at it, but what Redis alone has was promised:
        // that rebuilding may have ended half-way.
        let (is_loading, is_alone) = (loading.is_some(), event.commit == Commit::RedisStream);
        if scope.before.is_some() {
            if let Some(version) = version.filter(|version| *version != event.version) {
                self.agree(event.id, version).await;
            }
            let is_half_lowered = lowered_at
                .zip(scope.lowered_before)
                .is_some_and(|(at, before)| at < before.as_micros());
            // Who began to rebuild it may have died, and nobody claims.
            if is_loading {
                self.0.left.find(event.id);
            } else if is_half_lowered {
                self.sync_now(event.id);
            }
        }
        if scope.in_doubt && is_loading {
            return Err(Failed::NotLoaded);
        }
        if pending.is_none_or(|it| it == 0) || is_loading && !is_alone {
            return Ok(Settled::default());
        }
        if epoch.is_none() {
            // Only by that are they no longer pending.
            self.sync_now(event.id);
        }
        // Boxed: the futures of all that a commit may do nest deeply.
        let settled = match Box::pin(self.settle_epoch(event, epoch, scope)).await {
            Err(Failed::AnotherEpoch) if !scope.in_doubt => {
                // What was pending by this word was written before a later began.
                let (now, ..) = self.look(event.id).await?;
                return if now > epoch { Ok(Settled::default()) } else { Err(Failed::NotLoaded) };
            }
            settled => settled?,
        };
        // It may have begun before they were read.
        if scope.in_doubt && matches!(self.look(event.id).await?, (_, _, _, Some(_), _)) {
            return Err(Failed::NotLoaded);
        }
        Ok(settled)
    }

    /// Redis has this version of an event, and the ledger hardly: whoever has changed it died
    /// before Redis heard of it, or could not reach it; or the ledger was restored from a backup,
    /// and would never be followed.
    pub(super) async fn agree(&self, id: EventId, version: u64) {
        match self.0.ledger.event(id).await {
            Ok(Some(event)) if version > event.version => self.sync_now(id),
            Ok(Some(event)) if version < event.version => _ = self.follow("", &event).await,
            Ok(Some(event)) => self.remember(event),
            Ok(None) | Err(_) => {}
        }
    }

    /// As [`settle_pending`](Self::settle_pending), by the word of this epoch; where Redis has lost
    /// which it was, by that of the present one.
    pub(super) async fn settle_epoch(
        &self,
        event: &EventRecord,
        known: Option<u64>,
        scope: Scope,
    ) -> Result<Settled, Failed> {
        let (keys, mut settled, mut cursor) = (Keys::of(event.id), Settled::default(), 0);
        let epoch = known.unwrap_or(event.epoch);
        loop {
            let (next, batches) = self.pending_batches(&keys, known, cursor).await?;
            let mut some = Vec::new();
            for batch in batches {
                if scope.before.is_some_and(|before| batch.moment >= before) {
                    settled.left += 1;
                } else {
                    some.push(batch);
                }
            }
            let mut left = some.as_slice();
            while !left.is_empty() {
                let some = left.split_off(..together(left)).expect("that there are so many");
                if scope.until.is_some_and(|until| Instant::now() >= until) {
                    return Err(Failed::NotSettled);
                }
                let wins: Vec<Won> = some.iter().flat_map(|batch| batch.wins.clone()).collect();
                self.settle(event, epoch, &wins).await?;
                let confirm = keys.confirm(epoch, some.iter().map(|batch| batch.moment));
                self.0.redis.run::<i64>(&confirm).await?;
                settled.done += some.len();
            }
            if next == 0 {
                return Ok(settled);
            }
            cursor = next;
        }
    }

    /// Some that are pending by the word of this epoch, from this place of a scan on; and where
    /// that goes on.
    ///
    /// # Errors
    /// Also where the event goes by another now: what it has by that is nothing to this one.
    pub(super) async fn pending_batches(
        &self,
        keys: &Keys,
        epoch: Option<u64>,
        cursor: u64,
    ) -> Result<(u64, Vec<PendingBatch>), Failed> {
        let pending: Pending = self.0.redis.run(&keys.pending(epoch, cursor, STEP)).await?;
        let (next, entries, terms) = pending.ok_or(Failed::AnotherEpoch)?;
        let terms = Terms::read(&terms).ok_or(Failed::Nonsense)?;
        let batches = entries.iter().map(|(moment, batch)| {
            PendingBatch::read(moment, batch, &terms).ok_or(Failed::Nonsense)
        });
        Ok((next, batches.collect::<Result<_, _>>()?))
    }

    /// The wins that are pending now.
    ///
    /// # Errors
    /// When there are some, and the event is being rebuilt: none of them is pending afterwards.
    pub(super) async fn count_pending(&self, event: EventId) -> Result<u64, Failed> {
        let keys = Keys::of(event);
        let entries = loop {
            let (epoch, ..) = self.look(event).await?;
            let pending: Pending = self.0.redis.run(&keys.pending(epoch, 0, BATCHES_MAX)).await?;
            // Another epoch has begun in between, which does not happen often.
            if let Some((_, entries, _)) = pending {
                break entries;
            }
        };
        let (_, _, _, loading, _) = self.look(event).await?;
        if !entries.is_empty() && loading.is_some() {
            return Err(Failed::NotLoaded);
        }
        let terms = Terms::default();
        let wins = entries.iter().map(|(moment, batch)| PendingBatch::read(moment, batch, &terms));
        let wins = wins.map(|batch| batch.map_or(0, |batch| batch.wins.len() as u64));
        Ok(wins.sum())
    }
}
