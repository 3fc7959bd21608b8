//! Roles apart, each alone in its process: what each serves and what not, and a whole drop over
//! them.

use firstcome_testkit::{
    Answer, Engine, KafkaServer, Launch, RedisServer, Server, TestDatabase, remove_kafka_topic,
};
use serde_json::{Value, json};

use crate::cluster::{Behind, Cluster};
use crate::shop::{BINARY, eventually};

/// In place of any id; and of any code.
const ID: &str = "01890a5d-ac96-774b-bcce-b302099a8057";
const QUANTITY: u32 = 5;

/// The calls of a document, as `GET` and `/v1/events/{id}`.
fn calls(document: &Value) -> Vec<(String, String)> {
    let paths = document["paths"].as_object().expect("paths").iter();
    let of_path = |(path, item): (&String, &Value)| {
        let methods = item.as_object().expect("methods").keys();
        let methods =
            methods.filter(|method| ["get", "post", "patch", "delete"].contains(&&***method));
        methods.map(|method| (method.to_uppercase(), path.clone())).collect::<Vec<_>>()
    };
    paths.flat_map(of_path).collect()
}

/// The path of a template, with some id.
fn path_of(template: &str) -> String {
    let segments = template.split('/');
    let segments = segments.map(|segment| match segment {
        "{code}" => "sold_out",
        _ if segment.starts_with('{') => ID,
        _ => segment,
    });
    segments.collect::<Vec<_>>().join("/")
}

/// That a process serves the calls of these paths, and of all others none.
async fn check_served(server: &Server, all: &Value, name: &str) {
    let api = server.api();
    for (path, word) in [("/livez", "alive"), ("/readyz", "ready")] {
        assert_eq!(api.get(path).await.expect(200).member("/status"), word);
    }
    let metrics = api.get("/metrics").await.expect(200).text();
    assert!(metrics.contains("\nprocess_resident_memory_bytes "), "{name}: {metrics}");
    let own = calls(&api.get("/openapi.json").await.expect(200).json());
    for (method, template) in calls(all) {
        let answer = api.call(&method, &path_of(&template)).await;
        let code = if answer.status < 400 { String::new() } else { said(&answer) };
        if own.contains(&(method.clone(), template.clone())) {
            let is_served = !["not_found", "method_not_allowed"].contains(&&*code);
            assert!(is_served, "{name} lacks its own call: {answer}");
        } else if own.iter().any(|(_, path)| *path == template) {
            // It serves the path by another method.
            assert_eq!((answer.status, &*code), (405, "method_not_allowed"), "{name}: {answer}");
        } else {
            assert_eq!((answer.status, &*code), (404, "not_found"), "{name}: {answer}");
        }
    }
}

/// The code of a refusal; none of one by the words of OAuth.
fn said(answer: &Answer) -> String {
    if answer.header("content-type") == "application/problem+json" {
        answer.code()
    } else {
        String::new()
    }
}

