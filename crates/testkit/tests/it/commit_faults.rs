//! What a client is told of its transaction, and what the database keeps of it.

use std::time::Duration;

use firstcome_testkit::{CommitFault, Engine, Proxy, TestDatabase};
use sqlx::{Connection as _, MySqlConnection, PgConnection};
use tokio::time::timeout;

const WAIT_MAX: Duration = Duration::from_secs(30);

/// A database with an empty table, behind a proxy.
struct Behind {
    database: TestDatabase,
    proxy: Proxy,
    url: String,
}

impl Behind {
    async fn new(engine: Engine) -> Self {
        let database = TestDatabase::new(engine).await;
        database.execute("CREATE TABLE t (s VARCHAR(99) NOT NULL)").await;
        let proxy = Proxy::start(database.url()).await;
        let url = proxy.url(database.url());
        Self { database, proxy, url }
    }

    /// Adds a row in a transaction of its own connection.
    async fn insert(&self, text: &str) -> Result<(), sqlx::Error> {
        timeout(WAIT_MAX, self.insert_slowly(text)).await.expect("an outcome in time")
    }

    async fn insert_slowly(&self, text: &str) -> Result<(), sqlx::Error> {
        match self.database.engine() {
            Engine::Postgres => {
                let mut connection = PgConnection::connect(&self.url).await?;
                let mut transaction = connection.begin().await?;
                let insert = sqlx::query("INSERT INTO t VALUES ($1)").bind(text);
                insert.execute(&mut *transaction).await?;
                transaction.commit().await
            }
            Engine::MariaDb => {
                let mut connection = MySqlConnection::connect(&self.url).await?;
                let mut transaction = connection.begin().await?;
                let insert = sqlx::query("INSERT INTO t VALUES (?)").bind(text);
                insert.execute(&mut *transaction).await?;
                transaction.commit().await
            }
        }
    }

    async fn rows(&self) -> String {
        let list = match self.database.engine() {
            Engine::Postgres => "string_agg(s, ' ' ORDER BY s)",
            Engine::MariaDb => "GROUP_CONCAT(s ORDER BY s SEPARATOR ' ')",
        };
        self.database.text(&format!("SELECT COALESCE({list}, '') FROM t")).await
    }
}

#[tokio::test]
async fn a_lost_request_leaves_no_row() {
    for engine in Engine::ALL {
        let behind = Behind::new(engine).await;
        behind.proxy.on_commit(CommitFault::LoseRequest, 0, 1);
        behind.insert("lost").await.unwrap_err();
        assert_eq!(behind.proxy.hits(), 1, "{engine}");
        behind.insert("kept").await.unwrap();
        assert_eq!(behind.rows().await, "kept", "{engine}");
    }
}

#[tokio::test]
async fn a_lost_reply_leaves_the_row() {
    for engine in Engine::ALL {
        let behind = Behind::new(engine).await;
        behind.proxy.on_commit(CommitFault::LoseReply, 0, 1);
        behind.insert("kept").await.unwrap_err();
        assert_eq!(behind.proxy.hits(), 1, "{engine}");
        assert_eq!(behind.rows().await, "kept", "{engine}");
    }
}

#[tokio::test]
async fn a_hidden_reply_leaves_the_row_and_the_client_waiting() {
    for engine in Engine::ALL {
        let behind = Behind::new(engine).await;
        behind.proxy.on_commit(CommitFault::HideReply, 0, 1);
        let mut insert = Box::pin(behind.insert("kept"));
        tokio::select! {
            outcome = &mut insert => panic!("{engine}: {outcome:?}, and the reply was hidden"),
            () = behind.proxy.wait_for_hits(1) => {}
        }
        assert_eq!(behind.rows().await, "kept", "{engine}");
        tokio::select! {
            biased;
            outcome = &mut insert => panic!("{engine}: {outcome:?}, and the reply was hidden"),
            () = std::future::ready(()) => {}
        }
        behind.proxy.reset().await;
        insert.await.unwrap_err();
    }
}

#[tokio::test]
async fn the_commits_that_are_hit_are_counted() {
    for engine in Engine::ALL {
        let behind = Behind::new(engine).await;
        behind.proxy.on_commit(CommitFault::LoseRequest, 1, 2);
        for (text, is_kept) in [("a", true), ("b", false), ("c", false), ("d", true)] {
            assert_eq!(behind.insert(text).await.is_ok(), is_kept, "{engine}: {text}");
        }
        assert_eq!(behind.proxy.hits(), 2, "{engine}");
        behind.proxy.on_commit(CommitFault::LoseReply, 0, usize::MAX);
        assert_eq!(behind.proxy.hits(), 0, "{engine}");
        for text in ["e", "f"] {
            behind.insert(text).await.unwrap_err();
        }
        behind.proxy.wait_for_hits(2).await;
        behind.proxy.on_commit(CommitFault::LoseReply, 0, 0);
        behind.insert("g").await.unwrap();
        assert_eq!(behind.rows().await, "a d e f g", "{engine}");
    }
}

#[tokio::test]
async fn only_a_statement_that_is_a_commit_is_hit() {
    for engine in Engine::ALL {
        let behind = Behind::new(engine).await;
        behind.proxy.on_commit(CommitFault::LoseRequest, 1, 1);
        behind.insert("COMMIT").await.unwrap();
        let statements = ["SELECT 'COMMIT'", "COMMIT AND NO CHAIN", "COMMIT PREPARED 'none'"];
        match engine {
            Engine::Postgres => {
                let mut client = PgConnection::connect(&behind.url).await.unwrap();
                for statement in statements {
                    // That nobody has prepared `none` is an answer, too.
                    let outcome = sqlx::raw_sql(statement).execute(&mut client).await;
                    assert!(!matches!(outcome, Err(sqlx::Error::Io(_))), "{outcome:?}");
                }
                client.ping().await.unwrap();
            }
            Engine::MariaDb => {
                let mut client = MySqlConnection::connect(&behind.url).await.unwrap();
                for statement in &statements[..2] {
                    sqlx::raw_sql(*statement).execute(&mut client).await.unwrap();
                }
                client.ping().await.unwrap();
            }
        }
        assert_eq!(behind.proxy.hits(), 0, "{engine}");
        behind.insert("lost").await.unwrap_err();
        assert_eq!(behind.rows().await, "COMMIT", "{engine}");
    }
}
