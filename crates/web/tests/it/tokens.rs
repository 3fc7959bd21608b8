//! Tokens, good and bad.

use std::sync::Arc;

use axum::Router;
use axum::body::Body;
use axum::http::{Request, header};
use axum::routing::get;
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use firstcome_core::{Clock, Timestamp, UserId};
use firstcome_web::{
    AccessClaims, AdminToken, AnyToken, EdgeOptions, RedeemToken, Scopes, StaffToken, TokenKey,
    UserToken, Verifier, edge,
};
use jsonwebtoken::{Algorithm, EncodingKey, Header};
use serde_json::{Value, json};

use crate::Answer;

const NOW: i64 = 1_800_000_000;
const SECRET: [u8; 32] = [7; 32];
const OTHER_SECRET: [u8; 32] = [8; 32];

struct Still;

impl Clock for Still {
    fn now(&self) -> Timestamp {
        Timestamp::from_micros(NOW * 1_000_000)
    }
}

fn app() -> Router {
    let key = TokenKey::new(&SECRET);
    let verifier = Arc::new(Verifier::new(&key, "firstcome", "shop", Arc::new(Still)));
    let router = Router::new()
        .route("/user", get(async |token: UserToken| token.subject.to_string()))
        .route("/admin", get(async |token: AdminToken| token.subject.to_string()))
        .route("/redeem", get(async |token: RedeemToken| token.subject.to_string()))
        .route("/staff", get(async |token: StaffToken| token.subject.to_string()))
        .route(
            "/any",
            get(async |token: AnyToken| {
                format!("{} {} {} {:?}", token.subject, token.scope, token.jti, token.session)
            }),
        )
        .with_state(verifier);
    edge(router, EdgeOptions::default())
}

fn claims() -> Value {
    json!({
        "iss": "firstcome", "aud": "shop", "sub": "shopper-1", "exp": NOW + 600, "iat": NOW,
        "jti": "token-1", "scope": "user",
    })
}

/// The claims with these instead; null takes one away.
fn with(changes: &Value) -> Value {
    let mut claims = claims();
    let members = claims.as_object_mut().unwrap();
    for (name, value) in changes.as_object().unwrap() {
        if value.is_null() {
            members.remove(name);
        } else {
            members.insert(name.clone(), value.clone());
        }
    }
    claims
}

fn signed_by(secret: &[u8], header: &Header, claims: &Value) -> String {
    jsonwebtoken::encode(header, claims, &EncodingKey::from_secret(secret)).unwrap()
}

fn header_of(algorithm: Algorithm) -> Header {
    Header { typ: Some("at+jwt".to_owned()), ..Header::new(algorithm) }
}

fn signed(claims: &Value) -> String {
    signed_by(&SECRET, &header_of(Algorithm::HS256), claims)
}

/// A token with this header, signed with our key whatever the header says.
fn with_header(header: &Value) -> String {
    let part = |value: &Value| URL_SAFE_NO_PAD.encode(value.to_string());
    let message = format!("{}.{}", part(header), part(&claims()));
    let key = EncodingKey::from_secret(&SECRET);
    let signature = jsonwebtoken::crypto::sign(message.as_bytes(), &key, Algorithm::HS256).unwrap();
    format!("{message}.{signature}")
}

async fn call(path: &str, authorization: &[&str]) -> Answer {
    let mut request = Request::get(path).header("x-user-id", "forged");
    for value in authorization {
        request = request.header(header::AUTHORIZATION, *value);
    }
    Answer::of(&app(), request.body(Body::empty()).unwrap()).await
}

#[tokio::test]
async fn our_own_tokens_are_good() {
    let token = TokenKey::new(&SECRET).sign(&AccessClaims {
        iss: "firstcome".to_owned(),
        aud: "shop".to_owned(),
        sub: UserId::parse("shopper-1").unwrap(),
        exp: NOW + 600,
        iat: NOW,
        jti: "token-1".to_owned(),
        scope: Scopes::USER.and(Scopes::ADMIN),
        sid: Some("session-1".to_owned()),
        client_id: None,
    });
    let answer = call("/any", &[&format!("Bearer {token}")]).await;
    assert_eq!(answer.text, "shopper-1 user admin token-1 Some(\"session-1\")");
    assert_eq!(answer.header("cache-control"), Some("no-store"));
}

#[tokio::test]
async fn tokens_of_the_documented_form_are_good() {
    for token in [
        signed(&claims()),
        signed(&with(&json!({"aud": ["other", "shop"]}))),
        signed(&with(&json!({"exp": NOW - 59}))),
        signed(&with(&json!({"nbf": NOW + 60}))),
        signed(&with(&json!({"iat": NOW + 3600, "email": "a@b.c"}))),
        with_header(&json!({"typ": "application/AT+JWT", "alg": "HS256"})),
    ] {
        for scheme in ["Bearer", "bearer", "BEARER"] {
            let answer = call("/user", &[&format!("{scheme} {token}")]).await;
            assert_eq!((answer.status, answer.text.as_str()), (200, "shopper-1"), "{token}");
        }
    }
}

