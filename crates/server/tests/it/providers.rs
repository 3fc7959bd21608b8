//! Tokens of other identity providers: a real one, and one that does what no real one would.

mod confusion;
pub(crate) mod issuer;
mod keys_from_afar;
mod oidc;

use std::path::Path;

use firstcome_testkit::{Answer, Launch};
use tempfile::TempDir;

use crate::shop::{Shop, eventually};
use oidc::Oidc;

/// A shop with these lines as its configuration.
pub(crate) struct Configured {
    pub(crate) shop: Shop,
    _file: TempDir,
}

impl Configured {
    pub(crate) async fn open(configuration: &str) -> Self {
        let file = TempDir::new().expect("a temporary directory");
        let shop = Shop::open_as(|launch| configured(launch, file.path(), configuration)).await;
        Self { shop, _file: file }
    }
}

/// With these lines as its configuration, in this directory.
pub(crate) fn configured(launch: Launch, directory: &Path, lines: &str) -> Launch {
    let file = directory.join("firstcome.toml");
    std::fs::write(&file, lines).expect("a file");
    launch.environment("FIRSTCOME_CONFIG", file.to_str().expect("a path in UTF-8"))
}

async fn me(shop: &Shop, token: &str) -> Answer {
    shop.api.get("/v1/me").token(token).await
}

/// Claims for a user of the provider; the user that the coupon is for.
async fn user_of_claim(shop: &Shop, event: &str, token: &str) -> String {
    shop.claim(event, token).await.expect(201).member_text("/user_id")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn tokens_of_a_real_provider() {
    for algorithm in ["RS256", "ES256"] {
        let oidc = Oidc::start("k1", algorithm, "at+jwt").await;
        let more = format!("algorithms = [\"{algorithm}\"]");
        let configured = Configured::open(&oidc.section(&more)).await;
        let shop = &configured.shop;
        let event = shop.event(10).await;

        let token = oidc.token("shopper-1", "shop:claim").await;
        assert_eq!(user_of_claim(shop, &event, &token).await, "shopper-1");
        let again = shop.claim(&event, &token).await;
        let _ = again.expect_problem(409, "already_claimed");
        let me = me(shop, &token).await.expect(200);
        assert_eq!(
            (me.member_text("/id"), me.member_text("/scope")),
            ("shopper-1".into(), "user".into())
        );
        assert_eq!(me.member("/email"), serde_json::Value::Null);

        let marketer = oidc.token("marketer-1", "shop:claim shop:manage").await;
        let audit = shop.api.get(&format!("/v1/events/{event}/audit")).token(&marketer).await;
        assert_eq!(audit.expect(200).member("/issued"), 1);
        let audit = shop.api.get(&format!("/v1/events/{event}/audit")).token(&token).await;
        let _ = audit.expect_problem(403, "forbidden");
        let stranger = oidc.token("stranger-1", "elsewhere").await;
        let _ = shop.claim(&event, &stranger).await.expect_problem(403, "forbidden");
        // Our own tokens go on beside them.
        assert_eq!(user_of_claim(shop, &event, &shop.user("u").await).await, "u");
    }
}

#[tokio::test]
async fn an_algorithm_or_type_that_is_not_listed_is_refused() {
    let oidc = Oidc::start("k1", "ES256", "JWT").await;
    let refusing = Configured::open(&oidc.section("algorithms = [\"ES256\"]")).await;
    let token = oidc.token("shopper-1", "shop:claim").await;
    let _ = me(&refusing.shop, &token).await.expect_problem(401, "unauthenticated");
    let other = Configured::open(&oidc.section("types = [\"JWT\"]")).await;
    let _ = me(&other.shop, &token).await.expect_problem(401, "unauthenticated");
    let both = "types = [\"at+jwt\", \"JWT\"]\nalgorithms = [\"RS256\", \"ES256\"]";
    let accepting = Configured::open(&oidc.section(both)).await;
    let _ = me(&accepting.shop, &token).await.expect(200);
}

#[tokio::test]
async fn a_provider_that_is_away_and_comes_back_with_other_keys() {
    let mut oidc = Oidc::start("before", "RS256", "at+jwt").await;
    let configured = Configured::open(&oidc.section("")).await;
    let shop = &configured.shop;
    let seen = oidc.token("shopper-1", "shop:claim").await;
    let unseen = oidc.token("shopper-2", "shop:claim").await;
    let _ = me(shop, &seen).await.expect(200);
    oidc.stop();
    for token in [&seen, &unseen] {
        let _ = me(shop, token).await.expect(200);
    }
    oidc.restart("after").await;
    let new = oidc.token("shopper-1", "shop:claim").await;
    // The first request that needs the new key has it.
    let _ = me(shop, &new).await.expect(200);
    // What the old one has checked went with it.
    for token in [&seen, &unseen] {
        let _ = me(shop, token).await.expect_problem(401, "unauthenticated");
    }
}

#[tokio::test]
async fn a_provider_that_starts_after_us() {
    let mut oidc = Oidc::start("k1", "RS256", "at+jwt").await;
    let token = oidc.token("shopper-1", "shop:claim").await;
    oidc.stop();
    let configured = Configured::open(&oidc.section("refresh_seconds = 1")).await;
    let shop = &configured.shop;
    let refused = me(shop, &token).await.expect_problem(503, "unavailable");
    assert_eq!(refused.member("/retryable"), true);
    oidc.restart("k2").await;
    let token = oidc.token("shopper-1", "shop:claim").await;
    let ask = || me(shop, &token);
    let _ = eventually("its keys are fetched", ask, |answer| answer.status == 200).await;
}
