//! Rate limits at the edge, by address and by user.

use std::net::SocketAddr;
use std::sync::Arc;

use axum::Router;
use axum::body::Body;
use axum::extract::{ConnectInfo, Request};
use axum::routing::{get, post};
use firstcome_core::{Email, UserId};
use firstcome_web::{
    AccessClaims, EdgeOptions, Limits, LimitsConfig, LogInAttempts, Problem, Scopes, SystemClock,
    TokenKey, UserToken, Verifier, limited_edge,
};
use metrics_exporter_prometheus::PrometheusBuilder;
use tokio::time::{Duration, Instant, sleep};

use crate::Answer;

const HOME: &str = "198.51.100.7:40000";
const AWAY: &str = "203.0.113.9:40000";

/// A router with calls of every class.
fn app(config: &LimitsConfig) -> Router {
    let key = TokenKey::new(&[7; 32]);
    let clock = Arc::new(SystemClock::new());
    let verifier = Arc::new(Verifier::new(&key, "firstcome", "firstcome", clock));
    let router = Router::new()
        .route("/v1/users", post(async || "signed up"))
        .route("/v1/sessions", post(log_in))
        .route("/oauth/token", post(async || "a token"))
        .route("/v1/events/{id}/claims", post(async |_: UserToken| "won"))
        .route("/v1/me/coupons", get(async |_: UserToken| "mine"))
        .route("/v1/coupons", get(async || "all"))
        .route("/livez", get(async || "alive"))
        .with_state(verifier);
    let limits = Arc::new(Limits::new(config).unwrap());
    limited_edge(router, EdgeOptions::default(), &limits)
}

/// A log-in whose body is the e-mail address, and succeeds where the query says so.
async fn log_in(attempts: LogInAttempts, request: Request) -> Result<&'static str, Problem> {
    let right = request.uri().query() == Some("right");
    let body = axum::body::to_bytes(request.into_body(), 300).await.unwrap();
    let email = Email::parse(std::str::from_utf8(&body).unwrap()).unwrap();
    let attempt = attempts.begin(&email)?;
    attempt.end(right);
    Ok(if right { "in" } else { "wrong" })
}

fn request(method: &str, path: &str, peer: &str) -> Request {
    let peer: SocketAddr = peer.parse().unwrap();
    let request = Request::builder().method(method).uri(path).extension(ConnectInfo(peer));
    request.body(Body::empty()).unwrap()
}

fn with_token(request: Request, user: &str, scope: &str) -> Request {
    with_token_of(&[7; 32], request, user, scope)
}

fn with_token_of(secret: &[u8; 32], mut request: Request, user: &str, scope: &str) -> Request {
    let claims = AccessClaims {
        iss: "firstcome".to_owned(),
        aud: "firstcome".to_owned(),
        sub: UserId::parse(user).unwrap(),
        exp: i64::MAX,
        iat: 0,
        client_id: None,
        jti: "1".to_owned(),
        scope: Scopes::parse(scope),
        sid: None,
    };
    let token = format!("Bearer {}", TokenKey::new(secret).sign(&claims));
    request.headers_mut().insert("authorization", token.parse().unwrap());
    request
}

/// The seconds that a field gives as `t`, and all before it.
fn until(field: Option<&str>) -> (&str, u64) {
    let (rest, seconds) = field.unwrap().rsplit_once(";t=").unwrap();
    (rest, seconds.parse().unwrap())
}

/// So many seconds, or a little less: a busy machine takes its time.
fn about(seconds: u64) -> std::ops::RangeInclusive<u64> {
    seconds - 20..=seconds
}

async fn log_in_as(app: &Router, email: &str, query: &str, peer: &str) -> Answer {
    let mut request = request("POST", &format!("/v1/sessions{query}"), peer);
    *request.body_mut() = Body::from(email.to_owned());
    Answer::of(app, request).await
}

