//! Events.

use firstcome_testkit::{RedisServer, event_body};
use serde_json::{Value, json};

use super::{MALFORMED_IDS, NOWHERE, check_members, check_utc};
use crate::shop::Shop;

const MEMBERS: &str = "id coupon_id name quantity issued remaining opens_at closes_at strategy \
                       state server_time created_at updated_at";
const AUDIT_MEMBERS: &str =
    "event_id verdict quantity issued rows distinct_users max_sequence pending checks";
const LONG_AGO: (&str, &str) = ("2020-01-01T00:00:00Z", "2020-01-02T00:00:00Z");
const LONG_HENCE: (&str, &str) = ("2098-01-01T00:00:00Z", "2099-01-01T00:00:00Z");

/// An event without the moment at which it was told.
fn timeless(event: &Value) -> Value {
    let mut event = event.clone();
    event.as_object_mut().expect("an event").remove("server_time").expect("an event");
    event
}

#[tokio::test]
async fn an_event_is_made_and_read() {
    let shop = Shop::open().await;
    let coupon = shop.coupon().await;
    let body = event_body(&coupon).window("2026-01-01T10:00:00+09:00", "2099-01-01T10:00:00+09:00");
    let made = shop.api.post("/v1/events").token(&shop.admin).json(body).await.expect(201);
    check_members(&made, "", MEMBERS);
    for (member, expected) in [
        ("/coupon_id", json!(coupon)),
        ("/name", json!("선착순 10명")),
        ("/quantity", json!(10)),
        ("/issued", json!(0)),
        ("/remaining", json!(10)),
        ("/opens_at", json!("2026-01-01T01:00:00Z")),
        ("/closes_at", json!("2099-01-01T01:00:00Z")),
        ("/strategy", json!("ledger")),
        ("/state", json!("open")),
    ] {
        assert_eq!(made.member(member), expected, "{member}");
    }
    for moment in ["/server_time", "/created_at", "/updated_at"] {
        check_utc(&made, moment);
    }
    let path = format!("/v1/events/{}", made.member_text("/id"));
    assert_eq!(made.header("location"), path);
    let read = shop.api.get(&path).await.expect(200);
    assert_eq!(timeless(&read.json()), timeless(&made.json()));
    assert!(made.header("etag").starts_with('"'), "{made}");
    assert_eq!(read.header("etag"), made.header("etag"));
}

#[tokio::test]
async fn an_event_needs_its_coupon_and_a_window() {
    let shop = Shop::open().await;
    let body = event_body(NOWHERE);
    let answer = shop.api.post("/v1/events").token(&shop.admin).json(body).await;
    let _ = answer.expect_problem(404, "coupon_not_found");

    let coupon = shop.coupon().await;
    for (opens_at, closes_at, pointer) in [
        ("2026-11-27T10:00:00Z", "2026-11-27T10:00:00Z", "/closes_at"),
        ("2026-11-27T10:00:00Z", "2026-11-27T18:59:59+09:00", "/closes_at"),
        ("2026-11-27T10:00:00", "2026-11-27T11:00:00Z", "/opens_at"),
        ("2026-11-27T10:00:00Z", "2026-11-27", "/closes_at"),
    ] {
        let body = event_body(&coupon).window(opens_at, closes_at);
        let answer = shop.api.post("/v1/events").token(&shop.admin).json(body).await;
        assert_eq!(answer.invalid_pointers(), [pointer.to_owned()].into());
    }
    let body = event_body(&coupon).quantity(0).with("/strategy", "lottery").with("/name", " ");
    let answer = shop.api.post("/v1/events").token(&shop.admin).json(body).await;
    assert!(matches!(answer.status, 400 | 422), "{answer}");
    assert_eq!(shop.walk("/v1/events", "", 50).await, Vec::<Value>::new());
}

