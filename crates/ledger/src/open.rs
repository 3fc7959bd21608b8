//! Opening a ledger: the directory's lock, the pools, the schema.

use std::fs::{File, OpenOptions, TryLockError};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use firstcome_core::{Clock, CodeKey};
use sea_orm::{DatabaseConnection, SqlxSqliteConnector};
use sea_orm_migration::{MigratorTrait, SchemaManager};
use sqlx::sqlite::{SqliteConnectOptions, SqliteJournalMode, SqlitePoolOptions, SqliteSynchronous};
use tokio::sync::Mutex;

use crate::claim::sqlite::{ClaimWriter, blocking, checkpoint};
use crate::migration::Migrator;
use crate::{Inner, Ledger, LedgerError, secrets};

/// How long a statement waits for another process that writes the same file.
const BUSY_TIMEOUT: Duration = Duration::from_secs(2);
/// How long a call waits for a connection of a pool.
const ACQUIRE_TIMEOUT: Duration = Duration::from_secs(2);

/// Where the ledger is and how it is opened.
#[derive(Debug, Clone)]
pub struct LedgerOptions {
    /// The database file.
    pub path: PathBuf,
    /// Connections for reading.
    pub readers_max: u32,
    /// Who opens it.
    pub purpose: Purpose,
}

/// What a process does with the ledger.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Purpose {
    /// Decide claims: alone on the data, migrating the schema first.
    Serve,
    /// Read, or write what no claim depends on, possibly beside a serving process.
    Visit,
}

impl LedgerOptions {
    /// The options for a URL of the form `sqlite:PATH`.
    ///
    /// # Errors
    /// [`LedgerError::UnsupportedUrl`] for any other form.
    pub fn parse_url(url: &str, readers_max: u32, purpose: Purpose) -> Result<Self, LedgerError> {
        let path = url.strip_prefix("sqlite:").map(|path| path.strip_prefix("//").unwrap_or(path));
        match path {
            Some(path) if !path.is_empty() && !path.contains('?') && path != ":memory:" => {
                Ok(Self { path: PathBuf::from(path), readers_max, purpose })
            }
            _ => Err(LedgerError::UnsupportedUrl { url: without_password(url) }),
        }
    }
}

/// The URL with what stands between `//` and `@` hidden.
fn without_password(url: &str) -> String {
    match (url.find("//"), url.rfind('@')) {
        (Some(start), Some(end)) if start + 2 <= end => {
            format!("{}***{}", &url[..start + 2], &url[end..])
        }
        _ => url.to_owned(),
    }
}

impl Ledger {
    /// Opens the ledger, making and migrating it where the purpose allows.
    ///
    /// # Errors
    /// Every [`LedgerError`] of opening; nothing was changed then.
    pub async fn open(options: LedgerOptions, clock: Arc<dyn Clock>) -> Result<Self, LedgerError> {
        let lock = match options.purpose {
            Purpose::Serve => Some(lock(&options.path)?),
            Purpose::Visit => None,
        };
        let unusable = |error: LedgerError| at(&options.path, error);
        let (reader, writer) = pools(&options).map_err(unusable)?;
        check_schema(&writer, options.purpose).await.map_err(unusable)?;
        let code_key = CodeKey::new(secrets::code_key(&writer).await.map_err(unusable)?);
        let path = options.path.clone();
        let (key, now) = (code_key.clone(), Arc::clone(&clock));
        let claims = tokio::task::spawn_blocking(move || ClaimWriter::open(&path, key, now))
            .await
            .map_err(|_| LedgerError::Closing)?
            .map_err(unusable)?;
        let issued_live = claims.issued_live();
        let ledger = Self {
            inner: Arc::new(Inner {
                path: options.path,
                reader,
                writer,
                turn: Arc::new(Mutex::new(claims)),
                issued_live,
                code_key,
                clock,
                settler: std::sync::Mutex::new(None),
                lock,
            }),
        };
        if options.purpose == Purpose::Serve {
            ledger.start_settler().await.map_err(|error| at(&ledger.inner.path, error))?;
        }
        Ok(ledger)
    }

    /// The migrations that opening for [`Purpose::Serve`] would apply, in their order; changes
    /// nothing, and may run beside a server.
    ///
    /// # Errors
    /// When the ledger cannot be read, or its schema is newer than this binary.
    pub async fn pending_migrations(options: &LedgerOptions) -> Result<Vec<String>, LedgerError> {
        if !options.path.exists() {
            let all = Migrator::migrations();
            return Ok(all.iter().map(|migration| migration.name().to_owned()).collect());
        }
        let options = LedgerOptions { purpose: Purpose::Visit, ..options.clone() };
        let (reader, _) = pools(&options).map_err(|error| at(&options.path, error))?;
        missing_migrations(&reader).await.map_err(|error| at(&options.path, error))
    }

