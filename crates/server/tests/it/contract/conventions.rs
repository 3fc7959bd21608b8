//! What holds for every call.

use std::collections::{BTreeMap, BTreeSet};

use firstcome_testkit::coupon_body;
use serde_json::json;

use super::NOWHERE;
use crate::shop::Shop;

/// `(method, path, scopes that may)` of every call that needs a token; `{}` stands for an id.
pub(crate) const GUARDED: [(&str, &str, &[&str]); 27] = [
    ("GET", "/v1/me", &["user", "admin", "redeem"]),
    ("DELETE", "/v1/me", &["user"]),
    ("DELETE", "/v1/users/{}", &["admin"]),
    ("GET", "/v1/admin/changes", &["admin"]),
    ("DELETE", "/v1/sessions/current", &["user", "admin", "redeem"]),
    ("GET", "/v1/clients", &["admin"]),
    ("POST", "/v1/clients", &["admin"]),
    ("DELETE", "/v1/clients/{}", &["admin"]),
    ("POST", "/v1/coupons", &["admin"]),
    ("PATCH", "/v1/coupons/{}", &["admin"]),
    ("POST", "/v1/events", &["admin"]),
    ("PATCH", "/v1/events/{}", &["admin"]),
    ("POST", "/v1/events/{}/open", &["admin"]),
    ("POST", "/v1/events/{}/pause", &["admin"]),
    ("POST", "/v1/events/{}/resume", &["admin"]),
    ("POST", "/v1/events/{}/close", &["admin"]),
    ("POST", "/v1/events/{}/sync", &["admin"]),
    ("GET", "/v1/events/{}/audit", &["admin"]),
    ("GET", "/v1/events/{}/issued-coupons", &["admin"]),
    ("POST", "/v1/events/{}/claims", &["user"]),
    ("GET", "/v1/events/{}/claims/me", &["user"]),
    ("GET", "/v1/me/coupons", &["user"]),
    ("GET", "/v1/me/coupons/{}", &["user"]),
    ("POST", "/v1/me/coupons/{}/redemptions", &["user"]),
    ("POST", "/v1/redemptions", &["redeem"]),
    ("POST", "/v1/redemptions/{}/cancel", &["redeem", "admin"]),
    ("POST", "/v1/issued-coupons/{}/revoke", &["admin"]),
];

#[tokio::test]
async fn every_guarded_call_asks_for_a_token_and_its_scope() {
    let shop = Shop::open().await;
    let mut tokens = Vec::new();
    for scope in ["user", "admin", "redeem"] {
        tokens.push((scope, shop.server.token("somebody", scope).await));
    }
    for (method, path, may) in GUARDED {
        let path = path.replace("{}", NOWHERE);
        let answer = shop.api.call(method, &path).await.expect_problem(401, "unauthenticated");
        assert!(answer.header("www-authenticate").starts_with("Bearer"), "{answer}");
        for (scope, token) in &tokens {
            let answer = shop.api.call(method, &path).token(token).await;
            assert_ne!(answer.status, 401, "{scope}: {answer}");
            assert_eq!(answer.status == 403, !may.contains(scope), "{scope}: {answer}");
            if answer.status == 403 {
                assert_eq!(answer.code(), "forbidden");
            }
        }
    }
}

/// The table above is whole: what the document says of the calls that need a token is in it.
#[tokio::test]
async fn every_call_that_needs_a_token_is_known_here() {
    let shop = Shop::open().await;
    let document = shop.api.get("/openapi.json").await.expect(200).json();
    let mut documented = BTreeMap::new();
    for (path, calls) in document["paths"].as_object().expect("paths") {
        for (method, call) in calls.as_object().expect("calls") {
            let of_bearer = call["security"].as_array().into_iter().flatten();
            let of_bearer: Vec<_> = of_bearer.filter_map(|way| way["bearer"].as_array()).collect();
            if !of_bearer.is_empty() {
                let scopes = of_bearer.into_iter().flatten().filter_map(|scope| scope.as_str());
                let scopes: BTreeSet<_> = scopes.collect();
                let any = BTreeSet::from(["user", "admin", "redeem"]);
                let of_path = |part| if str::starts_with(part, '{') { "{}" } else { part };
                let path: Vec<_> = path.split('/').map(of_path).collect();
                let scopes = if scopes.is_empty() { any } else { scopes };
                documented.insert((method.to_uppercase(), path.join("/")), scopes);
            }
        }
    }
    let known = GUARDED.into_iter().map(|(method, path, may)| {
        ((method.to_owned(), path.to_owned()), may.iter().copied().collect::<BTreeSet<_>>())
    });
    assert_eq!(documented, known.collect::<BTreeMap<_, _>>());
}

#[tokio::test]
async fn unknown_paths_and_methods() {
    let shop = Shop::open().await;
    for path in ["/", "/v1", "/v2/events", "/v1/event", "/v1/events/", "/v1/events//x", "/쿠폰"] {
        let _ = shop.api.get(path).await.expect_problem(404, "not_found");
    }
    for (method, path, allowed) in [
        ("DELETE", "/v1/coupons", "POST"),
        ("PUT", "/v1/events", "POST"),
        ("DELETE", "/v1/events/x", "PATCH"),
        ("GET", "/v1/users", "POST"),
        ("GET", "/v1/redemptions", "POST"),
        ("POST", "/readyz", "GET"),
        ("BREW", "/v1/me/coupons", "GET"),
    ] {
        let answer = shop.api.call(method, path).await.expect_problem(405, "method_not_allowed");
        let mut allow = answer.header("allow").split(',').map(str::trim);
        assert!(allow.any(|word| word == allowed), "{answer}");
    }
}

