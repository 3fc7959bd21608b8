//! What signs our own tokens: algorithms, rotation while servers run, processes that only check.

use std::path::Path;
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use firstcome_testkit::{Answer, Api, Ended, Engine as Database, Launch, Server, TestDatabase};
use serde_json::{Value, json};
use tokio::time::Instant;

use crate::providers::configured;
use crate::shop::{BINARY, Shop, eventually};
use crate::startup::{check_refused, directory, serve};

/// Longest that a running server takes to know what the file says: it looks once a second.
const TAKEN_UP_MAX: Duration = Duration::from_secs(10);

fn header(token: &str) -> Value {
    let part = URL_SAFE_NO_PAD.decode(token.split('.').next().expect("a header"));
    serde_json::from_slice(&part.expect("base64url")).expect("JSON")
}

/// The ids of the published keys.
async fn kids(api: &Api) -> Vec<String> {
    let keys = api.get("/.well-known/jwks.json").await.expect(200).member("/keys");
    let kid = |key: &Value| key["kid"].as_str().expect("a kid").to_owned();
    keys.as_array().expect("a list").iter().map(kid).collect()
}

/// Whether two keys are published.
fn has_two(published: &Answer) -> bool {
    published.member("/keys").as_array().is_some_and(|keys| keys.len() == 2)
}

async fn me(api: &Api, token: &str) -> Answer {
    api.get("/v1/me").token(token).await
}

/// The lines that a command says.
async fn lines(server: &Server, arguments: &[&str]) -> Vec<String> {
    let Ended { code, stdout, stderr } = server.command(arguments).await;
    assert_eq!(code, Some(0), "{arguments:?}: {stderr}");
    stdout.lines().map(str::to_owned).collect()
}

fn signing_by(launch: Launch, directory: &Path, algorithm: &str) -> Launch {
    let lines =
        format!("identity.algorithm = \"{algorithm}\"\nidentity.jwks_max_age_seconds = 1\n");
    configured(launch, directory, &lines)
}

