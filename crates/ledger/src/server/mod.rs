//! A ledger on a database server: PostgreSQL, MySQL or MariaDB.
//!
//! The database decides: claims and changes lock the rows that they depend on, so that any number
//! of processes may serve from one database. Every session is at the isolation level READ
//! COMMITTED; every statement, every wait for a connection and every connection ends in time.
//!
//! In reading order: [`address`] (the URL), [`session`] (what every connection is set to),
//! [`checks`] (what is refused at the start), [`explain`] (what a refusal means), [`clock`] (whose
//! time counts), [`listing`] (who holds what, written down after the claims).

mod address;
mod checks;
mod clock;
mod explain;
mod listing;
mod session;

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use firstcome_core::Clock;
use firstcome_tasks::anew;
use sea_orm::{ConnectionTrait, DatabaseConnection, DbBackend, DbErr, Statement};
use sea_orm_migration::{MigratorTrait, SchemaManager};
use tokio::task::JoinHandle;
use tokio::time::{Instant, MissedTickBehavior, interval};

pub(crate) use address::{Address, Driver};
pub(crate) use clock::DatabaseClock;
pub(crate) use session::{
    POSTGRES_NOW, Session, mysql_options, mysql_session, postgres_session, refuse_postgres_replica,
};

use crate::claim::server::Claims;
use crate::in_time::{InTime, Limit, Trouble};
use crate::migration::Migrator;
use crate::open::{bring_up, missing_migrations};
use crate::pools::PoolMeter;
use crate::secrets::Keys;
use crate::write::Write;
use crate::{LedgerError, LedgerOptions, Limits, Purpose, ServerClock, secrets};
use checks::FIRST_CONNECT;
use listing::keep_listing;

/// How often the database's clock is read when nobody claims.
const LOOK_AT_CLOCK_EVERY: Duration = Duration::from_secs(1);
/// The lock that whoever migrates holds: "firstcome" in ASCII, cut to 8 bytes.
const MIGRATION_LOCK: i64 = 0x6669_7273_7463_6f6d;
/// How long a process waits for another one that migrates, in seconds.
const MIGRATION_WAIT_SECONDS: u32 = 600;

/// A ledger on a server.
pub(crate) struct Server {
    address: Address,
    limits: Limits,
    reader: InTime<DatabaseConnection>,
    writer: InTime<DatabaseConnection>,
    pub(crate) claims: Claims,
    clock: Arc<DatabaseClock>,
    /// The tasks that look at the clock, and list the winners.
    keepers: Vec<JoinHandle<()>>,
}

impl Server {
    /// Connects, checks the database, and migrates it where the purpose allows; also the ledger's
    /// keys.
    pub(crate) async fn open(
        address: &Address,
        options: &LedgerOptions,
        process: Arc<dyn Clock>,
    ) -> Result<(Self, Keys), LedgerError> {
        let limits = options.limits;
        // A start may wait for connections longer than a call: many processes start together.
        let patient =
            Limits { acquire_timeout: limits.acquire_timeout.max(FIRST_CONNECT), ..limits };
        address.check(&limits).await?;
        address.bring_up(&patient, options.purpose).await?;
        address.check_rights(&patient).await?;
        let trouble = Trouble::default();
        let timeout = limits.acquire_timeout + limits.statement_timeout;
        let limit = Limit { timeout, trouble: trouble.clone() };
        let pool = |session, connections, name| {
            InTime::within(address.pool(session, connections, &limits, &trouble), limit.clone())
                .measured(PoolMeter::new(name))
        };
        let reader = pool(Session::Read, limits.readers_max, "read");
        let writer = pool(Session::Write, limits.writers_max, "write");
        let given = options.server_clock == ServerClock::Process;
        let clock = Arc::new(DatabaseClock::new(process, given));
        let unusable = |error| address.unusable(error);
        patiently(|| look_at_clock(&reader, &clock)).await.map_err(unusable)?;
        let keys = patiently(|| secrets::keys(&writer)).await.map_err(unusable)?;
        let claims = Claims::new(address, limits, &keys, &clock);
        let keeper = InTime::within(address.pool(Session::Read, 1, &limits, &trouble), limit);
        let mut keepers = vec![tokio::spawn(keep_clock(keeper, Arc::clone(&clock)))];
        if options.purpose == Purpose::Serve {
            keepers.push(tokio::spawn(keep_listing(writer.clone(), claims.decided())));
        }
        let address = address.clone();
        Ok((Self { address, limits, reader, writer, claims, clock, keepers }, keys))
    }

    pub(crate) const fn reader(&self) -> &InTime<DatabaseConnection> {
        &self.reader
    }

    pub(crate) const fn writer(&self) -> &InTime<DatabaseConnection> {
        &self.writer
    }

    /// A connection for reads that may take long, to be closed after its use.
    pub(crate) fn long_reader(&self) -> DatabaseConnection {
        self.address.pool(Session::LongRead, 1, &self.limits, &Trouble::default())
    }

    pub(crate) fn clock(&self) -> Arc<dyn Clock> {
        Arc::clone(&self.clock) as Arc<dyn Clock>
    }

    /// Begins a transaction.
    pub(crate) async fn write(&self) -> Result<Write, LedgerError> {
        Ok(Write::beside(self.writer.begin().await?))
    }

    /// Tells of the connections.
    pub(crate) fn tell_connections(&self) {
        self.reader.tell_connections();
        self.writer.tell_connections();
        self.claims.tell_connections();
    }

