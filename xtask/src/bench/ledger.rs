//! Where a measured product keeps its ledger, and who decides before it.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use clap::ValueEnum;

use super::Workshop;
use super::beside::{Beside, Commit};
use super::server::{Database, MARIADB, POSTGRES, Server};

/// The product's file of the key that signs tokens.
const KEY_FILE: &str = "signing.key";

/// A kind of ledger.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Ledger {
    /// The embedded one.
    Sqlite,
    /// On a server of PostgreSQL.
    Postgres,
    /// On a server of MariaDB.
    Mariadb,
    /// On a server of PostgreSQL that records what Redis decides before it is told.
    Redis,
    /// On a server of PostgreSQL behind Kafka, which keeps what Redis decides.
    Kafka,
    /// On a server of PostgreSQL behind Redis, which decides and keeps.
    RedisStream,
}

impl Ledger {
    /// Its name, for people.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Sqlite => "embedded",
            Self::Postgres => "PostgreSQL",
            Self::Mariadb => "MariaDB",
            Self::Redis => "Redis, then PostgreSQL",
            Self::Kafka => "Redis, then Kafka",
            Self::RedisStream => "Redis alone",
        }
    }

    /// The database that the winners end up in, for people.
    pub(crate) fn database(self) -> &'static str {
        match self {
            Self::Sqlite => "SQLite",
            Self::Mariadb => "MariaDB",
            Self::Postgres | Self::Redis | Self::Kafka | Self::RedisStream => "PostgreSQL",
        }
    }

    /// The word for it on the command line, also the end of its section's name.
    pub(crate) fn word(self) -> &'static str {
        match self {
            Self::Sqlite => "sqlite",
            Self::Postgres => "postgres",
            Self::Mariadb => "mariadb",
            Self::Redis => "redis",
            Self::Kafka => "kafka",
            Self::RedisStream => "redis-stream",
        }
    }

    /// Brings up the servers that it needs, if any.
    ///
    /// # Errors
    /// When one does not start.
    pub(crate) fn server(self, root: &Path) -> anyhow::Result<Option<Arc<Server>>> {
        let (engine, decides) = match self {
            Self::Sqlite => return Ok(None),
            Self::Postgres => (&POSTGRES, None),
            Self::Mariadb => (&MARIADB, None),
            Self::Redis => (&POSTGRES, Some(Commit::Ledger)),
            Self::Kafka => (&POSTGRES, Some(Commit::Kafka)),
            Self::RedisStream => (&POSTGRES, Some(Commit::RedisStream)),
        };
        Server::up(root, engine, decides).map(Some)
    }
}

/// What a product keeps: its data directory, and its database if it is not in there.
pub(crate) struct Home {
    pub(crate) data_dir: PathBuf,
    pub(crate) database: Option<Database>,
    /// Lines of its configuration beyond those that every product has.
    pub(crate) more_config: String,
}

impl Home {
    /// A data directory of that name, new or not, with the ledger in it.
    pub(crate) fn embedded(workshop: &Workshop, name: &str) -> Self {
        Self { data_dir: workshop.file(name), database: None, more_config: String::new() }
    }

    /// A data directory of that name, and a fresh database if there is a server for it.
    ///
    /// # Errors
    /// When the server makes none.
    pub(crate) fn on(
        server: Option<&Arc<Server>>,
        workshop: &Workshop,
        name: &str,
    ) -> anyhow::Result<Self> {
        let database = server.map(Server::create).transpose()?;
        let beside = server.and_then(|server| server.beside.as_ref());
        let more_config = beside.map(Beside::config).unwrap_or_default();
        Ok(Self { database, more_config, ..Self::embedded(workshop, name) })
    }

    /// Takes the key that another one signs tokens with, before it has made one.
    ///
    /// # Errors
    /// When that has none, or the data directory cannot be made.
    pub(crate) fn share_key_of(&self, data_dir: &Path) -> anyhow::Result<()> {
        std::fs::create_dir_all(&self.data_dir)?;
        std::fs::copy(data_dir.join(KEY_FILE), self.data_dir.join(KEY_FILE))?;
        Ok(())
    }
}
