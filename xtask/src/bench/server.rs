//! A database server behind the product, and databases of its own for each product.
//!
//! It is asked through its own command line client.

mod mariadb;
mod postgres;

use std::path::Path;
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use anyhow::Context as _;

use super::beside::{Beside, Commit};
use super::processor;
use super::service::Service;
use crate::process::{capture, need};
use crate::services;

pub(crate) use mariadb::MARIADB;
pub(crate) use postgres::POSTGRES;

/// Every database of a benchmark begins so; then come the process that made it and a number.
const PREFIX: &str = "firstcome_bench_";

/// What sets one kind of server apart.
pub(crate) struct Engine {
    /// The name of its service.
    service: &'static str,
    /// Its client, and the package of Debian that has it.
    client: (&'static str, &'static str),
    /// The client on a database, lacking only the statement.
    command: fn(&Login, &str) -> Command,
    /// What stands behind `CREATE DATABASE name`.
    create_options: &'static str,
    /// What stands behind `DROP DATABASE IF EXISTS name`.
    drop_options: &'static str,
    /// Names all databases.
    databases: &'static str,
    /// The settings that a rate depends on, one a line: the name, white space, the value.
    settings: &'static str,
    /// Statements that do at once what the server would do some time after many writes.
    rest: &'static [&'static str],
}

/// Where a server is, and who comes in.
struct Login {
    host: String,
    port: String,
    user: String,
    password: String,
}

/// A server that is up, and what decides before it.
pub(crate) struct Server {
    engine: &'static Engine,
    service: Service,
    login: Login,
    pub(crate) beside: Option<Beside>,
}

/// A database that nobody else uses; it is dropped with the value.
pub(crate) struct Database {
    server: Arc<Server>,
    name: String,
    /// For the product.
    pub(crate) url: String,
}

impl Server {
    /// Brings the service up, and Redis and Kafka where they decide and keep claims; drops the
    /// databases that interrupted runs have left there.
    ///
    /// # Errors
    /// When one does not start, or its client is missing.
    pub(crate) fn up(
        root: &Path,
        engine: &'static Engine,
        decides: Option<Commit>,
    ) -> anyhow::Result<Arc<Self>> {
        need(engine.client.0, engine.client.1)?;
        let service = Service::up(root, engine.service)?;
        let login = Login::of(&service.running);
        let login = login.with_context(|| format!("the URL of {}", engine.service))?;
        let beside = decides.map(|commit| Beside::up(root, commit)).transpose()?;
        let server = Self { engine, service, login, beside };
        if server.service.running.pid.is_some() {
            for name in server.ask("", engine.databases)?.lines().filter(|name| is_left(name)) {
                server.drop_database(name)?;
            }
        }
        Ok(Arc::new(server))
    }

    /// Makes a database.
    ///
    /// # Errors
    /// When the server refuses.
    pub(crate) fn create(self: &Arc<Self>) -> anyhow::Result<Database> {
        static COUNTER: AtomicU32 = AtomicU32::new(0);
        let count = COUNTER.fetch_add(1, Ordering::Relaxed);
        let name = format!("{PREFIX}{}_{count}", std::process::id());
        self.ask("", &format!("CREATE DATABASE {name} {}", self.engine.create_options))?;
        let url = with_database(&self.service.running.url, &name)?;
        Ok(Database { server: Arc::clone(self), name, url })
    }

    /// Processor time that all its processes have used so far, and those of Redis and Kafka where
    /// they decide, in the kernel's ticks; none where one is no process of this machine that we
    /// have started.
    ///
    /// # Errors
    /// When one has ended.
    pub(crate) fn processor_ticks(&self) -> anyhow::Result<Option<u64>> {
        let own = self.service.running.pid.map(processor::family_ticks).transpose()?;
        let Some(beside) = &self.beside else { return Ok(own) };
        Ok(own.zip(beside.processor_ticks()?).map(|(own, beside)| own + beside))
    }

    /// Ticks that a product, the server and what decides beside it may use in one sample and be
    /// idle.
    pub(crate) fn idle_ticks_max(&self) -> u64 {
        processor::IDLE_TICKS_MAX + self.beside.as_ref().map_or(0, Beside::idle_ticks_max)
    }

    /// The settings that a rate depends on, as the server tells them.
    ///
    /// # Errors
    /// When it does not.
    pub(crate) fn settings(&self) -> anyhow::Result<Vec<String>> {
        let told = self.ask("", self.engine.settings)?;
        let setting =
            |line: &str| line.split_once('\t').map(|(name, value)| format!("{name} = {value}"));
        Ok(told.lines().filter_map(setting).collect())
    }

