//! Where keys come from, when that hangs, answers too much, changes its mind, or is a file.

use std::time::Duration;

use serde_json::{Value, json};
use tokio::time::{Instant, timeout};

use super::issuer::{Answers, KeyServer, Signer, claims};
use super::{Configured, me};
use crate::shop::eventually;

/// Longest that a request with an unknown key may take: a fetch, and a machine that is busy.
const KEY_WAIT_MAX: Duration = Duration::from_secs(8);

fn keys(signers: &[&Signer]) -> Answers {
    Answers::Keys(signers.iter().map(|signer| signer.jwk.clone()).collect())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_address_that_hangs_keeps_nobody_else_waiting() {
    let (known, unknown) = (Signer::es256("known"), Signer::es256("unknown"));
    let server = KeyServer::start(keys(&[&known])).await;
    let configured = Configured::open(&server.section("")).await;
    let shop = &configured.shop;
    let _ = me(shop, &known.token(&server.url, "u")).await.expect(200);
    server.answers(Answers::Nothing);
    let asked = server.asked();
    let token = unknown.token(&server.url, "u");
    let waiting = async {
        let start = Instant::now();
        let answer = me(shop, &token).await;
        (answer, start.elapsed())
    };
    let (event, ours) = (shop.event(1_000).await, shop.user("ours").await);
    let others = async {
        let _ = eventually("it is asked", || me(shop, &ours), |_| server.asked() > asked).await;
        // While that hangs, everybody else is answered.
        for number in 0..20 {
            let theirs = known.token(&server.url, &format!("u-{number}"));
            let _ = shop.claim(&event, &theirs).await.expect(201);
            let _ = me(shop, &ours).await.expect(200);
        }
        Instant::now()
    };
    let start = Instant::now();
    let ((answer, took), others_done) = tokio::join!(waiting, others);
    let _ = answer.expect_problem(503, "unavailable");
    assert!(took < KEY_WAIT_MAX, "{took:?}");
    assert!(others_done - start < KEY_WAIT_MAX, "{:?}", others_done - start);
    // What hung is given up: when it answers again, it is asked again.
    server.answers(keys(&[&known, &unknown]));
    let ask = || me(shop, &token);
    let _ = eventually("its keys are fetched", ask, |answer| answer.status == 200).await;
}

/// Whoever answers for the configured address does not choose another one.
#[tokio::test]
async fn a_redirect_is_not_followed() {
    let known = Signer::es256("known");
    let elsewhere = KeyServer::start(keys(&[&known])).await;
    let server = KeyServer::start(Answers::Moved(format!("{}/jwks", elsewhere.url))).await;
    let configured = Configured::open(&server.section("refresh_seconds = 1")).await;
    let shop = &configured.shop;
    let token = known.token(&server.url, "u");
    let _ = me(shop, &token).await.expect_problem(503, "unavailable");
    assert_eq!(elsewhere.asked(), 0, "it was followed");
    server.answers(keys(&[&known]));
    let ask = || me(shop, &token);
    let _ = eventually("its keys are fetched", ask, |answer| answer.status == 200).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn unknown_key_ids_cause_no_stampede() {
    let known = Signer::es256("known");
    let server = KeyServer::start(keys(&[&known])).await;
    let configured = Configured::open(&server.section("")).await;
    let shop = &configured.shop;
    let _ = me(shop, &known.token(&server.url, "u")).await.expect(200);
    let (asked, start) = (server.asked(), Instant::now());
    let mut header = known.header();
    for number in 0..200 {
        header["kid"] = format!("random-{number}").into();
        let token = known.sign(&header, &claims(&server.url, "u"));
        let _ = me(shop, &token).await.expect_problem(401, "unauthenticated");
    }
    // One at once, and one more in each five seconds.
    let most = 1 + usize::try_from(start.elapsed().as_secs() / 5).expect("a number");
    assert!((1..=most).contains(&(server.asked() - asked)), "{}", server.asked() - asked);
}

#[tokio::test]
async fn a_key_set_of_ten_megabytes_is_refused() {
    let known = Signer::es256("known");
    let server = KeyServer::start(Answers::Bytes(10_000_000)).await;
    let configured = Configured::open(&server.section("refresh_seconds = 1")).await;
    let shop = &configured.shop;
    let token = known.token(&server.url, "u");
    let _ = me(shop, &token).await.expect_problem(503, "unavailable");
    let said = || async { shop.api.get("/livez").await };
    let is_told = |_: &_| shop.server.said().contains("longer than 262144 bytes");
    let _ = eventually("the log tells why", said, is_told).await;
    server.answers(keys(&[&known]));
    let ask = || me(shop, &token);
    let _ = eventually("its keys are fetched", ask, |answer| answer.status == 200).await;
    // And again, as well as other answers that are none: what is known stays.
    for answers in [Answers::Bytes(10_000_000), Answers::Unavailable] {
        let asked = server.asked();
        server.answers(answers);
        let said = || async { shop.api.get("/livez").await };
        let _ = eventually("it is asked twice", said, |_| server.asked() > asked + 1).await;
        let _ = me(shop, &known.token(&server.url, "u-2")).await.expect(200);
    }
}

#[tokio::test]
async fn a_key_that_is_taken_back_ends_what_it_has_signed() {
    let (stays, goes) = (Signer::es256("stays"), Signer::eddsa("goes"));
    let server = KeyServer::start(keys(&[&stays, &goes])).await;
    let configured = Configured::open(&server.section("refresh_seconds = 1")).await;
    let shop = &configured.shop;
    let (staying, going) = (stays.token(&server.url, "a"), goes.token(&server.url, "b"));
    for token in [&staying, &going] {
        let _ = me(shop, token).await.expect(200);
    }
    server.answers(keys(&[&stays]));
    let ask = || me(shop, &going);
    let answer = eventually("the set is fetched", ask, |answer| answer.status != 200).await;
    let _ = answer.expect_problem(401, "unauthenticated");
    let _ = me(shop, &staying).await.expect(200);
}

#[tokio::test]
async fn keys_in_a_file() {
    let (first, second) = (Signer::es256("first"), Signer::es256("second"));
    let directory = tempfile::tempdir().expect("a directory");
    let file = directory.path().join("jwks.json");
    let write = |keys: &[&Value]| {
        std::fs::write(&file, json!({"keys": keys}).to_string()).expect("a file");
    };
    write(&[&first.jwk]);
    let issuer = "https://login.example.com";
    let configured = Configured::open(&format!(
        "[[identity.providers]]\nissuer = \"{issuer}\"\naudience = \"{}\"\njwks_file = \"{}\"\n\
         algorithms = [\"ES256\"]\nscopes = {{ user = [\"shop:claim\"] }}\n",
        super::oidc::AUDIENCE,
        file.display()
    ))
    .await;
    let shop = &configured.shop;
    let _ = me(shop, &first.token(issuer, "u")).await.expect(200);
    write(&[&first.jwk, &second.jwk]);
    // A key that is not known has the file read at once.
    let _ = me(shop, &second.token(issuer, "u")).await.expect(200);
}

#[tokio::test]
async fn a_flood_of_tokens_is_remembered_within_its_bound() {
    let signer = Signer::eddsa("k");
    let server = KeyServer::start(keys(&[&signer])).await;
    let lines = format!("identity.remembered_tokens_max = 64\n{}", server.section(""));
    let configured = Configured::open(&lines).await;
    let shop = &configured.shop;
    for number in 0..300 {
        let token = signer.token(&server.url, &format!("u-{number}"));
        for _ in 0..2 {
            let answer = me(shop, &token).await.expect(200);
            assert_eq!(answer.member_text("/id"), format!("u-{number}"));
        }
    }
    let metrics = shop.api.get("/metrics").await.expect(200);
    let text = String::from_utf8(metrics.bytes).expect("text");
    let value = |name: &str| -> f64 {
        let line = text.lines().find_map(|line| line.strip_prefix(name));
        line.expect(name).trim().parse().expect("a number")
    };
    assert!((1.0..=64.0).contains(&value("firstcome_remembered_tokens")), "{text}");
    let verified = value("firstcome_token_checks_total{how=\"verified\"}");
    let remembered = value("firstcome_token_checks_total{how=\"remembered\"}");
    assert!((verified + remembered - 600.0).abs() < 0.5 && remembered > 250.0, "{text}");
}

/// That its signature was found good once makes no token last longer.
#[tokio::test]
async fn a_token_that_is_remembered_ends_with_its_time() {
    /// How long it is still good, within the leeway of 60 s.
    const GOOD_SECONDS: i64 = 6;
    let signer = Signer::es256("k");
    let server = KeyServer::start(keys(&[&signer])).await;
    let configured = Configured::open(&server.section("")).await;
    let shop = &configured.shop;
    let now = shop.moment_in(0).await;
    let now = firstcome_core::Timestamp::parse_rfc3339(&now).expect("a moment").as_micros();
    let mut claims = claims(&server.url, "u");
    claims["exp"] = (now / 1_000_000 - 60 + GOOD_SECONDS).into();
    let token = signer.sign(&signer.header(), &claims);
    for _ in ["checked", "remembered"] {
        let _ = me(shop, &token).await.expect(200);
    }
    let ask = || me(shop, &token);
    let answer = eventually("it ends", ask, |answer| answer.status != 200).await;
    let _ = answer.expect_problem(401, "unauthenticated");
}

#[tokio::test]
async fn the_same_subject_of_two_providers_is_two_users() {
    let (one, two) = (Signer::es256("one"), Signer::es256("two"));
    let (first, second) =
        (KeyServer::start(keys(&[&one])).await, KeyServer::start(keys(&[&two])).await);
    let lines =
        first.section("subject_prefix = \"a:\"") + &second.section("subject_prefix = \"b:\"");
    let configured = Configured::open(&lines).await;
    let shop = &configured.shop;
    let event = shop.event(10).await;
    let ids = [(&one, &first, "a:kim"), (&two, &second, "b:kim")];
    for (signer, server, user) in ids {
        let token = signer.token(&server.url, "kim");
        assert_eq!(super::user_of_claim(shop, &event, &token).await, user);
    }
    // A key of one is no key of the other.
    let crossed = one.token(&second.url, "kim");
    let answer = timeout(KEY_WAIT_MAX, me(shop, &crossed)).await.expect("an answer");
    let _ = answer.expect_problem(401, "unauthenticated");
    shop.expect_audit(&event, 2).await;
}
