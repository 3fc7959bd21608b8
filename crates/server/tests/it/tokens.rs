//! Tokens that are none: each is refused the same way, and nothing happens.

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use firstcome_testkit::TokenMint;
use serde_json::{Value, json};
use tokio::time::{Duration, Instant};

use crate::providers::issuer::signed_by_secret;
use crate::shop::Shop;

/// The claims of a token.
fn claims(token: &str) -> Value {
    let part = token.split('.').nth(1).expect("three parts");
    let bytes = URL_SAFE_NO_PAD.decode(part).expect("base64url");
    serde_json::from_slice(&bytes).expect("JSON")
}

/// The same claims under another header and signature.
fn rewrapped(token: &str, header: &str, signature: &str) -> String {
    let part = token.split('.').nth(1).expect("three parts");
    format!("{}.{part}.{signature}", URL_SAFE_NO_PAD.encode(header))
}

/// The key that the deployment signs its tokens with.
fn signing_key(shop: &Shop) -> [u8; 32] {
    let text = std::fs::read_to_string(shop.server.data_dir().join("signing.key"));
    let secret = URL_SAFE_NO_PAD.decode(text.expect("the key's file").trim()).expect("base64url");
    secret.try_into().expect("32 bytes")
}

/// Claims with the token; it must be refused.
async fn check_refused(shop: &Shop, event: &str, what: &str, token: &str) {
    let answer = shop.claim(event, token).await;
    assert_eq!(answer.status, 401, "{what}: {answer}");
    assert_eq!(answer.code(), "unauthenticated", "{what}");
    assert!(answer.header("www-authenticate").starts_with("Bearer"), "{what}: {answer}");
}