    /// What a statement answers in a database; in the one of the login without a name.
    fn ask(&self, database: &str, statement: &str) -> anyhow::Result<String> {
        capture((self.engine.command)(&self.login, database).arg(statement))
    }

    fn drop_database(&self, name: &str) -> anyhow::Result<()> {
        let options = self.engine.drop_options;
        self.ask("", &format!("DROP DATABASE IF EXISTS {name} {options}")).map(|_| ())
    }
}

impl Database {
    pub(crate) fn server(&self) -> &Server {
        &self.server
    }

    /// What a statement answers, or a command of the server's own client.
    ///
    /// # Errors
    /// When the server refuses.
    pub(crate) fn ask(&self, statement: &str) -> anyhow::Result<String> {
        self.server.ask(&self.name, statement)
    }

    /// Makes the server do now what it would do some time after many writes.
    ///
    /// # Errors
    /// When it refuses.
    pub(crate) fn rest(&self) -> anyhow::Result<()> {
        for statement in self.server.engine.rest {
            self.ask(statement)?;
        }
        Ok(())
    }
}

impl Drop for Database {
    fn drop(&mut self) {
        if let Err(error) = self.server.drop_database(&self.name) {
            println!("the database {} stays: {error:#}", self.name);
        }
    }
}

impl Login {
    fn of(running: &services::Running) -> anyhow::Result<Self> {
        let (host, port) = running.address.rsplit_once(':').context("no port")?;
        let (user, password) = user_and_password(&running.url)?;
        Ok(Self { host: host.to_owned(), port: port.to_owned(), user, password })
    }
}

/// Who comes in, by a URL.
fn user_and_password(url: &str) -> anyhow::Result<(String, String)> {
    let (_, rest) = url.split_once("://").context("no scheme")?;
    let authority = &rest[..rest.find(['/', '?', '#']).unwrap_or(rest.len())];
    let (login, _) = authority.rsplit_once('@').context("it names no user")?;
    anyhow::ensure!(!login.contains('%'), "benchmarks read no %, in a user or a password");
    let (user, password) = login.split_once(':').unwrap_or((login, ""));
    Ok((user.to_owned(), password.to_owned()))
}

/// The URL with another database in its path.
pub(crate) fn with_database(url: &str, name: &str) -> anyhow::Result<String> {
    let (scheme, rest) = url.split_once("://").context("no URL of a server")?;
    let (place, query) = rest.find('?').map_or((rest, ""), |index| rest.split_at(index));
    let authority = place.split('/').next().unwrap_or_default();
    Ok(format!("{scheme}://{authority}/{name}{query}"))
}

/// Whether a database is of a benchmark on this machine that has ended.
fn is_left(name: &str) -> bool {
    let process = name.strip_prefix(PREFIX).and_then(|rest| rest.split_once('_'));
    process.is_some_and(|(pid, _)| !Path::new("/proc").join(pid).exists())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_database_of_a_url_is_replaced() {
        let replaced = |url| with_database(url, "new").unwrap();
        assert_eq!(replaced("postgres://a:b@there:1/x"), "postgres://a:b@there:1/new");
        assert_eq!(replaced("mysql://there?ssl-ca=/a"), "mysql://there/new?ssl-ca=/a");
        assert!(with_database("there", "new").is_err());
    }

    #[test]
    fn user_and_password_are_read() {
        let read = |url| user_and_password(url).ok();
        let both = |user: &str, password: &str| Some((user.to_owned(), password.to_owned()));
        assert_eq!(read("postgres://a:b@there:1/x"), both("a", "b"));
        assert_eq!(read("mysql://a:p@ss:w@there"), both("a", "p@ss:w"));
        assert_eq!(read("mysql://a@there"), both("a", ""));
        assert_eq!(read("mysql://there/x@y"), None);
        assert_eq!(read("mysql://a:%40@there"), None);
    }

    #[test]
    fn only_what_an_ended_run_has_left_is_dropped() {
        assert!(!is_left(&format!("{PREFIX}{}_0", std::process::id())));
        assert!(is_left(&format!("{PREFIX}{}_0", u32::MAX)));
        assert!(!is_left("firstcome_test_1_2"));
        assert!(!is_left("postgres"));
    }
}
