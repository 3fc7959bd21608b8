//! What a database server asks of who logs in: TLS, rights, and not to be one too many.

use std::sync::Arc;
use std::time::Duration;

use firstcome_testkit::{DatabaseServer, Engine};
use tempfile::TempDir;
use tokio::task::JoinSet;
use tokio::time::timeout;

use super::refusals::{SECRET, parts, refused, tables};
use crate::databases::on_each_engine;
use crate::shop::Shop;

on_each_engine!(tls, rights, room);

const WAIT_MAX: Duration = Duration::from_secs(60);

/// The URL of the server's database for another user, whose password is the secret.
pub(super) fn url_of(server: &DatabaseServer, user: &str) -> String {
    let [scheme, _, authority, database] = parts(server.url());
    format!("{scheme}://{user}:{SECRET}@{authority}/{database}")
}

/// A server that lets one user in without TLS, and only that one.
async fn postgres_that_wants_tls(rules: &TempDir) -> DatabaseServer {
    let file = rules.path().join("hba.conf");
    let (usual, secure) = ("host all firstcome", "hostssl all secure");
    let text = format!("{usual} all scram-sha-256\n{secure} all scram-sha-256\n");
    std::fs::write(&file, text).expect("a file");
    let setting = format!("hba_file={}", file.display());
    DatabaseServer::start_with(Engine::Postgres, &["-c", &setting]).await
}

async fn tls(engine: Engine) {
    let rules = TempDir::new().expect("a directory");
    let (server, asking, wish) = match engine {
        Engine::Postgres => (postgres_that_wants_tls(&rules).await, "sslmode", "require"),
        Engine::MariaDb => (DatabaseServer::start(engine).await, "ssl-mode", "REQUIRED"),
    };
    let url = format!("{}?{asking}={wish}", server.url());
    refused(&url, &["TLS was asked for", "ask for less in the ledger URL", asking]).await;

    let asked = format!("add ?{asking}={wish}");
    match engine {
        Engine::Postgres => {
            server.execute(&format!("CREATE USER secure PASSWORD '{SECRET}'")).await;
            refused(&url_of(&server, "secure"), &["the server wants TLS", &asked]).await;
        }
        Engine::MariaDb => {
            server.execute("SET GLOBAL require_secure_transport = ON").await;
            refused(server.url(), &["with TLS only", &asked]).await;
        }
    }
}

/// Of users that may do too little, on an empty database and on one with tables.
async fn rights(engine: Engine) {
    let server = DatabaseServer::start(engine).await;
    let names = ["the user lacks rights", "firstcome migrate"];
    let make = match engine {
        // Before version 15 everybody may make tables.
        Engine::Postgres => format!(
            "CREATE USER reader PASSWORD '{SECRET}'; REVOKE CREATE ON SCHEMA public FROM PUBLIC"
        ),
        Engine::MariaDb => format!("CREATE USER reader@'%' IDENTIFIED BY '{SECRET}'"),
    };
    server.execute(&make).await;
    if engine == Engine::MariaDb {
        refused(&url_of(&server, "reader"), &["give the user rights on it"]).await;
        server.execute("GRANT SELECT ON firstcome.* TO reader@'%'").await;
    }
    refused(&url_of(&server, "reader"), &names).await;
    assert_eq!(server.text(tables(engine)).await, "");

    let mut shop = Shop::open_patiently_on(server.url()).await;
    assert_eq!(shop.server.terminate().await, Some(0));
    refused(&url_of(&server, "reader"), &names).await;
    if engine == Engine::Postgres {
        server.execute("GRANT SELECT ON ALL TABLES IN SCHEMA public TO reader").await;
        refused(&url_of(&server, "reader"), &names).await;
    }
    // As a deployment has it: one user migrates, another one serves.
    let grant = match engine {
        Engine::Postgres => {
            "GRANT INSERT, UPDATE, DELETE ON ALL TABLES IN SCHEMA public TO reader; \
             GRANT USAGE ON ALL SEQUENCES IN SCHEMA public TO reader"
        }
        Engine::MariaDb => "GRANT INSERT, UPDATE, DELETE ON firstcome.* TO reader@'%'",
    };
    server.execute(grant).await;
    let shop = Shop::open_patiently_on(&url_of(&server, "reader")).await;
    let event = shop.event(1).await;
    let _ = shop.claim(&event, &shop.user("u").await).await.expect(201);
}

/// All connections are taken by statements that sleep, and by the one that watches them.
async fn room(engine: Engine) {
    let (arguments, sleeps, count, watch) = match engine {
        Engine::Postgres => (
            ["-c", "max_connections=6"],
            "SELECT pg_sleep(600)",
            5,
            "SELECT count(*) FROM pg_stat_activity WHERE query LIKE '%pg_sleep(6%' \
             AND pid <> pg_backend_pid()",
        ),
        // One more than the limit is let in, because the user is an administrator.
        Engine::MariaDb => (
            ["--max-connections=10", "--skip-log-bin"],
            "SELECT SLEEP(600)",
            10,
            "SELECT count(*) FROM information_schema.processlist WHERE info = 'SELECT SLEEP(600)'",
        ),
    };
    let server = Arc::new(DatabaseServer::start_with(engine, &arguments).await);
    assert_eq!(server.number(watch).await, 0);
    let mut sleepers = JoinSet::new();
    for _ in 0..count {
        let server = Arc::clone(&server);
        sleepers.spawn(async move { server.execute(sleeps).await });
    }
    let asleep = async { while server.number(watch).await < count {} };
    tokio::select! {
        within = timeout(WAIT_MAX, asleep) => within.expect("the statements run in time"),
        ended = sleepers.join_next() => panic!("a statement ended: {ended:?}"),
    }
    let names = ["raise max_connections on the server", "ledger.readers_max"];
    refused(server.url(), &names).await;
    sleepers.abort_all();
}
