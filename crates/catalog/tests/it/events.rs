//! Reading events.

use std::collections::BTreeSet;
use std::convert::Infallible;

use firstcome_core::{EventRule, Timestamp};
use firstcome_ledger::{Decision, EventRecord};
use firstcome_testkit::draft::{self, CLOSES_AT, OPENS_AT};
use serde_json::{Value, json};
use uuid::Uuid;

use crate::support::{TestCatalog, members};

fn before(moment: Timestamp) -> Timestamp {
    Timestamp::from_micros(moment.as_micros() - 1)
}

async fn change(test: &TestCatalog, event: &EventRecord, rule: EventRule) {
    let change = move |found: EventRecord| Ok::<_, Infallible>(EventRecord { rule, ..found });
    test.ledger.change_event(event.id, change).await.expect("the ledger answers");
}

async fn read(test: &TestCatalog, event: &EventRecord) -> Value {
    test.api.get(&format!("/v1/events/{}", event.id)).await.expect(200).json()
}

async fn listed(test: &TestCatalog, query: &str) -> Vec<Value> {
    let page = test.api.get(&format!("/v1/events{query}")).await.expect(200).json();
    assert_eq!(members(&page), ["items", "next_cursor"]);
    page["items"].as_array().expect("items").clone()
}

#[tokio::test]
async fn an_event_is_read_in_its_exact_shape() {
    let test = TestCatalog::new().await;
    let event = test.event(draft::rule(3)).await;
    assert!(matches!(test.claim(&event, "kim").await, Decision::Issued(_)));
    let expected = json!({
        "id": event.id, "coupon_id": event.coupon_id, "name": "열 시 선착순",
        "quantity": 3, "issued": 1, "remaining": 2,
        "opens_at": "2026-11-27T01:00:00Z", "closes_at": "2026-11-27T02:00:00Z",
        "strategy": "ledger", "state": "open", "server_time": "2026-11-27T01:00:00Z",
        "created_at": "2026-11-27T01:00:00Z", "updated_at": "2026-11-27T01:00:00Z",
    });
    assert_eq!(read(&test, &event).await, expected);
    assert_eq!(listed(&test, "").await, [expected]);
}

#[tokio::test]
async fn the_state_follows_the_clock_the_stock_and_the_hand() {
    let test = TestCatalog::new().await;
    let event = test.event(draft::rule(1)).await;
    let rule = event.rule;
    for (now, state) in [
        (before(OPENS_AT), "scheduled"),
        (OPENS_AT, "open"),
        (before(CLOSES_AT), "open"),
        (CLOSES_AT, "closed"),
    ] {
        test.clock.set(now);
        let read = read(&test, &event).await;
        assert_eq!((&read["state"], &read["server_time"]), (&json!(state), &json!(now)));
    }
    test.clock.set(before(OPENS_AT));
    change(&test, &event, EventRule { opened_early: true, ..rule }).await;
    assert_eq!(read(&test, &event).await["state"], "open");
    test.claim(&event, "kim").await;
    let sold_out = read(&test, &event).await;
    assert_eq!((&sold_out["state"], &sold_out["remaining"]), (&json!("sold_out"), &json!(0)));
    change(&test, &event, EventRule { opened_early: true, paused: true, ..rule }).await;
    assert_eq!(read(&test, &event).await["state"], "paused");
    change(&test, &event, EventRule { closed: true, ..rule }).await;
    assert_eq!(read(&test, &event).await["state"], "closed");
}

#[tokio::test]
async fn the_tag_moves_with_an_admins_change_and_not_with_claims() {
    let test = TestCatalog::new().await;
    let event = test.event(draft::rule(3)).await;
    let path = format!("/v1/events/{}", event.id);
    let tag = async || {
        let answer = test.api.get(&path).await;
        answer.header("etag").to_owned()
    };
    let first = tag().await;
    test.claim(&event, "kim").await;
    assert_eq!(tag().await, first);
    change(&test, &event, EventRule { paused: true, ..event.rule }).await;
    assert_ne!(tag().await, first);
}

#[tokio::test]
async fn a_list_holds_the_events_in_one_state_newest_first() {
    let test = TestCatalog::new().await;
    let mut open = Vec::new();
    for _ in 0..3 {
        open.insert(0, json!(test.event(draft::rule(1)).await.id));
        let closed = test.event(draft::rule(1)).await;
        change(&test, &closed, EventRule { closed: true, ..closed.rule }).await;
    }
    let mut paged: Vec<Value> = Vec::new();
    let mut path = "/v1/events?state=open&limit=2".to_owned();
    let mut cursor = String::new();
    loop {
        let page = test.api.get(&path).await.expect(200).json();
        let items = page["items"].as_array().expect("items");
        assert!(items.iter().all(|event| event["state"] == "open"));
        paged.extend(items.iter().map(|event| event["id"].clone()));
        let Some(next) = page["next_cursor"].as_str() else { break };
        path = format!("/v1/events?state=open&limit=2&cursor={next}");
        next.clone_into(&mut cursor);
    }
    assert_eq!(paged, open);
    assert_eq!(listed(&test, "").await.len(), 6);
    assert_eq!(listed(&test, "?state=paused").await, [] as [Value; 0]);

    for other in ["", "state=closed&"] {
        let path = format!("/v1/events?{other}cursor={cursor}");
        let _ = test.api.get(&path).await.expect_problem(400, "malformed");
    }
}

#[tokio::test]
async fn a_state_that_is_none_is_refused_by_name() {
    let test = TestCatalog::new().await;
    for state in ["", "OPEN", "soldout", "issued", "%ED%8F%90"] {
        let answer = test.api.get(&format!("/v1/events?state={state}")).await;
        assert_eq!(answer.invalid_pointers(), BTreeSet::from(["/state".to_owned()]));
    }
}

#[tokio::test]
async fn an_unknown_id_and_a_malformed_one_are_not_found() {
    let test = TestCatalog::new().await;
    let unknown = Uuid::now_v7().to_string();
    for id in [unknown.as_str(), "1", "이벤트", "%FF"] {
        let answer = test.api.get(&format!("/v1/events/{id}")).await;
        let _ = answer.expect_problem(404, "event_not_found");
    }
}
