//! The embedded ledger: one SQLite file, one process that serves from it.

use std::fs::{File, OpenOptions, TryLockError};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use firstcome_core::Clock;
use sea_orm::{
    DatabaseConnection, SqliteTransactionMode, SqlxSqliteConnector, TransactionOptions,
    TransactionTrait,
};
use sqlx::ConnectOptions as _;
use sqlx::sqlite::{SqliteConnectOptions, SqliteJournalMode, SqlitePoolOptions, SqliteSynchronous};
use tokio::sync::OwnedMutexGuard;
use tokio::task::JoinHandle;

use crate::claim::sqlite::{ClaimWriter, IssuedLive, blocking, checkpoint};
use crate::in_time::InTime;
use crate::open::bring_up;
use crate::pools::{PoolMeter, acquired, connections};
use crate::secrets::Keys;
use crate::write::Write;
use crate::{LedgerError, Purpose, secrets};

/// How long a statement waits for another process that writes the same file.
const BUSY_TIMEOUT: Duration = Duration::from_secs(2);
/// How long a call waits for a connection of a pool.
const ACQUIRE_TIMEOUT: Duration = Duration::from_secs(2);

/// A ledger in one file.
pub(crate) struct Embedded {
    pub(crate) path: PathBuf,
    /// Connections that cannot write.
    pub(crate) reader: InTime<DatabaseConnection>,
    /// The one connection that writes beside the claims; used within a turn only.
    writer: DatabaseConnection,
    /// Measures the wait for the writer: for its turn.
    writer_meter: PoolMeter,
    /// The writers' turn, in the order of asking. Who holds it may write; it guards the memory of
    /// the claims as well.
    pub(crate) turn: Arc<tokio::sync::Mutex<ClaimWriter>>,
    pub(crate) issued_live: IssuedLive,
    /// The task that settles in the background.
    settler: Mutex<Option<JoinHandle<()>>>,
    /// The lock of the data, held by the one process that serves.
    lock: Option<File>,
}

impl Embedded {
    /// Opens the file, making and migrating it where the purpose allows; also its keys.
    pub(crate) async fn open(
        path: &Path,
        purpose: Purpose,
        readers_max: u32,
        clock: Arc<dyn Clock>,
    ) -> Result<(Arc<Self>, Keys), LedgerError> {
        let lock = match purpose {
            Purpose::Serve => Some(lock(path)?),
            Purpose::Visit => None,
        };
        Self::open_locked(path, purpose, readers_max, clock, lock)
            .await
            .map_err(|error| at(path, error))
    }

    async fn open_locked(
        path: &Path,
        purpose: Purpose,
        readers_max: u32,
        clock: Arc<dyn Clock>,
        lock: Option<File>,
    ) -> Result<(Arc<Self>, Keys), LedgerError> {
        let writer = writer(path, purpose);
        bring_up(&writer, purpose).await?;
        let keys = secrets::keys(&writer).await?;
        let (file, of_claims) = (path.to_owned(), keys.clone());
        let claims = blocking(move || ClaimWriter::open(&file, of_claims, clock)).await?;
        let embedded = Arc::new(Self {
            path: path.to_owned(),
            reader: InTime::unbounded(reader(path, readers_max)).measured(PoolMeter::new("read")),
            writer,
            writer_meter: PoolMeter::new("write"),
            issued_live: claims.issued_live(),
            turn: Arc::new(tokio::sync::Mutex::new(claims)),
            settler: Mutex::new(None),
            lock,
        });
        if purpose == Purpose::Serve {
            let settler = embedded.start_settler().await?;
            *embedded.settler.lock().unwrap_or_else(PoisonError::into_inner) = Some(settler);
        }
        Ok((embedded, keys))
    }

    /// A connection of its own to look at what is there.
    pub(crate) fn look(path: &Path) -> DatabaseConnection {
        reader(path, 1)
    }

    /// Whether this process decides the claims.
    pub(crate) fn serves(&self) -> bool {
        self.lock.is_some()
    }

    /// Waits for the turn and begins a transaction.
    pub(crate) async fn write(&self) -> Result<Write, LedgerError> {
        let write = async {
            let turn = self.turn.clone().lock_owned().await;
            self.write_in(turn).await
        };
        self.writer_meter.watch(write).await
    }

    /// Begins a transaction within a turn that is held already.
    async fn write_in(&self, turn: OwnedMutexGuard<ClaimWriter>) -> Result<Write, LedgerError> {
        let transaction = self.writer.begin_with_options(immediate()).await?;
        Ok(Write::in_turn(transaction, turn))
    }

