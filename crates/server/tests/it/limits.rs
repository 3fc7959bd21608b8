//! Rate limits, as a caller meets them.

use std::future::IntoFuture;

use firstcome_testkit::{Answer, Wire};
use serde_json::json;
use tokio::task::JoinSet;

use crate::contract::conventions::GUARDED;
use crate::shop::Shop;

const NOWHERE: &str = "0199a8e2-7c1b-7d3e-8f00-0123456789ab";
/// The calls that are limited strictly, by address.
const STRICT: [(&str, &str); 3] = [
    ("/v1/users", "sign_up_address"),
    ("/v1/sessions", "log_in_address"),
    ("/oauth/token", "token_address"),
];

/// That this is a 429 of this limit, with all that it must carry.
#[track_caller]
fn check_limited(answer: Answer, limit: &str) {
    let answer = answer.expect_problem(429, "rate_limited");
    assert_eq!(answer.member("/retryable"), true, "{answer}");
    let seconds: u64 = answer.header("retry-after").parse().expect("seconds");
    assert!(seconds >= 1, "{answer}");
    assert_eq!(answer.header("ratelimit"), format!("\"{limit}\";r=0;t={seconds}"), "{answer}");
    let policy = answer.header("ratelimit-policy");
    assert!(policy.starts_with(&format!("\"{limit}\";q=")), "{answer}");
}

async fn log_in(shop: &Shop, email: &str, password: &str) -> Answer {
    let body = json!({"email": email, "password": password});
    shop.api.post("/v1/sessions").json(body).await
}

#[tokio::test]
async fn the_strict_calls_are_limited_by_address() {
    let shop = Shop::open_configured(
        "[limits]\n\
         sign_up_address_burst = 2\nsign_up_address_per_minute = 1\n\
         log_in_address_burst = 2\nlog_in_address_per_minute = 1\n\
         token_address_burst = 2\ntoken_address_per_minute = 1\n",
    )
    .await;
    let event = shop.event(10).await;
    for (path, limit) in STRICT {
        // Whoever says to be somebody else is still who the connection says.
        let ask = |forwarded| shop.api.post(path).header("x-forwarded-for", forwarded);
        for (remaining, forwarded) in [(1, "198.51.100.1"), (0, "198.51.100.2")] {
            let answer = ask(forwarded).await;
            assert_eq!(answer.status, 400, "{answer}");
            let left = answer.header("ratelimit");
            assert!(left.starts_with(&format!("\"{limit}\";r={remaining};t=")), "{answer}");
            assert_eq!(answer.header("ratelimit-policy"), format!("\"{limit}\";q=2;w=120"));
        }
        check_limited(ask("198.51.100.3").await, limit);
        let series = format!("firstcome_rate_limited_total{{limit=\"{limit}\"}}");
        assert_eq!(shop.metric(&series).await, 1);
    }
    let issued = shop.claim(&event, &shop.user("u").await).await.expect(201);
    assert_eq!(issued.header("ratelimit"), "", "claims are another matter");
    let _ = shop.api.get("/readyz").await.expect(200);
}

#[tokio::test]
async fn behind_a_trusted_proxy_each_client_is_limited_by_itself() {
    let shop = Shop::open_configured(
        "[limits]\ntrusted_proxies = [\"127.0.0.0/8\"]\n\
         sign_up_address_burst = 1\nsign_up_address_per_minute = 1\n",
    )
    .await;
    let sign_up = |forwarded| shop.api.post("/v1/users").header("x-forwarded-for", forwarded);
    for client in ["198.51.100.1", "9.9.9.9, 198.51.100.2", "2001:db8::1"] {
        let _ = sign_up(client).await.expect(400);
        check_limited(sign_up(client).await, "sign_up_address");
    }
    check_limited(sign_up("8.8.8.8, 198.51.100.2").await, "sign_up_address");
    check_limited(sign_up("2001:db8::2").await, "sign_up_address");
}

