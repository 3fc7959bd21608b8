//! Opening a ledger: where it is, the schema, who may migrate it.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use firstcome_core::Clock;
use sea_orm::sea_query::{Order, Query};
use sea_orm::{ConnectionTrait, DatabaseConnection};
use sea_orm_migration::{MigratorTrait, SchemaManager};

use crate::embedded::{self, Embedded};
use crate::migration::Migrator;
use crate::server::{Address, Server};
use crate::{Engine, Inner, Ledger, LedgerError};

/// Where the ledger is and how it is opened.
#[derive(Debug, Clone)]
pub struct LedgerOptions {
    pub(crate) place: Place,
    /// Who opens it.
    pub purpose: Purpose,
    /// How many connections, and for how long.
    pub limits: Limits,
    /// Whose clock decides on a database server.
    pub server_clock: ServerClock,
}

/// Where a ledger is.
#[derive(Debug, Clone)]
pub(crate) enum Place {
    /// The file of an embedded one.
    File(PathBuf),
    /// A database on a server.
    Server(Box<Address>),
}

/// What a process does with the ledger.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Purpose {
    /// Decide claims, migrating the schema first; the embedded ledger has one such process.
    Serve,
    /// Read, or write what no claim depends on, possibly beside a serving process.
    Visit,
}

/// Whose clock decides on a database server. The embedded ledger's is the process's.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum ServerClock {
    /// The database's: the clocks of the processes do not matter.
    #[default]
    Database,
    /// The one that the ledger is opened with: for tests that move the time.
    Process,
}

/// Bounds of the connections. The embedded ledger, which no network cuts off, has but readers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Connections that read.
    pub readers_max: u32,
    /// Connections that write beside the claims.
    pub writers_max: u32,
    /// Connections that decide claims, one batch each.
    pub claimers_max: u32,
    /// Longest that a call waits for a connection, made or free.
    pub acquire_timeout: Duration,
    /// Longest that a statement may take, waiting for locks included.
    pub statement_timeout: Duration,
    /// How long a connection is used before another takes its place.
    pub connection_lifetime: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            readers_max: 4,
            writers_max: 4,
            claimers_max: 1,
            acquire_timeout: Duration::from_millis(500),
            statement_timeout: Duration::from_secs(2),
            connection_lifetime: Duration::from_secs(1_800),
        }
    }
}

impl LedgerOptions {
    /// The options for the embedded ledger in this file.
    #[must_use]
    pub fn embedded(path: impl Into<PathBuf>, purpose: Purpose) -> Self {
        Self::at(Place::File(path.into()), purpose)
    }

    /// The options for a URL: `sqlite:PATH`, `postgres://USER:PASSWORD@HOST:PORT/DATABASE` or
    /// `mysql://…`; MariaDB's is `mysql` as well.
    ///
    /// # Errors
    /// [`LedgerError::UnsupportedUrl`] for any other form, [`LedgerError::Url`] for what is wrong
    /// in a known one.
    pub fn parse_url(url: &str, purpose: Purpose) -> Result<Self, LedgerError> {
        if let Some(address) = Address::parse(url)? {
            return Ok(Self::at(Place::Server(Box::new(address)), purpose));
        }
        let path = url.strip_prefix("sqlite:").map(|path| path.strip_prefix("//").unwrap_or(path));
        match path {
            Some(path) if !path.is_empty() && !path.contains('?') && path != ":memory:" => {
                Ok(Self::embedded(path, purpose))
            }
            _ => Err(LedgerError::UnsupportedUrl { url: without_password(url) }),
        }
    }

    fn at(place: Place, purpose: Purpose) -> Self {
        Self { place, purpose, limits: Limits::default(), server_clock: ServerClock::default() }
    }

    /// The file of an embedded ledger.
    #[must_use]
    pub fn path(&self) -> Option<&std::path::Path> {
        match &self.place {
            Place::File(path) => Some(path),
            Place::Server(_) => None,
        }
    }

    /// Where the ledger is, for people: a path, or an address without its password.
    #[must_use]
    pub fn shown(&self) -> String {
        self.place.shown()
    }
}

impl Place {
    /// For people: a path, or an address without its password.
    pub(crate) fn shown(&self) -> String {
        match self {
            Self::File(path) => path.display().to_string(),
            Self::Server(address) => address.to_string(),
        }
    }

    /// Whether both are certainly the same; two names of one host are not seen through.
    pub(crate) fn is_same(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::File(one), Self::File(other)) => {
                let real = |path: &PathBuf| path.canonicalize().unwrap_or_else(|_| path.clone());
                real(one) == real(other)
            }
            (Self::Server(one), Self::Server(other)) => one.is_same(other),
            _ => false,
        }
    }

    /// Says which ledger it was that could not be used.
    pub(crate) fn fault(&self, error: LedgerError) -> LedgerError {
        match self {
            Self::File(path) => embedded::at(path, error),
            Self::Server(address) => address.unusable(error),
        }
    }
}

