//! Workers come, go and die at any moment, and see records again.

use std::time::Duration;

use firstcome_issuance::journal::JournalRecord;
use firstcome_testkit::Engine;
use metrics_exporter_prometheus::PrometheusBuilder;
use tokio::time::{Instant, sleep};

use super::{Stage, WAIT_MAX, measured, pinned, wins};
use crate::redis::{POLL, on_every_server};

on_every_server!(
    every_win_is_written_once_whoever_comes_and_goes,
    what_is_read_again_changes_nothing,
    wins_of_an_older_epoch_count_before_the_fence_only,
);

/// Rounds in which one of two workers ends, by turns in good order and at once.
const ROUNDS: u32 = 6;
/// Wins of each event in a round.
const WINS: u32 = 400;

impl Stage {
    /// How many records are applied.
    async fn applied(&self) -> i64 {
        let positions = self.ledger.journal_positions(self.journal.topic()).await;
        positions.expect("an answer").iter().map(|(_, next)| next).sum()
    }

    /// Waits until more than these are.
    async fn applied_more_than(&self, before: i64) {
        let deadline = Instant::now() + WAIT_MAX;
        while self.applied().await <= before {
            assert!(Instant::now() < deadline, "nothing is applied");
            sleep(POLL).await;
        }
    }
}

async fn every_win_is_written_once_whoever_comes_and_goes(engine: Engine) {
    let (stage, _database) = Stage::new(engine, 3).await;
    let events = stage.event_of_each_partition(ROUNDS * WINS).await;
    let mut workers = [Some(stage.worker().await), Some(stage.worker().await)];
    for round in 0..ROUNDS {
        let before = stage.applied().await;
        for event in &events {
            let first = round * WINS;
            for part in wins(event, first + 1..=first + WINS).chunks(50) {
                stage.append(event, part).await;
            }
        }
        // In the middle of what is being applied.
        stage.applied_more_than(before).await;
        let place = usize::try_from(round % 2).expect("0 or 1");
        let worker = workers[place].take().expect("a worker");
        if round % 4 < 2 {
            drop(worker);
        } else {
            worker.shutdown(Duration::from_secs(30)).await.expect("it ends in time");
        }
        workers[place] = Some(stage.worker().await);
    }
    stage.drained().await;
    for event in &events {
        stage.has_exactly(event, ROUNDS * WINS).await;
    }
}

async fn what_is_read_again_changes_nothing(engine: Engine) {
    let (stage, database) = Stage::new(engine, 1).await;
    let event = stage.event(500).await;
    stage.append(&event, &wins(&event, 1..=300)).await;
    let worker = stage.worker().await;
    stage.drained().await;
    worker.shutdown(Duration::from_secs(30)).await.expect("it ends in time");
    // As a ledger that was restored from a copy of before has it.
    database.execute("UPDATE journal_positions SET next_offset = 120").await;
    stage.append(&event, &wins(&event, 301..=500)).await;
    let recorder = PrometheusBuilder::new().build_recorder();
    let _worker = stage.measured_worker(&recorder).await;
    stage.drained().await;
    stage.has_exactly(&event, 500).await;
    measured(&recorder, [200, 180, 0]).await;
}

async fn wins_of_an_older_epoch_count_before_the_fence_only(engine: Engine) {
    let (stage, _database) = Stage::new(engine, 1).await;
    let first = stage.event(10).await;
    stage.append(&first, &wins(&first, 1..=2)).await;
    let second = stage.begin_epoch(first.id).await;
    assert_eq!(second.partition, first.partition, "an event keeps its partition");
    // What the old decider still has on its way lies before the fence, or counts no more.
    stage.append(&first, &wins(&first, 3..=3)).await;
    let fence = JournalRecord::Fence { event_id: second.id, epoch: second.epoch };
    stage.append(&second, &[fence]).await;
    stage.append(&first, &wins(&first, 4..=5)).await;
    let recorder = PrometheusBuilder::new().build_recorder();
    let _worker = stage.measured_worker(&recorder).await;
    stage.applied_to(pinned(&first), 6).await;
    stage.has_exactly(&first, 3).await;
    stage.append(&second, &wins(&second, 4..=6)).await;
    stage.drained().await;
    stage.has_exactly(&second, 6).await;
    let standings = stage.ledger.standings(&[first.id], None).await.expect("an answer");
    assert_eq!(standings[&first.id].fence, second.epoch);
    measured(&recorder, [6, 0, 2]).await;
}
