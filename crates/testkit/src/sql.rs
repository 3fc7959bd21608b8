//! Statements on either engine, in the text protocol: any value reads as text.

use std::sync::Mutex;
use std::time::Duration;

use sqlx::mysql::{MySqlConnection, MySqlDatabaseError};
use sqlx::postgres::PgConnection;
use sqlx::{AssertSqlSafe, Connection as _, Row as _};
use tokio::time::{Instant, timeout};

use crate::Engine;

/// Longest that a connection may take to open.
const OPEN_TIMEOUT: Duration = Duration::from_secs(10);

/// A database for statements of a test. Calls at the same time have connections of their own.
#[derive(Debug)]
pub(crate) struct Sql {
    engine: Engine,
    url: String,
    /// Connections that nobody uses just now.
    idle: Mutex<Vec<Connection>>,
}

impl Sql {
    pub(crate) const fn new(engine: Engine, url: String) -> Self {
        Self { engine, url, idle: Mutex::new(Vec::new()) }
    }

    pub(crate) const fn engine(&self) -> Engine {
        self.engine
    }

    pub(crate) fn url(&self) -> &str {
        &self.url
    }

    /// Runs one or several statements.
    pub(crate) async fn execute(&self, sql: &str) {
        let mut connection = self.connection().await;
        let outcome = connection.execute(sql).await;
        outcome.unwrap_or_else(|error| panic!("{} on {sql}: {error}", self.engine));
        self.idle.lock().expect("no panic while held").push(connection);
    }

    /// Why a statement fails.
    pub(crate) async fn refused(&self, sql: &str) -> String {
        let mut connection = self.connection().await;
        match connection.execute(sql).await {
            Ok(()) => panic!("{} on {sql}: not refused", self.engine),
            Err(error) => error.to_string(),
        }
    }

    /// The one value of a query, as text.
    pub(crate) async fn text(&self, sql: &str) -> String {
        let mut connection = self.connection().await;
        let outcome = connection.value(sql).await;
        let value = outcome.unwrap_or_else(|error| panic!("{} on {sql}: {error}", self.engine));
        self.idle.lock().expect("no panic while held").push(connection);
        value.unwrap_or_else(|| panic!("{} on {sql}: the value is null", self.engine))
    }

    /// The one value of a query, as a whole number.
    pub(crate) async fn number(&self, sql: &str) -> i64 {
        let text = self.text(sql).await;
        text.parse().unwrap_or_else(|_| panic!("{} on {sql}: {text} is no number", self.engine))
    }

    /// Closes the connections that nobody uses.
    pub(crate) fn forget_connections(&self) {
        self.idle.lock().expect("no panic while held").clear();
    }

    async fn connection(&self) -> Connection {
        let begun = Instant::now();
        loop {
            let idle = self.idle.lock().expect("no panic while held").pop();
            if let Some(connection) = idle {
                return connection;
            }
            match Connection::open(self.engine, &self.url).await {
                Ok(opened) => return opened,
                // Another call is done soon, or the place of a closed connection is free.
                Err(error) if is_full(&error) && begun.elapsed() < OPEN_TIMEOUT => {}
                Err(error) => panic!("{} lets nobody in: {error}", self.engine),
            }
        }
    }
}

/// Whether the server has as many connections as it takes.
fn is_full(error: &sqlx::Error) -> bool {
    let sqlx::Error::Database(error) = error else { return false };
    match error.try_downcast_ref::<MySqlDatabaseError>() {
        // `ER_CON_COUNT_ERROR`, which MariaDB says before it has greeted, so without an SQLSTATE.
        Some(error) => error.number() == 1040,
        // `too_many_connections`.
        None => error.code().as_deref() == Some("53300"),
    }
}

/// One connection.
#[derive(Debug)]
pub(crate) enum Connection {
    Postgres(PgConnection),
    MariaDb(MySqlConnection),
}

impl Connection {
    /// Connects.
    pub(crate) async fn open(engine: Engine, url: &str) -> Result<Self, sqlx::Error> {
        let opening = async {
            match engine {
                Engine::Postgres => PgConnection::connect(url).await.map(Self::Postgres),
                Engine::MariaDb => MySqlConnection::connect(url).await.map(Self::MariaDb),
            }
        };
        let opened = timeout(OPEN_TIMEOUT, opening).await;
        opened.unwrap_or_else(|_| Err(std::io::Error::from(std::io::ErrorKind::TimedOut).into()))
    }

    /// Runs one or several statements.
    pub(crate) async fn execute(&mut self, sql: &str) -> Result<(), sqlx::Error> {
        let statements = sqlx::raw_sql(AssertSqlSafe(sql));
        match self {
            Self::Postgres(connection) => statements.execute(connection).await.map(drop),
            Self::MariaDb(connection) => statements.execute(connection).await.map(drop),
        }
    }

    /// The first value of the one row of a query; none when it is null.
    pub(crate) async fn value(&mut self, sql: &str) -> Result<Option<String>, sqlx::Error> {
        let query = sqlx::raw_sql(AssertSqlSafe(sql));
        match self {
            Self::Postgres(connection) => {
                query.fetch_one(connection).await?.try_get_unchecked::<Option<String>, _>(0)
            }
            Self::MariaDb(connection) => {
                query.fetch_one(connection).await?.try_get_unchecked::<Option<String>, _>(0)
            }
        }
    }
}