    /// Settles everything, and begins a transaction at a moment when nothing is unsettled.
    pub(crate) async fn write_settled(&self) -> Result<Write, LedgerError> {
        loop {
            self.settle_all().await?;
            let turn = self.turn.clone().lock_owned().await;
            if turn.unsettled() == 0 {
                return self.write_in(turn).await;
            }
        }
    }

    /// Tells of the connections.
    pub(crate) fn tell_connections(&self) {
        self.reader.tell_connections();
        self.writer_meter.tell(connections(&self.writer));
    }

    /// Runs a statement of its own within a turn.
    pub(crate) async fn secret(&self, name: &str) -> Result<[u8; 32], LedgerError> {
        let _turn = self.turn.lock().await;
        secrets::find_or_make(&self.writer, name).await
    }

    /// Settles everything where this process decides claims, and ends the background work.
    pub(crate) async fn close(&self) -> Result<(), LedgerError> {
        let settler = self.settler.lock().ok().and_then(|mut settler| settler.take());
        if let Some(settler) = settler {
            settler.abort();
        }
        let settled = if self.serves() { self.settle_and_copy().await } else { Ok(()) };
        self.reader.inner().clone().close().await?;
        self.writer.clone().close().await?;
        settled
    }

    async fn settle_and_copy(&self) -> Result<(), LedgerError> {
        self.settle_all().await?;
        let path = self.path.clone();
        blocking(move || checkpoint(&path)).await
    }
}

/// Takes the lock of the data and brings the schema up, and nothing else; the connection that
/// writes.
pub(crate) async fn prepare(path: &Path) -> Result<(DatabaseConnection, File), LedgerError> {
    let lock = lock(path)?;
    let writer = writer(path, Purpose::Serve);
    bring_up(&writer, Purpose::Serve).await.map_err(|error| at(path, error))?;
    Ok((writer, lock))
}

/// A transaction that writes from its beginning on.
pub(crate) fn immediate() -> TransactionOptions {
    TransactionOptions {
        sqlite_transaction_mode: Some(SqliteTransactionMode::Immediate),
        ..TransactionOptions::default()
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
        move |cause| LedgerError::Io { path, cause }
    };
    std::fs::create_dir_all(directory).map_err(io(directory))?;
    let path = database.with_extension("lock");
    let file = open_or_make(&path).map_err(io(&path))?;
    match file.try_lock() {
        // SQLite takes an empty file for a new database, and gives its other files the same mode.
        Ok(()) => open_or_make(database).map_err(io(database)).map(|_| file),
        Err(TryLockError::WouldBlock) => Err(LedgerError::InUse { path }),
        Err(TryLockError::Error(cause)) => Err(LedgerError::Io { path, cause }),
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

fn connect(path: &Path) -> SqliteConnectOptions {
    // A statement's line has no message and no name of the schema of the log.
    SqliteConnectOptions::new()
        .disable_statement_logging()
        .filename(path)
        .journal_mode(SqliteJournalMode::Wal)
        .synchronous(SqliteSynchronous::Full)
        .busy_timeout(BUSY_TIMEOUT)
        .pragma("wal_autocheckpoint", "0")
}

fn pool(connections: u32) -> SqlitePoolOptions {
    SqlitePoolOptions::new()
        .max_connections(connections)
        .acquire_timeout(ACQUIRE_TIMEOUT)
        .before_acquire(|_, _| {
            acquired();
            Box::pin(async { Ok(true) })
        })
        .after_connect(|_, _| {
            acquired();
            Box::pin(async { Ok(()) })
        })
}

fn writer(path: &Path, purpose: Purpose) -> DatabaseConnection {
    let options = connect(path).create_if_missing(purpose == Purpose::Serve);
    SqlxSqliteConnector::from_sqlx_sqlite_pool(pool(1).connect_lazy_with(options))
}

fn reader(path: &Path, readers_max: u32) -> DatabaseConnection {
    let options = connect(path).pragma("query_only", "ON");
    SqlxSqliteConnector::from_sqlx_sqlite_pool(pool(readers_max).connect_lazy_with(options))
}

/// Says which file it was that could not be used.
pub(crate) fn at(path: &Path, error: LedgerError) -> LedgerError {
    match error {
        LedgerError::Database(_) | LedgerError::Embedded(_) | LedgerError::Corrupt(_) => {
            LedgerError::Unusable { path: path.to_owned(), reason: error.to_string() }
        }
        other => other,
    }
}