async fn log_in(api: &Api) -> Answer {
    let credentials = json!({"email": "kim@example.com", "password": "correct horse"});
    let _ = api.post("/v1/users").json(credentials.clone()).await;
    api.post("/v1/sessions").json(credentials).await.expect(200)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn each_algorithm_signs_and_checks() {
    for (algorithm, kty) in [("RS256", "RSA"), ("ES256", "EC"), ("EdDSA", "OKP")] {
        let files = directory();
        let shop = Shop::open_as(|launch| signing_by(launch, files.path(), algorithm)).await;
        let event = shop.event(10).await;
        let token = shop.user("u").await;
        let _ = shop.claim(&event, &token).await.expect(201);
        let session = log_in(&shop.api).await.member_text("/access_token");
        let _ = me(&shop.api, &session).await.expect(200);

        let published = shop.api.get("/.well-known/jwks.json").await.expect(200);
        assert_eq!(published.header("cache-control"), "public, max-age=1");
        let key = published.member("/keys/0");
        for member in ["d", "p", "q", "dp", "dq", "qi", "k"] {
            assert_eq!(key[member], Value::Null, "{algorithm}: {member} is private");
        }
        assert_eq!(
            (&key["kty"], &key["alg"], &key["use"]),
            (&kty.into(), &algorithm.into(), &"sig".into())
        );
        for token in [&token, &session] {
            assert_eq!(
                header(token),
                json!({"typ": "at+jwt", "alg": algorithm, "kid": key["kid"]})
            );
        }
        let signature_cut = &token[..token.len() - 4];
        let _ = me(&shop.api, signature_cut).await.expect_problem(401, "unauthenticated");
        #[cfg(unix)]
        {
            use std::os::unix::fs::PermissionsExt as _;
            let file = std::fs::metadata(shop.server.data_dir().join("signing.key"));
            assert_eq!(file.expect("the file").permissions().mode() & 0o777, 0o600);
        }
        let listed = lines(&shop.server, &["keys", "list"]).await;
        let kid = key["kid"].as_str().expect("a kid");
        assert_eq!(listed, [format!("{kid}  {algorithm}  signs")]);
    }
}

/// A secret is no public key, and changing from it leaves it where it is.
#[tokio::test]
async fn a_secret_is_never_published_and_stays() {
    let mut shop = Shop::open().await;
    assert_eq!(kids(&shop.api).await, [""; 0]);
    let file = shop.server.data_dir().join("signing.key");
    let secret = std::fs::read_to_string(&file).expect("the file");
    let by_secret = shop.user("u").await;
    let _ = me(&shop.api, &by_secret).await.expect(200);

    assert_eq!(shop.server.terminate().await, Some(0));
    let files = directory();
    shop.reopen_as(|launch| signing_by(launch, files.path(), "ES256")).await;
    assert_eq!(kids(&shop.api).await.len(), 1);
    let _ = me(&shop.api, &by_secret).await.expect_problem(401, "unauthenticated");
    let _ = me(&shop.api, &shop.user("u").await).await.expect(200);
    let kept = std::fs::read_to_string(&file).expect("the file");
    assert!(kept.contains(secret.trim()), "the secret is lost");

    assert_eq!(shop.server.terminate().await, Some(0));
    shop.reopen_as(|launch| signing_by(launch, files.path(), "HS256")).await;
    let _ = me(&shop.api, &by_secret).await.expect(200);
}

/// From the order to the last process: at no moment a good token is refused, and nobody signs with
/// a key that a process does not publish yet.
async fn rotates_without_a_refusal(processes: &[&Shop]) {
    let [first, ..] = processes else { panic!("a process") };
    let old = first.user("old").await;
    let event = first.event(10_000).await;
    let mut refresh = log_in(&first.api).await.member_text("/refresh_token");
    let before = kids(&first.api).await;
    let order = lines(&first.server, &["keys", "rotate"]).await.concat();
    let kid = order.split("  ").next().expect("an id").to_owned();
    assert!(order.contains("signs from") && !before.contains(&kid), "{order}");
    let (start, mut signed, mut number) = (Instant::now(), 0, 0);
    while signed < processes.len() * 3 {
        for shop in processes {
            number += 1;
            let form = [("grant_type", "refresh_token"), ("refresh_token", refresh.as_str())];
            let granted = shop.api.post("/oauth/token").form(&form).await.expect(200);
            let new = granted.member_text("/access_token");
            refresh = granted.member_text("/refresh_token");
            let is_new = header(&new)["kid"] == kid.as_str();
            signed += usize::from(is_new);
            let claimant = shop.server.token(&format!("u-{number}"), "user").await;
            for other in processes {
                assert!(!is_new || kids(&other.api).await.contains(&kid), "signed too early");
                for token in [&old, &new] {
                    let _ = me(&other.api, token).await.expect(200);
                }
            }
            let _ = shop.claim(&event, &claimant).await.expect(201);
        }
        assert!(start.elapsed() < Duration::from_secs(60), "nobody signs with the new key");
    }
    for shop in processes {
        let published = kids(&shop.api).await;
        assert!(published.contains(&before[0]) && published.contains(&kid), "{published:?}");
        assert!(me(&shop.api, &old).await.status == 200, "the old one checks");
    }
    let listed = lines(&first.server, &["keys", "list"]).await;
    assert!(listed[0].contains("checks until") && listed[1].ends_with("signs"), "{listed:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_rotation_refuses_nobody() {
    let files = directory();
    let shop = Shop::open_as(|launch| signing_by(launch, files.path(), "ES256")).await;
    rotates_without_a_refusal(&[&shop]).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_rotation_refuses_nobody_on_two_processes() {
    let (files, database) = (directory(), TestDatabase::new(Database::Postgres).await);
    let shop = Shop::open_as(|launch| {
        let launch = launch.environment("FIRSTCOME_LEDGER_URL", database.url());
        signing_by(launch, files.path(), "EdDSA")
    })
    .await;
    rotates_without_a_refusal(&[&shop, &shop.beside().await]).await;
}

/// The old key's beginning and end are moved into the past, as if time had gone by.
#[tokio::test]
async fn the_old_key_goes_with_its_last_token() {
    let files = directory();
    let shop = Shop::open_as(|launch| signing_by(launch, files.path(), "RS256")).await;
    let old = shop.user("u").await;
    let _ = me(&shop.api, &old).await.expect(200);
    let _ = lines(&shop.server, &["keys", "rotate", "--sign-after", "1s"]).await;
    let ask = || async { shop.api.get("/.well-known/jwks.json").await };
    let published = eventually("the new key is published", ask, has_two).await;
    let file = shop.server.data_dir().join("signing.key");
    let text = std::fs::read_to_string(&file).expect("the file");
    let mut stored: Value = serde_json::from_str(&text).expect("JSON");
    let signs_from = stored["keys"][1]["signs_from"].as_i64().expect("a moment");
    // `firstcome token` signs for two hours, and the record knows it.
    assert_eq!(stored["keys"][0]["token_seconds_max"], 7_200);
    stored["keys"][1]["signs_from"] = (signs_from - 7_200 - 60).into();
    std::fs::write(&file, stored.to_string()).expect("the file");
    let _ = eventually("the old key ends", ask, |answer| !has_two(answer)).await;
    assert_ne!(published.member("/keys/0/kid"), kids(&shop.api).await[0]);
    // Although it was checked a moment ago, and would be good by its own time.
    let ask = || me(&shop.api, &old);
    let answer = eventually("it checks no more", ask, |answer| answer.status != 200).await;
    let _ = answer.expect_problem(401, "unauthenticated");
    let _ = me(&shop.api, &shop.user("u").await).await.expect(200);
}

#[tokio::test]
async fn a_secret_is_rotated_too() {
    let shop = Shop::open().await;
    let old = shop.user("u").await;
    let _ = lines(&shop.server, &["keys", "rotate", "--sign-after", "3s"]).await;
    let start = Instant::now();
    let new = loop {
        let token = shop.user("u").await;
        let _ = me(&shop.api, &token).await.expect(200);
        let listed = lines(&shop.server, &["keys", "list"]).await;
        if listed[1].ends_with("signs") {
            break shop.user("u").await;
        }
        assert!(start.elapsed() < TAKEN_UP_MAX, "{listed:?}");
    };
    for token in [&old, &new] {
        let _ = me(&shop.api, token).await.expect(200);
    }
    assert_eq!(kids(&shop.api).await, [""; 0]);
    // The old secret signs no more: what is left of it is not what the first start has written.
    let text = std::fs::read_to_string(shop.server.data_dir().join("signing.key"));
    let stored: Value = serde_json::from_str(&text.expect("the file")).expect("JSON");
    assert_eq!(stored["keys"].as_array().map(Vec::len), Some(2));
}

#[tokio::test]
async fn a_file_that_is_damaged_while_we_run_changes_nothing() {
    let files = directory();
    let shop = Shop::open_as(|launch| signing_by(launch, files.path(), "ES256")).await;
    let token = shop.user("u").await;
    let file = shop.server.data_dir().join("signing.key");
    let text = std::fs::read_to_string(&file).expect("the file");
    std::fs::write(&file, "{\"keys\": [").expect("the file");
    let ask = || async { shop.api.get("/livez").await };
    let is_told = |_: &_| shop.server.said().contains("signing.key is damaged");
    let _ = eventually("the log tells", ask, is_told).await;
    let _ = me(&shop.api, &token).await.expect(200);
    assert_eq!(kids(&shop.api).await.len(), 1);
    let refused = shop.server.command(&["keys", "rotate"]).await;
    assert_eq!(refused.code, Some(1), "{refused:?}");
    assert_eq!(std::fs::read_to_string(&file).expect("the file"), "{\"keys\": [");
    std::fs::write(&file, text).expect("the file");
    let _ = lines(&shop.server, &["keys", "rotate"]).await;
    let ask = || async { shop.api.get("/.well-known/jwks.json").await };
    let _ = eventually("it is taken up again", ask, has_two).await;
}

#[tokio::test]
async fn who_only_checks_has_no_secret() {
    let data = directory();
    let apart =
        |more: &[&str]| serve(data.path()).arguments(&["--role", "issuance"]).arguments(more);
    let names = ["identity.algorithm is HS256", "\"RS256\"", "identity.share_secret"];
    let _ = check_refused(apart(&[]), &names).await;
    assert!(!data.path().join("signing.key").exists(), "a refused start makes no key");
    let public = |launch| signing_by(launch, data.path(), "RS256");
    let names = ["RS256", "signing.key", "role identity", "identity.keys_url"];
    let _ = check_refused(public(apart(&[])), &names).await;

    let files = directory();
    let sharing = |launch: Launch| {
        configured(launch, files.path(), "identity.share_secret = true\n")
            .arguments(&["--role", "catalog"])
    };
    let shop = Shop::open_as(sharing).await;
    let coupon = json!({
        "name": "A", "benefit": {"type": "amount", "amount": 5},
        "validity": {"type": "days", "days": 1},
    });
    let _ = shop.api.post("/v1/coupons").token(&shop.admin).json(coupon).await.expect(201);
}

/// One process signs, another issues; they share the ledger and an address, no file.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn roles_apart_share_public_keys_alone() {
    let (files, database) = (directory(), TestDatabase::new(Database::Postgres).await);
    let on_ledger = |launch: Launch| launch.environment("FIRSTCOME_LEDGER_URL", database.url());
    let identity = Shop::open_as(|launch| {
        let roles = ["--role", "identity", "--role", "catalog", "--role", "issuance"];
        signing_by(on_ledger(launch), files.path(), "RS256").arguments(&roles)
    })
    .await;
    let (event, afar) = (identity.event(10).await, directory());
    let keys_url = format!("http://{}/.well-known/jwks.json", identity.server.authority());
    let lines_of = format!("identity.algorithm = \"RS256\"\nidentity.keys_url = \"{keys_url}\"\n");
    let issuance = Server::start_as(BINARY, |launch| {
        configured(on_ledger(launch), afar.path(), &lines_of).arguments(&["--role", "issuance"])
    })
    .await;
    let claim = async |token: &str| {
        issuance.api().post(&format!("/v1/events/{event}/claims")).token(token).await
    };
    let _ = claim(&identity.user("a").await).await.expect(201);
    assert!(!issuance.data_dir().join("signing.key").exists(), "it needs none");
    let _ = issuance.api().get("/.well-known/jwks.json").await.expect(404);
    // A key that it has not heard of is asked for, even one that signs at once.
    let _ = lines(&identity.server, &["keys", "rotate", "--sign-after", "1s"]).await;
    let ask = || async { identity.api.get("/.well-known/jwks.json").await };
    let _ = eventually("the new key is published", ask, has_two).await;
    let listed = || lines(&identity.server, &["keys", "list"]);
    while !listed().await[1].ends_with("signs") {}
    let _ = claim(&identity.user("b").await).await.expect(201);
    let foreign = Shop::open_as(|launch| signing_by(launch, afar.path(), "RS256")).await;
    let _ = claim(&foreign.user("c").await).await.expect_problem(401, "unauthenticated");
}
