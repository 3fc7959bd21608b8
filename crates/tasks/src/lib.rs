//! Work that is done once for a whole process: [`anew`] behind a service for as long as it runs,
//! where a task that only ended would be missed when it is too late; [`Turns`] for all who wait for
//! the same at once.

mod turns;

use std::panic::AssertUnwindSafe;
use std::time::Duration;

use futures_util::FutureExt as _;
use tokio::time::sleep;
pub use turns::Turns;

/// How long nobody does it after a fault of ours.
const REST_AFTER_FAULT: Duration = Duration::from_secs(1);

/// Does something, and begins it anew a second after a fault of its own (a panic), which the log
/// has by then. Ends with it, which work that goes on for ever does not.
///
/// What one beginning leaves behind in memory is there for the next: whatever both of them use must
/// be right at any moment, or be made by `begin`.
pub async fn anew<F: Future>(mut begin: impl FnMut() -> F) -> F::Output {
    loop {
        match AssertUnwindSafe(async { begin().await }).catch_unwind().await {
            Ok(ended) => return ended,
            Err(_panic) => sleep(REST_AFTER_FAULT).await,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn what_a_fault_has_ended_is_begun_anew() {
        let mut begun = 0;
        let ended = anew(|| {
            begun += 1;
            let count = begun;
            async move {
                assert!(count > 2, "a fault");
                count
            }
        });
        assert_eq!(ended.await, 3);
    }

    #[tokio::test(start_paused = true)]
    async fn faults_one_after_the_other_do_not_keep_a_core_busy() {
        let mut begun = 0;
        let failing = anew(|| {
            begun += 1;
            async { panic!("a fault") }
        });
        let ended: Result<(), _> = tokio::time::timeout(Duration::from_secs(10), failing).await;
        assert!(ended.is_err());
        assert!((9..=11).contains(&begun), "{begun}");
    }
}
