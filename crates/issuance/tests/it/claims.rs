//! Claims over HTTP: every verdict, and what it carries.

use axum::http::Method;
use firstcome_issuance::{IssuanceConfig, Outcome, Strategy, Undecided};
use firstcome_ledger::Claim;
use firstcome_testkit::draft;
use serde_json::json;
use uuid::Uuid;

use crate::support::TestIssuance;

#[tokio::test]
async fn a_won_claim_has_the_members_of_its_shape_and_a_location() {
    let test = TestIssuance::new().await;
    let event = test.event(5).await;
    let won = test.claim(event.id, "kim").await;
    assert_eq!(won.header("content-type"), "application/json");
    let location = won.header("location").to_owned();
    let coupon = won.expect(201);
    let (id, code) = (coupon["id"].clone(), coupon["code"].clone());
    assert_eq!(location, format!("/v1/me/coupons/{}", id.as_str().expect("an id")));
    assert_eq!(code.as_str().expect("a code").len(), 14);
    assert_eq!(
        coupon,
        json!({
            "id": id, "event_id": event.id, "coupon_id": event.coupon_id, "user_id": "kim",
            "sequence": 1, "code": code, "state": "issued", "issued_at": "2026-11-27T01:00:00Z",
            "valid_from": "2026-11-27T01:00:00Z", "expires_at": "2026-12-27T01:00:00Z",
            "used_at": null,
        })
    );
    let again = test.claim(event.id, "kim").await.problem(409, "already_claimed");
    assert_eq!(again["issued_coupon"], coupon);
    assert_eq!(again["retryable"], false);
    let mine = format!("/v1/events/{}/claims/me", event.id);
    let mine = test.send(("kim", "user"), Method::GET, &mine, &[], "").await;
    assert_eq!(mine.expect(200), coupon);
}

#[tokio::test]
async fn who_has_won_nothing_of_an_event_is_told_so() {
    let test = TestIssuance::new().await;
    let event = test.event(5).await;
    test.claim(event.id, "kim").await.expect(201);
    for (event, code) in [
        (event.id.to_string(), "not_claimed"),
        (Uuid::now_v7().to_string(), "event_not_found"),
        ("no-id".to_owned(), "event_not_found"),
    ] {
        let path = format!("/v1/events/{event}/claims/me");
        let answer = test.send(("lee", "user"), Method::GET, &path, &[], "").await;
        answer.problem(404, code);
    }
}

#[tokio::test]
async fn each_refusal_says_what_it_knows() {
    let test = TestIssuance::new().await;
    let event = test.event(1).await;
    test.clock.advance_micros(-90_000_001);
    let early = test.claim(event.id, "kim").await;
    assert_eq!(early.header("retry-after"), "91");
    let early = early.problem(409, "not_open");
    assert_eq!(early["opens_at"], "2026-11-27T01:00:00Z");
    assert_eq!(early["retryable"], true);
    test.clock.set(draft::OPENS_AT);
    test.claim(event.id, "kim").await.expect(201);
    let none = test.claim(event.id, "lee").await.problem(409, "sold_out");
    assert_eq!(none["retryable"], false);
    let path = |call| format!("/v1/events/{}/{call}", event.id);
    test.post(&path("pause")).await.expect(200);
    test.claim(event.id, "lee").await.problem(409, "paused");
    test.claim(event.id, "kim").await.problem(409, "already_claimed");
    test.post(&path("close")).await.expect(200);
    test.claim(event.id, "lee").await.problem(409, "closed");
    test.claim(event.id, "kim").await.problem(409, "already_claimed");
    let unknown = firstcome_core::EventId::from_uuid(Uuid::now_v7());
    test.claim(unknown, "kim").await.problem(404, "event_not_found");
}

#[tokio::test]
async fn a_claim_takes_no_body_or_an_empty_object() {
    let test = TestIssuance::new().await;
    let event = test.event(9).await;
    let path = format!("/v1/events/{}/claims", event.id);
    let json = &[("content-type", "application/json")];
    let text = &[("content-type", "text/plain")];
    let large = format!("{{{}}}", " ".repeat(4 * 1024));
    let deep = format!("{}{}", "[".repeat(2_000), "]".repeat(2_000));
    for (user, headers, body, status) in [
        ("none", &[][..], "", 201),
        ("typed", json, "", 201),
        ("empty", json, "{}", 201),
        ("spaced", json, " { } ", 201),
        ("member", json, "{\"user_id\":\"x\"}", 400),
        ("deep", json, &deep, 400),
        ("broken", json, "{", 400),
        ("null", json, "null", 422),
        ("text", text, "{}", 415),
        ("untyped", &[], "{}", 415),
        ("large", json, &large, 413),
    ] {
        let answer = test.send((user, "user"), Method::POST, &path, headers, body.to_owned()).await;
        assert_eq!(answer.status, status, "{user}: {}", answer.text);
    }
    let audit = test.ledger.audit(event.id).await.expect("an answer").expect("the event");
    assert_eq!(audit.rows, 4, "what was refused has claimed nothing");
}

#[tokio::test]
async fn who_claims_is_who_the_token_names() {
    let test = TestIssuance::new().await;
    let event = test.event(9).await;
    let path = format!("/v1/events/{}/claims", event.id);
    let forged = &[("x-user-id", "victim"), ("x-forwarded-user", "victim")];
    let won = test.send(("kim", "user"), Method::POST, &path, forged, "").await.expect(201);
    assert_eq!(won["user_id"], "kim");
    test.send(("", ""), Method::POST, &path, forged, "").await.problem(401, "unauthenticated");
    let admin = test.send(("kim", "admin"), Method::POST, &path, &[], "").await;
    admin.problem(403, "forbidden");
}

/// A decider that has no verdicts.
struct Silent(Undecided);

impl Strategy for Silent {
    async fn decide(&self, batch: Vec<Claim>) -> Vec<Outcome> {
        vec![Err(self.0); batch.len()]
    }
}

#[tokio::test]
async fn without_a_verdict_the_shopper_is_asked_to_come_back() {
    for (undecided, code) in
        [(Undecided::Unavailable, "unavailable"), (Undecided::InDoubt, "in_doubt")]
    {
        let test = TestIssuance::with(IssuanceConfig::default(), |_| Silent(undecided)).await;
        let event = test.event(9).await;
        let answer = test.claim(event.id, "kim").await;
        assert_eq!(answer.header("retry-after"), "1");
        assert_eq!(answer.problem(503, code)["retryable"], true);
    }
}
