//! Wins that Redis or Kafka keeps before the ledger has them, for a process that has no Redis: it
//! cannot tell whether there are any, and does not say that there are none.

use std::pin::Pin;
use std::time::Duration;

use firstcome_core::{Commit, Strategy, Timestamp};
use firstcome_ledger::{CatchUp, EventRecord, Ledger, LedgerError};

use crate::IssuanceError;
use crate::strategy::Restriction;

/// How long an event is looked after that is over.
const KEPT_AFTER_THE_END: Duration = Duration::from_secs(24 * 60 * 60);

/// What this process would have to look at.
const SENTENCE: &str = "wins of events that Redis decides may not be in the ledger yet, and this \
                        process cannot look: give it the redis.url of the others";

/// Newest events that Redis decides by one of these commits, at most so many, which are not over or
/// have not been for a day.
pub(crate) async fn kept_events(
    ledger: &Ledger,
    commits: &[Commit],
    limit: u64,
) -> Result<Vec<EventRecord>, LedgerError> {
    let day = i64::try_from(KEPT_AFTER_THE_END.as_micros()).expect("a day");
    let since = Timestamp::from_micros(ledger.clock().now().as_micros() - day);
    ledger.events_decided_by(Strategy::Redis, commits, since, limit).await
}

/// Says what may be lacking, where anything may.
pub(crate) struct OutOfReach(pub(crate) Ledger);

impl CatchUp for OutOfReach {
    fn catch_up(&self) -> Pin<Box<dyn Future<Output = Result<(), String>> + Send + '_>> {
        Box::pin(self.has_none(&[Commit::Kafka, Commit::RedisStream]))
    }

    fn settle(&self) -> Pin<Box<dyn Future<Output = Result<(), String>> + Send + '_>> {
        // Of any commit claims may be in doubt.
        Box::pin(self.has_none(&Commit::ALL))
    }
}

impl OutOfReach {
    async fn has_none(&self, commits: &[Commit]) -> Result<(), String> {
        let kept = kept_events(&self.0, commits, 1).await.map_err(|error| error.to_string())?;
        if kept.is_empty() { Ok(()) } else { Err(SENTENCE.to_owned()) }
    }
}

/// Whether others would go on as before one event was changed.
///
/// # Errors
/// Where they would.
pub(crate) fn check_change(
    event: &EventRecord,
    restriction: Option<Restriction>,
) -> Result<(), IssuanceError> {
    let is_unseen = restriction.is_some_and(|restriction| restriction.narrows_window);
    if event.strategy == Strategy::Redis && is_unseen {
        return Err(IssuanceError::Beside(SENTENCE.to_owned()));
    }
    check(event)
}

/// Whether wins of one event may be lacking.
///
/// # Errors
/// Where it is one of those.
pub(crate) fn check(event: &EventRecord) -> Result<(), IssuanceError> {
    match event.commit {
        Commit::Ledger => Ok(()),
        Commit::Kafka | Commit::RedisStream => Err(IssuanceError::Beside(SENTENCE.to_owned())),
    }
}
