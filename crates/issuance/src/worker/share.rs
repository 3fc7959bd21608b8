//! A task for each partition of this process's share.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use tokio::task::{AbortHandle, JoinSet};
use tokio::time::{MissedTickBehavior, interval};
use tokio_util::sync::CancellationToken;

use super::outage::Backoff;
use super::partition::Partition;
use super::{Work, lag};
use crate::journal::Assignment;

/// How often it is looked whether every partition of the share has its task.
const LOOK_EVERY: Duration = Duration::from_secs(1);
/// Who meets an outage before there is a share.
const NO_PARTITION: i32 = -1;

/// Works until it is stopped.
pub(super) async fn keep(work: Arc<Work>, stop: CancellationToken) {
    let Some(mut assignment) = stop.run_until_cancelled(join(&work)).await else { return };
    let mut watch = JoinSet::new();
    watch.spawn(lag::watch(Arc::clone(&work)));
    let mut tasks =
        Tasks { work, stop: stop.clone(), running: BTreeMap::new(), all: JoinSet::new() };
    let mut look = interval(LOOK_EVERY);
    look.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        let share = tokio::select! {
            () = stop.cancelled() => break,
            share = assignment.changed() => share,
            _ = look.tick() => assignment.current(),
        };
        tasks.follow(&share);
    }
    while tasks.all.join_next().await.is_some() {}
    // Not earlier: others take over what is no longer worked on.
    drop(assignment);
}

/// Becomes a member of the group, once there is a topic that is fit.
async fn join(work: &Work) -> Assignment {
    let mut backoff = Backoff::new();
    loop {
        let joined = match work.journal.partitions().await {
            Ok(_) => work.journal.assignment().map_err(|error| error.to_string()),
            Err(error) => Err(error.to_string()),
        };
        match joined {
            Ok(assignment) => {
                work.kafka_outage.over(NO_PARTITION);
                return assignment;
            }
            Err(reason) => work.kafka_outage.met(NO_PARTITION, &reason),
        }
        backoff.wait().await;
    }
}

/// The tasks; dropping them aborts them.
struct Tasks {
    work: Arc<Work>,
    stop: CancellationToken,
    running: BTreeMap<i32, Task>,
    /// Those that are to end within their batch are here only.
    all: JoinSet<()>,
}

struct Task {
    /// Ends it within its batch.
    stop: CancellationToken,
    handle: AbortHandle,
}

impl Tasks {
    /// Ends the tasks of partitions that are taken away, and starts those that lack one.
    fn follow(&mut self, share: &BTreeSet<i32>) {
        while let Some(ended) = self.all.try_join_next() {
            if let Err(fault) = ended {
                tracing::error!("a task of the worker ended by a fault, and is made anew: {fault}");
                self.work.metrics.ended_tasks.increment(1);
            }
        }
        self.running.retain(|partition, task| {
            if !share.contains(partition) {
                task.stop.cancel();
            }
            !task.stop.is_cancelled() && !task.handle.is_finished()
        });
        for partition in share {
            self.running.entry(*partition).or_insert_with(|| {
                let stop = self.stop.child_token();
                let work = Arc::clone(&self.work);
                let task = Partition::new(work, *partition, stop.clone());
                Task { stop, handle: self.all.spawn(task.run()) }
            });
        }
    }
}

#[cfg(test)]
mod tests {
    use std::panic;

    use firstcome_testkit::Engine;
    use metrics_exporter_prometheus::PrometheusBuilder;
    use tokio::task::yield_now;

    use super::super::tests::{Stage, found};
    use super::*;

    #[tokio::test]
    async fn a_task_that_ended_by_a_fault_is_made_anew() {
        let (stage, recorder) =
            (Stage::new(Engine::Postgres).await, PrometheusBuilder::new().build_recorder());
        stage.append(1..=3).await;
        let (work, stop) = (stage.measured_work(&recorder).await, CancellationToken::new());
        let mut tasks = Tasks { work, stop, running: BTreeMap::new(), all: JoinSet::new() };
        let handle = tasks.all.spawn(async { panic::resume_unwind(Box::new("a fault")) });
        let faulty = Task { stop: tasks.stop.child_token(), handle: handle.clone() };
        tasks.running.insert(0, faulty);
        while !handle.is_finished() {
            yield_now().await;
        }
        tasks.follow(&BTreeSet::from([0]));
        assert_eq!(found(&recorder), ["task"]);
        stage.applied(3).await;
        tasks.stop.cancel();
        while tasks.all.join_next().await.is_some() {}
        stage.end(3).await;
    }
}