/// Of the three strategies two need a Redis, and this process has none.
#[tokio::test]
async fn a_strategy_that_needs_redis_is_refused_without_one() {
    let shop = Shop::open().await;
    let coupon = shop.coupon().await;
    for strategy in ["redis", "redis_lock"] {
        let body = event_body(&coupon).with("/strategy", strategy);
        let answer = shop.api.post("/v1/events").token(&shop.admin).json(body).await;
        assert_eq!(answer.invalid_pointers(), ["/strategy".to_owned()].into());
    }
    let body = event_body(&coupon).with("/strategy", "ledger");
    let _ = shop.api.post("/v1/events").token(&shop.admin).json(body).await.expect(201);
}

/// Who asks for more than an embedded ledger takes is told all that it takes.
#[tokio::test]
async fn beside_an_embedded_ledger_redis_orders_and_does_not_decide() {
    let redis = RedisServer::start().await;
    let shop =
        Shop::open_as(|launch| launch.environment("FIRSTCOME_REDIS_URL", &redis.url())).await;
    let coupon = shop.coupon().await;
    let body = event_body(&coupon).with("/strategy", "redis");
    let refused = shop.api.post("/v1/events").token(&shop.admin).json(body).await;
    let refused = refused.expect_problem(422, "invalid");
    let detail = refused.member_text("/errors/0/detail");
    assert!(detail.ends_with("use ledger or redis_lock"), "{detail}");
    let body = event_body(&coupon).with("/strategy", "redis_lock");
    let _ = shop.api.post("/v1/events").token(&shop.admin).json(body).await.expect(201);
}

#[tokio::test]
async fn an_event_that_is_not_there() {
    let shop = Shop::open().await;
    let user = shop.user("u").await;
    for id in MALFORMED_IDS.iter().chain([&NOWHERE]) {
        let event = format!("/v1/events/{id}");
        let patch = shop.api.patch(&event).token(&shop.admin).header("if-match", "\"1\"");
        let patched = patch.json(json!({"name": "x"})).await;
        let _ = patched.expect_problem(404, "event_not_found");
        for path in ["", "/audit", "/issued-coupons"] {
            let answer = shop.api.get(&format!("{event}{path}")).token(&shop.admin).await;
            let _ = answer.expect_problem(404, "event_not_found");
        }
        for path in ["/open", "/pause", "/resume", "/close", "/sync"] {
            let answer = shop.api.post(&format!("{event}{path}")).token(&shop.admin).await;
            let _ = answer.expect_problem(404, "event_not_found");
        }
        let claim = shop.api.post(&format!("{event}/claims")).token(&user).await;
        let _ = claim.expect_problem(404, "event_not_found");
        let mine = shop.api.get(&format!("{event}/claims/me")).token(&user).await;
        assert_eq!(mine.status, 404, "{mine}");
        assert!(matches!(mine.code().as_str(), "event_not_found" | "not_claimed"), "{mine}");
    }
}

#[tokio::test]
async fn the_state_follows_from_window_and_stock() {
    let shop = Shop::open().await;
    for ((opens_at, closes_at), state) in [(LONG_AGO, "closed"), (LONG_HENCE, "scheduled")] {
        let event = shop.event_of(|body| body.window(opens_at, closes_at)).await;
        assert_eq!(event.member("/state"), state);
    }
}

#[tokio::test]
async fn the_etag_moves_with_admins_and_not_with_claims() {
    let shop = Shop::open().await;
    let event = shop.event(5).await;
    let etag = async || shop.read_event(&event).await.header("etag").to_owned();
    let mut seen = vec![etag().await];
    let _ = shop.claim(&event, &shop.user("a").await).await.expect(201);
    let _ = shop.claim(&event, &shop.user("b").await).await.expect(201);
    assert_eq!(etag().await, seen[0], "claims do not move it");

    let changed = shop.change_event(&event, json!({"name": "둘"})).await.expect(200);
    check_members(&changed, "", MEMBERS);
    assert_eq!(changed.header("etag"), etag().await);
    seen.push(etag().await);
    for action in ["pause", "resume", "close"] {
        let _ = shop.act(&event, action).await.expect(200);
        seen.push(etag().await);
    }
    let distinct: std::collections::HashSet<&String> = seen.iter().collect();
    assert_eq!(distinct.len(), seen.len(), "each change by an admin moves it: {seen:?}");
}