    /// Asks the ledger for a sign of life.
    ///
    /// # Errors
    /// When it does not answer.
    pub async fn ping(&self) -> Result<(), LedgerError> {
        Ok(self.reader().ping().await?)
    }

    /// Writes everything that is still in the journal to the tables, where this process decides
    /// claims, and ends the background work. Stop the claims first.
    ///
    /// # Errors
    /// When the ledger does not answer; nothing is lost: the next start settles the rest.
    pub async fn close(&self) -> Result<(), LedgerError> {
        let settler = self.inner.settler.lock().ok().and_then(|mut settler| settler.take());
        if let Some(settler) = settler {
            settler.abort();
        }
        let settled = if self.inner.lock.is_some() { self.settle_and_copy().await } else { Ok(()) };
        self.inner.reader.clone().close().await?;
        self.inner.writer.clone().close().await?;
        settled
    }

    async fn settle_and_copy(&self) -> Result<(), LedgerError> {
        self.settle_all().await?;
        let path = self.inner.path.clone();
        blocking(move || checkpoint(&path)).await
    }
}

/// Takes the lock of the data that no second server can have; it ends with the process.
fn lock(database: &Path) -> Result<File, LedgerError> {
    let directory = match database.parent() {
        Some(directory) if !directory.as_os_str().is_empty() => directory,
        _ => Path::new("."),
    };
    let io = |path: &Path| {
        let path = path.to_owned();
        move |source| LedgerError::Io { path, source }
    };
    std::fs::create_dir_all(directory).map_err(io(directory))?;
    let path = database.with_extension("lock");
    let file = open_or_make(&path).map_err(io(&path))?;
    match file.try_lock() {
        // SQLite takes an empty file for a new database, and gives its other files the same mode.
        Ok(()) => open_or_make(database).map_err(io(database)).map(|_| file),
        Err(TryLockError::WouldBlock) => Err(LedgerError::InUse { path }),
        Err(TryLockError::Error(source)) => Err(LedgerError::Io { path, source }),
    }
}

/// Opens a file for writing; a new one is its owner's alone.
fn open_or_make(path: &Path) -> std::io::Result<File> {
    let mut options = OpenOptions::new();
    options.create(true).truncate(false).write(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    options.open(path)
}

fn pools(options: &LedgerOptions) -> Result<(DatabaseConnection, DatabaseConnection), LedgerError> {
    let connect = SqliteConnectOptions::new()
        .filename(&options.path)
        .create_if_missing(options.purpose == Purpose::Serve)
        .journal_mode(SqliteJournalMode::Wal)
        .synchronous(SqliteSynchronous::Full)
        .busy_timeout(BUSY_TIMEOUT)
        .pragma("wal_autocheckpoint", "0");
    let pool = |connections: u32| {
        SqlitePoolOptions::new().max_connections(connections).acquire_timeout(ACQUIRE_TIMEOUT)
    };
    let writer = pool(1).connect_lazy_with(connect.clone());
    let reader = pool(options.readers_max).connect_lazy_with(connect.pragma("query_only", "ON"));
    Ok((
        SqlxSqliteConnector::from_sqlx_sqlite_pool(reader),
        SqlxSqliteConnector::from_sqlx_sqlite_pool(writer),
    ))
}

/// Refuses a schema that is newer than this binary; brings an older one up where allowed.
async fn check_schema(writer: &DatabaseConnection, purpose: Purpose) -> Result<(), LedgerError> {
    match (purpose, missing_migrations(writer).await?.into_iter().next()) {
        (_, None) => Ok(()),
        (Purpose::Serve, Some(_)) => Ok(Migrator::up(writer, None).await?),
        (Purpose::Visit, Some(missing)) => Err(LedgerError::OlderSchema { missing }),
    }
}

/// The migrations that the schema lacks, in their order.
async fn missing_migrations(db: &DatabaseConnection) -> Result<Vec<String>, LedgerError> {
    let applied: Vec<String> = if SchemaManager::new(db).has_table("seaql_migrations").await? {
        let models = Migrator::get_migration_models(db).await?;
        models.into_iter().map(|model| model.version).collect()
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

/// Says which file it was that could not be used.
fn at(path: &Path, error: LedgerError) -> LedgerError {
    match error {
        LedgerError::Database(_) | LedgerError::Embedded(_) | LedgerError::Corrupt(_) => {
            LedgerError::Unusable { path: path.to_owned(), reason: error.to_string() }
        }
        other => other,
    }
}
