//! The service: lanes, latches, and the changes that open a latch.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use firstcome_cache::Cache;
use firstcome_core::{Clock, Commit, EventId, Strategy as Decider};
use firstcome_ledger::{
    By, Claim, DecidedElsewhere, Decision, EventRecord, Ledger, LedgerError, Promised,
};
use firstcome_tasks::anew;
use tokio::sync::{Mutex, mpsc};
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep};

use crate::deciders::{Beside, Deciders, Ways};
use crate::draft::Offered;
use crate::lane::{self, Lanes, NotDrained};
use crate::latch::watch::{self, watch};
use crate::latch::{Build, Latch, Latches, Lookup};
use crate::metrics::Metrics;
use crate::out_of_reach::{self, OutOfReach};
use crate::strategy::{LedgerStrategy, Restriction, Strategy};
use crate::{IssuanceConfig, IssuanceError, NoVerdict, Undecided};

/// How long the builder of latches rests after a build, as a multiple of the build.
const RESTS_PER_BUILD: u32 = 4;

/// What runs: keep it until the process stops, then [shut it down](Issuance::shutdown).
pub struct Issuance {
    lanes: Lanes,
    /// Where there is a Redis.
    deciders: Option<Deciders>,
    builder: JoinHandle<()>,
    /// Where other processes change events too.
    watch: Option<JoinHandle<()>>,
}

/// What calls go to; cheap to clone.
#[derive(Clone)]
pub struct IssuanceHandle {
    inner: Arc<Inner>,
    /// Told of every change of an event.
    events: Cache<EventRecord>,
}

struct Inner {
    ledger: Ledger,
    clock: Arc<dyn Clock>,
    lanes: lane::Handle,
    /// Where there is a Redis.
    ways: Option<Ways>,
    /// What may not be in the ledger yet.
    promised: Promised,
    latches: Arc<Latches>,
    /// Where the builder of latches waits.
    builds: mpsc::Sender<Build>,
    metrics: Metrics,
}

impl Issuance {
    /// Starts the lanes, with the ledger as the decider, and where there is a Redis those of the
    /// events that it orders or decides. Within a tokio runtime, after the metrics' recorder was
    /// installed.
    ///
    /// # Errors
    /// When the system gives no more threads.
    pub fn start(
        ledger: Ledger,
        beside: Option<Beside>,
        config: &IssuanceConfig,
        clock: Arc<dyn Clock>,
    ) -> io::Result<(Self, IssuanceHandle)> {
        let strategy = Arc::new(LedgerStrategy::new(ledger.clone()));
        Self::start_with(&strategy, beside, ledger, config, clock)
    }

    /// Starts the lanes with another decider over the same ledger.
    ///
    /// # Errors
    /// When the system gives no more threads.
    pub fn start_with<S: Strategy>(
        strategy: &Arc<S>,
        beside: Option<Beside>,
        ledger: Ledger,
        config: &IssuanceConfig,
        clock: Arc<dyn Clock>,
    ) -> io::Result<(Self, IssuanceHandle)> {
        let metrics = Metrics::declare();
        let lanes = Lanes::start("lane", strategy, config, &metrics)?;
        let deciders = beside
            .map(|beside| Deciders::start(beside, ledger.clone(), config, &metrics))
            .transpose()?;
        let (deciders, ways) = deciders.unzip();
        let latches = Arc::new(Latches::new(config, metrics.clone()));
        let (builds, asked) = mpsc::channel(config.latches_max.max(1));
        let builder = Builder {
            ledger: ledger.clone(),
            clock: Arc::clone(&clock),
            latches: Arc::clone(&latches),
        };
        let builder = tokio::spawn(builder.run(asked));
        let watch =
            ledger.is_shared().then(|| tokio::spawn(watch(ledger.clone(), Arc::clone(&latches))));
        let promised = match &ways {
            Some(ways) => Promised::by(ways.strategy().clone()),
            // Redis decides beside no embedded ledger.
            None if !ledger.is_shared() => Promised::default(),
            None => Promised::by(OutOfReach(ledger.clone())),
        };
        let inner = Inner {
            ledger,
            clock,
            lanes: lanes.handle(),
            ways,
            promised,
            latches,
            builds,
            metrics,
        };
        let handle = IssuanceHandle { inner: Arc::new(inner), events: Cache::none() };
        Ok((Self { lanes, deciders, builder, watch }, handle))
    }

    /// Refuses new claims, answers all that were accepted, and ends.
    ///
    /// # Errors
    /// [`NotDrained`] when that takes longer than `deadline`; who still waits is told `in_doubt`.
    pub async fn shutdown(mut self, deadline: Duration) -> Result<(), NotDrained> {
        self.builder.abort();
        if let Some(watch) = &self.watch {
            watch.abort();
        }
        let until = Instant::now() + deadline;
        let drained = self.lanes.drain(deadline).await;
        match &mut self.deciders {
            None => drained,
            Some(deciders) => {
                let left = until.saturating_duration_since(Instant::now());
                drained.and(deciders.drain(left).await)
            }
        }
    }
}