#[tokio::test]
async fn a_change_needs_the_etag_that_was_read() {
    let shop = Shop::open().await;
    let event = shop.event(5).await;
    let path = format!("/v1/events/{event}");
    let before = shop.read_event(&event).await;
    let change = json!({"quantity": 7});
    let bare = shop.api.patch(&path).token(&shop.admin).json(change.clone()).await;
    let _ = bare.expect_problem(428, "precondition_required");
    for stale in ["\"0\"", "\"99\"", "x"] {
        let patch = shop.api.patch(&path).token(&shop.admin).header("if-match", stale);
        let answer = patch.json(change.clone()).await;
        let _ = answer.expect_problem(412, "precondition_failed");
    }
    let after = shop.read_event(&event).await;
    assert_eq!(timeless(&after.json()), timeless(&before.json()));
}

#[tokio::test]
async fn the_quantity_is_raised_and_lowered_but_not_below_what_is_issued() {
    let shop = Shop::open().await;
    let event = shop.event(5).await;
    for name in ["a", "b", "c"] {
        let _ = shop.claim(&event, &shop.user(name).await).await.expect(201);
    }
    let refused = shop.change_event(&event, json!({"quantity": 2})).await;
    let _ = refused.expect_problem(409, "quantity_below_issued");
    let refused = shop.change_event(&event, json!({"quantity": 2, "name": "x"})).await;
    let _ = refused.expect_problem(409, "quantity_below_issued");
    assert_eq!(shop.read_event(&event).await.member("/name"), "선착순 10명");
    for (quantity, remaining, state) in
        [(3, 0, "sold_out"), (4, 1, "open"), (10_000_000, 9_999_997, "open")]
    {
        let changed = shop.change_event(&event, json!({"quantity": quantity})).await.expect(200);
        assert_eq!(changed.member("/quantity"), quantity);
        assert_eq!(changed.member("/issued"), 3);
        assert_eq!(changed.member("/remaining"), remaining);
        assert_eq!(changed.member("/state"), state);
    }
    for quantity in [json!(0), json!(-1), json!(10_000_001), json!(1_u64 << 63)] {
        let answer = shop.change_event(&event, json!({"quantity": quantity})).await;
        assert_eq!(answer.invalid_pointers(), ["/quantity".to_owned()].into());
    }
}

#[tokio::test]
async fn the_window_moves_until_the_event_is_closed() {
    let shop = Shop::open().await;
    let event = shop.event(5).await;
    let (opens_at, closes_at) = LONG_HENCE;
    let moved = json!({"opens_at": opens_at, "closes_at": closes_at});
    let answer = shop.change_event(&event, moved).await.expect(200);
    assert_eq!(answer.member("/state"), "scheduled");
    let answer = shop.change_event(&event, json!({"closes_at": opens_at})).await;
    assert_eq!(answer.invalid_pointers(), ["/closes_at".to_owned()].into());

    let _ = shop.act(&event, "close").await.expect(200);
    for change in [json!({"opens_at": LONG_AGO.0}), json!({"closes_at": "2098-06-01T00:00:00Z"})] {
        let answer = shop.change_event(&event, change).await.expect_problem(409, "wrong_state");
        assert_eq!(answer.member("/state"), "closed");
    }
    let _ = shop.change_event(&event, json!({"name": "지난 행사"})).await.expect(200);
}