/// The URL with what stands between `//` and `@` hidden.
pub(crate) fn without_password(url: &str) -> String {
    match (url.find("//"), url.rfind('@')) {
        (Some(start), Some(end)) if start + 2 <= end => {
            format!("{}***{}", &url[..start + 2], &url[end..])
        }
        _ => url.to_owned(),
    }
}

impl Ledger {
    /// Opens the ledger, making and migrating it where the purpose allows. `clock` is the
    /// process's.
    ///
    /// # Errors
    /// Every [`LedgerError`] of opening; nothing was changed then.
    pub async fn open(options: LedgerOptions, clock: Arc<dyn Clock>) -> Result<Self, LedgerError> {
        let (engine, keys, clock) = match &options.place {
            Place::File(path) => {
                let readers_max = options.limits.readers_max;
                let (embedded, keys) =
                    Embedded::open(path, options.purpose, readers_max, Arc::clone(&clock)).await?;
                (Engine::Embedded(embedded), keys, clock)
            }
            Place::Server(address) => {
                let (server, keys) = Server::open(address, &options, clock).await?;
                let clock = server.clock();
                (Engine::Server(Box::new(server)), keys, clock)
            }
        };
        let inner = Inner { engine, keys, clock, keys_at_work: Default::default() };
        Ok(Self { inner: Arc::new(inner), by: None })
    }

    /// The migrations that opening for [`Purpose::Serve`] would apply, in their order; changes
    /// nothing, and may run beside a server.
    ///
    /// # Errors
    /// When the ledger cannot be read, or its schema is newer than this binary.
    pub async fn pending_migrations(options: &LedgerOptions) -> Result<Vec<String>, LedgerError> {
        match &options.place {
            Place::File(path) if !path.exists() => {
                let all = Migrator::migrations();
                Ok(all.iter().map(|migration| migration.name().to_owned()).collect())
            }
            Place::File(path) => missing_migrations(&Embedded::look(path))
                .await
                .map_err(|error| embedded::at(path, error)),
            Place::Server(address) => address.missing_migrations(&options.limits).await,
        }
    }

    /// Makes the ledger where there is none and brings its schema up, and writes nothing else: a
    /// new one stays empty.
    ///
    /// # Errors
    /// Every [`LedgerError`] of opening.
    pub async fn migrate(options: &LedgerOptions) -> Result<(), LedgerError> {
        match &options.place {
            Place::File(path) => {
                let (db, _lock) = embedded::prepare(path).await?;
                Ok(db.close().await?)
            }
            Place::Server(address) => {
                address.check(&options.limits).await?;
                address.bring_up(&options.limits, Purpose::Serve).await
            }
        }
    }

    /// Asks the ledger for a sign of life.
    ///
    /// # Errors
    /// When it does not answer.
    pub async fn ping(&self) -> Result<(), LedgerError> {
        self.reader().execute_unprepared("SELECT 1").await?;
        Ok(())
    }

    /// Ends the background work and the connections; an embedded ledger that decides claims first
    /// writes everything that is still in its journal to the tables. Stop the claims first.
    ///
    /// # Errors
    /// When the ledger does not answer; nothing is lost: the next start settles the rest.
    pub async fn close(&self) -> Result<(), LedgerError> {
        match &self.inner.engine {
            Engine::Embedded(embedded) => embedded.close().await,
            Engine::Server(server) => {
                server.close().await;
                Ok(())
            }
        }
    }
}

/// Refuses a schema that is newer than this binary; brings an older one up where allowed.
pub(crate) async fn bring_up(
    writer: &DatabaseConnection,
    purpose: Purpose,
) -> Result<(), LedgerError> {
    match (purpose, missing_migrations(writer).await?.into_iter().next()) {
        (_, None) => Ok(()),
        (Purpose::Serve, Some(_)) => Ok(Migrator::up(writer, None).await?),
        (Purpose::Visit, Some(missing)) => Err(LedgerError::OlderSchema { missing }),
    }
}

/// The migrations that the schema lacks, in their order.
pub(crate) async fn missing_migrations(
    db: &DatabaseConnection,
) -> Result<Vec<String>, LedgerError> {
    let applied: Vec<String> = if SchemaManager::new(db).has_table("seaql_migrations").await? {
        let select = Query::select()
            .column("version")
            .from("seaql_migrations")
            .order_by("version", Order::Asc)
            .to_owned();
        let rows = db.query_all(&select).await?;
        rows.iter().map(|row| row.try_get("", "version")).collect::<Result<_, _>>()?
    } else {
        Vec::new()
    };
    let mut known: Vec<String> =
        Migrator::migrations().iter().map(|migration| migration.name().to_owned()).collect();
    if let Some(newest) = applied.iter().rfind(|version| !known.contains(version)) {
        return Err(LedgerError::NewerSchema { newest: newest.clone() });
    }
    known.retain(|version| !applied.contains(version));
    Ok(known)
}
