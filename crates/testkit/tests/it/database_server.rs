//! Servers that a test kills: what was committed outlives them.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use firstcome_testkit::{DatabaseServer, Engine};
use tokio::net::TcpStream;
use tokio::task::JoinSet;
use tokio::time::timeout;

const WAIT_MAX: Duration = Duration::from_secs(60);

#[tokio::test]
async fn a_killed_server_still_has_what_was_committed() {
    for engine in Engine::ALL {
        let mut server = DatabaseServer::start(engine).await;
        server.execute("CREATE TABLE t (n BIGINT)").await;
        server.execute("INSERT INTO t VALUES (1)").await;
        server.execute("BEGIN; INSERT INTO t VALUES (2); COMMIT").await;
        server.execute("BEGIN; INSERT INTO t VALUES (4)").await;
        let (url, pid) = (server.url().to_owned(), server.pid());
        server.kill9();
        let authority = url.split(['@', '/']).nth(3).unwrap();
        assert!(TcpStream::connect(authority).await.is_err(), "{engine}");
        server.restart().await;
        assert_eq!(server.url(), url);
        assert_ne!(server.pid(), pid);
        assert_eq!(server.number("SELECT sum(n) FROM t").await, 3, "{engine}");
        server.kill9();
        server.restart().await;
        assert_eq!(server.number("SELECT sum(n) FROM t").await, 3, "{engine}");
    }
}

#[tokio::test]
async fn calls_wait_while_the_server_is_full() {
    const CALLS: usize = 40;
    for engine in Engine::ALL {
        let arguments = match engine {
            Engine::Postgres => ["-c", "max_connections=8"],
            Engine::MariaDb => ["--max-connections=10", "--skip-log-bin"],
        };
        let server = Arc::new(DatabaseServer::start_with(engine, &arguments).await);
        let mut calls = JoinSet::new();
        for _ in 0..CALLS {
            let server = Arc::clone(&server);
            calls.spawn(async move { server.number("SELECT 1").await });
        }
        assert_eq!(calls.join_all().await, [1; CALLS], "{engine}");
    }
}

/// A session that never looks up from its work; PostgreSQL has a process for it.
async fn busy_session(server: &DatabaseServer) -> i64 {
    const WORK: &str = "DO 'BEGIN LOOP NULL; END LOOP; END'";
    let find =
        format!("SELECT COALESCE(max(pid), 0) FROM pg_stat_activity WHERE query = $${WORK}$$");
    let found = async {
        loop {
            match server.number(&find).await {
                0 => {}
                id => break id,
            }
        }
    };
    tokio::select! {
        () = server.execute(WORK) => panic!("the work never ends"),
        id = timeout(WAIT_MAX, found) => id.expect("the work begins in time"),
    }
}

#[tokio::test]
async fn a_session_dies_with_its_server() {
    // Nobody may have heard yet that it has ended.
    let is_there = |id: i64| {
        let stat = std::fs::read_to_string(format!("/proc/{id}/stat")).unwrap_or_default();
        !stat.is_empty() && !stat.contains(") Z ")
    };
    let mut server = DatabaseServer::start(Engine::Postgres).await;
    let session = busy_session(&server).await;
    assert!(is_there(session));
    server.kill9();
    assert!(!is_there(session));
    server.restart().await;
    let session = busy_session(&server).await;
    drop(server);
    assert!(!is_there(session));
}

#[tokio::test]
async fn a_server_takes_arguments() {
    let server = DatabaseServer::start_with(Engine::Postgres, &["-c", "max_connections=7"]).await;
    assert_eq!(server.number("SHOW max_connections").await, 7);
    let server = DatabaseServer::start_with(Engine::MariaDb, &["--max-connections=11"]).await;
    assert_eq!(server.number("SELECT @@max_connections").await, 11);
}

#[tokio::test]
async fn a_server_syncs_what_it_commits() {
    let server = DatabaseServer::start(Engine::Postgres).await;
    assert_eq!(server.text("SHOW fsync").await, "on");
    assert_eq!(server.text("SHOW synchronous_commit").await, "on");
    let server = DatabaseServer::start(Engine::MariaDb).await;
    assert_eq!(server.number("SELECT @@innodb_flush_log_at_trx_commit").await, 1);
}

#[tokio::test]
async fn a_dropped_server_leaves_nothing() {
    for engine in Engine::ALL {
        let server = DatabaseServer::start(engine).await;
        let data = match engine {
            Engine::Postgres => server.text("SHOW data_directory").await,
            Engine::MariaDb => server.text("SELECT @@datadir").await,
        };
        let pid = server.pid();
        assert!(Path::new(&data).exists());
        drop(server);
        assert!(!Path::new(&data).parent().unwrap().exists(), "{data}");
        assert!(!Path::new(&format!("/proc/{pid}")).exists(), "{engine}");
    }
}
