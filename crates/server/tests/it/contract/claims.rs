//! Claims.

use firstcome_testkit::{Answer, Body};
use serde_json::{Value, json};

use super::{check_members, check_utc};
use crate::shop::{Shop, lasting};

pub(super) const ISSUED_MEMBERS: &str = "id event_id coupon_id user_id sequence code state \
                                         issued_at valid_from expires_at used_at";
const PROBLEM_MEMBERS: &str = "type title status detail code request_id retryable";

#[tokio::test]
async fn a_won_claim() {
    let shop = Shop::open().await;
    let made = shop.event_of(|body| body).await;
    let (event, coupon) = (made.member_text("/id"), made.member_text("/coupon_id"));
    let user = shop.user("auth0|min-su").await;
    let issued = shop.claim(&event, &user).await.expect(201);
    check_members(&issued, "", ISSUED_MEMBERS);
    for (member, expected) in [
        ("/event_id", json!(event)),
        ("/coupon_id", json!(coupon)),
        ("/user_id", json!("auth0|min-su")),
        ("/sequence", json!(1)),
        ("/state", json!("issued")),
        ("/used_at", Value::Null),
        ("/valid_from", issued.member("/issued_at")),
    ] {
        assert_eq!(issued.member(member), expected, "{member}");
    }
    check_utc(&issued, "/issued_at");
    check_code(&issued.member_text("/code"));
    assert_eq!(issued.header("cache-control"), "no-store");
    let days = |pointer: &str| {
        let text = issued.member_text(pointer);
        firstcome_core::Timestamp::parse_rfc3339(&text).expect("a moment").as_micros()
    };
    assert_eq!(days("/expires_at") - days("/issued_at"), 30 * 86_400 * 1_000_000);

    let read = shop.api.get(issued.header("location")).token(&user).await.expect(200);
    assert_eq!(read.json(), issued.json());
    let path = format!("/v1/events/{event}/claims/me");
    let mine = shop.api.get(&path).token(&user).await.expect(200);
    assert_eq!(mine.json(), issued.json());
    let other = shop.user("ye-jin").await;
    let _ = shop.api.get(&path).token(&other).await.expect_problem(404, "not_claimed");
}

#[track_caller]
fn check_code(code: &str) {
    let groups: Vec<&str> = code.split('-').collect();
    assert_eq!(groups.len(), 3, "{code}");
    for group in groups {
        let crockford = |c: char| "0123456789ABCDEFGHJKMNPQRSTVWXYZ".contains(c);
        assert!(group.len() == 4 && group.chars().all(crockford), "{code}");
    }
}

/// That a second claim meets this coupon in this state.
#[track_caller]
fn check_repeat(repeat: Answer, issued: &Answer, state: &str) {
    let repeat = repeat.expect_problem(409, "already_claimed");
    check_members(&repeat, "", &format!("{PROBLEM_MEMBERS} issued_coupon"));
    check_members(&repeat, "/issued_coupon", ISSUED_MEMBERS);
    let shown = repeat.member("/issued_coupon");
    assert_eq!(lasting(&shown), lasting(&issued.json()), "{repeat}");
    assert_eq!(shown["state"], state, "{repeat}");
}

#[tokio::test]
async fn a_second_claim_meets_the_same_coupon_whatever_happened_since() {
    let shop = Shop::open().await;
    let event = shop.event(2).await;
    let (one, two) = (shop.user("one").await, shop.user("two").await);
    let first = shop.claim(&event, &one).await.expect(201);
    check_repeat(shop.claim(&event, &one).await, &first, "issued");

    let second = shop.claim(&event, &two).await.expect(201);
    assert_eq!(second.member("/sequence"), 2);
    assert_ne!(second.member("/code"), first.member("/code"));
    check_repeat(shop.claim(&event, &one).await, &first, "issued");
    let third = shop.user("three").await;
    let _ = shop.claim(&event, &third).await.expect_problem(409, "sold_out");
    check_repeat(shop.claim(&event, &one).await, &first, "issued");

    let order = json!({"order_id": "o-1", "order_amount": 20_000});
    let _ = shop.redeem(&first.member_text("/id"), &one, order).await.expect(201);
    check_repeat(shop.claim(&event, &one).await, &first, "used");
    let path = format!("/v1/issued-coupons/{}/revoke", second.member_text("/id"));
    let revoke = shop.api.post(&path).token(&shop.admin).json(json!({"reason": "부정 사용"}));
    let _ = revoke.await.expect(200);
    check_repeat(shop.claim(&event, &two).await, &second, "revoked");
    let _ = shop.claim(&event, &third).await.expect_problem(409, "sold_out");

    let _ = shop.act(&event, "pause").await.expect(200);
    check_repeat(shop.claim(&event, &one).await, &first, "used");
    let _ = shop.claim(&event, &third).await.expect_problem(409, "paused");
    let _ = shop.act(&event, "close").await.expect(200);
    check_repeat(shop.claim(&event, &two).await, &second, "revoked");
    let refused = shop.claim(&event, &third).await.expect_problem(409, "closed");
    check_members(&refused, "", PROBLEM_MEMBERS);
    assert_eq!(refused.member("/retryable"), false);
    shop.expect_audit(&event, 2).await;
}