/// What a document has that only this role serves.
fn own_paths(role: &str) -> &'static [&'static str] {
    match role {
        "identity" => &["/v1/users", "/v1/sessions", "/oauth/token", "/.well-known/jwks.json"],
        "catalog" => &["/v1/coupons", "/v1/coupons/{id}"],
        "issuance" => &["/v1/events/{id}/claims", "/v1/events/{id}/audit"],
        "wallet" => &["/v1/me/coupons", "/v1/redemptions"],
        _ => &[],
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn each_serves_its_own_calls_alone() {
    let (redis, database) = (RedisServer::start().await, TestDatabase::new(Engine::Postgres).await);
    let redis_url = redis.url();
    let behind = Behind::new(database.url(), &redis_url, database.name());
    let cluster = Cluster::start(&behind, "RS256", "kafka").await;
    let all = Launch::new(BINARY, &["openapi"]).run().await.stdout;
    let all: Value = serde_json::from_str(&all).expect("JSON");
    let Cluster { shops: [shop, _], workers: [worker, _], identity, catalog, wallet, .. } =
        &cluster;
    let processes = [
        ("identity", identity),
        ("catalog", catalog),
        ("issuance", &shop.server),
        ("wallet", wallet),
        ("worker", worker),
    ];
    for (role, server) in processes {
        let own = server.api().get("/openapi.json").await.expect(200).json();
        for other in processes.map(|(other, _)| other) {
            for path in own_paths(other) {
                let is_there = own["paths"][path].is_object();
                assert_eq!(is_there, role == other, "{path} in the document of {role}");
            }
        }
        check_served(server, &all, role).await;
    }
    drop(cluster);
    remove_kafka_topic(database.name()).await;
}

/// A user who has signed up; the access token.
async fn shopper(identity: &Server, name: &str) -> String {
    shopper_of([identity, identity], name).await
}

/// A user who has signed up at one process and logged in at the other; the access token.
async fn shopper_of([one, other]: [&Server; 2], name: &str) -> String {
    let credentials =
        json!({"email": format!("{name}@example.com"), "password": "a long password"});
    let _ = one.api().post("/v1/users").json(credentials.clone()).await.expect(201);
    let session = other.api().post("/v1/sessions").json(credentials).await.expect(200);
    session.member_text("/access_token")
}

/// The token of a new checkout service.
async fn checkout(identity: &Server, admin: &str) -> String {
    let api = identity.api();
    let client = json!({"name": "checkout", "scope": "redeem"});
    let client = api.post("/v1/clients").token(admin).json(client).await.expect(201);
    let form = [
        ("grant_type", "client_credentials"),
        ("client_id", &*client.member_text("/client_id")),
        ("client_secret", &*client.member_text("/client_secret")),
    ];
    api.post("/oauth/token").form(&form).await.expect(200).member_text("/access_token")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn workers_alone_write_what_was_won() {
    let (redis, database) = (RedisServer::start().await, TestDatabase::new(Engine::Postgres).await);
    let redis_url = redis.url();
    let behind = Behind::new(database.url(), &redis_url, database.name());
    let mut cluster = Cluster::start(&behind, "RS256", "kafka").await;
    let event = cluster.shops[0].event(QUANTITY).await;
    cluster.shops[0].ready(&event).await;
    for worker in &mut cluster.workers {
        assert_eq!(worker.terminate().await, Some(0), "{}", worker.said());
    }
    let token = shopper(&cluster.identity, "kim").await;
    let issued = cluster.shops[0].claim(&event, &token).await.expect(201);
    let api = cluster.wallet.api();
    let mine = || async { api.get("/v1/me/coupons").token(&token).await };
    // Whoever asks waits for it.
    let _ = mine().await.expect_problem(503, "unavailable");
    assert_eq!(database.number("SELECT count(*) FROM issued_coupons").await, 0);
    cluster.workers[0].restart().await;
    let mine = eventually("it is written", mine, |mine| mine.status == 200).await;
    assert_eq!(mine.member("/items/0/id"), issued.member("/id"));
    drop(cluster);
    remove_kafka_topic(database.name()).await;
}

/// What a process that died has left in doubt, whoever erases a user has written first.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_erases_leaves_nothing_in_doubt() {
    let (redis, database) = (RedisServer::start().await, TestDatabase::new(Engine::Postgres).await);
    let (redis_url, broker) = (redis.url(), KafkaServer::start().await);
    let behind = Behind::new(database.url(), &redis_url, database.name()).at(&broker);
    let mut cluster = Cluster::start(&behind, "RS256", "kafka").await;
    let Cluster { shops: [shop, other], workers, identity, .. } = &mut cluster;
    let event = shop.event(QUANTITY).await;
    shop.ready(&event).await;
    for worker in workers {
        assert_eq!(worker.terminate().await, Some(0), "{}", worker.said());
    }
    let token = shopper(identity, "kim").await;
    broker.hang();
    let _ = shop.claim(&event, &token).await.expect_problem(503, "in_doubt");
    for shop in [shop, other] {
        shop.server.kill9();
    }
    broker.go_on();
    let pending = format!("firstcome:ev:{{{event}}}:pending");
    let in_doubt = || async { redis.cli(&["HLEN", &pending]).await };
    assert_eq!(in_doubt().await, "1");
    let api = identity.api();
    let erase = || async { api.call("DELETE", "/v1/me").token(&token).await };
    let _ = erase().await.expect_problem(503, "unavailable");
    eventually("nothing is in doubt", in_doubt, |count| count == "0").await;
}

/// Each role is scaled alone: here each has two processes.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_whole_drop_over_roles_apart() {
    let (redis, database) = (RedisServer::start().await, TestDatabase::new(Engine::Postgres).await);
    let redis_url = redis.url();
    let behind = Behind::new(database.url(), &redis_url, database.name());
    let cluster = Cluster::start(&behind, "RS256", "kafka").await;
    let Cluster { shops, workers, identity, catalog, wallet, .. } = cluster;
    let identities = [identity.start_beside().await, identity];
    let catalogs = [catalog.start_beside().await, catalog];
    let wallets = [wallet.start_beside().await, wallet];
    let event = shops[0].event(QUANTITY).await;
    shops[0].ready(&event).await;
    let mut winners = Vec::new();
    for number in 0..=QUANTITY {
        let one = usize::from(number % 2 == 1);
        let processes = [&identities[one], &identities[1 - one]];
        let token = shopper_of(processes, &format!("shopper-{number}")).await;
        let answer = shops[one].claim(&event, &token).await;
        if number == QUANTITY {
            let _ = answer.expect_problem(409, "sold_out");
            break;
        }
        let issued = answer.expect(201);
        assert_eq!(issued.member("/sequence"), number + 1);
        winners.push((token, issued));
    }
    // The other process tells the same.
    let (token, issued) = &winners[0];
    let again = shops[1].claim(&event, token).await.expect_problem(409, "already_claimed");
    assert_eq!(again.member("/issued_coupon"), issued.json());

    shops[1].recorded(&event).await;
    for catalog in &catalogs {
        let ask = || async { catalog.api().get(&format!("/v1/events/{event}")).await.expect(200) };
        eventually("sold out", ask, |read| read.member("/state") == "sold_out").await;
    }
    for wallet in &wallets {
        let mine = wallet.api().get("/v1/me/coupons").token(token).await.expect(200);
        assert_eq!(mine.member("/items/0/id"), issued.member("/id"));
    }
    let order = json!({
        "code": issued.member("/code"), "order_id": "order-1", "order_amount": 20_000,
        "currency": "KRW",
    });
    let checkout = checkout(&identities[0], &shops[0].admin).await;
    let [redeemed, again] = wallets
        .each_ref()
        .map(|wallet| wallet.api().post("/v1/redemptions").token(&checkout).json(order.clone()));
    let redemption = redeemed.await.expect(201).json();
    assert_eq!(again.await.expect(200).json(), redemption);
    for shop in &shops {
        shop.expect_audit(&event, winners.len()).await;
    }

    let shops = shops.map(|shop| shop.server);
    for mut server in [shops, workers, catalogs, wallets, identities].into_iter().flatten() {
        assert_eq!(server.terminate().await, Some(0), "{}", server.said());
    }
    remove_kafka_topic(database.name()).await;
}
