//! What a batch tells the traces of its claims.

use firstcome_web::trace::Work;

use super::desk::Parcel;
use crate::Undecided;
use crate::strategy::Outcome;

/// One span of the batch in the trace of each sampled claim, so that each trace is whole by itself.
/// Without a sampled claim there is none, and nothing is allocated.
pub(super) struct BatchSpans(Vec<Work>);

impl BatchSpans {
    /// The batch goes to the decider.
    pub(super) fn begin(batch: &[Parcel]) -> Self {
        let traces = batch.iter().flat_map(|parcel| &parcel.traces);
        Self(traces.filter_map(|trace| trace.begin("decide claims")).collect())
    }

    /// The decider has answered, or has not: the batch has failed where a claim has no verdict.
    pub(super) fn end(self, outcomes: &[Outcome]) {
        if self.0.is_empty() {
            return;
        }
        let claims = i64::try_from(outcomes.len()).unwrap_or(i64::MAX);
        let undecided = outcomes.iter().find_map(|outcome| outcome.as_ref().err());
        for mut span in self.0 {
            span.say("firstcome.batch.claims", claims);
            match undecided {
                None => {}
                Some(Undecided::Unavailable) => span.failed("unavailable"),
                Some(Undecided::InDoubt) => span.failed("in_doubt"),
            }
        }
    }
}
