//! Lanes: each a thread that owns the claims of some events and hands them on in batches.
//!
//! A lane waits for one parcel of claims from a [`desk`], then takes all that have arrived, at
//! most [`limits::CLAIM_BATCH_MAX`] claims, and decides the batch; what arrives meanwhile is the
//! next batch. So an idle lane decides a lone claim at once, and a busy one batches by itself:
//! nothing waits on a timer. Where a strategy decides in several places one after the other, the
//! next batch begins while one is under way, as soon as it is as large: no place is idle, and
//! batches do not become small by that. Who claims holds only the receiving end of a one-shot
//! channel: a client that goes away cancels nothing.

mod desk;
mod spans;

use std::collections::VecDeque;
use std::io;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::Duration;

use firstcome_core::{EventId, limits};
use firstcome_ledger::{Claim, Decision};
use firstcome_web::{RuntimeThread, Trace};
use futures_util::stream::FuturesUnordered;
use futures_util::{FutureExt, StreamExt as _};
use metrics::Gauge;
use tokio::sync::{Semaphore, TryAcquireError, mpsc, oneshot};
use tokio::task::JoinHandle;
use tokio::time::{Instant, timeout_at};
use tokio_util::sync::CancellationToken;

use crate::metrics::Metrics;
use crate::strategy::Strategy;
use crate::{IssuanceConfig, NoVerdict, Undecided};
use desk::{Desks, Parcel, Queued};
use spans::BatchSpans;

/// The lanes of a process.
pub(crate) struct Lanes {
    handle: Handle,
    closing: CancellationToken,
    running: Vec<(RuntimeThread, JoinHandle<()>)>,
}

/// Where claims go; cheap to clone.
#[derive(Clone)]
pub(crate) struct Handle {
    entries: Arc<[Entry]>,
}

/// The way into a lane.
struct Entry {
    desks: Desks,
    /// A permit for each claim that may still enter.
    room: Arc<Semaphore>,
}

/// The deadline of a drain came before its end: some accepted claims were never answered.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the lanes were stopped before every accepted claim was answered")]
pub struct NotDrained;

impl Lanes {
    /// Starts as many lanes as the configuration says; `name` is what they are called by.
    ///
    /// # Errors
    /// When the system gives no more threads.
    pub(crate) fn start<S: Strategy>(
        name: &str,
        strategy: &Arc<S>,
        config: &IssuanceConfig,
        metrics: &Metrics,
    ) -> io::Result<Self> {
        let closing = CancellationToken::new();
        let lanes = config.lanes.max(1);
        let claim_timeout = Duration::from_millis(config.claim_timeout_ms);
        let queue_max = (config.queue_claims_max / lanes).max(1);
        let (mut entries, mut running) = (Vec::new(), Vec::new());
        for number in 0..lanes {
            let (sender, parcels) = mpsc::unbounded_channel();
            let room = Arc::new(Semaphore::new(queue_max));
            let lane = Lane {
                strategy: Arc::clone(strategy),
                parcels,
                arrived: VecDeque::new(),
                room: Arc::clone(&room),
                queue_max,
                closing: closing.clone(),
                depth: Metrics::depth_of(format!("{name}-{number}")),
                metrics: metrics.clone(),
            };
            let thread = RuntimeThread::start(format!("{name}-{number}"))?;
            let task = thread.spawn(lane.run());
            entries.push(Entry { desks: Desks::new(sender, claim_timeout), room });
            running.push((thread, task));
        }
        let handle = Handle { entries: entries.into() };
        Ok(Self { handle, closing, running })
    }

    /// Where claims go.
    #[must_use]
    pub(crate) fn handle(&self) -> Handle {
        self.handle.clone()
    }

    /// Refuses new claims, and answers all that were accepted. The threads end with the value, not
    /// before: others may use connections to the ledger that were made on them.
    ///
    /// # Errors
    /// [`NotDrained`] when that takes longer than `deadline`; who still waits is told `in_doubt`.
    pub(crate) async fn drain(&mut self, deadline: Duration) -> Result<(), NotDrained> {
        self.closing.cancel();
        let deadline = Instant::now() + deadline;
        let mut drained = Ok(());
        for (_thread, task) in &mut self.running {
            if timeout_at(deadline, &mut *task).await.is_err() {
                task.abort();
                drained = Err(NotDrained);
            }
        }
        drained
    }
}

impl Handle {
    /// Queues a claim and waits for its verdict. Once it is queued it is decided, whether or not
    /// anyone still waits.
    ///
    /// # Errors
    /// [`NoVerdict`]: at once when the queue is full, `in_doubt` when no verdict came in time.
    pub(crate) async fn claim(&self, claim: Claim) -> Result<Decision, NoVerdict> {
        let entry = &self.entries[lane_of(claim.event_id, self.entries.len())];
        match entry.room.try_acquire() {
            // The lane gives it back with the rest of its batch's.
            Ok(permit) => permit.forget(),
            Err(TryAcquireError::NoPermits) => return Err(NoVerdict::QueueFull),
            Err(TryAcquireError::Closed) => return Err(NoVerdict::Closing),
        }
        let (reply, verdict) = oneshot::channel();
        entry.desks.put(Queued { claim, reply, trace: Trace::current_sampled() });
        // Without a verdict: whether the claim won, a retry finds out.
        Ok(verdict.await.unwrap_or(Err(Undecided::InDoubt))?)
    }
}

