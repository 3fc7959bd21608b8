//! Desks: where the claims of one runtime gather, and where their verdicts come back to.
//!
//! Connections are served on threads with a runtime each, a lane runs on another. To wake a task
//! of another runtime is a system call, so nobody does it for a single claim: a desk, a task of
//! the claims' own runtime, hands what has gathered to the lane as one parcel, takes the parcel's
//! verdicts back, and wakes who waits for them. A runtime runs its ready tasks in turn, so by the
//! time that the desk's turn comes the requests that were ready with the first have claimed too:
//! parcels grow by themselves, without a timer.

use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use arc_swap::ArcSwap;
use firstcome_core::limits;
use firstcome_ledger::Claim;
use firstcome_web::Trace;
use tokio::runtime;
use tokio::sync::{mpsc, oneshot};
use tokio::time::{Instant, sleep_until};

use crate::Undecided;
use crate::strategy::Outcome;

/// A claim and where its verdict goes.
pub(super) struct Queued {
    pub(super) claim: Claim,
    pub(super) reply: Reply,
    /// Of a claim that is sampled.
    pub(super) trace: Option<Trace>,
}

/// Where a claim's verdict goes.
pub(super) type Reply = oneshot::Sender<Outcome>;

/// Claims that gathered at a desk, in their order; at most [`limits::CLAIM_BATCH_MAX`]. Dropped
/// without an answer, it is in doubt.
pub(super) struct Parcel {
    pub(super) claims: Vec<Claim>,
    /// Of those claims that are sampled.
    pub(super) traces: Vec<Trace>,
    number: u64,
    /// The way back, until it is answered.
    desk: Option<mpsc::UnboundedSender<Verdicts>>,
}

/// What became of a parcel.
struct Verdicts {
    parcel: u64,
    /// None: they are in doubt.
    outcomes: Option<Vec<Outcome>>,
}

impl Parcel {
    /// Sends the verdicts of the parcel's claims back to its desk, in their order.
    pub(super) fn answer(mut self, outcomes: Vec<Outcome>) {
        self.send(Some(outcomes));
    }

    fn send(&mut self, outcomes: Option<Vec<Outcome>>) {
        if let Some(desk) = self.desk.take() {
            // Without its desk, the runtime of those who waited has ended.
            desk.send(Verdicts { parcel: self.number, outcomes }).ok();
        }
    }
}

impl Drop for Parcel {
    fn drop(&mut self) {
        self.send(None);
    }
}

/// The desks in front of one lane: one for each runtime that claims come from.
pub(super) struct Desks {
    lane: mpsc::UnboundedSender<Parcel>,
    claim_timeout: Duration,
    by_runtime: ArcSwap<HashMap<runtime::Id, mpsc::UnboundedSender<Queued>>>,
    /// Whoever opens a desk holds it.
    opening: Mutex<()>,
}

impl Desks {
    /// Desks that wait so long for the lane's verdicts.
    pub(super) fn new(lane: mpsc::UnboundedSender<Parcel>, claim_timeout: Duration) -> Self {
        Self { lane, claim_timeout, by_runtime: ArcSwap::default(), opening: Mutex::default() }
    }

    /// Lays a claim on the desk of the runtime that this is called in.
    pub(super) fn put(&self, queued: Queued) {
        let runtime = runtime::Handle::current();
        let sent = match self.by_runtime.load().get(&runtime.id()) {
            Some(desk) => desk.send(queued),
            None => self.open(&runtime).send(queued),
        };
        assert!(sent.is_ok(), "a desk lives as long as its runtime, which is at work here");
    }

    fn open(&self, runtime: &runtime::Handle) -> mpsc::UnboundedSender<Queued> {
        let _opening = self.opening.lock().unwrap_or_else(PoisonError::into_inner);
        let mut desks = HashMap::clone(&self.by_runtime.load());
        let desk = desks.entry(runtime.id()).or_insert_with(|| {
            let (desk, arriving) = mpsc::unbounded_channel();
            runtime.spawn(Desk::new(arriving, self.lane.clone(), self.claim_timeout).run());
            desk
        });
        let desk = desk.clone();
        desks.retain(|_, desk| !desk.is_closed());
        self.by_runtime.store(Arc::new(desks));
        desk
    }
}