#[tokio::test]
async fn a_claim_before_the_window() {
    let shop = Shop::open().await;
    let window = |body: Body| body.window("2098-01-01T00:00:00+09:00", "2099-01-01T00:00:00Z");
    let event = shop.event_of(window).await.member_text("/id");
    let refused = shop.claim(&event, &shop.user("u").await).await.expect_problem(409, "not_open");
    check_members(&refused, "", &format!("{PROBLEM_MEMBERS} opens_at"));
    assert_eq!(refused.member("/opens_at"), "2097-12-31T15:00:00Z");
    let seconds: u64 = refused.header("retry-after").parse().expect("seconds");
    assert!(seconds > 0, "{refused}");
    shop.expect_audit(&event, 0).await;
}

#[tokio::test]
async fn a_claim_has_no_body_or_an_empty_object() {
    let shop = Shop::open().await;
    let event = shop.event(10).await;
    let path = format!("/v1/events/{event}/claims");
    let user = shop.user("u").await;
    let claim = || shop.api.post(&path).token(&user);
    for (bytes, status, code) in [
        (r#"{"user_id": "other"}"#.to_owned(), 400, "malformed"),
        ("{".to_owned(), 400, "malformed"),
        ("nothing".to_owned(), 400, "malformed"),
        (format!("{{{}}}", " ".repeat(4 * 1024)), 413, "too_large"),
    ] {
        let _ = claim().json_bytes(bytes).await.expect_problem(status, code);
    }
    for bytes in ["[]", "null", "1"] {
        let answer = claim().json_bytes(bytes).await;
        assert!(matches!(answer.status, 400 | 422), "{answer}");
    }
    let _ = claim().bytes("{}").header("content-type", "text/plain").await.expect(415);
    shop.expect_audit(&event, 0).await;
    let _ = claim().json(json!({})).await.expect(201);
    let _ = claim().json_bytes("").await.expect(409);
    let _ = claim().json_bytes(" {\n} ").await.expect(409);
}

#[tokio::test]
async fn an_admin_may_claim_and_a_checkout_may_not() {
    let shop = Shop::open().await;
    let event = shop.event(10).await;
    let checkout = shop.checkout().await;
    let _ = shop.claim(&event, &checkout).await.expect_problem(403, "forbidden");
    let _ = shop.claim(&event, &shop.admin).await.expect(201);
}

#[tokio::test]
async fn the_validity_of_a_period() {
    let shop = Shop::open().await;
    let validity = json!({
        "type": "period", "from": "2026-11-27T00:00:00+09:00", "until": "2098-12-01T00:00:00Z",
    });
    let event = shop.event_issuing(firstcome_testkit::coupon_body().with("/validity", validity));
    let event = event.await;
    let issued = shop.claim(&event, &shop.user("u").await).await.expect(201);
    assert_eq!(issued.member("/valid_from"), "2026-11-26T15:00:00Z");
    assert_eq!(issued.member("/expires_at"), "2098-12-01T00:00:00Z");
}

/// Requests that follow each other on one connection without waiting are answered in their order.
#[tokio::test]
async fn pipelined_claims() {
    let shop = Shop::open().await;
    let event = shop.event(2).await;
    let tokens = shop.server.tokens("shopper", 3).await;
    let what = format!("POST /v1/events/{event}/claims");
    let mut wire = shop.wire().await;
    for token in tokens.iter().chain(&tokens) {
        wire.request(&what, token, "").await.expect("the server reads");
    }
    let mut heard = Vec::new();
    for _ in 0..6 {
        let answer = wire.answer().await.expect("an answer");
        heard.push(if answer.status == 201 { "issued".to_owned() } else { answer.code() });
    }
    let claimed = "already_claimed";
    assert_eq!(heard, ["issued", "issued", "sold_out", claimed, claimed, "sold_out"]);
}

/// A user id may hold every visible character, those of JSON and CSV included.
#[tokio::test]
async fn a_user_id_of_every_visible_character() {
    let shop = Shop::open().await;
    let event = shop.event(10).await;
    let visible: String = ('!'..='~').collect();
    let longest = "\"\\".repeat(64);
    for sub in [visible.as_str(), &longest] {
        let token = shop.user(sub).await;
        let issued = shop.claim(&event, &token).await.expect(201);
        assert_eq!(issued.member("/user_id"), sub);
        let again = shop.claim(&event, &token).await.expect_problem(409, "already_claimed");
        assert_eq!(again.member("/issued_coupon"), issued.json());
        assert_eq!(shop.issued(&event).await[sub], issued.json());
    }
}

/// A coupon that changes counts for who wins afterwards; what was issued keeps its dates.
#[tokio::test]
async fn a_changed_validity_is_for_later_wins() {
    let shop = Shop::open().await;
    let made = shop.event_of(|body| body).await;
    let event = made.member_text("/id");
    let (one, two) = (shop.user("one").await, shop.user("two").await);
    let first = shop.claim(&event, &one).await.expect(201);

    let path = format!("/v1/coupons/{}", made.member_text("/coupon_id"));
    let etag = shop.api.get(&path).await.header("etag").to_owned();
    let validity = json!({
        "type": "period", "from": "2026-11-27T00:00:00Z", "until": "2098-12-01T00:00:00Z",
    });
    let change = shop.api.patch(&path).token(&shop.admin).header("if-match", &etag);
    let _ = change.json(json!({"validity": validity})).await.expect(200);

    let second = shop.claim(&event, &two).await.expect(201);
    assert_eq!(second.member("/expires_at"), "2098-12-01T00:00:00Z");
    let again = shop.claim(&event, &one).await.expect_problem(409, "already_claimed");
    assert_eq!(again.member("/issued_coupon"), first.json());
}
