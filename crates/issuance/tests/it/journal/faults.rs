//! Brokers that die, hang or lose an acknowledgement: told soon, and nothing acknowledged is lost.

use std::time::Duration;

use firstcome_issuance::journal::{AppendError, Journal, KafkaConfig, ReadError};
use firstcome_testkit::{Direction, KafkaServer, Proxy};
use metrics::{NoopRecorder, Recorder};
use metrics_exporter_prometheus::{PrometheusBuilder, PrometheusRecorder};
use tokio::time::{Instant, timeout};

use super::{TestTopic, WAIT_MAX, read, sequences, wins};

/// How long a call may take once the brokers are known to be away.
const SOON: Duration = Duration::from_millis(1_000);
/// For the machine, which others use too.
const SLACK: Duration = Duration::from_millis(500);
/// How long records may take in these tests.
const DELIVERY: Duration = Duration::from_millis(2_000);

async fn at(broker: &str) -> (TestTopic, Journal) {
    measured_at(broker, &NoopRecorder).await
}

/// The same, measured by this recorder.
async fn measured_at(broker: &str, recorder: &dyn Recorder) -> (TestTopic, Journal) {
    let topic = TestTopic::at(broker, 1).await;
    let journal = metrics::with_local_recorder(recorder, || journal_in(&topic));
    (topic, journal)
}

/// The journal in this topic.
fn journal_in(topic: &TestTopic) -> Journal {
    let delivery_timeout_ms = u64::try_from(DELIVERY.as_millis()).expect("a short time");
    let config = KafkaConfig { delivery_timeout_ms, ..topic.config() };
    Journal::new(&config).expect("a good configuration")
}

/// The metrics have these lines.
fn expect_measured(recorder: &PrometheusRecorder, lines: &[&str]) {
    let told = recorder.handle().render();
    for line in lines {
        assert!(told.lines().any(|found| found == *line), "{line} is not in {told}");
    }
}

/// Appends, and holds the call against its bound.
async fn timed(journal: &Journal, sequence: u32, limit: Duration) -> Result<(), AppendError> {
    let started = Instant::now();
    let outcome = journal.append(0, &wins([sequence])).await;
    let took = started.elapsed();
    assert!(took <= limit + SLACK, "{outcome:?} after {took:?}");
    outcome.map(|_| ())
}

/// Appends this one until it is acknowledged.
async fn insist(journal: &Journal, sequence: u32) {
    let deadline = Instant::now() + WAIT_MAX;
    while let Err(error) = journal.append(0, &wins([sequence])).await {
        assert!(Instant::now() < deadline, "{error}");
        tokio::task::yield_now().await;
    }
}

