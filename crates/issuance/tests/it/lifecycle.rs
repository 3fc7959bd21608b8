//! Events: made, changed while live, opened, paused, resumed, closed, synced.

use axum::http::Method;
use firstcome_core::Timestamp;
use firstcome_testkit::draft;
use serde_json::{Value, json};
use uuid::Uuid;

use crate::support::TestIssuance;

fn body(coupon_id: &impl ToString) -> Value {
    json!({
        "coupon_id": coupon_id.to_string(), "name": " 열 시 선착순 ", "quantity": 2,
        "opens_at": "2026-11-27T10:00:00+09:00", "closes_at": "2026-11-27T11:00:00+09:00",
    })
}

#[tokio::test]
async fn an_event_is_made_with_the_members_of_its_shape() {
    let test = TestIssuance::new().await;
    let coupon_id = test.coupon().await;
    test.clock.set(Timestamp::from_micros(draft::OPENS_AT.as_micros() - 60_000_000));
    let made = test.admin(Method::POST, "/v1/events", &body(&coupon_id)).await;
    let (location, etag) = (made.header("location").to_owned(), made.header("etag").to_owned());
    let event = made.expect(201);
    let id = event["id"].as_str().expect("an id").to_owned();
    assert_eq!(location, format!("/v1/events/{id}"));
    assert_eq!(etag, "\"1\"");
    assert_eq!(
        event,
        json!({
            "id": id, "coupon_id": coupon_id, "name": "열 시 선착순", "quantity": 2, "issued": 0,
            "remaining": 2, "opens_at": "2026-11-27T01:00:00Z",
            "closes_at": "2026-11-27T02:00:00Z", "strategy": "ledger", "state": "scheduled",
            "server_time": "2026-11-27T00:59:00Z", "created_at": "2026-11-27T00:59:00Z",
            "updated_at": "2026-11-27T00:59:00Z",
        })
    );
}

#[tokio::test]
async fn an_event_of_an_unknown_coupon_is_not_made() {
    let test = TestIssuance::new().await;
    let unknown = Uuid::now_v7();
    let answer = test.admin(Method::POST, "/v1/events", &body(&unknown)).await;
    answer.problem(404, "coupon_not_found");
}

#[tokio::test]
async fn a_live_event_is_changed_by_who_saw_its_present_version() {
    let test = TestIssuance::new().await;
    let event = test.event(2).await;
    let path = format!("/v1/events/{}", event.id);
    let patch = async |etag: &str, body: Value| {
        test.admin_with(Method::PATCH, &path, &[("if-match", etag)], &body).await
    };
    for user in ["kim", "lee"] {
        test.claim(event.id, user).await.expect(201);
    }
    test.claim(event.id, "park").await.problem(409, "sold_out");

    let raised = patch("\"1\"", json!({"quantity": 3, "name": "더 드립니다"})).await;
    assert_eq!(raised.header("etag"), "\"2\"");
    let raised = raised.expect(200);
    assert_eq!((&raised["quantity"], &raised["remaining"]), (&json!(3), &json!(1)));
    assert_eq!(raised["name"], "더 드립니다");
    test.claim(event.id, "park").await.expect(201);

    let below = patch("\"2\"", json!({"quantity": 2})).await;
    assert_eq!(below.problem(409, "quantity_below_issued")["issued"], 3);
    patch("\"2\"", json!({"quantity": 3})).await.expect(200);
    patch("\"2\"", json!({"quantity": 9})).await.problem(412, "precondition_failed");
    let without = test.admin(Method::PATCH, &path, &json!({"quantity": 9})).await;
    without.problem(428, "precondition_required");
    let unknown = format!("/v1/events/{}", Uuid::now_v7());
    let seen = [("if-match", "\"1\"")];
    let unknown = test.admin_with(Method::PATCH, &unknown, &seen, &json!({})).await;
    unknown.problem(404, "event_not_found");
}

