//! A topic that is not, or not only, what it was when the process looked.

use axum::http::Method;
use firstcome_core::{EventId, Strategy};
use firstcome_issuance::journal::{Journal, JournalRecord, KafkaConfig, Kept};
use firstcome_issuance::{NoVerdict, Undecided};
use firstcome_ledger::{Decision, EventRecord, LedgerError, Purpose};
use firstcome_testkit::Proxy;
use firstcome_testkit::proxy::CommitFault;
use rdkafka::admin::{AdminOptions, NewPartitions};
use rdkafka::{Offset, TopicPartitionList};
use tokio::time::{sleep, timeout};
use uuid::Uuid;

use super::losses::key;
use super::{Deployment, POLL, Place, WAIT_MAX, claim, decided, issued, ledger, process};
use crate::journal::TestTopic;

mod kafka {
    super::super::for_commit! {
        Kafka:
        what_no_worker_will_read_is_not_told,
        partitions_that_were_added_are_waited_for,
        another_topic_is_refused_until_the_first_is_forgotten,
        what_is_left_is_seen_though_the_forgetting_is_cut_short,
        who_only_reads_waits_for_a_topic_that_it_could_not_write_to,
        who_goes_on_with_a_forgotten_topic_promises_nothing,
        a_topic_is_taken_from_the_first_record_that_is_there,
        a_topic_with_fewer_partitions_than_events_are_in_is_refused,
        a_topic_that_is_not_the_ledgers_pins_no_event,
    }
}

/// The topic was made anew under the name, or brokers have lost its end: what is written now gets
/// offsets that are applied already.
async fn what_no_worker_will_read_is_not_told(mut test: Deployment) {
    let event = test.event(Strategy::Redis, 9).await;
    issued(decided(&test.one, &event, "kim").await);
    assert_eq!(test.winners(&event).await.len(), 1);
    test.worker = None;
    let Place::Server(database) = &test.ledger else { panic!("a server") };
    database.execute("UPDATE journal_positions SET next_offset = next_offset + 1000").await;
    let other = test.another().await;
    let refused = other.handle.claim(claim(&event, "lee")).await;
    assert_eq!(refused, Err(NoVerdict::Undecided(Undecided::InDoubt)));
    let path = format!("/v1/events/{}/sync", event.id);
    other.admin(Method::POST, &path, &serde_json::Value::Null).await.problem(503, "unavailable");
    // Once what is written is read again, what was left in doubt is told.
    database.execute("UPDATE journal_positions SET next_offset = next_offset - 1000").await;
    test.worker = Some(test.another_worker().await);
    decided(&other, &event, "lee").await;
    let winners = test.winners(&event).await;
    assert_eq!(winners.iter().map(|it| it.user_id.as_str()).collect::<Vec<_>>(), ["kim", "lee"]);
}

async fn partitions_that_were_added_are_waited_for(mut test: Deployment) {
    let event = test.event(Strategy::Redis, 9).await;
    issued(decided(&test.one, &event, "kim").await);
    assert_eq!(test.winners(&event).await.len(), 1);
    test.worker = None;
    let topic = test.topic.as_ref().expect("a topic");
    let more = NewPartitions::new(&topic.name, 3);
    let added = topic.admin().create_partitions([&more], &AdminOptions::new()).await;
    assert!(added.expect("an answer")[0].is_ok());
    let there = async {
        while test.journal().expect("a journal").end_offset(2).await.is_err() {
            sleep(POLL).await;
        }
    };
    timeout(WAIT_MAX, there).await.expect("it is there");
    let other = test.another().await;
    test.worker = Some(test.another_worker().await);
    let event = loop {
        let event = test.event(Strategy::Redis, 9).await;
        issued(decided(&other, &event, "kim").await);
        if partition(&test, &event).await == Some(2) {
            break event;
        }
    };
    assert_eq!(test.winners(&event).await.len(), 1);
    test.worker = None;
    issued(decided(&other, &event, "lee").await);
    let (other, one) = (other.handle.promised(), test.one.handle.promised());
    assert!(other.is_kept().await.is_err());
    assert!(one.is_kept().await.is_err(), "nor has the process that knew two");
    let path = format!("/v1/events/{}/claims/me", event.id);
    let mine = async || test.one.send(("lee", "user"), Method::GET, &path, &[], "").await;
    mine().await.problem(503, "unavailable");
    test.worker = Some(test.another_worker().await);
    let kept = async {
        while one.is_kept().await.is_err() {
            sleep(POLL).await;
        }
    };
    timeout(WAIT_MAX, kept).await.expect("a worker writes it");
    assert_eq!(mine().await.status, 200);
}