impl IssuanceHandle {
    /// The same, which tells this cache of every change of an event.
    #[must_use]
    pub fn telling(self, events: Cache<EventRecord>) -> Self {
        Self { events, ..self }
    }

    /// The verdict of a claim: from memory, or from the decider by way of a lane.
    ///
    /// # Errors
    /// [`NoVerdict`]: there is no verdict; a retry is safe, and may win.
    pub async fn claim(&self, claim: Claim) -> Result<Decision, NoVerdict> {
        let Inner { clock, lanes, latches, metrics, .. } = &*self.inner;
        let event = claim.event_id;
        if latches.lookup(event, &claim.user_id, &**clock) == Lookup::SoldOut {
            metrics.latched.increment(1);
            return Ok(Decision::SoldOut);
        }
        let lanes = match &self.inner.ways {
            None => Ok(lanes),
            Some(ways) => ways.lanes_of(event).await.map(|of_event| of_event.unwrap_or(lanes)),
        };
        let decided = match lanes {
            Ok(lanes) => lanes.claim(claim).await,
            // Who decides is not known.
            Err(_) => Err(NoVerdict::Undecided(Undecided::Unavailable)),
        };
        match &decided {
            Ok(Decision::SoldOut) => self.ask_for_latch(event),
            Ok(Decision::Closed) => latches.forget(event),
            Ok(_) => {}
            Err(refused) => metrics.refused(*refused),
        }
        decided
    }

    /// Changes an event as [`Ledger::change_event`] does, told of this user, with its latch held
    /// open, and tells the cache, to the end even if the caller goes away. What it may take away,
    /// `restricts` tells, or that it is refused already.
    ///
    /// # Errors
    /// When the ledger does not answer, or what decides the event cannot be made ready.
    pub(crate) async fn change_event<R, F, E>(
        &self,
        by: By,
        id: EventId,
        restricts: R,
        change: F,
    ) -> Result<Option<Result<EventRecord, E>>, IssuanceError>
    where
        R: FnOnce(&EventRecord) -> Result<Option<Restriction>, E> + Send + 'static,
        F: FnOnce(EventRecord) -> Result<EventRecord, E> + Send + 'static,
        E: Send + 'static,
    {
        let hold = self.inner.latches.hold(id);
        let (ledger, events) = (self.inner.ledger.by(by), self.events.clone());
        let ways = self.inner.ways.clone();
        let changed = tokio::spawn(async move {
            let redis = match &ways {
                Some(ways) => ways.redis_of(id).await?,
                None => None,
            };
            let changed = match redis {
                Some(redis) => redis.change_event(&ledger, id, restricts, change).await,
                None => {
                    if ways.is_none()
                        && let Some(event) = ledger.event(id).await?
                    {
                        // Others would go on promising what it takes away.
                        out_of_reach::check_change(&event, restricts(&event).ok().flatten())?;
                    }
                    Ok(ledger.change_event(id, change).await?)
                }
            };
            drop(hold);
            if let Ok(Some(Ok(event))) = &changed {
                events.changed(event).await;
            }
            changed
        });
        changed.await.unwrap_or(Err(LedgerError::Closing.into()))
    }

    /// Drops what memory knows of an event, and rebuilds what Redis does.
    ///
    /// # Errors
    /// When the ledger does not answer, or the event is not rebuilt.
    pub(crate) async fn sync(&self, id: EventId) -> Result<(), IssuanceError> {
        drop(self.inner.latches.hold(id));
        let Some(ways) = &self.inner.ways else {
            let event = self.inner.ledger.event(id).await?;
            let is_elsewhere = event.is_some_and(|event| event.strategy == Decider::Redis);
            return if is_elsewhere {
                Err(LedgerError::from(DecidedElsewhere).into())
            } else {
                Ok(())
            };
        };
        let Some(redis) = ways.redis_of(id).await? else { return Ok(()) };
        redis.sync_event(id).await.map(|_| ())
    }

    /// Makes ready what a new event is decided with, behind its answer.
    pub(crate) async fn prepare(&self, id: EventId) {
        if let Some(ways) = &self.inner.ways
            && let Ok(Some(redis)) = ways.redis_of(id).await
        {
            redis.prepare(id).await;
        }
    }

    /// Writes what only Redis has to the ledger, until it is stopped; none where there is no Redis.
    #[must_use]
    pub fn carry(&self) -> Option<JoinHandle<()>> {
        self.inner.ways.as_ref().map(|ways| tokio::spawn(ways.strategy().clone().carry()))
    }