#[tokio::test]
async fn a_request_id_is_taken_or_made() {
    let shop = Shop::open().await;
    let longest = "a".repeat(64);
    for good in ["x", "Order-1_2.3", &longest] {
        let answer = shop.api.get("/v1/events").header("x-request-id", good).await;
        assert_eq!(answer.header("x-request-id"), good);
        let answer = shop.api.get("/nowhere").header("x-request-id", good).await;
        assert_eq!(answer.expect_problem(404, "not_found").member("/request_id"), good);
    }
    let too_long = "a".repeat(65);
    for bad in ["", " ", "a b", "a/b", "a\"b", "<script>", &too_long] {
        let answer = shop.api.get("/nowhere").header("x-request-id", bad).await;
        let made = answer.header("x-request-id");
        assert!(!made.is_empty() && made != bad, "{answer}");
        assert!(made.len() <= 64, "{answer}");
    }
    let first = shop.api.get("/livez").await.header("x-request-id").to_owned();
    assert_ne!(first, shop.api.get("/livez").await.header("x-request-id"));
}

#[tokio::test]
async fn headers_that_name_a_user_are_ignored() {
    let shop = Shop::open().await;
    let event = shop.event(5).await;
    let token = shop.user("min-su").await;
    let forged = |call: firstcome_testkit::api::Call| {
        call.header("x-user-id", "ye-jin")
            .header("x-forwarded-user", "ye-jin")
            .header("x-user-scope", "admin")
            .header("x-scope", "admin")
    };
    let path = format!("/v1/events/{event}/claims");
    let _ = forged(shop.api.post(&path)).await.expect_problem(401, "unauthenticated");
    let issued = forged(shop.api.post(&path).token(&token)).await.expect(201);
    assert_eq!(issued.member("/user_id"), "min-su");
    let made = forged(shop.api.post("/v1/coupons").token(&token)).json(coupon_body()).await;
    let _ = made.expect_problem(403, "forbidden");
}

#[tokio::test]
async fn bodies_are_json_and_say_so() {
    let shop = Shop::open().await;
    let text = coupon_body().json().to_string();
    for media_type in
        ["text/plain", "application/xml", "application/x-www-form-urlencoded", "json", "text/json"]
    {
        let call = shop.api.post("/v1/coupons").token(&shop.admin);
        let answer = call.header("content-type", media_type).bytes(text.clone()).await;
        let _ = answer.expect_problem(415, "unsupported_media_type");
    }
    let call = shop.api.post("/v1/coupons").token(&shop.admin);
    let _ = call.bytes(text.clone()).await.expect_problem(415, "unsupported_media_type");
    let call = shop.api.post("/v1/coupons").token(&shop.admin);
    let call = call.header("content-type", "application/json; charset=utf-8");
    let _ = call.bytes(text).await.expect(201);
    let bare = shop.api.post("/v1/coupons").token(&shop.admin).await;
    let _ = bare.expect_problem(400, "malformed");
}

#[tokio::test]
async fn what_operators_ask() {
    let shop = Shop::open().await;
    for path in ["/livez", "/readyz"] {
        let _ = shop.api.get(path).await.expect(200);
    }
    let docs = shop.api.get("/docs").await.expect(200);
    assert!(docs.header("content-type").starts_with("text/html"), "{docs}");
    let document = shop.api.get("/openapi.json").await.expect(200);
    assert!(document.member_text("/openapi").starts_with("3.1"), "{document}");
    let documented = document.members("/paths");
    for (_, path, _) in GUARDED {
        let pattern = |known: &String| {
            let known =
                known.split('/').map(|part| if part.starts_with('{') { "{}" } else { part });
            known.eq(path.split('/'))
        };
        assert!(documented.iter().any(pattern), "{path} is not in the OpenAPI document");
    }
}

#[tokio::test]
async fn metrics_count_the_verdicts() {
    let shop = Shop::open().await;
    let event = shop.event(1).await;
    let (one, two) = (shop.user("one").await, shop.user("two").await);
    let _ = shop.claim(&event, &one).await.expect(201);
    let _ = shop.claim(&event, &one).await.expect_problem(409, "already_claimed");
    let _ = shop.claim(&event, &two).await.expect_problem(409, "sold_out");
    let metrics = shop.api.get("/metrics").await.expect(200);
    assert!(metrics.header("content-type").starts_with("text/plain"), "{metrics}");
    let text = metrics.text();
    for verdict in ["issued", "already_claimed", "sold_out"] {
        let counted = text.lines().any(|line| {
            line.starts_with("firstcome_claims_total{")
                && line.contains(&format!("verdict=\"{verdict}\""))
                && line.ends_with(" 1")
        });
        assert!(counted, "no claim counted as {verdict}:\n{text}");
    }
    for secret in [&one, &two, &shop.admin] {
        assert!(!text.contains(secret.as_str()), "a token is in the metrics");
    }
}

#[tokio::test]
async fn no_secret_is_in_the_log() {
    let mut shop = Shop::open_as(|launch| launch.arguments(&["--log-level", "debug"])).await;
    let credentials = json!({"email": "canary@example.com", "password": "canary-password"});
    let _ = shop.api.post("/v1/users").json(credentials.clone()).await.expect(201);
    let session = shop.api.post("/v1/sessions").json(credentials).await.expect(200);
    let token = session.member_text("/access_token");
    let event = shop.event(5).await;
    let issued = shop.claim(&event, &token).await.expect(201);
    assert_eq!(shop.server.terminate().await, Some(0));

    let said = shop.server.said();
    for secret in [
        token,
        session.member_text("/refresh_token"),
        issued.member_text("/code"),
        "canary-password".to_owned(),
        "canary@example.com".to_owned(),
    ] {
        assert!(!said.contains(&secret), "{secret} is in the log:\n{said}");
    }
}