#[tokio::test]
async fn lifecycle_calls_answer_the_event_or_the_state_it_is_in() {
    let shop = Shop::open().await;
    let (opens_at, closes_at) = LONG_HENCE;
    let event = shop.event_of(|body| body.window(opens_at, closes_at)).await.member_text("/id");
    // Each line: the state, the actions that do not fit it, the one that does.
    for (state, wrong, right, next) in [
        ("scheduled", &["pause", "resume"][..], "open", "open"),
        ("open", &["open", "resume"], "pause", "paused"),
        ("paused", &["open", "pause"], "resume", "open"),
        ("open", &["open", "resume"], "close", "closed"),
    ] {
        for action in wrong {
            let answer = shop.act(&event, action).await.expect_problem(409, "wrong_state");
            assert_eq!(answer.member("/state"), state, "{answer}");
        }
        let answer = shop.act(&event, right).await.expect(200);
        check_members(&answer, "", MEMBERS);
        assert_eq!(answer.member("/state"), next);
        assert_eq!(shop.read_event(&event).await.member("/state"), next, "it shows at once");
    }
    for action in ["open", "pause", "resume", "close"] {
        let answer = shop.act(&event, action).await.expect_problem(409, "wrong_state");
        assert_eq!(answer.member("/state"), "closed");
    }
    let synced = shop.act(&event, "sync").await.expect(200);
    check_members(&synced, "", MEMBERS);
}

#[tokio::test]
async fn lifecycle_calls_take_no_body_but_an_empty_object() {
    let shop = Shop::open().await;
    let event = shop.event(5).await;
    let pause = || shop.api.post(&format!("/v1/events/{event}/pause")).token(&shop.admin);
    let _ = pause().json(json!({"why": "x"})).await.expect_problem(400, "malformed");
    let _ = pause().json_bytes("{").await.expect_problem(400, "malformed");
    assert_eq!(shop.read_event(&event).await.member("/state"), "open");
    let _ = pause().json(json!({})).await.expect(200);
}

#[tokio::test]
async fn the_audit() {
    let shop = Shop::open().await;
    let event = shop.event(5).await;
    shop.expect_audit(&event, 0).await;
    for name in ["a", "b", "c"] {
        let _ = shop.claim(&event, &shop.user(name).await).await.expect(201);
    }
    shop.expect_audit(&event, 3).await;
    let audit = shop.audit(&event).await;
    check_members(&audit, "", AUDIT_MEMBERS);
    assert_eq!((audit.member("/event_id"), audit.member("/quantity")), (json!(event), json!(5)));
    let checks = audit.member("/checks");
    let checks = checks.as_array().expect("a list");
    assert!(!checks.is_empty(), "{audit}");
    for (index, check) in checks.iter().enumerate() {
        check_members(&audit, &format!("/checks/{index}"), "name expected found pass");
        assert_eq!(check["pass"], true, "{audit}");
    }
}

#[tokio::test]
async fn events_are_listed_by_state() {
    let shop = Shop::open().await;
    let open = shop.event(5).await;
    let closed = shop.event(5).await;
    let _ = shop.act(&closed, "close").await.expect(200);
    let paused = shop.event(5).await;
    let _ = shop.act(&paused, "pause").await.expect(200);
    let (opens_at, closes_at) = LONG_HENCE;
    let scheduled = shop.event_of(|body| body.window(opens_at, closes_at)).await.member_text("/id");
    let gone = shop.event(1).await;
    let _ = shop.claim(&gone, &shop.user("a").await).await.expect(201);

    let listed = async |state: &str| -> Vec<String> {
        let items = shop.walk(&format!("/v1/events?state={state}"), "", 50).await;
        items.iter().map(|item| item["id"].as_str().expect("an id").to_owned()).collect()
    };
    for (state, event) in
        [("closed", closed), ("paused", paused), ("scheduled", scheduled), ("open", open)]
    {
        assert!(listed(state).await.contains(&event), "{state}");
    }
    let sold_out = || shop.api.get("/v1/events?state=sold_out");
    let is_listed = |answer: &firstcome_testkit::Answer| answer.text().contains(&gone);
    let listed = crate::shop::eventually("sold out", || sold_out().into_future(), is_listed).await;
    assert_eq!(listed.member("/items/0/state"), "sold_out");
    let refused = shop.api.get("/v1/events?state=lost").await;
    assert!(matches!(refused.status, 400 | 422), "{refused}");
}
