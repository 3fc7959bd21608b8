//! Lanes: each a task that owns the claims of some events and hands them on in batches.
//!
//! A lane waits for one claim, then takes all that has arrived, at most
//! [`limits::CLAIM_BATCH_MAX`], and decides the batch; what arrives meanwhile is the next batch.
//! So an idle lane decides a lone claim at once, and a busy one batches by itself: nothing waits
//! on a timer. Who claims holds only the receiving end of a one-shot channel: a client that goes
//! away cancels nothing.

use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::Duration;

use firstcome_core::{EventId, limits};
use firstcome_ledger::{Claim, Decision};
use futures_util::FutureExt;
use metrics::Gauge;
use tokio::sync::mpsc::error::TrySendError;
use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinHandle;
use tokio::time::{Instant, timeout, timeout_at};
use tokio_util::sync::CancellationToken;

use crate::metrics::Metrics;
use crate::strategy::Strategy;
use crate::{IssuanceConfig, NoVerdict, Undecided};

/// The lanes of a process.
pub(crate) struct Lanes {
    handle: Handle,
    closing: CancellationToken,
    tasks: Vec<JoinHandle<()>>,
}

/// Where claims go; cheap to clone.
#[derive(Clone)]
pub(crate) struct Handle {
    queues: Arc<[mpsc::Sender<Queued>]>,
    claim_timeout: Duration,
}

/// A claim and where its verdict goes.
struct Queued {
    claim: Claim,
    reply: oneshot::Sender<Result<Decision, Undecided>>,
}

/// The deadline of a drain came before its end: some accepted claims were never answered.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the lanes were stopped before every accepted claim was answered")]
pub struct NotDrained;

impl Lanes {
    /// Starts as many lanes as the configuration says.
    pub(crate) fn start<S: Strategy>(
        strategy: &Arc<S>,
        config: &IssuanceConfig,
        metrics: &Metrics,
    ) -> Self {
        let closing = CancellationToken::new();
        let lanes = config.lanes.max(1);
        let queue_max = (config.queue_claims_max / lanes).max(1);
        let (queues, tasks) = (0..lanes)
            .map(|lane| {
                let (sender, queue) = mpsc::channel(queue_max);
                let lane = Lane {
                    strategy: Arc::clone(strategy),
                    queue,
                    closing: closing.clone(),
                    depth: Metrics::depth_of(lane),
                    metrics: metrics.clone(),
                };
                (sender, tokio::spawn(lane.run()))
            })
            .collect::<(Vec<_>, Vec<_>)>();
        let claim_timeout = Duration::from_millis(config.claim_timeout_ms);
        let handle = Handle { queues: queues.into(), claim_timeout };
        Self { handle, closing, tasks }
    }

    /// Where claims go.
    #[must_use]
    pub(crate) fn handle(&self) -> Handle {
        self.handle.clone()
    }

    /// Refuses new claims, answers all that were accepted, and ends.
    ///
    /// # Errors
    /// [`NotDrained`] when that takes longer than `deadline`; who still waits is told `in_doubt`.
    pub(crate) async fn drain(self, deadline: Duration) -> Result<(), NotDrained> {
        self.closing.cancel();
        let deadline = Instant::now() + deadline;
        let mut drained = Ok(());
        for mut task in self.tasks {
            if timeout_at(deadline, &mut task).await.is_err() {
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
        let (reply, verdict) = oneshot::channel();
        let queue = &self.queues[lane_of(claim.event_id, self.queues.len())];
        queue.try_send(Queued { claim, reply }).map_err(|error| match error {
            TrySendError::Full(_) => NoVerdict::QueueFull,
            TrySendError::Closed(_) => NoVerdict::Closing,
        })?;
        let Ok(Ok(verdict)) = timeout(self.claim_timeout, verdict).await else {
            // Too late, or the lane lost the batch: whether the claim won, a retry finds out.
            return Err(Undecided::InDoubt.into());
        };
        Ok(verdict?)
    }
}

/// All claims of an event are in one lane. An event's id ends in random bits.
fn lane_of(event: EventId, lanes: usize) -> usize {
    let (_, random) = event.as_uuid().as_u64_pair();
    usize::try_from(random % lanes as u64).expect("below the number of lanes")
}

struct Lane<S> {
    strategy: Arc<S>,
    queue: mpsc::Receiver<Queued>,
    closing: CancellationToken,
    depth: Gauge,
    metrics: Metrics,
}

/// Most times that a batch waits for the tasks that are ready.
const GATHER_ROUNDS_MAX: usize = 8;

impl<S: Strategy> Lane<S> {
    async fn run(mut self) {
        let mut arrived = Vec::with_capacity(limits::CLAIM_BATCH_MAX);
        let mut open = true;
        loop {
            let claims = tokio::select! {
                biased;
                () = self.closing.cancelled(), if open => {
                    // No claim enters from here on; what has entered is still received.
                    self.queue.close();
                    open = false;
                    continue;
                }
                claims = self.queue.recv_many(&mut arrived, limits::CLAIM_BATCH_MAX) => claims,
            };
            if claims == 0 {
                break;
            }
            self.gather(&mut arrived).await;
            self.decide(&mut arrived).await;
            self.depth.set(u32::try_from(self.queue.len()).unwrap_or(u32::MAX));
        }
    }

    /// Lets the requests that are being read at this moment join the batch: the lane lets every
    /// task that is ready go first, again for as long as that brings claims. Nothing waits on a
    /// timer: on an idle server no task is ready, and a lone claim is decided at once.
    async fn gather(&mut self, arrived: &mut Vec<Queued>) {
        for _ in 0..GATHER_ROUNDS_MAX {
            tokio::task::yield_now().await;
            let room = limits::CLAIM_BATCH_MAX - arrived.len();
            let more = self.queue.recv_many(arrived, room).now_or_never();
            if more.unwrap_or(0) == 0 {
                break;
            }
        }
    }

    /// Decides what has arrived, and tells everyone. A panic of the strategy is the batch's, not
    /// the lane's.
    async fn decide(&self, arrived: &mut Vec<Queued>) {
        let claims = arrived.len();
        let (batch, replies): (Vec<_>, Vec<_>) =
            arrived.drain(..).map(|queued| (queued.claim, queued.reply)).unzip();
        let began = Instant::now();
        let decided = AssertUnwindSafe(self.strategy.decide(batch)).catch_unwind().await;
        self.metrics.batch(claims, began.elapsed());
        let decided = decided.unwrap_or(Err(Undecided::InDoubt));
        match decided.and_then(|decisions| complete(decisions, claims)) {
            Ok(decisions) => {
                self.metrics.verdicts(&decisions);
                for (reply, decision) in replies.into_iter().zip(decisions) {
                    // Who has gone away claims again and is told the same.
                    reply.send(Ok(decision)).ok();
                }
            }
            Err(undecided) => {
                for reply in replies {
                    reply.send(Err(undecided)).ok();
                }
            }
        }
    }
}

/// A strategy that does not answer each claim of a batch has answered none.
fn complete(decisions: Vec<Decision>, claims: usize) -> Result<Vec<Decision>, Undecided> {
    if decisions.len() == claims { Ok(decisions) } else { Err(Undecided::InDoubt) }
}
