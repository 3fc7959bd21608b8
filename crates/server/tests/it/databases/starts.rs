//! Several processes that start at once on an empty database.

use firstcome_testkit::{Engine, Launch, Server, TestDatabase};
use serde_json::json;
use tempfile::TempDir;
use tokio::task::JoinSet;

use crate::databases::on_each_engine;
use crate::shop::{BINARY, patient};

on_each_engine!(they_make_one_admin, they_have_the_configured_admin);

const PROCESSES: usize = 3;

/// Starts them all on one database and one data directory.
async fn start_at_once(
    database: &TestDatabase,
    data: &TempDir,
    change: fn(Launch) -> Launch,
) -> Vec<Server> {
    let mut starting = JoinSet::new();
    for _ in 0..PROCESSES {
        let (url, data) = (database.url().to_owned(), data.path().to_owned());
        starting.spawn(async move {
            let on_url =
                |launch: Launch| patient(change(launch).environment("FIRSTCOME_LEDGER_URL", &url));
            Server::start_on_as(BINARY, &data, on_url).await
        });
    }
    starting.join_all().await
}

/// All of them know this admin, by the password and by each other's tokens; there is no second.
async fn check_one_admin(database: &TestDatabase, servers: &[Server], password: &str) {
    for server in servers {
        let body = json!({"email": "admin@localhost", "password": password});
        let session = server.api().post("/v1/sessions").json(body).await.expect(200);
        for other in servers {
            let me = other.api().get("/v1/me").token(&session.member_text("/access_token"));
            assert_eq!(me.await.expect(200).member("/scope"), "user admin");
        }
    }
    assert_eq!(database.number("SELECT count(*) FROM accounts").await, 1);
}

/// Whoever came first tells its password; the others tell none.
async fn they_make_one_admin(engine: Engine) {
    let (database, data) = (TestDatabase::new(engine).await, TempDir::new().expect("a directory"));
    let servers = start_at_once(&database, &data, |launch| launch).await;
    let said: Vec<String> = servers.iter().map(Server::said).collect();
    let told = said.iter().filter_map(|said| {
        let (before, _) = said.split_once(" (shown only this once)")?;
        Some(before.rsplit_once("admin@localhost, password ").expect("a password").1)
    });
    let [password] = <[&str; 1]>::try_from(told.collect::<Vec<_>>())
        .unwrap_or_else(|told| panic!("told {} passwords: {said:?}", told.len()));
    check_one_admin(&database, &servers, password).await;
    // Each says how to log in; only one knows the password.
    let knowing = said.iter().filter(|said| said.contains(password)).count();
    assert_eq!(knowing, 1, "{said:?}");
    let migrated = servers[0].command(&["migrate", "--dry-run"]).await;
    assert!(migrated.stdout.contains("up to date"), "{migrated:?}");
}

async fn they_have_the_configured_admin(engine: Engine) {
    let (database, data) = (TestDatabase::new(engine).await, TempDir::new().expect("a directory"));
    let servers = start_at_once(&database, &data, |launch| {
        let launch = launch.environment("FIRSTCOME_ADMIN_EMAIL", "admin@localhost");
        launch.environment("FIRSTCOME_ADMIN_PASSWORD", "열려라 참깨 열려라")
    });
    let servers = servers.await;
    for server in &servers {
        let said = server.said();
        assert!(said.contains("admin@localhost, with the configured password"), "{said}");
    }
    check_one_admin(&database, &servers, "열려라 참깨 열려라").await;
}
