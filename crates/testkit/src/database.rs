//! A fresh database on the servers of the tests, of one test's own.

use std::fmt;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use tokio::time::{Instant, sleep};
use uuid::Uuid;

use crate::launch::POLL;
use crate::sql::{Connection, Sql};

/// Longest that a dropped database may resist.
const DROP_TIMEOUT: Duration = Duration::from_secs(20);
/// Every database of the tests begins so.
const PREFIX: &str = "firstcome_test_";

/// A database engine.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Engine {
    /// PostgreSQL.
    Postgres,
    /// MariaDB.
    MariaDb,
}

/// A database that nobody else uses; dropping it removes it from the server, clients or not.
#[derive(Debug)]
pub struct TestDatabase {
    server_url: String,
    name: String,
    sql: Sql,
}

impl Engine {
    /// Every engine.
    pub const ALL: [Self; 2] = [Self::Postgres, Self::MariaDb];

    /// Its name, for messages.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Postgres => "PostgreSQL",
            Self::MariaDb => "MariaDB",
        }
    }

    /// The variable that names the server of the tests.
    const fn variable(self) -> &'static str {
        match self {
            Self::Postgres => "FIRSTCOME_TEST_POSTGRES_URL",
            Self::MariaDb => "FIRSTCOME_TEST_MARIADB_URL",
        }
    }

    /// What a database is made with unless a test wants another. PostgreSQL's usual template would
    /// have to be free of clients.
    const fn usual_options(self) -> &'static str {
        match self {
            Self::Postgres => "TEMPLATE template0 ENCODING 'UTF8'",
            Self::MariaDb => "CHARACTER SET utf8mb4",
        }
    }

    /// The URL of the server of the tests.
    fn server_url(self) -> String {
        let variable = self.variable();
        std::env::var(variable).ok().filter(|url| !url.is_empty()).unwrap_or_else(|| {
            panic!(
                "this test needs {self}, and {variable} names none: run `cargo xtask test`, which \
                 starts it and sets the variable, or set it to the URL that \
                 `cargo xtask services up` prints"
            )
        })
    }
}

impl fmt::Display for Engine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl TestDatabase {
    /// A fresh database on the server that `FIRSTCOME_TEST_POSTGRES_URL` or
    /// `FIRSTCOME_TEST_MARIADB_URL` names; its texts are UTF-8.
    ///
    /// # Panics
    /// When the variable is not set, or the server does not make one.
    pub async fn new(engine: Engine) -> Self {
        Self::new_as(engine, engine.usual_options()).await
    }

    /// A database made with these options of `CREATE DATABASE`, as `CHARACTER SET latin1` or
    /// `TEMPLATE template0 ENCODING 'LATIN1' LOCALE 'C'`.
    ///
    /// # Panics
    /// When the variable is not set, or the server does not make one.
    pub async fn new_as(engine: Engine, options: &str) -> Self {
        let server_url = engine.server_url();
        let name = unique_name();
        let sql = Sql::new(engine, with_database(&server_url, &name));
        let database = Self { server_url, name, sql };
        database.admin_execute(&format!("CREATE DATABASE {} {options}", database.name)).await;
        database
    }

    /// Its engine.
    #[must_use]
    pub const fn engine(&self) -> Engine {
        self.sql.engine()
    }

    /// Its name on the server.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Its URL, as `postgres://user:password@host:port/name` or `mysql://…`.
    #[must_use]
    pub fn url(&self) -> &str {
        self.sql.url()
    }

    /// Runs one or several statements in it. Calls at the same time have connections of their own.
    ///
    /// # Panics
    /// When one fails.
    pub async fn execute(&self, sql: &str) {
        self.sql.execute(sql).await;
    }

    /// What the server says to a statement that it refuses.
    ///
    /// # Panics
    /// When it does not.
    pub async fn refused(&self, sql: &str) -> String {
        self.sql.refused(sql).await
    }

    /// The one value of a query, as text.
    ///
    /// # Panics
    /// When there is no such value, or it is null.
    pub async fn text(&self, sql: &str) -> String {
        self.sql.text(sql).await
    }

    /// The one value of a query, as a whole number.
    ///
    /// # Panics
    /// When there is no such value.
    pub async fn number(&self, sql: &str) -> i64 {
        self.sql.number(sql).await
    }

    /// Runs one or several statements in the server's own database, to make users for example.
    /// What they leave behind stays there.
    ///
    /// # Panics
    /// When one fails.
    pub async fn admin_execute(&self, sql: &str) {
        Sql::new(self.engine(), self.server_url.clone()).execute(sql).await;
    }
}

