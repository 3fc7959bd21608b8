//! Statements on either engine, in the text protocol: any value reads as text.

use std::time::Duration;

use sqlx::mysql::MySqlConnection;
use sqlx::postgres::PgConnection;
use sqlx::{AssertSqlSafe, Connection as _, Row as _};
use tokio::time::timeout;

use crate::Engine;

/// Longest that a connection may take to open.
const OPEN_TIMEOUT: Duration = Duration::from_secs(10);

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