#[tokio::test]
async fn brokers_that_never_answered_are_told_soon() {
    let nobody = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let broker = nobody.local_addr().unwrap().to_string();
    // One port is closed; on the other one nobody answers.
    for brokers in [vec!["127.0.0.1:1".to_owned()], vec![broker]] {
        let config = KafkaConfig { brokers, ..KafkaConfig::default() };
        let journal = Journal::new(&config).unwrap();
        for sequence in 1..4 {
            let error = timed(&journal, sequence, SOON).await.unwrap_err();
            assert!(matches!(error, AppendError::NotSent(_)), "{error:?}");
        }
        assert!(journal.is_silent());
        let started = Instant::now();
        journal.end_offset(0).await.unwrap_err();
        assert!(started.elapsed() <= SOON + SLACK);
        journal.check_topic().await.unwrap_err();
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_a_killed_broker_has_acknowledged_is_there_when_it_comes_back() {
    let mut broker = KafkaServer::start().await;
    let (_topic, journal) = at(&broker.authority()).await;
    journal.append(0, &wins(1..=500)).await.unwrap();
    let mut reader = journal.reader(0, 0).unwrap();
    read(&mut reader, 500).await;

    broker.kill9();
    // Until the library has noticed, a call may be in doubt.
    let mut next = 501;
    let mut in_doubt = Vec::new();
    let deadline = Instant::now() + WAIT_MAX;
    while !journal.is_silent() {
        assert!(Instant::now() < deadline, "it goes on asking");
        match timed(&journal, next, DELIVERY).await.unwrap_err() {
            AppendError::InDoubt(_) => in_doubt.push(next),
            AppendError::NotSent(_) => {}
        }
        next += 1;
    }
    for _ in 0..3 {
        let error = timed(&journal, next, SOON).await.unwrap_err();
        assert!(matches!(error, AppendError::NotSent(_)), "{error:?}");
        next += 1;
    }
    // A reader waits: its records are not lost.
    match reader.next(10, SOON).await {
        Ok(entries) => assert!(entries.is_empty(), "{entries:?}"),
        Err(error) => assert!(error.is_retryable(), "{error}"),
    }

    broker.restart().await;
    insist(&journal, next).await;
    assert!(!journal.is_silent());
    let end = journal.end_offset(0).await.unwrap();
    let found = sequences(&read(&mut reader, usize::try_from(end - 500).unwrap()).await, 500);
    assert_eq!(found.last(), Some(&next));
    let others = &found[..found.len() - 1];
    assert!(others.iter().all(|sequence| in_doubt.contains(sequence)), "{found:?} {in_doubt:?}");
    let again = read(&mut journal.reader(0, 0).unwrap(), 500).await;
    assert_eq!(sequences(&again, 0), (1..=500).collect::<Vec<_>>());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_broker_that_hangs_leaves_in_doubt_what_it_has_and_refuses_the_rest() {
    let (broker, recorder) =
        (KafkaServer::start().await, PrometheusBuilder::new().build_recorder());
    let (_topic, journal) = measured_at(&broker.authority(), &recorder).await;
    journal.append(0, &wins(1..=1)).await.unwrap();

    broker.hang();
    let error = timed(&journal, 2, DELIVERY).await.unwrap_err();
    assert!(matches!(error, AppendError::InDoubt(_)), "{error:?}");
    for sequence in 3..6 {
        let error = timed(&journal, sequence, SOON).await.unwrap_err();
        assert!(matches!(error, AppendError::NotSent(_)), "{error:?}");
    }
    let started = Instant::now();
    journal.end_offset(0).await.unwrap_err();
    assert!(started.elapsed() <= SOON + SLACK);
    expect_measured(
        &recorder,
        &[
            "firstcome_journal_batches_total{outcome=\"written\"} 1",
            "firstcome_journal_batches_total{outcome=\"in_doubt\"} 1",
            "firstcome_journal_batches_total{outcome=\"not_sent\"} 3",
            "firstcome_journal_append_seconds_count 1",
        ],
    );

    broker.go_on();
    insist(&journal, 6).await;
    let end = usize::try_from(journal.end_offset(0).await.unwrap()).unwrap();
    let found = sequences(&read(&mut journal.reader(0, 0).unwrap(), end).await, 0);
    assert!(found == [1, 2, 6] || found == [1, 6], "only the one in doubt may be there: {found:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn records_whose_acknowledgement_was_lost_are_there_once() {
    let proxy = Proxy::start("127.0.0.1:1").await;
    let broker = KafkaServer::start_behind(proxy.authority()).await;
    proxy.set_upstream(&broker.authority());
    let recorder = PrometheusBuilder::new().build_recorder();
    let (_topic, journal) = measured_at(proxy.authority(), &recorder).await;
    journal.append(0, &wins(1..=1)).await.unwrap();

    proxy.cut(Direction::ToClient);
    let writer = journal.clone();
    let waiting = tokio::spawn(async move { writer.append(0, &wins(2..=300)).await });
    proxy.wait_for_losses(1).await;
    proxy.heal().await;
    timeout(WAIT_MAX, waiting).await.unwrap().unwrap().unwrap();
    journal.append(0, &wins(301..=301)).await.unwrap();
    expect_measured(
        &recorder,
        &[
            "firstcome_journal_batches_total{outcome=\"written\"} 3",
            "firstcome_journal_records_total{outcome=\"written\"} 301",
        ],
    );
    assert_eq!(journal.end_offset(0).await.unwrap(), 301);
    let found = sequences(&read(&mut journal.reader(0, 0).unwrap(), 301).await, 0);
    assert_eq!(found, (1..=301).collect::<Vec<_>>());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_reader_tells_that_the_brokers_are_away_and_goes_on_when_they_are_back() {
    let proxy = Proxy::start("127.0.0.1:1").await;
    let broker = KafkaServer::start_behind(proxy.authority()).await;
    proxy.set_upstream(&broker.authority());
    let (_topic, journal) = at(proxy.authority()).await;
    journal.append(0, &wins(1..=1)).await.unwrap();
    let mut reader = journal.reader(0, 0).unwrap();
    read(&mut reader, 1).await;

    proxy.refuse(true);
    proxy.reset().await;
    let deadline = Instant::now() + WAIT_MAX;
    let error = loop {
        match reader.next(10, SOON).await {
            Ok(entries) => assert!(entries.is_empty()),
            Err(error) => break error,
        }
        assert!(Instant::now() < deadline, "the reader says nothing");
    };
    assert!(matches!(error, ReadError::Away(_)), "{error}");
    proxy.refuse(false);
    insist(&journal, 2).await;
    assert_eq!(sequences(&read(&mut reader, 1).await, 1), [2]);
}

/// The other brokers answer, and lead what they lead.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_partition_without_a_leader_is_refused_at_once_however_often_the_topic_is_looked_at() {
    let broker = KafkaServer::start_soon_back().await;
    let mut other = broker.start_beside().await;
    let topic = TestTopic::led_by(&broker.authority(), &[2, 1]).await;
    let journal = journal_in(&topic);
    journal.check_topic().await.unwrap();
    journal.append(0, &wins(1..=1)).await.unwrap();
    journal.append(1, &wins(1..=1)).await.unwrap();

    other.kill9();
    let deadline = Instant::now() + WAIT_MAX;
    loop {
        match timed(&journal, 2, DELIVERY).await.unwrap_err() {
            AppendError::NotSent(why) if why.contains("has no leader") => break,
            error => assert!(Instant::now() < deadline, "{error}"),
        }
        tokio::task::yield_now().await;
    }
    for sequence in 2..6 {
        journal.answers().await.unwrap();
        journal.check_topic().await.unwrap();
        let error = timed(&journal, sequence, SOON).await.unwrap_err();
        assert!(matches!(error, AppendError::NotSent(_)), "{error:?}");
        journal.append(1, &wins([sequence])).await.unwrap();
    }
    journal.end_offset(0).await.unwrap_err();
    assert_eq!(journal.end_offset(1).await.unwrap(), 5);

    // Nobody looks at the topic: its own calls find out.
    other.restart().await;
    insist(&journal, 6).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn brokers_count_as_away_only_until_one_of_them_answers() {
    let proxy = Proxy::start("127.0.0.1:1").await;
    let broker = KafkaServer::start_behind(proxy.authority()).await;
    proxy.set_upstream(&broker.authority());
    let recorder = PrometheusBuilder::new().build_recorder();
    let (_topic, journal) = measured_at(proxy.authority(), &recorder).await;
    let (reachable, away) = (["firstcome_journal_reachable 1"], ["firstcome_journal_reachable 0"]);
    expect_measured(&recorder, &reachable);
    journal.answers().await.unwrap();

    proxy.refuse(true);
    proxy.reset().await;
    let deadline = Instant::now() + WAIT_MAX;
    while !journal.is_away() {
        assert!(Instant::now() < deadline, "it counts as there");
        tokio::task::yield_now().await;
    }
    journal.answers().await.unwrap_err();
    expect_measured(&recorder, &away);
    // Those who want to know what it has are not let wait, but for one now and then.
    let asked = Instant::now();
    for _ in 0..20 {
        journal.end_offset(0).await.unwrap_err();
    }
    assert!(asked.elapsed() <= SOON * 2 + SLACK, "after {:?}", asked.elapsed());
    proxy.refuse(false);
    // Who only reads hears of it, too.
    while let Err(error) = journal.end_offset(0).await {
        assert!(Instant::now() < deadline, "{error}");
    }
    expect_measured(&recorder, &reachable);
    assert!(!journal.is_away());
}