    fn end_keepers(&self) {
        for keeper in &self.keepers {
            keeper.abort();
        }
    }

    /// Ends the connections. Those that the network has cut off are left to the system.
    pub(crate) async fn close(&self) {
        self.end_keepers();
        let pools = async {
            for pool in [&self.reader, &self.writer] {
                // A pool that cannot say good-bye is gone all the same.
                pool.inner().clone().close().await.ok();
            }
        };
        tokio::time::timeout(self.limits.statement_timeout, pools).await.ok();
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.end_keepers();
    }
}

/// Asks a pool that has no connection yet, and again while none is to be had in time.
async fn patiently<T, F: Future<Output = Result<T, LedgerError>>>(
    ask: impl Fn() -> F,
) -> Result<T, LedgerError> {
    let deadline = Instant::now() + FIRST_CONNECT;
    loop {
        match ask().await {
            Err(LedgerError::Database(DbErr::ConnectionAcquire(_)))
                if Instant::now() < deadline => {}
            outcome => return outcome,
        }
    }
}

/// Reads the database's clock.
async fn look_at_clock(
    db: &impl ConnectionTrait,
    clock: &DatabaseClock,
) -> Result<(), LedgerError> {
    let backend = db.get_database_backend();
    let now = match backend {
        DbBackend::Postgres => POSTGRES_NOW,
        _ => session::MYSQL_NOW,
    };
    let select = Statement::from_string(backend, format!("SELECT {now} AS now"));
    let asked = clock.process_now();
    let row = db.query_one_raw(select).await?;
    let told = row.map(|row| row.try_get("", "now")).transpose()?;
    clock.observe(asked, told.unwrap_or_default());
    Ok(())
}

/// Keeps what is known of the database's clock fresh; while it does not answer, what was known
/// last stays.
async fn keep_clock(db: InTime<DatabaseConnection>, clock: Arc<DatabaseClock>) {
    match anew(|| read_clock(&db, &clock)).await {}
}

async fn read_clock(db: &InTime<DatabaseConnection>, clock: &DatabaseClock) -> Infallible {
    let mut look = interval(LOOK_AT_CLOCK_EVERY);
    look.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        look.tick().await;
        if let Err(error) = look_at_clock(db, clock).await {
            tracing::debug!(error.message = %error, "the database's clock cannot be read");
        }
    }
}

/// Whether something is left of a migration that failed. PostgreSQL takes all of it back.
async fn was_begun(db: &DatabaseConnection) -> bool {
    db.get_database_backend() != DbBackend::Postgres
        && SchemaManager::new(db).has_table("seaql_migrations").await.unwrap_or(true)
}

impl Address {
    /// Migrates the schema where there is need and the purpose allows, one process at a time.
    pub(crate) async fn bring_up(
        &self,
        limits: &Limits,
        purpose: Purpose,
    ) -> Result<(), LedgerError> {
        let missing = self.missing_migrations(limits).await?;
        match (purpose, missing.first()) {
            (_, None) => return Ok(()),
            (Purpose::Visit, Some(_)) => {
                return Err(LedgerError::OlderSchema { missing: missing[0].clone() });
            }
            (Purpose::Serve, Some(_)) => {}
        }
        // The lock is the connection's, so there must be one only.
        let db = self.pool(Session::Migrate, 1, limits, &Trouble::default());
        let migrated = self.migrate(&db).await;
        // With the connection its lock goes.
        db.close().await.ok();
        migrated
    }

    async fn migrate(&self, db: &DatabaseConnection) -> Result<(), LedgerError> {
        let backend = db.get_database_backend();
        let lock = match backend {
            DbBackend::Postgres => {
                format!("SELECT 1::bigint AS got FROM pg_advisory_lock({MIGRATION_LOCK})")
            }
            _ => format!(
                "SELECT CAST(GET_LOCK(CONCAT('firstcome.', DATABASE()), {MIGRATION_WAIT_SECONDS}) \
                 AS SIGNED) AS got"
            ),
        };
        let got = db.query_one_raw(Statement::from_string(backend, lock)).await?;
        let got: Option<i64> = got.map(|row| row.try_get("", "got")).transpose()?.flatten();
        if got != Some(1) {
            return Err(LedgerError::MigrationLocked { seconds: MIGRATION_WAIT_SECONDS });
        }
        // Whoever held the lock before may have done it all.
        let missing = missing_migrations(db).await?;
        let none_applied = missing.len() == Migrator::migrations().len();
        let Some(migration) = missing.into_iter().next() else { return Ok(()) };
        let half_migrated =
            |reason| LedgerError::HalfMigrated { at: self.to_string(), migration, reason };
        if none_applied && let Some(table) = checks::any_table(db).await? {
            return Err(half_migrated(format!("the table {table} is there already")));
        }
        match bring_up(db, Purpose::Serve).await {
            Err(LedgerError::Database(error)) if was_begun(db).await => {
                Err(half_migrated(explain::sentence(&error)))
            }
            done => done.map_err(|error| self.unusable(error)),
        }
    }

    /// The migrations that the schema lacks, in their order.
    pub(crate) async fn missing_migrations(
        &self,
        limits: &Limits,
    ) -> Result<Vec<String>, LedgerError> {
        let db = self.pool(Session::Read, 1, limits, &Trouble::default());
        let missing = missing_migrations(&db).await.map_err(|error| self.unusable(error));
        db.close().await.ok();
        missing
    }
}
