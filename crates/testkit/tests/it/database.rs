//! Fresh databases: each test has its own, and none is left behind.

use std::time::Duration;

use firstcome_testkit::{Engine, TestDatabase};
use sqlx::{Connection as _, MySqlConnection, PgConnection};
use tokio::time::timeout;

/// How many databases of the server have the name of this one.
fn count_of(database: &TestDatabase) -> String {
    let (table, column) = match database.engine() {
        Engine::Postgres => ("pg_database", "datname"),
        Engine::MariaDb => ("information_schema.schemata", "schema_name"),
    };
    format!("SELECT count(*) FROM {table} WHERE {column} = '{}'", database.name())
}

#[tokio::test]
async fn fresh_databases_are_separate() {
    for engine in Engine::ALL {
        let one = TestDatabase::new(engine).await;
        let other = TestDatabase::new(engine).await;
        one.execute("CREATE TABLE t (n BIGINT); INSERT INTO t VALUES (7), (8)").await;
        other.execute("CREATE TABLE t (n BIGINT)").await;
        assert_eq!(one.number("SELECT sum(n) FROM t").await, 15, "{engine}");
        assert_eq!(other.number("SELECT count(*) FROM t").await, 0, "{engine}");
    }
}

#[tokio::test]
async fn a_dropped_database_is_gone_while_clients_are_connected() {
    for engine in Engine::ALL {
        let watcher = TestDatabase::new(engine).await;
        let database = TestDatabase::new(engine).await;
        let count = count_of(&database);
        assert_eq!(watcher.number(&count).await, 1, "{engine}");
        let table = "CREATE TABLE t (n BIGINT); INSERT INTO t VALUES (7)";
        database.execute(table).await;
        let url = database.url().to_owned();
        // A client in the middle of a transaction, with locks on the table.
        match engine {
            Engine::Postgres => {
                let mut client = PgConnection::connect(&url).await.unwrap();
                let mut transaction = client.begin().await.unwrap();
                sqlx::query("UPDATE t SET n = 8").execute(&mut *transaction).await.unwrap();
                drop(database);
                assert!(sqlx::query("SELECT 1").execute(&mut *transaction).await.is_err());
            }
            Engine::MariaDb => {
                let mut client = MySqlConnection::connect(&url).await.unwrap();
                let mut transaction = client.begin().await.unwrap();
                sqlx::query("UPDATE t SET n = 8").execute(&mut *transaction).await.unwrap();
                drop(database);
                assert!(sqlx::query("SELECT 1").execute(&mut *transaction).await.is_err());
            }
        }
        assert_eq!(watcher.number(&count).await, 0, "{engine}");
    }
}

#[test]
fn a_database_can_be_dropped_outside_of_a_runtime() {
    for engine in Engine::ALL {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let database = runtime.block_on(TestDatabase::new(engine));
        let watcher = runtime.block_on(TestDatabase::new(engine));
        runtime.block_on(database.execute("SELECT 1"));
        let count = count_of(&database);
        drop(runtime);
        drop(database);
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        assert_eq!(runtime.block_on(watcher.number(&count)), 0, "{engine}");
    }
}

#[tokio::test]
async fn many_are_made_at_once() {
    for engine in Engine::ALL {
        let make = || tokio::spawn(TestDatabase::new(engine));
        let making: Vec<_> = (0..8).map(|_| make()).collect();
        let mut databases = Vec::new();
        for database in making {
            databases.push(database.await.unwrap());
        }
        for database in &databases {
            assert_eq!(database.number("SELECT 40 + 2").await, 42, "{engine}");
        }
    }
}

#[tokio::test]
async fn a_test_may_choose_how_texts_are_kept() {
    let options = "TEMPLATE template0 ENCODING 'LATIN1' LOCALE 'C'";
    let database = TestDatabase::new_as(Engine::Postgres, options).await;
    assert_eq!(database.text("SHOW server_encoding").await, "LATIN1");
    let options = "CHARACTER SET latin1 COLLATE latin1_swedish_ci";
    let database = TestDatabase::new_as(Engine::MariaDb, options).await;
    assert_eq!(database.text("SELECT @@collation_database").await, "latin1_swedish_ci");
    for engine in Engine::ALL {
        let database = TestDatabase::new(engine).await;
        database.execute("CREATE TABLE t (s VARCHAR(9)); INSERT INTO t VALUES ('선착순🎟')").await;
        assert_eq!(database.text("SELECT s FROM t").await, "선착순🎟", "{engine}");
    }
}

#[tokio::test]
async fn a_statement_that_waits_does_not_hold_up_others() {
    let database = TestDatabase::new(Engine::Postgres).await;
    let mut holder = PgConnection::connect(database.url()).await.unwrap();
    sqlx::query("SELECT pg_advisory_lock(1)").execute(&mut holder).await.unwrap();
    let release = async {
        let waiting = "SELECT count(*) FROM pg_locks JOIN pg_database d ON d.oid = database \
                       WHERE datname = current_database() AND NOT granted";
        while database.number(waiting).await == 0 {}
        sqlx::query("SELECT pg_advisory_unlock(1)").execute(&mut holder).await.unwrap();
    };
    let both = async { tokio::join!(database.execute("SELECT pg_advisory_lock(1)"), release) };
    timeout(Duration::from_secs(60), both).await.expect("both end");
}

#[tokio::test]
async fn what_an_admin_makes_is_on_the_server() {
    for engine in Engine::ALL {
        let database = TestDatabase::new(engine).await;
        let user = format!("user_{}", &database.name()[database.name().len() - 8..]);
        let (make, see, remove) = match engine {
            Engine::Postgres => (
                format!("CREATE ROLE {user}"),
                format!("SELECT count(*) FROM pg_roles WHERE rolname = '{user}'"),
                format!("DROP ROLE {user}"),
            ),
            Engine::MariaDb => (
                format!("CREATE USER {user}@'%'"),
                format!("SELECT count(*) FROM mysql.user WHERE user = '{user}'"),
                format!("DROP USER {user}@'%'"),
            ),
        };
        database.admin_execute(&make).await;
        assert_eq!(database.number(&see).await, 1, "{engine}");
        database.admin_execute(&remove).await;
    }
}