async fn another_topic_is_refused_until_the_first_is_forgotten(mut test: Deployment) {
    let event = test.event(Strategy::Redis, 9).await;
    issued(decided(&test.one, &event, "kim").await);
    assert_eq!(test.winners(&event).await.len(), 1);
    let (first, topic) = (test.journal().expect("a journal"), TestTopic::new(2).await);
    let (second, ledger) = (topic.journal(), &test.one.ledger);
    first.bind(ledger).await.expect("it is in use");
    let refused = second.bind(ledger).await.expect_err("it is not").to_string();
    assert!(refused.contains(first.topic()) && refused.contains("journal forget"), "{refused}");
    let stray = process(&test.redis.url(), &test.ledger.url(), Some(second.clone())).await;
    assert!(stray.handle.promised().is_kept().await.is_err(), "it cannot tell what is promised");
    let refused = stray.handle.claim(claim(&event, "lee")).await;
    assert!(matches!(refused, Err(NoVerdict::Undecided(_))), "{refused:?}");
    assert_eq!(second.end_offset(0).await.expect("an answer"), 0, "nothing is written to it");
    let told = decided(&test.one, &event, "lee").await;
    assert!(is_won(&told), "{told:?}");

    let kept = first.forget(ledger, true).await;
    assert!(matches!(kept, Err(Kept::Open(open)) if open == event.id), "{kept:?}");
    test.act(&event, "close").await;
    assert_eq!(test.winners(&event).await.len(), 2);
    let kept = second.forget(&test.one.ledger, false).await;
    assert!(matches!(&kept, Err(Kept::Unknown(name)) if name == second.topic()), "{kept:?}");
    test.worker = None;
    let partition = partition(&test, &event).await.expect("it has one");
    let fence = JournalRecord::Fence { event_id: event.id, epoch: 1 };
    first.append(partition, &[fence]).await.expect("an acknowledgement");
    let ledger = &test.one.ledger;
    let before = ledger.journal_positions(first.topic()).await.expect("an answer");
    let kept = first.forget(ledger, false).await;
    let is_lacking = |kept: &Kept| {
        let Kept::Lacking { partition: of, lacks } = kept else { return false };
        (*of, *lacks) == (partition, 1)
    };
    assert!(is_lacking(&kept.expect_err("a record is left")));
    assert_eq!(ledger.journal_positions(first.topic()).await.expect("an answer"), before);
    let worker = test.another_worker().await;
    let forgotten = async {
        while let Err(kept) = first.forget(ledger, false).await {
            assert!(is_lacking(&kept), "{kept}");
            sleep(POLL).await;
        }
    };
    timeout(WAIT_MAX, forgotten).await.expect("a worker writes it");
    drop(worker);
    second.bind(ledger).await.expect("there is no other");
    let refused = ledger.begin_journal(first.topic(), partition).await;
    assert!(matches!(refused, Err(LedgerError::OtherJournal(_))), "{refused:?}");
}

/// As by an answer of the ledger that is lost: nobody would look any more.
async fn what_is_left_is_seen_though_the_forgetting_is_cut_short(mut test: Deployment) {
    let event = test.event(Strategy::Redis, 9).await;
    issued(decided(&test.one, &event, "kim").await);
    assert_eq!(test.winners(&event).await.len(), 1);
    test.worker = None;
    issued(decided(&test.one, &event, "lee").await);
    test.act(&event, "close").await;
    let (journal, url) = (test.journal().expect("a journal"), test.ledger.url());
    let before = test.one.ledger.journal_positions(journal.topic()).await.expect("an answer");
    let proxy = Proxy::start(&url).await;
    let proxied = ledger(&proxy.url(&url), Purpose::Visit).await;
    proxy.on_commit(CommitFault::LoseReply, 0, 1);
    let kept = journal.forget(&proxied, false).await;
    assert!(matches!(kept, Err(Kept::Lacking { lacks: 1, .. })), "{kept:?}");
    let after = test.one.ledger.journal_positions(journal.topic()).await.expect("an answer");
    assert_eq!(after, before);
}

/// It has the rights to read alone, and other wishes than the topic satisfies.
async fn who_only_reads_waits_for_a_topic_that_it_could_not_write_to(mut test: Deployment) {
    let event = test.event(Strategy::Redis, 9).await;
    issued(decided(&test.one, &event, "kim").await);
    assert_eq!(test.winners(&event).await.len(), 1);
    let topic = test.topic.as_ref().expect("a topic");
    let config =
        KafkaConfig { replication_factor_min: 3, min_insync_replicas_min: 2, ..topic.config() };
    let journal = Journal::new(&config).expect("a good configuration");
    journal.check_topic().await.expect_err("it has one copy");
    let process = process(&test.redis.url(), &test.ledger.url(), Some(journal)).await;
    let promised = process.handle.promised();
    promised.is_kept().await.expect("the ledger has all of it");
    test.worker = None;
    issued(decided(&test.one, &event, "lee").await);
    promised.is_kept().await.expect_err("nobody writes it");
    let nowhere = KafkaConfig { topic: format!("{}-none", config.topic), ..config };
    let journal = Journal::new(&nowhere).expect("a good configuration");
    let lost = super::process(&test.redis.url(), &test.ledger.url(), Some(journal)).await;
    lost.handle.promised().is_kept().await.expect_err("there is no such topic");
}

