//! A topic that is not, or not only, what it was when the process looked.

use axum::http::Method;
use firstcome_core::Strategy;
use firstcome_issuance::journal::JournalRecord;
use firstcome_issuance::{NoVerdict, Undecided};
use firstcome_ledger::{Decision, EventRecord, LedgerError};
use rdkafka::admin::{AdminOptions, NewPartitions};
use tokio::time::{sleep, timeout};

use super::{Deployment, POLL, Place, WAIT_MAX, claim, decided, issued, process};
use crate::journal::TestTopic;

mod kafka {
    super::super::for_commit! {
        Kafka:
        what_no_worker_will_read_is_not_told,
        partitions_that_were_added_are_waited_for,
        another_topic_is_taken_when_the_first_has_nothing_left,
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

async fn another_topic_is_taken_when_the_first_has_nothing_left(mut test: Deployment) {
    let event = test.event(Strategy::Redis, 9).await;
    issued(decided(&test.one, &event, "kim").await);
    assert_eq!(test.winners(&event).await.len(), 1);
    let (first, topic) = (test.journal().expect("a journal"), TestTopic::new(2).await);
    let (second, ledger) = (topic.journal(), &test.one.ledger);
    first.bind(ledger).await.expect("it is in use");
    let refused = second.bind(ledger).await.expect_err("it is not").to_string();
    assert!(
        refused.contains(&event.id.to_string()) && refused.contains(first.topic()),
        "{refused}"
    );
    let stray = process(&test.redis.url(), &test.ledger.url(), Some(second.clone())).await;
    assert!(stray.handle.promised().is_kept().await.is_err(), "it cannot tell what is promised");
    let refused = stray.handle.claim(claim(&event, "lee")).await;
    assert!(matches!(refused, Err(NoVerdict::Undecided(_))), "{refused:?}");
    assert_eq!(second.end_offset(0).await.expect("an answer"), 0, "nothing is written to it");
    let told = decided(&test.one, &event, "lee").await;
    assert!(is_won(&told), "{told:?}");
    test.act(&event, "close").await;
    assert_eq!(test.winners(&event).await.len(), 2);
    test.worker = None;
    let partition = partition(&test, &event).await.expect("it has one");
    let fence = JournalRecord::Fence { event_id: event.id, epoch: 1 };
    first.append(partition, &[fence]).await.expect("an acknowledgement");
    let ledger = &test.one.ledger;
    let refused = second.bind(ledger).await.expect_err("something is left").to_string();
    assert!(refused.contains("lacks records"), "{refused}");
    let worker = test.another_worker().await;
    let bound = async {
        while second.bind(ledger).await.is_err() {
            sleep(POLL).await;
        }
    };
    timeout(WAIT_MAX, bound).await.expect("a worker writes it");
    drop(worker);
    let refused = ledger.begin_journal(first.topic(), partition).await;
    assert!(matches!(refused, Err(LedgerError::OtherJournal(_))), "{refused:?}");
}

fn is_won(decision: &Decision) -> bool {
    matches!(decision, Decision::Issued(_) | Decision::AlreadyClaimed(_))
}

async fn partition(test: &Deployment, event: &EventRecord) -> Option<i32> {
    test.one.ledger.event(event.id).await.expect("an answer").expect("the event").partition
}
