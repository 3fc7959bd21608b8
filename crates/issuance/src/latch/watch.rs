//! The watch over latches where other processes change events too: what one of them changes, this
//! process does not hear of, so it asks the ledger, over and over, for the versions of the events
//! that have a latch, and whether they still are sold out: a ledger that fails over may forget.

use std::collections::HashMap;
use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use firstcome_core::EventId;
use firstcome_ledger::{Ledger, LedgerError};
use firstcome_tasks::anew;
use tokio::time::{Instant, sleep_until, timeout};

use super::Latches;

/// How often the ledger is asked.
const LOOK_EVERY: Duration = Duration::from_millis(500);
/// Longest that its answer may take.
const LOOK_MAX: Duration = Duration::from_millis(500);
/// Longest that a latch outlives a change that another process has made, also where this one
/// sleeps: a look in time is followed by another that ends within this, from the first's beginning.
const TRUST: Duration = LOOK_EVERY.saturating_add(LOOK_MAX);

/// Watches until it is stopped.
pub(crate) async fn watch(ledger: Ledger, latches: Arc<Latches>) {
    match anew(|| watch_on(&ledger, &latches)).await {}
}

async fn watch_on(ledger: &Ledger, latches: &Latches) -> Infallible {
    let _ends = Ends(latches);
    loop {
        let began = Instant::now();
        let looked = timeout(LOOK_MAX, look(ledger, latches)).await;
        latches.trust(matches!(looked, Ok(Ok(()))).then_some(began + TRUST));
        // What took too long is not made up for.
        sleep_until(began + LOOK_EVERY).await;
    }
}

/// Says that nobody watches any more, also where a fault has ended it.
struct Ends<'a>(&'a Latches);

impl Drop for Ends<'_> {
    fn drop(&mut self) {
        self.0.trust(None);
    }
}

/// Whether an event is sold out at this version now, for a latch that is not watched yet.
///
/// # Errors
/// When the ledger does not answer, or not in time.
pub(crate) async fn is_at(
    ledger: &Ledger,
    event: EventId,
    version: u64,
) -> Result<bool, LedgerError> {
    let asked = timeout(LOOK_MAX, ledger.sold_out_versions(&[event])).await;
    Ok(asked.map_err(|_| LedgerError::Late)?? == [(event, version)])
}

/// Drops the latches of events that have changed, or are not sold out any more.
pub(crate) async fn look(ledger: &Ledger, latches: &Latches) -> Result<(), LedgerError> {
    let latched = latches.versions();
    let ids: Vec<EventId> = latched.iter().map(|(event, _)| *event).collect();
    let versions = ledger.sold_out_versions(&ids).await?;
    let versions: HashMap<EventId, u64> = versions.into_iter().collect();
    for (event, version) in latched {
        if versions.get(&event) != Some(&version) {
            latches.forget(event);
        }
    }
    Ok(())
}
