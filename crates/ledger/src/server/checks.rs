//! What is refused at the start, each with a sentence that names the remedy.

use std::time::Duration;

use sea_orm::{ConnectionTrait as _, DatabaseConnection, DbBackend, DbErr, Statement};
use sea_orm_migration::SchemaManager;
use sqlx::{Connection, Executor, MySqlConnection, PgConnection, Row};
use tokio::time::timeout;

use super::explain::RIGHTS;
use super::session::{
    Session, mysql_options, mysql_session, postgres_session, refuse_postgres_replica,
};
use super::{Address, Driver};
use crate::{LedgerError, Limits};

/// Longest that the first connection may take: the host's name is looked up, and it may be far.
pub(super) const FIRST_CONNECT: Duration = Duration::from_secs(5);
/// The oldest PostgreSQL that has all that is used, as `server_version_num`.
const POSTGRES_MIN: i32 = 140_000;
/// The same of MariaDB (`JSON_TABLE`) and MySQL (enforced checks).
const MARIADB_MIN: (u32, u32) = (10, 6);
const MYSQL_MIN: (u32, u32) = (8, 0);

/// Tables that a serving process changes, each with a column for a change that changes nothing.
const CHANGED: [(&str, &str); 11] = [
    ("accounts", "scope"),
    ("sessions", "revoked_at"),
    ("coupons", "version"),
    ("events", "issued"),
    ("issued_coupons", "used_at"),
    ("holders", "sequence"),
    ("redemptions", "cancelled_at"),
    ("secrets", "secret"),
    ("clients", "deleted_at"),
    ("journal_positions", "next_offset"),
    ("journal_skips", "record"),
];

/// Tables that a serving process only adds to.
const ADDED_TO: [&str; 2] = ["changes", "idempotency_keys"];
/// Tables from which it removes rows: those of erased users, and what has had its time.
const DELETED: [&str; 3] = ["accounts", "sessions", "idempotency_keys"];
/// Whether a new event can be numbered on PostgreSQL.
const MAY_NUMBER: &str = "SELECT has_sequence_privilege(\
                          pg_get_serial_sequence('events', 'no'), 'USAGE') AS may";

impl Address {
    /// Connects once and refuses what could not keep a promise.
    pub(crate) async fn check(&self, limits: &Limits) -> Result<(), LedgerError> {
        self.check_files()?;
        let checked = match &self.driver {
            Driver::Postgres(options) => {
                let options = postgres_session(options, Session::Read, limits);
                within(async {
                    let mut db = PgConnection::connect_with(&options).await?;
                    check_postgres(&mut db).await?;
                    db.close().await
                })
                .await
            }
            Driver::MySql(options) => {
                let options = mysql_options(options);
                within(async {
                    let mut db = MySqlConnection::connect_with(&options).await?;
                    check_mysql(&mut db).await?;
                    mysql_session(&mut db, Session::Read, limits).await?;
                    db.close().await
                })
                .await
            }
        };
        checked.map_err(|error| self.unusable(LedgerError::Driver(error)))
    }

    /// Refuses a user that could not do a server's work: changes nothing in each table.
    pub(crate) async fn check_rights(&self, limits: &Limits) -> Result<(), LedgerError> {
        let db = self.pool(Session::Write, 1, limits, &crate::in_time::Trouble::default());
        let changed = CHANGED.map(|(table, _)| table);
        let insert = changed.into_iter().chain(ADDED_TO);
        let insert =
            insert.map(|table| format!("INSERT INTO {table} SELECT * FROM {table} WHERE 1 = 0"));
        let update = CHANGED
            .map(|(table, column)| format!("UPDATE {table} SET {column} = {column} WHERE 1 = 0"));
        let delete = DELETED.map(|table| format!("DELETE FROM {table} WHERE 1 = 0"));
        let statements: Vec<_> = insert.chain(update).chain(delete).collect();
        for statement in statements {
            let done = db.execute_unprepared(&statement).await;
            done.map_err(|error| self.unusable(LedgerError::Database(error)))?;
        }
        if matches!(self.driver, Driver::Postgres(_)) {
            let fault = |error| self.unusable(LedgerError::Database(error));
            let asked = Statement::from_string(DbBackend::Postgres, MAY_NUMBER);
            let answer = db.query_one_raw(asked).await.map_err(fault)?;
            let may = answer.map(|row| row.try_get("", "may")).transpose().map_err(fault)?;
            if may != Some(true) {
                let reason = format!("permission denied for the sequence of events.no: {RIGHTS}");
                return Err(LedgerError::Refused { at: self.to_string(), reason });
            }
        }
        db.close().await.ok();
        Ok(())
    }
}

/// A table of ours that is there, where none should be.
pub(super) async fn any_table(db: &DatabaseConnection) -> Result<Option<&'static str>, DbErr> {
    for (table, _) in CHANGED {
        if SchemaManager::new(db).has_table(table).await? {
            return Ok(Some(table));
        }
    }
    Ok(None)
}

async fn within(work: impl Future<Output = Result<(), sqlx::Error>>) -> Result<(), sqlx::Error> {
    let late = || std::io::Error::new(std::io::ErrorKind::TimedOut, "no answer");
    timeout(FIRST_CONNECT, work).await.unwrap_or_else(|_| Err(late().into()))
}

fn refuse(sentence: String) -> sqlx::Error {
    sqlx::Error::Configuration(sentence.into())
}

async fn check_postgres(db: &mut PgConnection) -> Result<(), sqlx::Error> {
    let settings = "SELECT current_setting('server_version_num')::int, \
                    current_setting('server_version'), current_setting('server_encoding'), \
                    current_setting('fsync'), current_setting('full_page_writes')";
    let row = db.fetch_one(settings).await?;
    let (number, version, encoding): (i32, String, String) =
        (row.try_get(0)?, row.try_get(1)?, row.try_get(2)?);
    if number < POSTGRES_MIN {
        return Err(refuse(format!("it is PostgreSQL {version}; 14 is the oldest that will do")));
    }
    if encoding != "UTF8" {
        return Err(refuse(format!(
            "its encoding is {encoding}, which cannot keep every name: make the database with \
             ENCODING 'UTF8'"
        )));
    }
    for (place, setting) in [(3, "fsync"), (4, "full_page_writes")] {
        if row.try_get::<String, _>(place)? != "on" {
            warn(setting, "on");
        }
    }
    refuse_postgres_replica(db).await
}

async fn check_mysql(db: &mut MySqlConnection) -> Result<(), sqlx::Error> {
    let settings = "SELECT @@version, CAST(@@innodb_flush_log_at_trx_commit AS SIGNED)";
    let row = db.fetch_one(settings).await?;
    let (version, flush): (String, i64) = (row.try_get(0)?, row.try_get(1)?);
    let mut numbers = version.split(['.', '-']).map_while(|part| part.parse::<u32>().ok());
    let found = (numbers.next().unwrap_or(0), numbers.next().unwrap_or(0));
    let (name, min) =
        if version.contains("MariaDB") { ("MariaDB", MARIADB_MIN) } else { ("MySQL", MYSQL_MIN) };
    if found < min {
        let (major, minor) = min;
        return Err(refuse(format!(
            "it is {name} {version}; {major}.{minor} is the oldest that will do"
        )));
    }
    if flush != 1 {
        warn("innodb_flush_log_at_trx_commit", "1");
    }
    Ok(())
}

/// Says that what is promised after a crash of the database does not hold.
fn warn(setting: &str, value: &str) {
    tracing::warn!(
        "the database may lose won claims when it crashes: set {setting} = {value} on the server"
    );
}
