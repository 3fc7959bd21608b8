//! Many who ask for the same value while its reading is slow, or in vain.

use std::time::Duration;

use firstcome_testkit::RedisServer;
use futures_util::future::{join, join_all};
use metrics_exporter_prometheus::{PrometheusBuilder, PrometheusHandle};
use tokio::time::{Instant, pause, sleep};

use crate::support::config;
use crate::support::shelf::{Process, Shelf};

const READERS: usize = 60;
/// How long the ledger takes: longer than a value is good for while no news come in.
const SLOW: Duration = Duration::from_millis(1_250);

/// A process whose Redis is away, and what it measures.
async fn process_alone() -> (Process, PrometheusHandle) {
    let mut server = RedisServer::start().await;
    server.kill9();
    let recorder = PrometheusBuilder::new().build_recorder();
    let config = config(&server.url());
    let process = metrics::with_local_recorder(&recorder, || Process::start_alone(&config));
    (process, recorder.handle())
}

fn assert_counted(handle: &PrometheusHandle, loads: usize) {
    let line = format!("firstcome_cache_loads_total{{cache=\"thing\",outcome=\"ok\"}} {loads}");
    let shown = handle.render();
    assert!(shown.lines().any(|shown| shown == line), "{line} is not in:\n{shown}");
}

#[tokio::test]
async fn a_slow_ledger_is_read_for_all_who_wait_though_redis_is_away() {
    let (process, handle) = process_alone().await;
    let (shelf, id) = Shelf::with_one();
    let load = async || {
        let thing = shelf.read(id).await;
        sleep(SLOW).await;
        thing
    };
    let read = async || process.things.get(id, load).await.unwrap().unwrap().version;
    pause();
    let started = Instant::now();
    let early = join_all((0..READERS).map(|_| read()));
    // What is under way is too old for them when it ends.
    let late = join_all((0..READERS).map(async |_| {
        sleep(SLOW / 2).await;
        read().await
    }));
    let (early, late) = join(early, late).await;
    assert!(early.into_iter().chain(late).all(|version| version == 1));
    assert_eq!(shelf.reads(), 2);
    assert!(started.elapsed() < 3 * SLOW, "{:?}", started.elapsed());
    assert_counted(&handle, 2);
}

#[tokio::test]
async fn what_a_change_overtakes_each_time_is_read_for_all_who_wait() {
    let (process, handle) = process_alone().await;
    let (shelf, id) = Shelf::with_one();
    let load = async || {
        let thing = shelf.read(id).await;
        process.things.changed(&shelf.change(id)).await;
        thing
    };
    let read = async || process.things.get(id, load).await.unwrap().unwrap().version;
    let versions = join_all((0..READERS).map(|_| read())).await;
    let reads = shelf.reads();
    assert!(reads <= 4, "{reads}");
    assert!(versions.iter().all(|version| (1..=4).contains(version)), "{versions:?}");
    assert_counted(&handle, reads);
}
