//! `POST /oauth/token`, word for word as RFC 6749 has it, and logging out.

use std::collections::BTreeSet;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use firstcome_testkit::Answer;
use serde_json::{Value, json};
use tokio::task::JoinSet;
use tokio::time::Instant;

use crate::shop::{Shop, WAIT_MAX};

const PATH: &str = "/oauth/token";
const FORM: &str = "application/x-www-form-urlencoded";
const CLIENT_GRANT: (&str, &str) = ("grant_type", "client_credentials");

impl Shop {
    /// The tokens of a log-in of a new account.
    pub(crate) async fn log_in(&self, email: &str) -> Value {
        let body = json!({"email": email, "password": "a long password"});
        let _ = self.api.post("/v1/users").json(body.clone()).await.expect(201);
        self.api.post("/v1/sessions").json(body).await.expect(200).json()
    }

    /// Asks for the next tokens.
    pub(crate) async fn refresh(&self, refresh_token: &str) -> Answer {
        let form = [("grant_type", "refresh_token"), ("refresh_token", refresh_token)];
        self.api.post(PATH).form(&form).await
    }

    /// Makes a client; its id and its secret.
    pub(crate) async fn client(&self, scope: &str) -> (String, String) {
        let body = json!({"name": "checkout", "scope": scope});
        let made = self.api.post("/v1/clients").token(&self.admin).json(body).await.expect(201);
        (made.member_text("/client_id"), made.member_text("/client_secret"))
    }

    /// Asks for a client's token.
    pub(crate) async fn client_token(&self, id: &str, secret: &str) -> Answer {
        let call = self.api.post(PATH).header("authorization", &basic(id, secret));
        call.form(&[CLIENT_GRANT]).await
    }
}

pub(crate) fn refresh_token(tokens: &Value) -> String {
    tokens["refresh_token"].as_str().expect("a refresh token").to_owned()
}

fn basic(id: &str, secret: &str) -> String {
    format!("Basic {}", STANDARD.encode(format!("{id}:{secret}")))
}

/// That this is a refusal of RFC 6749, section 5.2: its status, its members, its headers.
#[track_caller]
pub(crate) fn check_denied(answer: &Answer, status: u16, error: &str) {
    assert_eq!((answer.status, answer.member_text("/error").as_str()), (status, error), "{answer}");
    let members = BTreeSet::from(["error", "error_description"].map(String::from));
    assert_eq!(answer.members(""), members, "{answer}");
    let description = answer.member_text("/error_description");
    let allowed = |byte: u8| (0x20..0x7f).contains(&byte) && byte != b'"' && byte != b'\\';
    assert!(description.bytes().all(allowed), "section 5.2 has no such character: {description}");
    check_not_kept(answer);
    let challenge = answer.header("www-authenticate");
    assert_eq!(challenge.starts_with("Basic realm="), status == 401, "{answer}");
}

#[track_caller]
fn check_not_kept(answer: &Answer) {
    assert_eq!(answer.header("content-type"), "application/json", "{answer}");
    assert_eq!(answer.header("cache-control"), "no-store", "{answer}");
    assert_eq!(answer.header("pragma"), "no-cache", "{answer}");
}

#[tokio::test]
async fn a_refresh_gives_new_tokens_and_uses_the_old_one_up() {
    let shop = Shop::open().await;
    let mut tokens = shop.log_in("kim@example.com").await;
    let mut seen = BTreeSet::new();
    for _ in 0..5 {
        assert!(seen.insert(refresh_token(&tokens)), "a new refresh token");
        let answer = shop.refresh(&refresh_token(&tokens)).await.expect(200);
        check_not_kept(&answer);
        tokens = answer.json();
        assert_eq!((&tokens["token_type"], &tokens["scope"]), (&json!("Bearer"), &json!("user")));
        let token = tokens["access_token"].as_str().expect("a token");
        let me = shop.api.get("/v1/me").token(token).await.expect(200);
        assert_eq!(me.member("/email"), "kim@example.com");
    }
    // One that was used: all of its family is over, and nobody else's.
    let other = shop.log_in("lee@example.com").await;
    for used in &seen {
        check_denied(&shop.refresh(used).await, 400, "invalid_grant");
    }
    check_denied(&shop.refresh(&refresh_token(&tokens)).await, 400, "invalid_grant");
    let _ = shop.refresh(&refresh_token(&other)).await.expect(200);
}

