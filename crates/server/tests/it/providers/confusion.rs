//! Tokens that would pass if a check were forgotten: each is refused the same way.

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::{Value, json};

use super::issuer::{Answers, KeyServer, Signer, claims, signed_by_secret};
use super::{Configured, me};

/// A good thing with this member instead.
fn with(good: &Value, member: &str, value: Value) -> Value {
    let mut changed = good.clone();
    changed[member] = value;
    changed
}

/// A good thing without this member.
fn without(good: &Value, member: &str) -> Value {
    let mut changed = good.clone();
    changed.as_object_mut().expect("an object").remove(member).expect("it was there");
    changed
}

/// Sends each token; none must pass.
async fn check_refused(configured: &Configured, tokens: Vec<(String, String)>) {
    for (what, token) in tokens {
        let answer = me(&configured.shop, &token).await;
        assert_eq!(answer.status, 401, "{what}: {answer}");
        assert_eq!(answer.code(), "unauthenticated", "{what}");
        assert!(answer.header("www-authenticate").starts_with("Bearer"), "{what}: {answer}");
    }
}

#[tokio::test]
async fn what_the_providers_key_did_not_sign_as_it_should() {
    let (ec, ed) = (Signer::es256("ec"), Signer::eddsa("ed"));
    let keys = Answers::Keys(vec![ec.jwk.clone(), ed.jwk.clone()]);
    let server = KeyServer::start(keys).await;
    let configured = Configured::open(&server.section("types = [\"at+jwt\", \"JWT\"]")).await;
    let (header, claims) = (ec.header(), claims(&server.url, "u"));
    let good = ec.sign(&header, &claims);
    let _ = me(&configured.shop, &good).await.expect(200);
    let (message, signature) = good.rsplit_once('.').expect("three parts");
    let (_, body) = message.split_once('.').expect("three parts");
    let rewrapped = |header: Value| {
        format!("{}.{body}.{signature}", URL_SAFE_NO_PAD.encode(header.to_string()))
    };
    let point = ["x", "y"].map(|part| ec.jwk[part].as_str().expect("a coordinate").to_owned());
    let point = point.map(|part| URL_SAFE_NO_PAD.decode(part).expect("base64url")).concat();
    let set = json!({"keys": [ec.jwk]}).to_string();
    let mut tokens = vec![
        ("no signature".to_owned(), format!("{message}.")),
        ("another signature".to_owned(), format!("{message}.{}", "A".repeat(86))),
        ("another key's".to_owned(), Signer::es256("ec").sign(&header, &claims)),
        ("another key's type".to_owned(), ed.sign(&header, &claims)),
        ("the wrong key's id".to_owned(), ec.sign(&with(&header, "kid", "ed".into()), &claims)),
        ("a long id".to_owned(), ec.sign(&with(&header, "kid", "k".repeat(300).into()), &claims)),
        ("10 KB".to_owned(), ec.sign(&with(&header, "kid", "k".repeat(10_000).into()), &claims)),
    ];
    for alg in ["none", "None", "NONE", "HS256", "HS384", "RS256", "PS256", "ES384", "es256"] {
        let header = with(&header, "alg", alg.into());
        tokens.push((alg.to_owned(), rewrapped(header.clone())));
        tokens.push((format!("{alg}, well signed"), ec.sign(&header, &claims)));
        tokens.push((format!("{alg}, unsigned"), {
            let header = URL_SAFE_NO_PAD.encode(header.to_string());
            format!("{header}.{body}.")
        }));
    }
    for (what, secret) in [("the public key", point.as_slice()), ("the key set", set.as_bytes())] {
        for kid in [true, false] {
            let header = with(&header, "alg", "HS256".into());
            let header = if kid { header } else { without(&header, "kid") };
            tokens
                .push((format!("{what} as a secret"), signed_by_secret(secret, &header, &claims)));
        }
    }
    let mine = Signer::es256("mine");
    for (member, value) in [
        ("crit", json!(["exp"])),
        ("b64", json!(false)),
        ("zip", json!("DEF")),
        ("jwk", mine.jwk.clone()),
        ("jku", json!("http://127.0.0.1:9/jwks")),
        ("x5u", json!("http://127.0.0.1:9/certificate")),
    ] {
        let header = with(&header, member, value);
        tokens.push((format!("{member}, well signed"), ec.sign(&header, &claims)));
        tokens.push((format!("{member}, its own key"), mine.sign(&header, &claims)));
    }
    check_refused(&configured, tokens).await;
    assert_eq!(server.asked(), 1, "an id that is too long is not asked for");
}

