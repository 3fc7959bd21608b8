//! What every connection is set to before it is used.

use std::time::Duration;

use sea_orm::{DatabaseConnection, SqlxMySqlConnector, SqlxPostgresConnector};
use sqlx::mysql::{MySqlConnectOptions, MySqlConnection, MySqlPoolOptions};
use sqlx::pool::{PoolConnectionMetadata, PoolOptions};
use sqlx::postgres::{PgConnectOptions, PgConnection, PgPoolOptions};
use sqlx::{AssertSqlSafe, ConnectOptions as _, Connection, Database, Executor, Row};
use tokio::time::timeout;

use super::{Address, Driver};
use crate::Limits;
use crate::in_time::Trouble;
use crate::pools::acquired;

/// PostgreSQL's present moment, in microseconds since the epoch.
pub(crate) const POSTGRES_NOW: &str = "(extract(epoch FROM clock_timestamp()) * 1000000)::bigint";
/// The same for MySQL and MariaDB, whatever the session's time zone: when the statement began.
pub(crate) const MYSQL_NOW: &str = "TIMESTAMPDIFF(MICROSECOND, '1970-01-01', UTC_TIMESTAMP(6))";

/// A connection that has not been used for so long is tried before it is.
const TRIED_AFTER_IDLE: Duration = Duration::from_secs(1);
/// Longest that a statement of [`Session::LongRead`] may take.
const LONG_READ: Duration = Duration::from_secs(600);

/// What a connection is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Session {
    /// Short reads; it cannot write.
    Read,
    /// Reads that may go through a whole event, all at one moment; it cannot write.
    LongRead,
    /// Changes beside the claims.
    Write,
    /// The claim transaction.
    Claim,
    /// Changes of the schema and moves of whole tables, however long they take.
    Migrate,
}

impl Session {
    const fn writes(self) -> bool {
        matches!(self, Self::Write | Self::Claim | Self::Migrate)
    }

    /// Longest that a statement may take on the server; none for no limit.
    const fn limit(self, limits: &Limits) -> Option<Duration> {
        match self {
            Self::Read | Self::Write | Self::Claim => Some(limits.statement_timeout),
            Self::LongRead => Some(LONG_READ),
            Self::Migrate => None,
        }
    }
}

impl Address {
    /// A pool of connections; none is made yet.
    pub(crate) fn pool(
        &self,
        session: Session,
        connections: u32,
        limits: &Limits,
        trouble: &Trouble,
    ) -> DatabaseConnection {
        match &self.driver {
            Driver::Postgres(options) => {
                let pool: PgPoolOptions = pool_options(session, connections, limits, trouble);
                let pool = pool.after_connect(|db, _| {
                    Box::pin(async { refuse_postgres_replica(db).await.map(|()| acquired()) })
                });
                let pool = pool.connect_lazy_with(postgres_session(options, session, limits));
                SqlxPostgresConnector::from_sqlx_postgres_pool(pool)
            }
            Driver::MySql(options) => {
                let pool: MySqlPoolOptions = pool_options(session, connections, limits, trouble);
                let limits = *limits;
                let pool = pool.after_connect(move |db, _| {
                    Box::pin(async move {
                        mysql_session(db, session, &limits).await.map(|()| acquired())
                    })
                });
                let pool = pool.connect_lazy_with(mysql_options(options));
                SqlxMySqlConnector::from_sqlx_mysql_pool(pool)
            }
        }
    }
}

fn pool_options<DB: Database>(
    session: Session,
    connections: u32,
    limits: &Limits,
    trouble: &Trouble,
) -> PoolOptions<DB> {
    let trouble = trouble.clone();
    let patience = limits.acquire_timeout;
    let lasting = session == Session::Migrate;
    PoolOptions::new()
        .max_connections(connections)
        .acquire_timeout(limits.acquire_timeout)
        .max_lifetime((!lasting).then_some(limits.connection_lifetime))
        .idle_timeout((!lasting).then_some(limits.connection_lifetime))
        .test_before_acquire(false)
        .before_acquire(move |db, meta| Box::pin(is_alive::<DB>(db, meta, patience)))
        .after_release(move |_, _| {
            let near = trouble.is_near();
            // An error makes the pool drop the connection without a word to the server.
            let gone = || sqlx::Error::Io(std::io::ErrorKind::TimedOut.into());
            Box::pin(async move { if near { Err(gone()) } else { Ok(true) } })
        })
}