#[tokio::test]
async fn bad_tokens_are_refused() {
    let good = signed(&claims());
    let (message, signature) = good.rsplit_once('.').unwrap();
    let (head, body) = message.split_once('.').unwrap();
    let forged = URL_SAFE_NO_PAD.encode(with(&json!({"sub": "victim"})).to_string());
    let none = URL_SAFE_NO_PAD.encode(r#"{"typ":"at+jwt","alg":"none"}"#);
    let other_type = |typ: &str| {
        let header = Header { typ: Some(typ.to_owned()), ..Header::new(Algorithm::HS256) };
        signed_by(&SECRET, &header, &claims())
    };
    for token in [
        String::new(),
        "a.b.c".to_owned(),
        "쿠폰".to_owned(),
        message.to_owned(),
        format!("{message}."),
        format!("{good}."),
        format!("{good}A"),
        format!("{good}="),
        format!("{head}.{forged}.{signature}"),
        format!("{none}.{body}."),
        format!("{none}.{body}.{signature}"),
        signed_by(&OTHER_SECRET, &header_of(Algorithm::HS256), &claims()),
        signed_by(&SECRET, &header_of(Algorithm::HS384), &claims()),
        signed_by(&SECRET, &header_of(Algorithm::HS512), &claims()),
        other_type("JWT"),
        other_type("id_token"),
        with_header(&json!({"alg": "HS256"})),
        with_header(&json!({"typ": "at+jwt", "alg": "hs256"})),
        with_header(&json!({"typ": "at+jwt", "alg": "RS256"})),
        with_header(&json!({"typ": "at+jwt", "alg": "HS256", "kid": "../../dev/null"})),
        with_header(&json!({"typ": "at+jwt", "alg": "HS256", "crit": ["b64"], "b64": false})),
        with_header(&json!({"typ": "at+jwt", "alg": "HS256", "jku": "http://evil.example/"})),
        signed(&json!([])),
        signed(&json!("text")),
        signed(&with(&json!({"pad": "a".repeat(5000)}))),
    ] {
        assert_refused(&token).await;
    }
}

#[tokio::test]
async fn bad_claims_are_refused() {
    let claims = [
        json!({"iss": "somebody"}),
        json!({"aud": "other"}),
        json!({"aud": []}),
        json!({"aud": 5}),
        json!({"exp": NOW - 60}),
        json!({"exp": 0}),
        json!({"exp": -1}),
        json!({"exp": i64::MIN}),
        json!({"exp": "never"}),
        json!({"exp": 1.5}),
        json!({"nbf": NOW + 61}),
        json!({"nbf": i64::MAX}),
        json!({"sub": ""}),
        json!({"sub": "a b"}),
        json!({"sub": "사용자"}),
        json!({"sub": "a".repeat(129)}),
        json!({"sub": 5}),
        json!({"iat": "now"}),
    ];
    let names = ["iss", "aud", "sub", "exp", "iat", "jti", "scope"];
    for changes in claims.into_iter().chain(names.map(|name| json!({name: null}))) {
        assert_refused(&signed(&with(&changes))).await;
    }
}

/// Whatever the call, the token is refused, and no more is told than that.
async fn assert_refused(token: &str) {
    for path in ["/user", "/admin", "/any"] {
        let answer = call(path, &[&format!("Bearer {token}")]).await;
        assert_eq!(answer.code(), "unauthenticated", "{token}");
        let challenge = answer.header("www-authenticate");
        assert_eq!(challenge, Some("Bearer error=\"invalid_token\""), "{token}");
    }
}

#[tokio::test]
async fn exactly_one_bearer_header_is_wanted() {
    let answer = call("/user", &[]).await;
    assert_eq!(answer.code(), "unauthenticated");
    assert_eq!(answer.header("www-authenticate"), Some("Bearer"));

    let bearer = format!("Bearer {}", signed(&claims()));
    let token = signed(&claims());
    for values in [
        &[bearer.as_str(), bearer.as_str()][..],
        &["Basic dXNlcjpwYXNz"],
        &["Bearer"],
        &[""],
        &[token.as_str()],
        &[&format!("Bearer,{token}")],
        &[&format!("Bearer {token}, Bearer {token}")],
    ] {
        assert_eq!(call("/user", values).await.code(), "unauthenticated", "{values:?}");
    }
}

#[tokio::test]
async fn a_scope_opens_its_own_calls() {
    for (scope, open) in [
        ("user", &["/user", "/any"][..]),
        ("admin", &["/admin", "/staff", "/any"]),
        ("redeem", &["/redeem", "/staff", "/any"]),
        ("user admin", &["/user", "/admin", "/staff", "/any"]),
        ("", &["/any"]),
        ("User superuser user2 us er", &["/any"]),
    ] {
        let bearer = format!("Bearer {}", signed(&with(&json!({"scope": scope}))));
        for path in ["/user", "/admin", "/redeem", "/staff", "/any"] {
            let answer = call(path, &[&bearer]).await;
            if open.contains(&path) {
                assert_eq!(answer.status, 200, "{scope} {path}");
            } else {
                assert_eq!(answer.code(), "forbidden", "{scope} {path}");
                let challenge = answer.header("www-authenticate").unwrap();
                assert!(challenge.contains("insufficient_scope"), "{challenge}");
            }
        }
    }
}