/// A process that goes on with a topic that the ledger has forgotten tells nobody of a win.
async fn who_goes_on_with_a_forgotten_topic_promises_nothing(mut test: Deployment) {
    let event = test.event(Strategy::Redis, 9).await;
    issued(decided(&test.one, &event, "kim").await);
    assert_eq!(test.winners(&event).await.len(), 1);
    test.worker = None;
    let (topic, ledger) = (test.journal().expect("a journal"), &test.one.ledger);
    let positions = ledger.forget_journal(topic.topic()).await.expect("an answer");
    let refused = test.one.handle.claim(claim(&event, "lee")).await;
    assert_eq!(refused, Err(NoVerdict::Undecided(Undecided::InDoubt)));
    ledger.take_journal(topic.topic(), &positions).await.expect("an answer");
    test.worker = Some(test.another_worker().await);
    assert!(is_won(&decided(&test.one, &event, "lee").await));
    assert_eq!(test.winners(&event).await.len(), 2);
}

/// Records that are gone from a topic before a ledger takes it are nobody's.
async fn a_topic_is_taken_from_the_first_record_that_is_there(test: Deployment) {
    let (journal, ledger) = (test.journal().expect("a journal"), &test.one.ledger);
    ledger.forget_journal(journal.topic()).await.expect("an answer");
    let fence = JournalRecord::Fence { event_id: EventId::from_uuid(Uuid::now_v7()), epoch: 1 };
    journal.append(1, &[fence.clone(), fence.clone(), fence]).await.expect("an acknowledgement");
    let mut gone = TopicPartitionList::new();
    gone.add_partition_offset(journal.topic(), 1, Offset::Offset(2)).expect("a partition");
    let admin = test.topic.as_ref().expect("a topic").admin();
    admin.delete_records(&gone, &AdminOptions::new()).await.expect("an answer");
    journal.bind(ledger).await.expect("there is no other");
    let positions = ledger.journal_positions(journal.topic()).await.expect("an answer");
    assert_eq!(positions, [(0, 0), (1, 2)]);
}

async fn a_topic_with_fewer_partitions_than_events_are_in_is_refused(test: Deployment) {
    let event = loop {
        let event = test.event(Strategy::Redis, 9).await;
        issued(decided(&test.one, &event, "kim").await);
        if partition(&test, &event).await == Some(1) {
            break event;
        }
    };
    assert_eq!(test.winners(&event).await.len(), 1);
    let (first, small) = (test.journal().expect("a journal"), TestTopic::new(1).await);
    let ledger = &test.one.ledger;
    ledger.forget_journal(first.topic()).await.expect("an answer");
    let refused = small.journal().bind(ledger).await.expect_err("it has one").to_string();
    let said = ["has 1 partitions", "in partition 1", "--alter", "--partitions 2"];
    assert!(said.iter().all(|said| refused.contains(said)), "{refused}");
}

/// It was looked at before it was refused, and has more partitions.
async fn a_topic_that_is_not_the_ledgers_pins_no_event(test: Deployment) {
    let event = test.event(Strategy::Redis, 9).await;
    issued(decided(&test.one, &event, "kim").await);
    assert_eq!(test.winners(&event).await.len(), 1);
    test.journal().expect("a journal").bind(&test.one.ledger).await.expect("it is in use");
    let topic = TestTopic::new(5).await;
    let journal = topic.journal();
    journal.check_topic_of(&test.one.ledger).await.expect_err("another is in use");
    let fresh = test.event(Strategy::Redis, 9).await;
    for journal in [Some(journal), None] {
        let stray = process(&test.redis.url(), &test.ledger.url(), journal).await;
        for event in [&fresh, &event] {
            let path = format!("/v1/events/{}/sync", event.id);
            let refused = stray.admin(Method::POST, &path, &serde_json::Value::Null).await;
            refused.problem(503, "unavailable");
        }
        assert_eq!(partition(&test, &fresh).await, None);
        assert_eq!(test.redis.cli(&["EXISTS", &key(&fresh, "meta")]).await, "0");
    }
    // Nor does it stand in the way of who can.
    let told = test.one.handle.claim(claim(&event, "lee")).await;
    assert!(told.as_ref().is_ok_and(is_won), "{told:?}");
    issued(decided(&test.one, &fresh, "kim").await);
    assert_eq!(test.winners(&fresh).await.len(), 1);
}

fn is_won(decision: &Decision) -> bool {
    matches!(decision, Decision::Issued(_) | Decision::AlreadyClaimed(_))
}

async fn partition(test: &Deployment, event: &EventRecord) -> Option<i32> {
    test.one.ledger.event(event.id).await.expect("an answer").expect("the event").partition
}