#[tokio::test]
async fn an_address_has_its_burst() {
    let config = LimitsConfig {
        sign_up_address_burst: 3,
        sign_up_address_per_minute: 1,
        ..Default::default()
    };
    let app = app(&config);
    let sign_up = async |peer| Answer::of(&app, request("POST", "/v1/users", peer)).await;
    for remaining in [2, 1, 0] {
        let answer = sign_up(HOME).await;
        assert_eq!(answer.status, 200);
        assert_eq!(answer.header("ratelimit-policy"), Some("\"sign_up_address\";q=3;w=180"));
        let (left, seconds) = until(answer.header("ratelimit"));
        assert_eq!(left, format!("\"sign_up_address\";r={remaining}"));
        assert!(about(180 - 60 * remaining).contains(&seconds), "{seconds}");
    }
    let refused = sign_up(HOME).await;
    assert_eq!((refused.status, refused.code().as_str()), (429, "rate_limited"));
    assert_eq!(refused.header("ratelimit-policy"), Some("\"sign_up_address\";q=3;w=180"));
    let (left, seconds) = until(refused.header("ratelimit"));
    assert_eq!(left, "\"sign_up_address\";r=0");
    assert!(about(60).contains(&seconds), "{seconds}");
    assert_eq!(refused.header("retry-after"), Some(seconds.to_string().as_str()));
    assert_eq!(sign_up(AWAY).await.status, 200, "another address");
    assert_eq!(sign_up("[2001:db8::1]:1").await.status, 200);
}

#[tokio::test]
async fn after_the_time_that_a_refusal_tells_one_more_may_come() {
    let config =
        LimitsConfig { token_address_burst: 1, token_address_per_minute: 60, ..Default::default() };
    let app = app(&config);
    let ask = async || Answer::of(&app, request("POST", "/oauth/token", HOME)).await;
    let began = Instant::now();
    assert_eq!(ask().await.status, 200);
    let mut answer = ask().await;
    assert_eq!((answer.status, answer.header("retry-after")), (429, Some("1")));
    while answer.status == 429 {
        assert!(began.elapsed() < Duration::from_secs(20), "still refused");
        sleep(Duration::from_millis(20)).await;
        answer = ask().await;
    }
    assert!(began.elapsed() >= Duration::from_secs(1), "{:?}", began.elapsed());
}

#[tokio::test]
async fn each_class_has_a_limit_of_its_own() {
    let config = LimitsConfig {
        sign_up_address_burst: 1,
        sign_up_address_per_minute: 1,
        log_in_address_burst: 1,
        log_in_address_per_minute: 1,
        token_address_burst: 1,
        token_address_per_minute: 1,
        claim_address_burst: 1,
        claim_address_per_minute: 1,
        other_address_burst: 1,
        other_address_per_minute: 1,
        ..Default::default()
    };
    let app = app(&config);
    let answers = async |expected: u16| {
        for (method, path) in [
            ("POST", "/v1/users"),
            ("POST", "/oauth/token"),
            ("POST", "/v1/events/1/claims"),
            ("GET", "/v1/coupons"),
        ] {
            let request = with_token(request(method, path, HOME), "kim", "user");
            assert_eq!(Answer::of(&app, request).await.status, expected, "{path}");
        }
        assert_eq!(log_in_as(&app, "a@b.c", "?right", HOME).await.status, expected);
    };
    answers(200).await;
    answers(429).await;
    for _ in 0..100 {
        let alive = Answer::of(&app, request("GET", "/livez", HOME)).await;
        assert_eq!((alive.status, alive.header("ratelimit")), (200, None), "never limited");
    }
}

#[tokio::test]
async fn a_user_is_limited_wherever_the_requests_come_from() {
    let config = LimitsConfig {
        claim_user_burst: 2,
        claim_user_per_minute: 1,
        other_user_burst: 3,
        other_user_per_minute: 1,
        staff_user_burst: 4,
        staff_user_per_minute: 1,
        ..Default::default()
    };
    let app = app(&config);
    for (method, path, user, scope, burst, limit) in [
        ("POST", "/v1/events/1/claims", "kim", "user", 2, "claim_user"),
        ("GET", "/v1/me/coupons", "kim", "user", 3, "other_user"),
        ("GET", "/v1/me/coupons", "lee", "user admin", 4, "staff_user"),
        // Without the scope: refused each time, and counted all the same.
        ("GET", "/v1/me/coupons", "pos", "redeem", 4, "staff_user"),
    ] {
        for number in 0..burst {
            let peer = if number % 2 == 0 { HOME } else { AWAY };
            let answer = Answer::of(&app, with_token(request(method, path, peer), user, scope));
            let answer = answer.await;
            assert!(matches!(answer.status, 200 | 403), "{path}: {}", answer.text);
            assert_eq!(answer.header("ratelimit"), None, "only the strict classes tell");
        }
        let refused = Answer::of(&app, with_token(request(method, path, HOME), user, scope)).await;
        assert_eq!((refused.status, refused.code().as_str()), (429, "rate_limited"), "{path}");
        let told = refused.header("ratelimit").unwrap();
        assert!(told.starts_with(&format!("\"{limit}\";r=0;t=")), "{told}");
        let other = Answer::of(&app, with_token(request(method, path, HOME), "choi", "user"));
        assert_eq!(other.await.status, 200, "another user");
    }
}

