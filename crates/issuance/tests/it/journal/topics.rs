//! A topic that could lose records is refused, with the command that repairs it.

use firstcome_issuance::journal::{AppendError, Journal, KafkaConfig, TopicError, TopicFacts};
use firstcome_ledger::Purpose;
use firstcome_testkit::{Engine, TestDatabase, kafka_brokers, kafka_configs};

use super::{GOOD, TestTopic};
use crate::redis::ledger;

async fn sentences(config: &KafkaConfig) -> Vec<String> {
    let journal = Journal::new(config).expect("a good configuration");
    match journal.check_topic().await {
        Ok(facts) => panic!("{facts:?}"),
        Err(TopicError::Faults(faults)) => faults.iter().map(ToString::to_string).collect(),
        Err(error) => panic!("{error}"),
    }
}

#[tokio::test]
async fn a_topic_as_it_must_be_is_taken() {
    let topic = TestTopic::new(4).await;
    let facts = topic.journal().check_topic().await.unwrap();
    let expected =
        TopicFacts { partitions: 4, replication_factor: 1, min_insync_replicas: 1, is_new: false };
    assert_eq!(facts, expected);
}

#[tokio::test]
async fn a_missing_topic_comes_with_the_command_that_makes_it() {
    let topic = TestTopic::named(kafka_brokers(), true);
    let config = KafkaConfig { partitions_min: 3, ..topic.config() };
    let (name, brokers) = (&topic.name, topic.brokers.join(","));
    let expected = format!(
        "kafka.topic: there is no topic {name}. To repair it: kafka-topics.sh --bootstrap-server \
         {brokers} --create --topic {name} --partitions 3 --replication-factor 1 --config \
         min.insync.replicas=1 --config cleanup.policy=delete --config retention.ms=604800000 \
         --config retention.bytes=-1 --config message.timestamp.type=LogAppendTime --config \
         unclean.leader.election.enable=false"
    );
    assert_eq!(sentences(&config).await, std::slice::from_ref(&expected));
    assert_eq!(sentences(&config).await, [expected], "to look for it does not make it");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_missing_topic_is_made_where_that_is_wanted() {
    let topic = TestTopic::named(kafka_brokers(), true);
    let config = KafkaConfig { partitions_min: 64, create_topic: true, ..topic.config() };
    let database = TestDatabase::new(Engine::Postgres).await;
    let ledger = ledger(database.url(), Purpose::Serve).await;
    // Several processes may start at once, and wait until each partition has a leader.
    let start = || {
        let (journal, ledger) = (Journal::new(&config).unwrap(), ledger.clone());
        async move { journal.check_topic_of(&ledger).await.unwrap().partitions }
    };
    let (one, other) = tokio::join!(tokio::spawn(start()), tokio::spawn(start()));
    assert_eq!((one.unwrap(), other.unwrap()), (64, 64));
    let taken = ledger.journal_positions(&topic.name).await.unwrap();
    assert_eq!(taken, (0..64).map(|partition| (partition, 0)).collect::<Vec<_>>());
    let journal = Journal::new(&config).unwrap();
    assert!(!journal.check_topic().await.unwrap().is_new);
    journal.append(2, &super::wins(1..=1)).await.unwrap();
}

#[tokio::test]
async fn every_fault_is_told_and_its_command_repairs_it() {
    let bad = [
        ("cleanup.policy", "compact", "delete"),
        ("retention.ms", "3600000", "604800000"),
        ("retention.bytes", "1000000", "-1"),
        ("message.timestamp.type", "CreateTime", "LogAppendTime"),
        ("max.message.bytes", "100000", "1048588"),
        ("unclean.leader.election.enable", "true", "false"),
    ];
    let settings = bad.map(|(key, value, _)| (key, value));
    let topic = TestTopic::with(1, &settings).await;
    let found = sentences(&topic.config()).await;
    assert_eq!(found.len(), bad.len(), "{found:#?}");
    for (sentence, (key, value, _)) in found.iter().zip(bad) {
        assert!(sentence.contains(key) && sentence.contains(value), "{sentence}");
    }
    for ((key, _, good), sentence) in bad.into_iter().zip(&found) {
        let (_, command) = sentence.split_once(". To repair it: ").unwrap();
        let expected = format!(
            "kafka-configs.sh --bootstrap-server {} --alter --entity-type topics --entity-name {} \
             --add-config {key}={good}",
            topic.brokers.join(","),
            topic.name
        );
        assert_eq!(command, expected);
    }
    // One call for all of them: each takes Java two seconds.
    let (_, first) = found[0].split_once("kafka-configs.sh ").unwrap();
    let all = bad.map(|(key, _, good)| format!("{key}={good}")).join(",");
    let mut arguments: Vec<&str> = first.split(' ').collect();
    arguments.pop();
    arguments.push(&all);
    kafka_configs(&arguments).await;
    topic.journal().check_topic().await.unwrap();
}

#[tokio::test]
async fn too_few_partitions_and_copies_are_told() {
    let topic = TestTopic::with(2, &GOOD).await;
    let (name, brokers) = (topic.name.clone(), topic.brokers.join(","));
    let config = KafkaConfig {
        partitions_min: 5,
        replication_factor_min: 3,
        min_insync_replicas_min: 2,
        ..topic.config()
    };
    let few = "the cluster has 1 of the 3 brokers that this takes: add brokers, or set \
               kafka.replication_factor_min and kafka.min_insync_replicas_min to 1 where losing a \
               broker may lose claims";
    let expected = [
        format!(
            "kafka.partitions_min is 5, and {name} has 2. To repair it: kafka-topics.sh \
             --bootstrap-server {brokers} --alter --topic {name} --partitions 5"
        ),
        format!("kafka.replication_factor_min is 3, and {name} has 1. To repair it: {few}"),
        format!(
            "min.insync.replicas of {name} is 1, less than kafka.min_insync_replicas_min, which is \
             2. To repair it: kafka-configs.sh --bootstrap-server {brokers} --alter --entity-type \
             topics --entity-name {name} --add-config min.insync.replicas=2"
        ),
    ];
    assert_eq!(sentences(&config).await, expected);
}

#[tokio::test]
async fn a_topic_is_given_nothing_until_it_is_found_fit() {
    let topic = TestTopic::named(kafka_brokers(), true);
    let journal = topic.journal();
    journal.withhold();
    let refused = async || match journal.append(0, &super::wins(1..=1)).await {
        Err(AppendError::NotSent(why)) => why,
        other => panic!("{other:?}"),
    };
    assert!(refused().await.contains("nobody could look"));
    let short = [("message.timestamp.type", "LogAppendTime"), ("retention.ms", "3600000")];
    topic.make(1, &short).await;
    let _ = journal.check_topic().await.unwrap_err();
    assert!(refused().await.contains("retention.ms"));
    assert_eq!(journal.end_offset(0).await.unwrap(), 0);
    let add = format!("--alter --entity-type topics --entity-name {}", topic.name);
    let to = ["--bootstrap-server", &topic.brokers[0]];
    let arguments: Vec<&str> = to.into_iter().chain(add.split(' ')).collect();
    kafka_configs(&[&arguments[..], &["--add-config", "retention.ms=604800000"]].concat()).await;
    journal.check_topic().await.unwrap();
    journal.append(0, &super::wins(1..=1)).await.unwrap();
    assert_eq!(journal.end_offset(0).await.unwrap(), 1);
}
