//! Desks: where the claims of one runtime gather, and where their verdicts come back to.
//!
//! Connections are served on threads with a runtime each, a lane runs on another. To wake a task
//! of another runtime is a system call, so nobody does it for a single claim: a desk, a task of
//! the claims' own runtime, hands what has gathered to the lane as one parcel, takes the parcel's
//! verdicts back, and wakes who waits for them. A runtime runs its ready tasks in turn, so by the
//! time that the desk's turn comes the requests that were ready with the first have claimed too:
//! parcels grow by themselves, without a timer.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use arc_swap::ArcSwap;
use firstcome_core::limits;
use firstcome_ledger::{Claim, Decision};
use tokio::runtime;
use tokio::sync::{mpsc, oneshot};

use crate::Undecided;

/// A claim and where its verdict goes.
pub(super) struct Queued {
    pub(super) claim: Claim,
    pub(super) reply: Reply,
}

/// Where a claim's verdict goes.
pub(super) type Reply = oneshot::Sender<Result<Decision, Undecided>>;

/// Claims that gathered at a desk, in their order; at most [`limits::CLAIM_BATCH_MAX`].
pub(super) struct Parcel {
    pub(super) claims: Vec<Claim>,
    replies: Vec<Reply>,
    desk: mpsc::UnboundedSender<Verdicts>,
}

/// What became of a parcel.
struct Verdicts {
    replies: Vec<Reply>,
    outcome: Result<Vec<Decision>, Undecided>,
}

impl Parcel {
    /// Sends the verdicts of the parcel's claims back to its desk, in their order.
    pub(super) fn answer(self, outcome: Result<Vec<Decision>, Undecided>) {
        // Without its desk, the runtime of those who waited has ended.
        self.desk.send(Verdicts { replies: self.replies, outcome }).ok();
    }
}

impl Verdicts {
    fn tell(self) {
        // Who has gone away claims again and is told the same.
        match self.outcome {
            Ok(decisions) => {
                for (reply, decision) in self.replies.into_iter().zip(decisions) {
                    reply.send(Ok(decision)).ok();
                }
            }
            Err(undecided) => {
                for reply in self.replies {
                    reply.send(Err(undecided)).ok();
                }
            }
        }
    }
}

/// The desks in front of one lane: one for each runtime that claims come from.
pub(super) struct Desks {
    lane: mpsc::UnboundedSender<Parcel>,
    by_runtime: ArcSwap<HashMap<runtime::Id, mpsc::UnboundedSender<Queued>>>,
    /// Whoever opens a desk holds it.
    opening: Mutex<()>,
}

impl Desks {
    pub(super) fn new(lane: mpsc::UnboundedSender<Parcel>) -> Self {
        Self { lane, by_runtime: ArcSwap::default(), opening: Mutex::default() }
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
            runtime.spawn(Desk::new(arriving, self.lane.clone()).run());
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
}

impl Desk {
    fn new(arriving: mpsc::UnboundedReceiver<Queued>, lane: mpsc::UnboundedSender<Parcel>) -> Self {
        let (back, verdicts) = mpsc::unbounded_channel();
        Self { arriving, lane, verdicts, back }
    }

    /// Until nobody can bring claims any more. Who still waits then has no verdict.
    async fn run(mut self) {
        let mut arrived = Vec::new();
        loop {
            tokio::select! {
                Some(verdicts) = self.verdicts.recv() => verdicts.tell(),
                claims = self.arriving.recv_many(&mut arrived, limits::CLAIM_BATCH_MAX) => {
                    if claims == 0 {
                        break;
                    }
                    self.send(&mut arrived);
                }
            }
        }
    }

    fn send(&self, arrived: &mut Vec<Queued>) {
        let (claims, replies) =
            arrived.drain(..).map(|Queued { claim, reply }| (claim, reply)).unzip();
        // A lane that has ended answers nothing: to drop the replies says so.
        self.lane.send(Parcel { claims, replies, desk: self.back.clone() }).ok();
    }
}
