//! The service: lanes, latches, and the changes that open a latch.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use firstcome_cache::Cache;
use firstcome_core::{Clock, EventId};
use firstcome_ledger::{By, Claim, Decision, EventRecord, Ledger, LedgerError};
use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep};

use crate::lane::{self, Lanes, NotDrained};
use crate::latch::watch::watch;
use crate::latch::{Build, Latch, Latches, Lookup};
use crate::metrics::Metrics;
use crate::strategy::{LedgerStrategy, Strategy};
use crate::{IssuanceConfig, NoVerdict};

/// How long the builder of latches rests after a build, as a multiple of the build.
const RESTS_PER_BUILD: u32 = 4;

/// What runs: keep it until the process stops, then [shut it down](Issuance::shutdown).
pub struct Issuance {
    lanes: Lanes,
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
    latches: Arc<Latches>,
    /// Where the builder of latches waits.
    builds: mpsc::Sender<Build>,
    metrics: Metrics,
}

impl Issuance {
    /// Starts the lanes, with the ledger as the decider. Within a tokio runtime, after the metrics'
    /// recorder was installed.
    ///
    /// # Errors
    /// When the system gives no more threads.
    pub fn start(
        ledger: Ledger,
        config: &IssuanceConfig,
        clock: Arc<dyn Clock>,
    ) -> io::Result<(Self, IssuanceHandle)> {
        let strategy = Arc::new(LedgerStrategy::new(ledger.clone()));
        Self::start_with(&strategy, ledger, config, clock)
    }

    /// Starts the lanes with another decider over the same ledger.
    ///
    /// # Errors
    /// When the system gives no more threads.
    pub fn start_with<S: Strategy>(
        strategy: &Arc<S>,
        ledger: Ledger,
        config: &IssuanceConfig,
        clock: Arc<dyn Clock>,
    ) -> io::Result<(Self, IssuanceHandle)> {
        let metrics = Metrics::declare();
        let lanes = Lanes::start(strategy, config, &metrics)?;
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
        let inner = Inner { ledger, clock, lanes: lanes.handle(), latches, builds, metrics };
        let handle = IssuanceHandle { inner: Arc::new(inner), events: Cache::none() };
        Ok((Self { lanes, builder, watch }, handle))
    }

    /// Refuses new claims, answers all that were accepted, and ends.
    ///
    /// # Errors
    /// [`NotDrained`] when that takes longer than `deadline`; who still waits is told `in_doubt`.
    pub async fn shutdown(self, deadline: Duration) -> Result<(), NotDrained> {
        self.builder.abort();
        if let Some(watch) = &self.watch {
            watch.abort();
        }
        self.lanes.drain(deadline).await
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
        let decided = lanes.claim(claim).await;
        match &decided {
            Ok(Decision::SoldOut) => self.ask_for_latch(event),
            Ok(Decision::Closed) => latches.forget(event),
            Ok(_) => {}
            Err(refused) => metrics.refused(*refused),
        }
        decided
    }

    /// Changes an event as [`Ledger::change_event`] does, told of this user, with its latch held
    /// open, and tells the cache, to the end even if the caller goes away.
    ///
    /// # Errors
    /// When the ledger does not answer.
    pub(crate) async fn change_event<F, E>(
        &self,
        by: By,
        id: EventId,
        change: F,
    ) -> Result<Option<Result<EventRecord, E>>, LedgerError>
    where
        F: FnOnce(EventRecord) -> Result<EventRecord, E> + Send + 'static,
        E: Send + 'static,
    {
        let hold = self.inner.latches.hold(id);
        let (ledger, events) = (self.inner.ledger.by(by), self.events.clone());
        let changed = tokio::spawn(async move {
            let changed = ledger.change_event(id, change).await;
            drop(hold);
            if let Ok(Some(Ok(event))) = &changed {
                events.changed(event).await;
            }
            changed
        });
        changed.await.unwrap_or(Err(LedgerError::Closing))
    }

    /// Drops what memory knows of an event.
    pub(crate) fn forget(&self, id: EventId) {
        drop(self.inner.latches.hold(id));
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
    async fn run(self, mut asked: mpsc::Receiver<Build>) {
        while let Some(build) = asked.recv().await {
            let began = Instant::now();
            let latch = self.read(build.event).await.unwrap_or_else(|error| {
                tracing::warn!(
                    firstcome.event.id = %build.event, error.message = %error,
                    "the winners cannot be read, the decider goes on answering"
                );
                None
            });
            self.latches.finish(build, latch, self.clock.now());
            sleep(began.elapsed() * RESTS_PER_BUILD).await;
        }
    }

    /// The latch of an event with all its winners; none if it is not sold out.
    pub(crate) async fn read(&self, event: EventId) -> Result<Option<Latch>, LedgerError> {
        let Some(record) = self.ledger.event(event).await? else { return Ok(None) };
        let latch = Latch::new(&record.rule, record.version, self.clock.now());
        let Some(latch) = latch else { return Ok(None) };
        let add = |(latch, winners): &mut (Latch, u32), user: &str| {
            latch.add(user);
            *winners += 1;
        };
        let (latch, winners) = self.ledger.fold_winners(record.no, (latch, 0), add).await?;
        // Fewer than were issued: a filter that lacks a winner would deny a coupon.
        Ok((winners >= record.rule.issued).then_some(latch))
    }
}

#[cfg(test)]
mod tests;
