//! What is measured, declared once.

use std::time::Duration;

use firstcome_ledger::Decision;
use metrics::{Counter, Gauge, Histogram, counter, describe_counter, describe_gauge};
use metrics::{describe_histogram, gauge, histogram};

use crate::strategy::Outcome;
use crate::{NoVerdict, Undecided};

const CLAIMS: &str = "firstcome_claims_total";
const BATCH: &str = "firstcome_claim_batch_claims";
const DECIDE: &str = "firstcome_claim_decide_seconds";
const DEPTH: &str = "firstcome_lane_depth_claims";
const LATCHES: &str = "firstcome_latches";
const BUILDS: &str = "firstcome_latch_builds_total";

/// Handles of the metrics, made once: nothing is looked up for a claim.
#[derive(Clone)]
pub(crate) struct Metrics {
    decided: Verdicts,
    /// Sold-out answers from memory.
    pub(crate) latched: Counter,
    unavailable: Counter,
    in_doubt: Counter,
    queue_full: Counter,
    closing: Counter,
    batch: Histogram,
    decide: Histogram,
    /// Events that are answered from memory.
    pub(crate) latches: Gauge,
    /// Latches installed.
    pub(crate) latches_built: Counter,
    /// Latches whose event was changed before they were ready.
    pub(crate) latches_spoiled: Counter,
    /// Latches that could not be built, or had no room.
    pub(crate) latches_declined: Counter,
}

#[derive(Clone)]
struct Verdicts {
    issued: Counter,
    already_claimed: Counter,
    sold_out: Counter,
    not_open: Counter,
    paused: Counter,
    closed: Counter,
    event_not_found: Counter,
}

impl Metrics {
    /// Declares the metrics. The recorder must be installed by then.
    pub(crate) fn declare() -> Self {
        describe_counter!(
            CLAIMS,
            "Claims by verdict and by who answered: the decider, whether or not the shopper waited \
             for the answer, the latch in memory, or the queue before either."
        );
        describe_histogram!(BATCH, "Claims in a batch.");
        describe_histogram!(
            DECIDE,
            metrics::Unit::Seconds,
            "Time from handing a batch to the decider until its verdicts are durable."
        );
        describe_gauge!(DEPTH, "Claims that wait in a lane for its next batch.");
        describe_gauge!(LATCHES, "Sold-out events that are answered from memory.");
        describe_counter!(BUILDS, "Latches by what became of them.");
        Self {
            decided: Verdicts {
                issued: claims("issued", "decider"),
                already_claimed: claims("already_claimed", "decider"),
                sold_out: claims("sold_out", "decider"),
                not_open: claims("not_open", "decider"),
                paused: claims("paused", "decider"),
                closed: claims("closed", "decider"),
                event_not_found: claims("event_not_found", "decider"),
            },
            latched: claims("sold_out", "latch"),
            unavailable: claims("unavailable", "decider"),
            in_doubt: claims("in_doubt", "decider"),
            queue_full: claims("queue_full", "queue"),
            closing: claims("closing", "queue"),
            batch: histogram!(BATCH),
            decide: histogram!(DECIDE),
            latches: gauge!(LATCHES),
            latches_built: builds("installed"),
            latches_spoiled: builds("spoiled"),
            latches_declined: builds("declined"),
        }
    }

    /// The gauge of a lane's waiting claims.
    pub(crate) fn depth_of(lane: String) -> Gauge {
        gauge!(DEPTH, "lane" => lane)
    }

    /// A batch was decided, or was not.
    pub(crate) fn batch(&self, claims: usize, took: Duration) {
        self.batch.record(u32::try_from(claims).unwrap_or(u32::MAX));
        self.decide.record(took);
    }

    /// The verdicts of a batch.
    pub(crate) fn verdicts(&self, outcomes: &[Outcome]) {
        let verdicts = &self.decided;
        let mut counts = [0_u64; 7];
        let counters = [
            &verdicts.issued,
            &verdicts.already_claimed,
            &verdicts.sold_out,
            &verdicts.not_open,
            &verdicts.paused,
            &verdicts.closed,
            &verdicts.event_not_found,
        ];
        for decision in outcomes.iter().flatten() {
            let verdict = match decision {
                Decision::Issued(_) => 0,
                Decision::AlreadyClaimed(_) => 1,
                Decision::SoldOut => 2,
                Decision::NotOpen { .. } => 3,
                Decision::Paused => 4,
                Decision::Closed => 5,
                Decision::EventNotFound => 6,
            };
            counts[verdict] += 1;
        }
        for (counter, count) in counters.into_iter().zip(counts) {
            if count > 0 {
                counter.increment(count);
            }
        }
    }

    /// A claim that was answered without a verdict.
    pub(crate) fn refused(&self, refused: NoVerdict) {
        let counter = match refused {
            NoVerdict::QueueFull => &self.queue_full,
            NoVerdict::Closing => &self.closing,
            NoVerdict::Undecided(Undecided::Unavailable) => &self.unavailable,
            NoVerdict::Undecided(Undecided::InDoubt) => &self.in_doubt,
        };
        counter.increment(1);
    }
}

/// Claims with this verdict from this source.
fn claims(verdict: &'static str, source: &'static str) -> Counter {
    counter!(CLAIMS, "verdict" => verdict, "source" => source)
}

/// Latches that ended so.
fn builds(outcome: &'static str) -> Counter {
    counter!(BUILDS, "outcome" => outcome)
}