/// No call with a token escapes: each user may call once here.
#[tokio::test]
async fn every_call_with_a_token_is_limited_by_user() {
    let quota = |name: &str| format!("{name}_burst = 1\n{name}_per_minute = 1\n");
    let quotas = ["claim_user", "other_user", "staff_user"].map(quota).concat();
    let shop = Shop::open_configured(&format!("[limits]\n{quotas}")).await;
    for (number, (method, path, may)) in GUARDED.into_iter().enumerate() {
        let token = shop.server.token(&format!("caller-{number}"), may[0]).await;
        let path = path.replace("{}", NOWHERE);
        let call = || shop.api.call(method, &path).token(&token);
        let first = call().await;
        assert_ne!(first.status, 429, "{first}");
        let limit = match may[0] {
            _ if path.ends_with("/claims") => "claim_user",
            "user" => "other_user",
            _ => "staff_user",
        };
        check_limited(call().await, limit);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn by_default_a_hundred_claims_of_one_user_are_all_answered() {
    let shop = Shop::open().await;
    let event = shop.event(10).await;
    let token = shop.user("eager").await;
    let mut claims = JoinSet::new();
    for _ in 0..100 {
        let call = shop.api.post(&format!("/v1/events/{event}/claims")).token(&token);
        claims.spawn(call.into_future());
    }
    let mut won = 0;
    for answer in claims.join_all().await {
        match answer.status {
            201 => won += 1,
            _ => assert_eq!(answer.expect(409).code(), "already_claimed"),
        }
    }
    assert_eq!(won, 1);
}

/// By default a user may claim 5,000 times at once and then 200 times a second: who goes on faster
/// is stopped, and nobody else.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn by_default_a_user_who_hammers_is_limited() {
    const CONNECTIONS: usize = 4;
    const CLAIMS: usize = 4_000;
    let shop = Shop::open().await;
    let event = shop.event(10).await;
    let (token, what) = (shop.user("hammer").await, format!("POST /v1/events/{event}/claims"));
    let mut clients = JoinSet::new();
    for _ in 0..CONNECTIONS {
        let (authority, token) = (shop.server.authority().to_owned(), token.clone());
        let what = what.clone();
        clients.spawn(async move {
            let mut wire = Wire::connect(&authority).await.expect("the server listens");
            for number in 0..CLAIMS {
                wire.request(&what, &token, "").await.expect("the server reads");
                let answer = wire.answer().await.expect("an answer");
                if answer.status == 429 {
                    return Some((number, answer));
                }
                assert!(matches!(answer.status, 201 | 409), "{answer}");
            }
            None
        });
    }
    let stopped: Vec<_> = clients.join_all().await.into_iter().flatten().collect();
    assert_eq!(stopped.len(), CONNECTIONS, "some client was not stopped");
    let answered: usize = stopped.iter().map(|(number, _)| number).sum();
    assert!(answered >= 5_000, "only {answered} claims were answered");
    for (_, answer) in stopped {
        check_limited(answer, "claim_user");
    }
    let _ = shop.claim(&event, &shop.user("patient").await).await.expect(201);
    assert!(shop.metric("firstcome_rate_limited_total{limit=\"claim_user\"}").await >= 4);
}

/// An address with an account and one without are the same: in the answers, in the moment of the
/// refusal, and in the work that each costs.
#[tokio::test]
async fn guessing_at_a_password_is_limited_and_tells_nothing() {
    const BURST: u64 = 30;
    let shop = Shop::open().await;
    let owner = json!({"email": "owner@example.com", "password": "the right password"});
    let _ = shop.api.post("/v1/users").json(owner).await.expect(201);
    let work = "firstcome_password_seconds_count{work=\"verify\"}";
    for email in ["owner@example.com", "nobody@example.com"] {
        let before = shop.metric(work).await;
        for _ in 0..BURST {
            let _ = log_in(&shop, email, "a wrong password")
                .await
                .expect_problem(401, "invalid_credentials");
        }
        assert_eq!(shop.metric(work).await - before, BURST, "each password is verified: {email}");
        for password in ["a wrong password", "the right password"] {
            let refused = log_in(&shop, &email.to_uppercase(), password).await;
            check_limited(refused, "log_in_account");
        }
        assert_eq!(shop.metric(work).await - before, BURST, "a refusal costs nothing: {email}");
    }
    let other = json!({"email": "other@example.com", "password": "the right password"});
    let _ = shop.api.post("/v1/users").json(other).await.expect(201);
    let _ = log_in(&shop, "other@example.com", "the right password").await.expect(200);
}

/// From where an account has logged in before, its owner gets in while a stranger guesses.
#[tokio::test]
async fn a_stranger_does_not_lock_the_owner_out() {
    let shop = Shop::open_configured(
        "[limits]\ntrusted_proxies = [\"127.0.0.1\"]\n\
         log_in_account_burst = 3\nlog_in_account_per_minute = 1\n",
    )
    .await;
    let owner = json!({"email": "owner@example.com", "password": "the right password"});
    let _ = shop.api.post("/v1/users").json(owner).await.expect(201);
    let log_in = async |password: &str, from: &str| {
        let body = json!({"email": "owner@example.com", "password": password});
        shop.api.post("/v1/sessions").header("x-forwarded-for", from).json(body).await
    };
    let (home, stranger) = ("198.51.100.1", "203.0.113.9");
    let _ = log_in("the right password", home).await.expect(200);
    for _ in 0..3 {
        let _ = log_in("a wrong password", stranger).await.expect(401);
    }
    let _ = log_in("the right password", stranger).await.expect_problem(429, "rate_limited");
    let _ = log_in("the right password", home).await.expect(200);
}