impl Drop for TestDatabase {
    fn drop(&mut self) {
        let (engine, server_url, name) = (self.engine(), &self.server_url, &self.name);
        // A thread of its own, since a runtime that drops this value cannot wait for another.
        let outcome = std::thread::scope(|scope| {
            let remove = || {
                let mut runtime = tokio::runtime::Builder::new_current_thread();
                let runtime = runtime.enable_all().build().expect("a runtime");
                runtime.block_on(remove(engine, server_url, name))
            };
            scope.spawn(remove).join().expect("removing does not panic")
        });
        if let Err(error) = outcome {
            say_that_it_stays(name, &error);
        }
    }
}

#[expect(clippy::print_stderr, reason = "a drop has nowhere better to say it")]
fn say_that_it_stays(name: &str, error: &sqlx::Error) {
    eprintln!("the database {name} stays: {error}");
}

/// Removes a database. Clients that come back between the two steps make it try again.
async fn remove(engine: Engine, server_url: &str, name: &str) -> Result<(), sqlx::Error> {
    let deadline = Instant::now() + DROP_TIMEOUT;
    let mut admin = Connection::open(engine, server_url).await?;
    loop {
        let outcome = match engine {
            Engine::Postgres => {
                admin.execute(&format!("DROP DATABASE IF EXISTS {name} WITH (FORCE)")).await
            }
            Engine::MariaDb => remove_mariadb(&mut admin, name).await,
        };
        if outcome.is_ok() || Instant::now() > deadline {
            return outcome;
        }
        sleep(POLL).await;
    }
}

/// Ends the clients first: the locks of an open transaction would make the database stay.
async fn remove_mariadb(admin: &mut Connection, name: &str) -> Result<(), sqlx::Error> {
    admin.execute("SET SESSION lock_wait_timeout = 1").await?;
    let clients = format!(
        "SELECT COALESCE(GROUP_CONCAT(id), '') FROM information_schema.processlist \
         WHERE db = '{name}'"
    );
    let clients = admin.value(&clients).await?.unwrap_or_default();
    for client in clients.split(',').filter(|client| !client.is_empty()) {
        // It may have gone by itself; one that stays makes the next statement fail.
        let _ = admin.execute(&format!("KILL {client}")).await;
    }
    admin.execute(&format!("DROP DATABASE IF EXISTS {name}")).await
}

/// A name that no other test has, in this process or another.
fn unique_name() -> String {
    static COUNTER: AtomicU32 = AtomicU32::new(0);
    let count = COUNTER.fetch_add(1, Ordering::Relaxed);
    let random = Uuid::new_v4().simple().to_string();
    format!("{PREFIX}{}_{count}_{}", std::process::id(), &random[..8])
}

/// The URL with another database in its path.
fn with_database(url: &str, name: &str) -> String {
    let (scheme, rest) = url.split_once("://").expect("a URL of a server");
    let (rest, query) = rest.find('?').map_or((rest, ""), |place| rest.split_at(place));
    let authority = rest.split('/').next().unwrap_or_default();
    format!("{scheme}://{authority}/{name}{query}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_database_of_a_url_is_replaced() {
        let cases = [
            ("postgres://a:b@there:1/x", "postgres://a:b@there:1/fresh"),
            ("mysql://a:b@there", "mysql://a:b@there/fresh"),
            ("mysql://there/x?ssl-mode=disabled", "mysql://there/fresh?ssl-mode=disabled"),
            ("mysql://there?ssl-ca=/a/b", "mysql://there/fresh?ssl-ca=/a/b"),
        ];
        for (url, expected) in cases {
            assert_eq!(with_database(url, "fresh"), expected);
        }
    }

    /// The database that is left behind is one that no server has.
    #[test]
    fn a_server_that_is_gone_is_no_reason_to_panic() {
        for engine in Engine::ALL {
            let silent = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
            let authority = silent.local_addr().unwrap();
            drop(silent);
            let scheme = if engine == Engine::Postgres { "postgres" } else { "mysql" };
            let server_url = format!("{scheme}://a:b@{authority}/c");
            let sql = Sql::new(engine, server_url.clone());
            drop(TestDatabase { server_url, name: "never_made".to_owned(), sql });
        }
    }

    #[test]
    fn names_are_never_the_same() {
        assert_ne!(unique_name(), unique_name());
    }
}