#[tokio::test]
async fn a_bad_token_spends_of_nobody() {
    let app =
        app(&LimitsConfig { other_user_burst: 1, other_user_per_minute: 1, ..Default::default() });
    for _ in 0..5 {
        let forged = request("GET", "/v1/me/coupons", HOME);
        let forged = with_token_of(&[8; 32], forged, "kim", "user");
        assert_eq!(Answer::of(&app, forged).await.status, 401);
    }
    for expected in [200, 429] {
        let good = with_token(request("GET", "/v1/me/coupons", HOME), "kim", "user");
        assert_eq!(Answer::of(&app, good).await.status, expected);
    }
}

#[tokio::test]
async fn failed_log_ins_are_limited_by_account() {
    let config = LimitsConfig { log_in_account_burst: 3, ..Default::default() };
    let app = app(&config);
    for _ in 0..20 {
        assert_eq!(log_in_as(&app, "kim@example.com", "?right", HOME).await.text, "in");
    }
    for _ in 0..3 {
        assert_eq!(log_in_as(&app, "kim@example.com", "", AWAY).await.text, "wrong");
    }
    for query in ["", "?right"] {
        let refused = log_in_as(&app, "kim@example.com", query, AWAY).await;
        assert_eq!((refused.status, refused.code().as_str()), (429, "rate_limited"));
        let told: Vec<_> = refused.headers.get_all("ratelimit").iter().collect();
        assert_eq!(told.len(), 2, "its own limit and the address's: {told:?}");
        let (left, seconds) = until(told[0].to_str().ok());
        assert_eq!(left, "\"log_in_account\";r=0");
        assert!(about(30).contains(&seconds), "{seconds}");
        assert_eq!(refused.header("retry-after"), Some(seconds.to_string().as_str()));
        assert!(!refused.text.contains("kim"), "{}", refused.text);
    }
    assert_eq!(log_in_as(&app, "lee@example.com", "", AWAY).await.text, "wrong", "another account");
    let known = log_in_as(&app, "kim@example.com", "?right", HOME).await;
    assert_eq!(known.text, "in", "where it has logged in before");
}

#[tokio::test]
async fn a_proxy_is_believed_only_where_it_is_trusted() {
    let strict = |trusted: &[&str]| LimitsConfig {
        sign_up_address_burst: 1,
        sign_up_address_per_minute: 1,
        trusted_proxies: trusted.iter().copied().map(str::to_owned).collect(),
        ..Default::default()
    };
    let sign_up = async |app: &Router, forwarded: &str| {
        let mut request = request("POST", "/v1/users", "10.0.0.1:1");
        request.headers_mut().insert("x-forwarded-for", forwarded.parse().unwrap());
        Answer::of(app, request).await.status
    };
    let trusting = app(&strict(&["10.0.0.0/8"]));
    for client in ["198.51.100.1", "198.51.100.2", "6.6.6.6, 198.51.100.3"] {
        assert_eq!(sign_up(&trusting, client).await, 200, "{client}");
        assert_eq!(sign_up(&trusting, client).await, 429, "{client}");
    }
    assert_eq!(sign_up(&trusting, "7.7.7.7, 198.51.100.3").await, 429, "forged by the client");
    let alone = app(&strict(&["10.9.0.0/16"]));
    assert_eq!(sign_up(&alone, "198.51.100.1").await, 200);
    assert_eq!(sign_up(&alone, "198.51.100.2").await, 429, "the header is anybody's");
}

#[test]
fn refusals_are_counted_by_limit() {
    let recorder = PrometheusBuilder::new().build_recorder();
    metrics::with_local_recorder(&recorder, || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
        runtime.block_on(async {
            let app = app(&LimitsConfig { token_address_burst: 1, ..Default::default() });
            for _ in 0..3 {
                Answer::of(&app, request("POST", "/oauth/token", HOME)).await;
            }
        });
    });
    let text = recorder.handle().render();
    for line in [
        r#"firstcome_rate_limited_total{limit="token_address"} 2"#,
        r#"firstcome_rate_limited_total{limit="claim_user"} 0"#,
    ] {
        assert!(text.lines().any(|found| found == line), "{line} in:\n{text}");
    }
}