#[tokio::test]
async fn what_our_key_did_not_sign() {
    let shop = Shop::open().await;
    let event = shop.event(10).await;
    let good = shop.user("u").await;
    let signature = good.rsplit('.').next().expect("three parts");
    let (unsigned, _) = good.rsplit_once('.').expect("three parts");
    let [none, none_case] = ["none", "NoNe"].map(|algorithm| {
        let header = format!(r#"{{"alg":"{algorithm}","typ":"at+jwt"}}"#);
        (rewrapped(&good, &header, ""), rewrapped(&good, &header, signature))
    });
    let foreign = TokenMint::new([7; 32], "firstcome", "firstcome").sign(&claims(&good));
    let other_user = {
        let mut claims = claims(&good);
        claims["sub"] = "somebody-else".into();
        let part = URL_SAFE_NO_PAD.encode(claims.to_string());
        let (header, _) = good.split_once('.').expect("three parts");
        format!("{header}.{part}.{signature}")
    };
    let flipped = if let Some(start) = good.strip_suffix('A') {
        format!("{start}Q")
    } else {
        format!("{}A", &good[..good.len() - 1])
    };
    for (what, token) in [
        ("no algorithm, no signature", none.0),
        ("no algorithm, a signature", none.1),
        ("no algorithm in other case", none_case.0),
        (
            "an asymmetric algorithm",
            rewrapped(&good, r#"{"alg":"RS256","typ":"at+jwt"}"#, signature),
        ),
        ("another hash", rewrapped(&good, r#"{"alg":"HS512","typ":"at+jwt"}"#, signature)),
        ("another type", rewrapped(&good, r#"{"alg":"HS256","typ":"JWT"}"#, signature)),
        (
            "an embedded key",
            rewrapped(&good, r#"{"alg":"HS256","typ":"at+jwt","jwk":{}}"#, signature),
        ),
        ("another key", foreign),
        ("another user under the old signature", other_user),
        ("another signature", flipped),
        ("no signature", unsigned.to_owned()),
        ("an empty signature", format!("{unsigned}.")),
        ("a part too many", format!("{good}.x")),
        ("no token", "x".to_owned()),
        ("nothing", String::new()),
        ("a long one", format!("{unsigned}.{}", "A".repeat(5_000))),
    ] {
        check_refused(&shop, &event, what, &token).await;
    }
    shop.expect_audit(&event, 0).await;
    let _ = shop.claim(&event, &good).await.expect(201);
}

/// The signature is good, and the header asks for another way to check it, or is of another kind of
/// token: there is one way, and one kind.
#[tokio::test]
async fn what_our_key_signed_under_another_header() {
    let shop = Shop::open().await;
    let event = shop.event(10).await;
    let (key, claims) = (signing_key(&shop), claims(&shop.user("u").await));
    let good = json!({"alg": "HS256", "typ": "at+jwt"});
    let under = |member: &str, value: &Value| {
        let mut header = good.clone();
        header[member] = value.clone();
        signed_by_secret(&key, &header, &claims)
    };
    for (member, value) in [
        ("alg", json!("none")),
        ("alg", json!("NoNe")),
        ("alg", json!("hs256")),
        ("alg", json!("HS512")),
        ("alg", json!("RS256")),
        ("alg", json!("ES256")),
        ("alg", Value::Null),
        ("typ", json!("JWT")),
        ("typ", json!("id_token")),
        ("typ", json!("")),
        ("typ", Value::Null),
        ("crit", json!(["exp"])),
        ("b64", json!(false)),
        ("kid", json!("k".repeat(3_000))),
        ("jwk", json!({})),
        ("jku", json!("http://127.0.0.1:9/jwks")),
    ] {
        let token = under(member, &value);
        check_refused(&shop, &event, &format!("{member} {value}"), &token).await;
    }
    shop.expect_audit(&event, 0).await;
    let _ = shop.claim(&event, &under("typ", &json!("application/at+jwt"))).await.expect(201);
}

#[tokio::test]
async fn what_our_key_signed_for_something_else() {
    let shop = Shop::open().await;
    let event = shop.event(10).await;
    let good = claims(&shop.user("u").await);
    let mint = TokenMint::new(signing_key(&shop), "", "");
    let issued_at = good["iat"].as_i64().expect("a moment");
    let changed = |member: &str, value: Value| {
        let mut claims = good.clone();
        claims[member] = value;
        mint.sign(&claims)
    };
    let without = |member: &str| {
        let mut claims = good.clone();
        claims.as_object_mut().expect("claims").remove(member).expect("it was there");
        mint.sign(&claims)
    };
    for (what, token) in [
        ("another audience", changed("aud", json!("another-service"))),
        ("other audiences", changed("aud", json!(["one", "two"]))),
        ("another issuer", changed("iss", json!("https://elsewhere.example"))),
        ("expired beyond the leeway", changed("exp", json!(issued_at - 61))),
        ("expired long ago", changed("exp", json!(0))),
        ("not yet valid", changed("nbf", json!(issued_at + 600))),
        ("no expiry", without("exp")),
        ("no audience", without("aud")),
        ("no issuer", without("iss")),
        ("nobody's", without("sub")),
        ("an empty user", changed("sub", json!(""))),
        ("a user outside the alphabet", changed("sub", json!("민수"))),
        ("a user with a blank", changed("sub", json!("a b"))),
        ("a user that is too long", changed("sub", json!("u".repeat(129)))),
        ("a number for a user", changed("sub", json!(1))),
        ("5 KB of something", changed("padding", json!("p".repeat(5_000)))),
    ] {
        check_refused(&shop, &event, what, &token).await;
    }
    shop.expect_audit(&event, 0).await;

    // Within the leeway, and in a list with others, it is good: the refusals above have one cause.
    for token in [
        changed("exp", json!(issued_at - 30)),
        changed("nbf", json!(issued_at + 30)),
        changed("aud", json!(["another-service", good["aud"]])),
    ] {
        let answer = shop.claim(&event, &token).await;
        assert!(matches!(answer.status, 201 | 409), "{answer}");
    }
    shop.expect_audit(&event, 1).await;
    let scope = changed("scope", json!("users superuser ADMIN"));
    let _ = shop.claim(&event, &scope).await.expect_problem(403, "forbidden");
}

/// Clocks differ: `exp` and `nbf` are forgiven for 60 s and no second more.
#[tokio::test]
async fn tokens_at_the_limit_of_the_leeway() {
    const LEEWAY: i64 = 60;
    /// What passes until a token is checked, at most; else it is not what it was made to be.
    const SLACK: i64 = 5;
    const ATTEMPTS: usize = 10;
    let shop = Shop::open().await;
    let mint = TokenMint::new(signing_key(&shop), "", "");
    for _ in 0..ATTEMPTS {
        let began = Instant::now();
        let good = claims(&shop.user("u").await);
        let now = good["iat"].as_i64().expect("a moment");
        let mut answered = Vec::new();
        for (member, moment) in [
            ("exp", now - LEEWAY + SLACK),
            ("exp", now - LEEWAY),
            ("nbf", now + LEEWAY),
            ("nbf", now + LEEWAY + SLACK),
        ] {
            let mut claims = good.clone();
            claims[member] = moment.into();
            answered.push(shop.api.get("/v1/me").token(&mint.sign(&claims)).await.status);
        }
        // A second is lost where `iat` is rounded down.
        if began.elapsed() < Duration::from_secs(SLACK.unsigned_abs() - 1) {
            assert_eq!(answered, [200, 401, 200, 401]);
            return;
        }
    }
    panic!("the machine is too busy to check four tokens in {SLACK} s");
}

#[tokio::test]
async fn other_ways_to_send_a_token() {
    let shop = Shop::open().await;
    let event = shop.event(10).await;
    let token = shop.user("u").await;
    let path = format!("/v1/events/{event}/claims");
    for header in
        [token.clone(), format!("Basic {token}"), "Bearer".to_owned(), "Bearer ".to_owned()]
    {
        let answer = shop.api.post(&path).header("authorization", &header).await;
        let _ = answer.expect_problem(401, "unauthenticated");
    }
    let twice = shop.api.post(&path).token(&token).token(&token).await;
    assert_eq!(twice.status, 401, "two tokens are none: {twice}");
    let query = shop.api.post(&format!("{path}?access_token={token}")).await;
    let _ = query.expect_problem(401, "unauthenticated");
    shop.expect_audit(&event, 0).await;
}
