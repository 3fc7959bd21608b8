//! What waits in each partition, whoever works on it, and whether somebody does.

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use firstcome_tasks::anew;
use tokio::time::{Instant, MissedTickBehavior, interval};

use super::Work;

/// How often it is looked.
const LOOK_EVERY: Duration = Duration::from_secs(2);
/// How long records may wait while nothing of their partition is applied.
const IDLE_MAX: Duration = Duration::from_secs(60);

/// Looks until it is aborted.
pub(super) async fn watch(work: Arc<Work>) {
    match anew(|| watch_on(&work)).await {}
}

async fn watch_on(work: &Work) -> Infallible {
    let mut look = interval(LOOK_EVERY);
    look.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut seen = BTreeMap::new();
    loop {
        look.tick().await;
        // The tasks tell who does not answer.
        let _ = work.look(&mut seen).await;
    }
}

impl Work {
    /// Measures every partition that has a leader; none when Kafka or the ledger does not answer.
    async fn look(&self, seen: &mut BTreeMap<i32, Seen>) -> Option<()> {
        let positions = self.ledger.journal_positions(self.journal.topic()).await.ok()?;
        let positions: BTreeMap<i32, i64> = positions.into_iter().collect();
        let known = i32::try_from(self.journal.partitions().await.ok()?).ok()?;
        // The topic may have been given more since.
        let partitions = positions.keys().last().map_or(known, |last| known.max(last + 1));
        for partition in 0..partitions {
            let Ok(end) = self.journal.end_offset(partition).await else {
                // One without a leader hides no other; where nobody answers, each would take time.
                self.journal.answers().await.ok()?;
                continue;
            };
            let position = positions.get(&partition).copied().unwrap_or(0);
            let waiting = end.saturating_sub(position).max(0);
            self.metrics.lag(partition, waiting);
            let now = Instant::now();
            let seen = seen.entry(partition).or_insert(Seen { position, moved: now });
            if let Some(idle) = seen.look(position, waiting, now) {
                self.metrics.idle_partitions.increment(1);
                tracing::error!(
                    kafka.partition = partition,
                    "{waiting} records of partition {partition} of the journal wait, and no worker \
                     has applied one for {} s; see `firstcome journal inspect --partition \
                     {partition}`",
                    idle.as_secs()
                );
            }
        }
        Some(())
    }
}

/// Where a partition was last seen, and since when.
#[derive(Debug, Clone, Copy)]
pub(super) struct Seen {
    position: i64,
    moved: Instant,
}

impl Seen {
    /// How long nobody has applied anything, where that is too long; then it counts anew.
    fn look(&mut self, position: i64, waiting: i64, now: Instant) -> Option<Duration> {
        let idle = now.duration_since(self.moved);
        if position == self.position && waiting > 0 && idle < IDLE_MAX {
            return None;
        }
        let is_idle = position == self.position && waiting > 0;
        *self = Self { position, moved: now };
        is_idle.then_some(idle)
    }
}

#[cfg(test)]
mod tests {
    use firstcome_testkit::Engine;
    use metrics_exporter_prometheus::PrometheusBuilder;

    use super::super::tests::{Stage, found};
    use super::*;

    #[test]
    fn a_partition_is_idle_when_records_wait_and_it_does_not_move() {
        let begin = Instant::now();
        let at = |seconds| begin + Duration::from_secs(seconds);
        let mut seen = Seen { position: 5, moved: begin };
        assert_eq!(seen.look(5, 3, at(59)), None);
        assert_eq!(seen.look(6, 2, at(60)), None, "it moved");
        assert_eq!(seen.look(6, 2, at(119)), None);
        assert_eq!(seen.look(6, 0, at(300)), None, "nothing waits");
        assert_eq!(seen.look(6, 1, at(301)), None, "it has just come");
        assert_eq!(seen.look(6, 1, at(360)), Some(IDLE_MAX));
        assert_eq!(seen.look(6, 1, at(361)), None, "it is told once");
        assert_eq!(seen.look(6, 1, at(420)), Some(IDLE_MAX), "and again later");
    }

    #[tokio::test]
    async fn a_partition_that_nobody_works_on_is_counted() {
        let (stage, recorder) =
            (Stage::new(Engine::Postgres).await, PrometheusBuilder::new().build_recorder());
        stage.append(1..=3).await;
        let work = stage.measured_work(&recorder).await;
        let mut seen = BTreeMap::new();
        work.look(&mut seen).await.expect("Kafka and the ledger answer");
        assert_eq!(found(&recorder), [""; 0]);
        seen.get_mut(&0).expect("the partition").moved -= IDLE_MAX;
        work.look(&mut seen).await.expect("Kafka and the ledger answer");
        assert_eq!(found(&recorder), ["partition"]);
        stage.end(0).await;
    }
}
