//! Users who claim at two processes whatever becomes of Redis.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use firstcome_issuance::{IssuanceHandle, NoVerdict};
use firstcome_ledger::{Decision, EventRecord};
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};

use super::{POLL, WAIT_MAX, claim};
use crate::support::TestIssuance;

const MEMBERS: usize = 8;
/// What a member does between two claims, so that a drop outlasts what befalls it.
const REST: Duration = Duration::from_millis(5);

/// Its members claim for one user after another, for each until there is a verdict, until they are
/// told that the event is sold out.
pub(super) struct Crowd {
    members: JoinSet<Vec<(String, Decision)>>,
    heard: Arc<Heard>,
}

#[derive(Default)]
struct Heard {
    /// Answers of any kind.
    answers: AtomicUsize,
    verdicts: AtomicUsize,
    enough: AtomicBool,
}

impl Crowd {
    pub(super) fn gather(event: &EventRecord, processes: [&TestIssuance; 2]) -> Self {
        let (mut members, heard) = (JoinSet::new(), Arc::new(Heard::default()));
        for member in 0..MEMBERS {
            let (handle, event) = (processes[member % 2].handle.clone(), event.clone());
            members.spawn(claim_on(member, handle, event, Arc::clone(&heard)));
        }
        Self { members, heard }
    }

    /// Waits for so many more answers.
    pub(super) async fn hears(&self, count: usize) {
        more(&self.heard.answers, count).await;
    }

    /// Waits for so many more verdicts.
    pub(super) async fn is_decided(&self, count: usize) {
        more(&self.heard.verdicts, count).await;
    }

    /// Sends everybody home with a verdict; how many answers there were, and what was told.
    pub(super) async fn disperse(self) -> (usize, Vec<(String, Decision)>) {
        self.heard.enough.store(true, Ordering::SeqCst);
        self.sold_out().await
    }

    /// The same when all are told that the event is sold out.
    pub(super) async fn sold_out(self) -> (usize, Vec<(String, Decision)>) {
        let told = timeout(WAIT_MAX, self.members.join_all()).await.expect("a verdict for all");
        (self.heard.answers.load(Ordering::SeqCst), told.concat())
    }
}

async fn claim_on(
    member: usize,
    handle: IssuanceHandle,
    event: EventRecord,
    heard: Arc<Heard>,
) -> Vec<(String, Decision)> {
    let mut told = Vec::new();
    while !heard.enough.load(Ordering::SeqCst) {
        let user = format!("user-{member}-{}", told.len());
        let decision = loop {
            let answer = handle.claim(claim(&event, &user)).await;
            heard.answers.fetch_add(1, Ordering::SeqCst);
            match answer {
                Ok(decision) => break decision,
                Err(NoVerdict::Undecided(_)) => sleep(POLL).await,
                Err(other) => panic!("{other}"),
            }
        };
        heard.verdicts.fetch_add(1, Ordering::SeqCst);
        let is_over = decision == Decision::SoldOut;
        told.push((user, decision));
        if is_over {
            break;
        }
        sleep(REST).await;
    }
    told
}

async fn more(counter: &AtomicUsize, count: usize) {
    let before = counter.load(Ordering::SeqCst);
    let more = async {
        while counter.load(Ordering::SeqCst) < before + count {
            sleep(POLL).await;
        }
    };
    timeout(WAIT_MAX, more).await.expect("somebody is answered");
}