/// One desk.
struct Desk {
    arriving: mpsc::UnboundedReceiver<Queued>,
    lane: mpsc::UnboundedSender<Parcel>,
    verdicts: mpsc::UnboundedReceiver<Verdicts>,
    /// The parcels' way back to `verdicts`.
    back: mpsc::UnboundedSender<Verdicts>,
    claim_timeout: Duration,
    /// Who waits for which parcel, in the order in which they were sent; none where nobody does
    /// any more. The first is always waited for.
    waiting: VecDeque<Option<Waiting>>,
    /// The number of the first of them.
    number_first: u64,
}

/// Who waits for the verdicts of a parcel, in its order, and until when.
struct Waiting {
    replies: Vec<Reply>,
    deadline: Instant,
}

impl Desk {
    fn new(
        arriving: mpsc::UnboundedReceiver<Queued>,
        lane: mpsc::UnboundedSender<Parcel>,
        claim_timeout: Duration,
    ) -> Self {
        let (back, verdicts) = mpsc::unbounded_channel();
        let (waiting, number_first) = (VecDeque::new(), 0);
        Self { arriving, lane, verdicts, back, claim_timeout, waiting, number_first }
    }

    /// Until nobody can bring claims any more. Who still waits then has no verdict.
    async fn run(mut self) {
        let mut arrived = Vec::new();
        loop {
            let first = self.waiting.front().and_then(Option::as_ref);
            let deadline = first.map_or_else(Instant::now, |waiting| waiting.deadline);
            tokio::select! {
                // A verdict that is there is told, though it be late; new claims hold neither up.
                biased;
                Some(Verdicts { parcel, outcomes }) = self.verdicts.recv() => {
                    self.tell(parcel, outcomes);
                }
                () = sleep_until(deadline), if !self.waiting.is_empty() => {
                    self.tell(self.number_first, None);
                }
                claims = self.arriving.recv_many(&mut arrived, limits::CLAIM_BATCH_MAX) => {
                    if claims == 0 {
                        break;
                    }
                    self.send(&mut arrived);
                }
            }
        }
    }

    fn send(&mut self, arrived: &mut Vec<Queued>) {
        let mut traces = Vec::new();
        let queued = arrived.drain(..).map(|Queued { claim, reply, trace }| {
            traces.extend(trace);
            (claim, reply)
        });
        let (claims, replies) = queued.unzip();
        let number = self.number_first + self.waiting.len() as u64;
        let deadline = Instant::now() + self.claim_timeout;
        self.waiting.push_back(Some(Waiting { replies, deadline }));
        // A lane that has ended drops the parcel, which says so.
        self.lane.send(Parcel { claims, traces, number, desk: Some(self.back.clone()) }).ok();
    }

    /// Tells those who wait for a parcel; nobody does if its verdicts come too late.
    fn tell(&mut self, parcel: u64, outcomes: Option<Vec<Outcome>>) {
        let place = parcel.checked_sub(self.number_first).and_then(|it| usize::try_from(it).ok());
        let waiting = place.and_then(|place| self.waiting.get_mut(place)).and_then(Option::take);
        let Some(Waiting { replies, .. }) = waiting else { return };
        // Who has gone away claims again and is told the same.
        match outcomes {
            Some(outcomes) => {
                for (reply, outcome) in replies.into_iter().zip(outcomes) {
                    reply.send(outcome).ok();
                }
            }
            None => {
                for reply in replies {
                    reply.send(Err(Undecided::InDoubt)).ok();
                }
            }
        }
        while self.waiting.pop_front_if(|waiting| waiting.is_none()).is_some() {
            self.number_first += 1;
        }
    }
}
