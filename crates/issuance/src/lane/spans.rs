//! What a batch tells the traces of its claims.

use firstcome_ledger::Decision;
use firstcome_web::trace::Work;

use super::desk::Parcel;
use crate::Undecided;

/// One span of the batch in the trace of each sampled claim, so that each trace is whole by itself.
/// Without a sampled claim there is none, and nothing is allocated.
pub(super) struct BatchSpans(Vec<Work>);

impl BatchSpans {
    /// The batch goes to the decider.
    pub(super) fn begin(batch: &[Parcel]) -> Self {
        let traces = batch.iter().flat_map(|parcel| &parcel.traces);
        Self(traces.filter_map(|trace| trace.begin("decide claims")).collect())
    }

    /// The decider has answered, or has not.
    pub(super) fn end(self, claims: usize, decided: &Result<Vec<Decision>, Undecided>) {
        let claims = i64::try_from(claims).unwrap_or(i64::MAX);
        for mut span in self.0 {
            span.say("firstcome.batch.claims", claims);
            match decided {
                Ok(_) => {}
                Err(Undecided::Unavailable) => span.failed("unavailable"),
                Err(Undecided::InDoubt) => span.failed("in_doubt"),
            }
        }
    }
}