/// Whether a connection may be used, which its caller then has; one that was not used for long is
/// asked.
async fn is_alive<DB: Database>(
    db: &mut DB::Connection,
    meta: PoolConnectionMetadata,
    patience: Duration,
) -> Result<bool, sqlx::Error> {
    if meta.idle_for >= TRIED_AFTER_IDLE {
        let gone = |_| sqlx::Error::Io(std::io::ErrorKind::TimedOut.into());
        timeout(patience / 2, db.ping()).await.map_err(gone)??;
    }
    acquired();
    Ok(true)
}

/// The options of a connection to PostgreSQL.
pub(crate) fn postgres_session(
    options: &PgConnectOptions,
    session: Session,
    limits: &Limits,
) -> PgConnectOptions {
    let limit = session.limit(limits).map_or(0, |limit| limit.as_millis());
    let mut settings = vec![
        ("default_transaction_isolation", "read committed".to_owned()),
        ("synchronous_commit", "on".to_owned()),
        ("standard_conforming_strings", "on".to_owned()),
        ("client_min_messages", "warning".to_owned()),
        ("statement_timeout", limit.to_string()),
        ("lock_timeout", limit.to_string()),
        // A process that was cut off in the middle must not hold its locks for long.
        ("idle_in_transaction_session_timeout", limit.to_string()),
        ("tcp_user_timeout", "10000".to_owned()),
        ("tcp_keepalives_idle", "5".to_owned()),
        ("tcp_keepalives_interval", "2".to_owned()),
        ("tcp_keepalives_count", "3".to_owned()),
    ];
    if !session.writes() {
        settings.push(("default_transaction_read_only", "on".to_owned()));
    }
    // Short statements have one right plan each, whatever the statistics say of a table that was
    // empty a moment ago: by the indexes. To find it anew takes longer than most of them.
    if matches!(session, Session::Read | Session::Write | Session::Claim) {
        settings.push(("plan_cache_mode", "force_generic_plan".to_owned()));
        for setting in ["enable_seqscan", "enable_hashjoin", "enable_mergejoin", "jit"] {
            settings.push((setting, "off".to_owned()));
        }
    }
    if session == Session::Claim {
        settings.push(("enable_bitmapscan", "off".to_owned()));
    }
    // The texts of slow statements hold what users sent.
    options.clone().application_name("firstcome").options(settings).disable_statement_logging()
}

/// Refuses a standby, which would show the past and take no claim.
pub(crate) async fn refuse_postgres_replica(db: &mut PgConnection) -> Result<(), sqlx::Error> {
    let row = db.fetch_one("SELECT pg_is_in_recovery()").await?;
    if row.try_get(0)? { Err(replica()) } else { Ok(()) }
}

/// The options of a connection to MySQL or MariaDB.
pub(crate) fn mysql_options(options: &MySqlConnectOptions) -> MySqlConnectOptions {
    options.clone().charset("utf8mb4").collation("utf8mb4_bin").disable_statement_logging()
}

/// Sets up a connection to MySQL or MariaDB, and refuses a read-only replica.
pub(crate) async fn mysql_session(
    db: &mut MySqlConnection,
    session: Session,
    limits: &Limits,
) -> Result<(), sqlx::Error> {
    let row = db.fetch_one("SELECT @@version, CAST(@@global.read_only AS SIGNED)").await?;
    let version: String = row.try_get(0)?;
    if row.try_get::<i64, _>(1)? != 0 {
        return Err(replica());
    }
    let limit = session.limit(limits);
    let seconds = limit.map_or(0.0, |limit| limit.as_secs_f64());
    let lock_wait = limit.map_or(3_600, |limit| limit.as_secs().max(1));
    let mut settings = vec![
        "sql_mode = CONCAT(@@sql_mode, ',STRICT_ALL_TABLES')".to_owned(),
        format!("innodb_lock_wait_timeout = {lock_wait}"),
    ];
    if version.contains("MariaDB") {
        settings.push(format!("max_statement_time = {seconds}"));
        settings.push(format!("idle_transaction_timeout = {}", seconds.ceil()));
    } else {
        settings.push(format!("max_execution_time = {}", (seconds * 1_000.0).ceil()));
    }
    let access = if session.writes() { "READ WRITE" } else { "READ ONLY" };
    db.execute(AssertSqlSafe(format!("SET SESSION {}", settings.join(", SESSION ")))).await?;
    db.execute(AssertSqlSafe(format!(
        "SET SESSION TRANSACTION ISOLATION LEVEL READ COMMITTED, {access}"
    )))
    .await?;
    Ok(())
}

/// What is wrong with a server that answers but takes no writes.
fn replica() -> sqlx::Error {
    sqlx::Error::Configuration(super::explain::REPLICA.into())
}