    /// What was promised and may not be in the ledger yet.
    #[must_use]
    pub fn promised(&self) -> Promised {
        self.inner.promised.clone()
    }

    /// Brings the ledger up to every win of an event that was told before the call.
    ///
    /// # Errors
    /// When that takes too long, or what it needs does not answer.
    pub(crate) async fn catch_up(&self, event: &EventRecord) -> Result<(), IssuanceError> {
        let Some(ways) = &self.inner.ways else { return out_of_reach::check(event) };
        match event.commit {
            Commit::Ledger => Ok(()),
            Commit::Kafka => Box::pin(ways.strategy().wait_for_journal(event)).await,
            // By one call for all who ask.
            Commit::RedisStream => Ok(self.inner.promised.is_kept().await?),
        }
    }

    /// Brings the ledger up to all that was promised of an event, and how many wins it still lacks.
    ///
    /// # Errors
    /// When the ledger, Redis or the journal does not answer.
    pub(crate) async fn drain(&self, id: EventId) -> Result<u64, IssuanceError> {
        let Some(ways) = &self.inner.ways else {
            let event = self.inner.ledger.event(id).await?;
            return event.map_or(Ok(0), |event| out_of_reach::check(&event).map(|()| 0));
        };
        let Some(redis) = ways.redis_of(id).await? else { return Ok(0) };
        redis.drain_for_audit(id).await
    }

    /// What a new event may be decided by.
    pub(crate) fn offered(&self) -> Offered {
        let ways = self.inner.ways.as_ref();
        Offered {
            default: ways.map_or(Decider::Ledger, Ways::default),
            commit: ways.map_or(Commit::Ledger, Ways::commit),
            redis: match ways {
                None => Err("none configured"),
                Some(ways) if ways.is_refused() => Err("one that cannot be used: its log says why"),
                Some(_) => Ok(()),
            },
            is_shared: self.inner.ledger.is_shared(),
        }
    }

    pub(crate) fn ledger(&self) -> &Ledger {
        &self.inner.ledger
    }

    pub(crate) fn clock(&self) -> &Arc<dyn Clock> {
        &self.inner.clock
    }

    fn ask_for_latch(&self, event: EventId) {
        let Inner { clock, latches, builds, .. } = &*self.inner;
        let Some(build) = latches.begin(event, clock.now()) else { return };
        if builds.try_send(build).is_err() {
            latches.finish(build, None, clock.now());
        }
    }
}

/// Builds latches, one at a time, and rests after each, so that building takes a small share of a
/// processor however many events sell out.
pub(crate) struct Builder {
    pub(crate) ledger: Ledger,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) latches: Arc<Latches>,
}

impl Builder {
    async fn run(self, asked: mpsc::Receiver<Build>) {
        let asked = Mutex::new(asked);
        anew(|| self.build_on(&asked)).await;
    }

    async fn build_on(&self, asked: &Mutex<mpsc::Receiver<Build>>) {
        let mut asked = asked.lock().await;
        while let Some(build) = asked.recv().await {
            let began = Instant::now();
            let mut building = Building { by: self, build, latch: None };
            building.latch = self.read(build.event).await.unwrap_or_else(|error| {
                tracing::warn!(
                    firstcome.event.id = %build.event, error.message = %error,
                    "the winners cannot be read, the decider goes on answering"
                );
                None
            });
            drop(building);
            sleep(began.elapsed() * RESTS_PER_BUILD).await;
        }
    }

    /// The latch of an event with all its winners; none if it is not sold out, or was changed while
    /// they were read, which spoils the build.
    pub(crate) async fn read(&self, event: EventId) -> Result<Option<Latch>, LedgerError> {
        let Some(record) = self.ledger.event(event).await? else { return Ok(None) };
        let latch = Latch::new(&record.rule, record.version, self.clock.now());
        let Some(latch) = latch else { return Ok(None) };
        let add = |(latch, winners): &mut (Latch, u32), user: &str| {
            latch.add(user);
            *winners += 1;
        };
        let (latch, winners) = self.ledger.fold_winners(record.no, (latch, 0), add).await?;
        // What another process has changed meanwhile the watch would find a second later.
        if !watch::is_at(&self.ledger, event, record.version).await? {
            self.latches.forget(event);
            return Ok(None);
        }
        // Fewer than were issued: a filter that lacks a winner would deny a coupon.
        Ok((winners >= record.rule.issued).then_some(latch))
    }
}

/// A build under way: it is finished with it, without a latch where a fault has ended it.
struct Building<'a> {
    by: &'a Builder,
    build: Build,
    latch: Option<Latch>,
}

impl Drop for Building<'_> {
    fn drop(&mut self) {
        self.by.latches.finish(self.build, self.latch.take(), self.by.clock.now());
    }
}

#[cfg(test)]
mod tests;