/// Refreshes often at once with one token, by these processes in turn; of the answers, the one that
/// is none of a refusal.
pub(crate) async fn race(shops: &[&Shop], token: &str) -> Answer {
    let mut refreshes = JoinSet::new();
    for number in 0..16 {
        let form = [("grant_type", "refresh_token"), ("refresh_token", token)];
        let call = shops[number % shops.len()].api.post(PATH).form(&form);
        refreshes.spawn(call.into_future());
    }
    let answers = refreshes.join_all().await;
    let (mut given, denied): (Vec<_>, Vec<_>) =
        answers.into_iter().partition(|answer| answer.status == 200);
    assert_eq!(given.len(), 1, "one gets the next tokens: {denied:?}");
    for answer in &denied {
        check_denied(answer, 400, "invalid_grant");
    }
    given.remove(0)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_many_refreshes_at_once_with_one_token_one_gets_the_next() {
    let shop = Shop::open().await;
    for number in 0..3 {
        let tokens = shop.log_in(&format!("u{number}@example.com")).await;
        let given = race(&[&shop], &refresh_token(&tokens)).await;
        let token = given.member_text("/access_token");
        let _ = shop.api.get("/v1/me").token(&token).await.expect(200);
        // Whoever came second showed a token that was used.
        let next = shop.refresh(&given.member_text("/refresh_token")).await;
        check_denied(&next, 400, "invalid_grant");
    }
}

#[tokio::test]
async fn a_session_outlives_a_restart_and_ends_with_its_time() {
    let mut shop = Shop::open().await;
    let tokens = shop.log_in("kim@example.com").await;
    let used = refresh_token(&tokens);
    let tokens = shop.refresh(&used).await.expect(200).json();
    shop.server.kill9();
    shop.reopen().await;
    let tokens = shop.refresh(&refresh_token(&tokens)).await.expect(200).json();
    check_denied(&shop.refresh(&used).await, 400, "invalid_grant");
    check_denied(&shop.refresh(&refresh_token(&tokens)).await, 400, "invalid_grant");

    // With sessions of a second, refreshed until it is over.
    assert_eq!(shop.server.terminate().await, Some(0));
    let file = shop.server.data_dir().join("short.toml");
    std::fs::write(&file, "[identity]\nrefresh_token_lifetime_seconds = 1\n").expect("a file");
    let path = file.to_str().expect("a path in UTF-8");
    shop.reopen_as(|launch| launch.environment("FIRSTCOME_CONFIG", path)).await;
    let mut tokens = shop.log_in("lee@example.com").await;
    let deadline = Instant::now() + WAIT_MAX;
    let over = loop {
        let answer = shop.refresh(&refresh_token(&tokens)).await;
        if answer.status != 200 {
            break answer;
        }
        tokens = answer.json();
        assert!(Instant::now() < deadline, "it never ends");
    };
    check_denied(&over, 400, "invalid_grant");
}

#[tokio::test]
async fn a_session_that_was_logged_out_refreshes_no_more() {
    let shop = Shop::open().await;
    let (one, other) = (shop.log_in("a@example.com").await, shop.log_in("b@example.com").await);
    let token = one["access_token"].as_str().expect("a token");
    for _ in 0..2 {
        let ended = shop.api.call("DELETE", "/v1/sessions/current").token(token).await.expect(204);
        assert_eq!(ended.text(), "");
    }
    check_denied(&shop.refresh(&refresh_token(&one)).await, 400, "invalid_grant");
    let _ = shop.refresh(&refresh_token(&other)).await.expect(200);
    // The access token is good until its time; one of no session has none to end.
    let _ = shop.api.get("/v1/me").token(token).await.expect(200);
    for scope in ["user", "admin", "redeem"] {
        let token = shop.server.token("somebody", scope).await;
        let _ = shop.api.call("DELETE", "/v1/sessions/current").token(&token).await.expect(204);
    }
    let none = shop.api.call("DELETE", "/v1/sessions/current").await;
    let _ = none.expect_problem(401, "unauthenticated");
}

#[tokio::test]
async fn forms_that_are_none() {
    let shop = Shop::open().await;
    let tokens = shop.log_in("kim@example.com").await;
    let good = format!("grant_type=refresh_token&refresh_token={}", refresh_token(&tokens));
    let with = |more: &[u8]| [good.as_bytes(), more].concat();
    for (media_type, bytes, error) in [
        (FORM, Vec::new(), "invalid_request"),
        (FORM, b"refresh_token=x".to_vec(), "invalid_request"),
        (FORM, b"grant_type=&refresh_token=x".to_vec(), "invalid_request"),
        (FORM, b"grant_type=refresh_token".to_vec(), "invalid_request"),
        (FORM, b"grant_type=refresh_token&refresh_token=".to_vec(), "invalid_request"),
        (FORM, with(b"&grant_type=refresh_token"), "invalid_request"),
        (FORM, with(b"&refresh_token=x"), "invalid_request"),
        (FORM, with(b"&scope=user&scope=user"), "invalid_request"),
        (FORM, with(b"&client_id=&client_id="), "invalid_request"),
        (FORM, with(b"&state=%"), "invalid_request"),
        (FORM, with(b"&state=%4"), "invalid_request"),
        (FORM, with(b"&st%xxate=1"), "invalid_request"),
        (FORM, with(b"&state=%C3%28"), "invalid_request"),
        (FORM, with(b"&state=\xff\xfe"), "invalid_request"),
        (FORM, b"{\"grant_type\":\"refresh_token\"}".to_vec(), "invalid_request"),
        ("application/json", with(b""), "invalid_request"),
        ("multipart/form-data", with(b""), "invalid_request"),
        ("text/plain", with(b""), "invalid_request"),
        (FORM, with(b"&scope=admin"), "invalid_scope"),
        (FORM, with(b"&scope=user+root"), "invalid_scope"),
        (FORM, b"grant_type=password&username=a&password=b".to_vec(), "unsupported_grant_type"),
        (FORM, b"grant_type=authorization_code&code=x".to_vec(), "unsupported_grant_type"),
        (FORM, b"grant_type=%EC%BF%A0%ED%8F%B0".to_vec(), "unsupported_grant_type"),
        (FORM, b"grant_type=refresh_token&refresh_token=x".to_vec(), "invalid_grant"),
        (FORM, b"grant_type=refresh_token&refresh_token=%00".to_vec(), "invalid_grant"),
    ] {
        let answer = shop.api.post(PATH).header("content-type", media_type).bytes(bytes).await;
        check_denied(&answer, 400, error);
    }
    check_denied(&shop.api.post(PATH).bytes(good.clone()).await, 400, "invalid_request");
    check_denied(&shop.api.post(PATH).await, 400, "invalid_request");
    let large = format!("{good}&state={}", "x".repeat(64 * 1024));
    let answer = shop.api.post(PATH).header("content-type", FORM).bytes(large).await;
    let _ = answer.expect_problem(413, "too_large");
    // Nothing of it used the token up.
    let fine = format!("{good}&state=%EC%BF%A0&state=&=&&scope=");
    let media_type = "Application/X-WWW-Form-Urlencoded; charset=UTF-8";
    let _ = shop.api.post(PATH).header("content-type", media_type).bytes(fine).await.expect(200);
}

#[tokio::test]
async fn a_client_gets_a_token_of_its_own() {
    let shop = Shop::open().await;
    let (id, secret) = shop.client("redeem").await;
    let by_header = shop.client_token(&id, &secret).await.expect(200);
    let form = [CLIENT_GRANT, ("client_id", &id), ("client_secret", &secret)];
    let by_form = shop.api.post(PATH).form(&form).await.expect(200);
    for answer in [by_header, by_form] {
        check_not_kept(&answer);
        let members = ["access_token", "token_type", "expires_in", "scope"];
        assert_eq!(answer.members(""), BTreeSet::from(members.map(String::from)));
        let token = answer.member_text("/access_token");
        let me = shop.api.get("/v1/me").token(&token).await.expect(200);
        assert_eq!(me.json(), json!({"id": id, "email": null, "scope": "redeem"}));
        let made = shop.api.post("/v1/coupons").token(&token).json(json!({})).await;
        let _ = made.expect_problem(403, "forbidden");
    }
    // Every byte of both in percent-encoding, as section 2.3.1 allows.
    let encoded = |text: &str| text.bytes().map(|byte| format!("%{byte:02X}")).collect::<String>();
    let _ = shop.client_token(&encoded(&id), &encoded(&secret)).await.expect(200);
}

#[tokio::test]
async fn a_client_that_is_not_proven() {
    let shop = Shop::open().await;
    let (id, secret) = shop.client("redeem").await;
    let nobody = "0199a8e2-7c1b-7d3e-8f00-0123456789ab";
    let wrong = "x".repeat(secret.len());
    for (id, secret) in
        [(id.as_str(), wrong.as_str()), (nobody, &secret), ("x", &secret), (&id, ""), (&id, "%zz")]
    {
        check_denied(&shop.client_token(id, secret).await, 401, "invalid_client");
        let form = [CLIENT_GRANT, ("client_id", id), ("client_secret", secret)];
        check_denied(&shop.api.post(PATH).form(&form).await, 401, "invalid_client");
    }
    check_denied(&shop.api.post(PATH).form(&[CLIENT_GRANT]).await, 401, "invalid_client");
    for header in ["Basic x", "Basic", "Bearer x", &basic(&id, &secret).replace("Basic ", "")] {
        let call = shop.api.post(PATH).header("authorization", header);
        check_denied(&call.form(&[CLIENT_GRANT]).await, 401, "invalid_client");
    }
    let both = [CLIENT_GRANT, ("client_id", id.as_str()), ("client_secret", &secret)];
    let call = shop.api.post(PATH).header("authorization", &basic(&id, &secret));
    check_denied(&call.form(&both).await, 400, "invalid_request");
    let _ = shop.client_token(&id, &secret).await.expect(200);
}

#[tokio::test]
async fn a_clients_scope_is_its_bound() {
    let shop = Shop::open().await;
    let (id, secret) = shop.client("redeem admin").await;
    let ask = async |scope: &str| {
        let call = shop.api.post(PATH).header("authorization", &basic(&id, &secret));
        call.form(&[CLIENT_GRANT, ("scope", scope)]).await
    };
    assert_eq!(ask("").await.expect(200).member("/scope"), "admin redeem");
    assert_eq!(ask("redeem").await.expect(200).member("/scope"), "redeem");
    for beyond in ["user", "redeem user", "root", "redeem,admin"] {
        check_denied(&ask(beyond).await, 400, "invalid_scope");
    }
    // A refresh token is a session's, and no client's.
    let tokens = shop.log_in("kim@example.com").await;
    let form = [("grant_type", "refresh_token"), ("refresh_token", &refresh_token(&tokens))];
    let call = shop.api.post(PATH).header("authorization", &basic(&id, &secret));
    check_denied(&call.form(&form).await, 400, "invalid_grant");
    let _ = shop.api.post(PATH).form(&form).await.expect(200);
}