#[tokio::test]
async fn a_window_moves_until_the_event_is_closed() {
    let test = TestIssuance::new().await;
    let event = test.event(2).await;
    let path = format!("/v1/events/{}", event.id);
    let patch = async |etag: &str, body: Value| {
        test.admin_with(Method::PATCH, &path, &[("if-match", etag)], &body).await
    };
    let later = patch("\"1\"", json!({"opens_at": "2026-11-27T10:30:00+09:00"})).await.expect(200);
    assert_eq!(later["state"], "scheduled");
    test.claim(event.id, "kim").await.problem(409, "not_open");
    for (body, pointer) in [
        (json!({"opens_at": "2026-11-27T11:00:00+09:00"}), "/opens_at"),
        (json!({"closes_at": "2026-11-27T10:30:00+09:00"}), "/closes_at"),
    ] {
        let refused = patch("\"2\"", body).await.problem(422, "invalid");
        assert_eq!(refused["errors"][0]["pointer"], pointer);
    }
    test.clock.set(draft::CLOSES_AT);
    let moved = patch("\"2\"", json!({"closes_at": "2026-11-28T11:00:00+09:00"})).await;
    assert_eq!(moved.problem(409, "wrong_state")["state"], "closed");
    let kept = json!({"closes_at": "2026-11-27T11:00:00+09:00", "quantity": 5, "name": "끝"});
    let kept = patch("\"2\"", kept).await.expect(200);
    assert_eq!((&kept["state"], &kept["quantity"]), (&json!("closed"), &json!(5)));
}

#[tokio::test]
async fn the_lifecycle_calls_fit_their_states_and_no_others() {
    const CALLS: [&str; 4] = ["open", "pause", "resume", "close"];
    let fits = |state: &str, call: &str| match call {
        "open" => state == "scheduled",
        "pause" => matches!(state, "open" | "sold_out"),
        "resume" => state == "paused",
        _ => state != "closed",
    };
    for call in CALLS {
        for state in ["scheduled", "open", "paused", "sold_out", "closed"] {
            let test = TestIssuance::new().await;
            let event = test.event(1).await;
            let path = |call| format!("/v1/events/{}/{call}", event.id);
            match state {
                "scheduled" => test.clock.advance_micros(-1),
                "paused" => drop(test.post(&path("pause")).await.expect(200)),
                "sold_out" => drop(test.claim(event.id, "kim").await.expect(201)),
                "closed" => drop(test.post(&path("close")).await.expect(200)),
                _ => {}
            }
            let answer = test.post(&path(call)).await;
            if fits(state, call) {
                let after = answer.expect(200)["state"].clone();
                let expected = match call {
                    "pause" => "paused",
                    "close" => "closed",
                    _ => "open",
                };
                assert_eq!(after, expected, "{call} from {state}");
            } else {
                assert_eq!(answer.problem(409, "wrong_state")["state"], state, "{call}");
            }
        }
    }
}

#[tokio::test]
async fn an_event_opened_early_is_open_until_it_closes_by_itself() {
    let test = TestIssuance::new().await;
    let event = test.event(9).await;
    test.clock.advance_micros(-3_600_000_000);
    test.claim(event.id, "kim").await.problem(409, "not_open");
    test.post(&format!("/v1/events/{}/open", event.id)).await.expect(200);
    test.claim(event.id, "kim").await.expect(201);
    test.clock.set(draft::CLOSES_AT);
    test.claim(event.id, "lee").await.problem(409, "closed");
    test.clock.set(draft::OPENS_AT);
    test.claim(event.id, "lee").await.problem(409, "closed");
    let closed = test.post(&format!("/v1/events/{}/pause", event.id)).await;
    assert_eq!(closed.problem(409, "wrong_state")["state"], "closed");
}

#[tokio::test]
async fn sync_answers_the_event_and_changes_nothing_that_was_decided() {
    let test = TestIssuance::new().await;
    let event = test.event(1).await;
    test.claim(event.id, "kim").await.expect(201);
    test.claim(event.id, "lee").await.problem(409, "sold_out");
    let synced = test.post(&format!("/v1/events/{}/sync", event.id)).await;
    assert_eq!(synced.header("etag"), "\"1\"");
    assert_eq!(synced.expect(200)["state"], "sold_out");
    test.claim(event.id, "kim").await.problem(409, "already_claimed");
    test.claim(event.id, "lee").await.problem(409, "sold_out");
    let unknown = format!("/v1/events/{}/sync", Uuid::now_v7());
    test.post(&unknown).await.problem(404, "event_not_found");
}