/// All claims of an event are in one lane. An event's id ends in random bits.
fn lane_of(event: EventId, lanes: usize) -> usize {
    let (_, random) = event.as_uuid().as_u64_pair();
    usize::try_from(random % lanes as u64).expect("below the number of lanes")
}

struct Lane<S> {
    strategy: Arc<S>,
    parcels: mpsc::UnboundedReceiver<Parcel>,
    /// Parcels that are in no batch yet.
    arrived: VecDeque<Parcel>,
    /// A permit for each claim that may still enter; all `queue_max` when none waits.
    room: Arc<Semaphore>,
    queue_max: usize,
    closing: CancellationToken,
    depth: Gauge,
    metrics: Metrics,
}

impl<S: Strategy> Lane<S> {
    async fn run(mut self) {
        let (strategy, metrics) = (Arc::clone(&self.strategy), self.metrics.clone());
        let mut deciding = FuturesUnordered::new();
        let mut claims_deciding = 0;
        loop {
            while let Ok(parcel) = self.parcels.try_recv() {
                self.arrived.push_back(parcel);
            }
            while self.may_begin(deciding.len(), claims_deciding) {
                let batch = self.batch();
                claims_deciding += claims_of(&batch);
                deciding.push(decide(&*strategy, &metrics, batch));
            }
            self.depth.set(u32::try_from(self.waiting()).unwrap_or(u32::MAX));
            tokio::select! {
                biased;
                Some(claims) = deciding.next() => claims_deciding -= claims,
                parcel = self.next(), if deciding.len() < S::AT_ONCE && self.may_come() => {
                    self.arrived.extend(parcel);
                }
                else => return,
            }
        }
    }

    /// Whether what has arrived becomes a batch beside those that are decided.
    fn may_begin(&self, batches: usize, claims: usize) -> bool {
        let is_worth_it = || claims_of(&self.arrived) >= claims;
        !self.arrived.is_empty() && (batches == 0 || (batches < S::AT_ONCE && is_worth_it()))
    }

    /// The parcels that have arrived first.
    fn batch(&mut self) -> Vec<Parcel> {
        let mut claims = 0;
        let mut batch = Vec::new();
        let has_room = |claims: usize, parcel: &Parcel| {
            claims == 0 || claims + parcel.claims.len() <= limits::CLAIM_BATCH_MAX
        };
        while let Some(parcel) = self.arrived.pop_front_if(|parcel| has_room(claims, parcel)) {
            claims += parcel.claims.len();
            batch.push(parcel);
        }
        self.room.add_permits(claims);
        batch
    }

    /// Whether a parcel may come yet.
    fn may_come(&self) -> bool {
        let is_alone = self.parcels.is_closed() && self.parcels.is_empty();
        let may_enter = !self.room.is_closed() || self.waiting() > claims_of(&self.arrived);
        !is_alone && may_enter
    }

    /// The next parcel; none when the lane closes.
    async fn next(&mut self) -> Option<Parcel> {
        if self.room.is_closed() {
            return self.parcels.recv().await;
        }
        tokio::select! {
            biased;
            // No claim enters from here on; what has entered may still lie on a desk.
            () = self.closing.cancelled() => {
                self.room.close();
                None
            }
            parcel = self.parcels.recv() => parcel,
        }
    }

    /// Claims that have entered and are in no batch yet.
    fn waiting(&self) -> usize {
        self.queue_max - self.room.available_permits()
    }
}

fn claims_of<'a>(parcels: impl IntoIterator<Item = &'a Parcel>) -> usize {
    parcels.into_iter().map(|parcel| parcel.claims.len()).sum()
}

/// Decides a batch, and tells everyone; how many claims it had. A panic of the strategy is the
/// batch's, not the lane's.
async fn decide<S: Strategy>(strategy: &S, metrics: &Metrics, mut batch: Vec<Parcel>) -> usize {
    let sizes: Vec<usize> = batch.iter().map(|parcel| parcel.claims.len()).collect();
    let mut claims = std::mem::take(&mut batch[0].claims);
    for parcel in &mut batch[1..] {
        claims.append(&mut parcel.claims);
    }
    let count = claims.len();
    let spans = BatchSpans::begin(&batch);
    let began = Instant::now();
    let decided = AssertUnwindSafe(strategy.decide(claims)).catch_unwind().await;
    metrics.batch(count, began.elapsed());
    // A strategy that does not answer each claim of a batch has answered none.
    let decided = decided.ok().filter(|outcomes| outcomes.len() == count);
    let mut outcomes = decided.unwrap_or_else(|| vec![Err(Undecided::InDoubt); count]);
    spans.end(&outcomes);
    metrics.verdicts(&outcomes);
    for (parcel, size) in batch.into_iter().zip(sizes).rev() {
        parcel.answer(outcomes.split_off(outcomes.len() - size));
    }
    count
}