#[tokio::test]
async fn what_the_provider_signed_for_something_else() {
    let signer = Signer::es256("ec");
    let server = KeyServer::start(Answers::Keys(vec![signer.jwk.clone()])).await;
    let more = "types = [\"at+jwt\", \"JWT\"]\nsubject_prefix = \"x:\"";
    let configured = Configured::open(&server.section(more)).await;
    let (header, good) = (signer.header(), claims(&server.url, "u"));
    let plain = with(&header, "typ", "JWT".into());
    let _ = me(&configured.shop, &signer.sign(&plain, &good)).await.expect(200);
    let lists = with(&good, "aud", json!(["elsewhere", good["aud"]]));
    let _ = me(&configured.shop, &signer.sign(&header, &lists)).await.expect(200);

    let id_token = {
        let mut claims = without(&good, "scope");
        claims["aud"] = "app".into();
        claims["nonce"] = "n-0S6_WzA2Mj".into();
        claims["at_hash"] = "77QmUPtjPfzWtF2AnpK9RQ".into();
        claims
    };
    let mut tokens = vec![("an ID token".to_owned(), signer.sign(&plain, &id_token))];
    for (what, member, value) in [
        ("an ID token for us", "nonce", json!("n-0S6_WzA2Mj")),
        ("an ID token of a code", "at_hash", json!("77QmUPtjPfzWtF2AnpK9RQ")),
        (
            "a log-out token",
            "events",
            json!({"http://schemas.openid.net/event/backchannel-logout": {}}),
        ),
        ("another provider's word for it", "typ", json!("ID")),
        ("scopes of another form", "scope", json!({"shop:claim": true})),
    ] {
        tokens.push((what.to_owned(), signer.sign(&plain, &with(&good, member, value))));
    }
    for typ in ["id_token", "logout+jwt", "", "dpop+jwt"] {
        tokens.push((format!("typ {typ}"), signer.sign(&with(&header, "typ", typ.into()), &good)));
    }
    tokens.push(("no typ".to_owned(), signer.sign(&without(&header, "typ"), &good)));
    for (member, value) in [
        ("aud", json!("https://elsewhere.example")),
        ("aud", json!(["one", "two"])),
        ("aud", json!([])),
        ("aud", Value::Null),
        ("iss", json!("https://elsewhere.example")),
        ("iss", json!("firstcome")),
        ("iss", json!(format!("{}/", server.url))),
        ("exp", json!(0)),
        ("exp", json!("never")),
        ("exp", json!(1.5)),
        ("exp", Value::Null),
        ("nbf", json!(4_000_000_000_i64)),
        ("nbf", json!("now")),
        ("sub", json!("")),
        ("sub", json!("a b")),
        ("sub", json!("민수")),
        ("sub", json!("u".repeat(127))),
        ("sub", json!(5)),
        ("sub", Value::Null),
        ("pad", json!("p".repeat(9_000))),
    ] {
        let claims = with(&good, member, value.clone());
        tokens.push((format!("{member} {value}"), signer.sign(&header, &claims)));
    }
    for member in ["iss", "aud", "sub", "exp", "scope"] {
        tokens.push((format!("no {member}"), signer.sign(&header, &without(&good, member))));
    }
    check_refused(&configured, tokens).await;
}

/// A foreign subject that looks like a local account is nobody's: it might be somebody's.
#[tokio::test]
async fn a_subject_that_looks_like_a_local_account() {
    let signer = Signer::es256("ec");
    let server = KeyServer::start(Answers::Keys(vec![signer.jwk.clone()])).await;
    let configured = Configured::open(&server.section("")).await;
    let credentials = json!({"email": "kim@example.com", "password": "correct horse"});
    let account = configured.shop.api.post("/v1/users").json(credentials).await.expect(201);
    let id = account.member_text("/id");
    let tokens = [id.to_uppercase(), id.clone()];
    let tokens = tokens.map(|id| (id.clone(), signer.token(&server.url, &id)));
    check_refused(&configured, tokens.to_vec()).await;
    for id in ["8d1f4a5e-9f5c-4a38-9f4f-0c7f0f6b2f11", &id.replace('-', ""), &"u".repeat(128)] {
        let answer = me(&configured.shop, &signer.token(&server.url, id)).await.expect(200);
        assert_eq!(answer.member_text("/id"), id);
    }
    let longest = signer.token(&server.url, &"u".repeat(129));
    check_refused(&configured, vec![("129 characters".to_owned(), longest)]).await;
}
