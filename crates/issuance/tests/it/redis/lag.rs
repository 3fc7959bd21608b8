//! What a worker tells of the wins that only Redis has.

use std::mem;
use std::time::Duration;

use firstcome_core::Commit;
use firstcome_issuance::{RedisStrategy, Strategy as _};
use firstcome_ledger::{Decision, EventRecord, Limits};
use firstcome_testkit::{Direction, Engine, Proxy};
use metrics_exporter_prometheus::{PrometheusBuilder, PrometheusHandle};
use tokio::time::{Instant, sleep, timeout};

use super::behind::{another_ledger, lagging};
use super::{Deployment, POLL, TestWorker, WAIT_MAX, claim, connection, process};

/// The gauges as they are told: so many wins wait, the oldest for so many seconds.
fn told(handle: &PrometheusHandle) -> Option<(u32, f64)> {
    let shown = handle.render();
    let value = |name: &str| {
        let mut lines = shown.lines();
        lines.find_map(|line| line.strip_prefix(&format!("firstcome_worker_pending_{name} ")))
    };
    let (wins, age) = (value("wins")?, value("age_seconds")?);
    Some((wins.parse().expect("wins"), age.parse().expect("seconds")))
}

/// Waits until it is told so.
async fn until(handle: &PrometheusHandle, what: &str, is_so: impl Fn(u32, f64) -> bool) {
    let comes = async {
        while !told(handle).is_some_and(|(wins, age)| is_so(wins, age)) {
            sleep(POLL).await;
        }
    };
    let came = timeout(WAIT_MAX, comes).await;
    came.unwrap_or_else(|_| panic!("{what}, not {:?}", told(handle)));
}

/// Wins in one batch.
async fn won(strategy: &RedisStrategy, event: &EventRecord, users: &[&str]) {
    let told = strategy.decide(users.iter().map(|user| claim(event, user)).collect()).await;
    let is_issued = |outcome: &Result<Decision, _>| matches!(outcome, Ok(Decision::Issued(_)));
    assert!(told.iter().all(is_issued), "{told:?}");
}

/// All on one thread, where it is measured.
#[tokio::test]
async fn what_waits_for_the_ledger_is_told_while_it_does_not_answer() {
    let mut test = Deployment::committing(Commit::RedisStream, Engine::Postgres).await;
    let event = lagging(&mut test, 40).await;
    let url = test.ledger.url();
    let proxy = Proxy::start(&url).await;
    let url = proxy.url(&url);
    // Nobody reaches the ledger by another way.
    let direct = mem::replace(&mut test.one, process(&test.redis.url(), &url, None).await);
    direct.service.shutdown(WAIT_MAX).await.expect("it drains");
    let change = |limits: &mut Limits| {
        limits.acquire_timeout = Duration::from_secs(2);
        limits.statement_timeout = Duration::from_secs(2);
    };
    let ledger = another_ledger(&url, change).await;
    let strategy = RedisStrategy::new(connection(&test.redis.url()), ledger, None);
    won(&strategy, &event, &["second"]).await;

    let recorder = PrometheusBuilder::new().build_recorder();
    let _measured = metrics::set_default_local_recorder(&recorder);
    let handle = recorder.handle();
    let carrier = tokio::spawn(strategy.clone().carry());
    test.worker = Some(TestWorker { _worker: None, carrier });
    until(&handle, "nothing waits", |wins, age| wins == 0 && age == 0.0).await;

    proxy.cut(Direction::ToServer);
    let began = Instant::now();
    won(&strategy, &event, &["kim", "lee", "park"]).await;
    until(&handle, "three wait for long", |wins, age| wins == 3 && age > 2.0).await;
    won(&strategy, &event, &["choi"]).await;
    until(&handle, "four wait", |wins, _| wins == 4).await;
    let (_, age) = told(&handle).expect("it is told");
    assert!((2.0..=began.elapsed().as_secs_f64()).contains(&age), "of the oldest: {age} s");

    proxy.heal().await;
    until(&handle, "nothing waits any more", |wins, age| wins == 0 && age == 0.0).await;
    assert_eq!(test.winners(&event).await.len(), 6);
}
