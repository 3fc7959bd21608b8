//! A database server of one test's own, which may be killed.

use std::io::Write;
use std::net::{Ipv4Addr, TcpListener};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicU16, Ordering};
use std::time::Duration;

use tempfile::TempDir;
use tokio::time::{Instant, sleep};

use crate::launch::{POLL, Process};
use crate::sql::{Connection, Sql};
use crate::{Ended, Engine, Launch};

/// Longest from a start, also after a crash, to the first answer to a query.
const READY_TIMEOUT: Duration = Duration::from_secs(60);
/// Longest that the kernel may take to end a process that was killed.
const KILL_TIMEOUT: Duration = Duration::from_secs(20);
/// Below the ports that the kernel gives out by itself: a restart finds its port free.
const PORTS: std::ops::Range<u16> = 20_000..32_000;
/// PostgreSQL refuses to run as root; this user comes with its packages.
const POSTGRES_USER: &str = "postgres";
/// What MariaDB runs at each start.
const MARIADB_SETUP: &str = "\
    CREATE DATABASE IF NOT EXISTS firstcome CHARACTER SET utf8mb4;\n\
    CREATE USER IF NOT EXISTS firstcome@'%' IDENTIFIED BY 'firstcome';\n\
    GRANT ALL PRIVILEGES ON *.* TO firstcome@'%' WITH GRANT OPTION;\n";

/// A server with a database, a user and a password that are all `firstcome`. Its data are in a
/// temporary directory and as durable as in a deployment. Dropping it kills it and removes them.
#[derive(Debug)]
pub struct DatabaseServer {
    launch: Launch,
    process: Process,
    sql: Sql,
    /// Removed after the process, which writes there.
    _directory: TempDir,
}

impl DatabaseServer {
    /// Starts a server on loopback, on a free port.
    ///
    /// # Panics
    /// When its programs are not installed, or it does not answer.
    pub async fn start(engine: Engine) -> Self {
        Self::start_with(engine, &[]).await
    }

    /// Starts it with these arguments after the others: `-c` and `max_connections=5`, or
    /// `--max-connections=5`.
    ///
    /// # Panics
    /// When its programs are not installed, or it does not answer.
    pub async fn start_with(engine: Engine, arguments: &[&str]) -> Self {
        let directory = TempDir::new().expect("a temporary directory");
        let launch = match engine {
            Engine::Postgres => create_postgres(directory.path()).await,
            Engine::MariaDb => create_mariadb(directory.path()).await,
        };
        let port = free_port();
        let launch = launch.arguments(&[&format!("--port={port}")]).arguments(arguments);
        let scheme = if engine == Engine::Postgres { "postgres" } else { "mysql" };
        let server_url = format!("{scheme}://firstcome:firstcome@127.0.0.1:{port}/");
        let mut process = launch.spawn();
        if engine == Engine::Postgres {
            let mut admin = ready(&mut process, engine, &format!("{server_url}postgres")).await;
            let created = admin.execute("CREATE DATABASE firstcome TEMPLATE template0").await;
            created.unwrap_or_else(|error| panic!("{engine} makes no database: {error}"));
        }
        let sql = Sql::new(engine, format!("{server_url}firstcome"));
        ready(&mut process, engine, sql.url()).await;
        Self { launch, process, sql, _directory: directory }
    }

    /// Its engine.
    #[must_use]
    pub const fn engine(&self) -> Engine {
        self.sql.engine()
    }

    /// The URL of its database, the same after a restart.
    #[must_use]
    pub fn url(&self) -> &str {
        self.sql.url()
    }

    /// The id of its first process.
    #[must_use]
    pub fn pid(&self) -> u32 {
        self.process.child.id()
    }

    /// All that it said since its last start.
    #[must_use]
    pub fn said(&self) -> String {
        self.process.said()
    }

    /// Runs one or several statements. Calls at the same time have connections of their own.
    ///
    /// # Panics
    /// When one fails.
    pub async fn execute(&self, sql: &str) {
        self.sql.execute(sql).await;
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

    /// Kills it at once with all its processes, as `kill -9`, and waits until they are gone.
    ///
    /// # Panics
    /// When it had ended already.
    pub fn kill9(&mut self) {
        let ended = self.process.child.try_wait().expect("the child's status");
        assert!(ended.is_none(), "ended by itself; it said:\n{}", self.said());
        assert!(self.kill(), "a session of {} survives its server", self.engine());
        self.sql.forget_connections();
    }

    /// Starts it again on the same port and data, and waits until it answers a query.
    ///
    /// # Panics
    /// When it still runs, or does not answer.
    pub async fn restart(&mut self) {
        let ended = self.process.child.try_wait().expect("the child's status");
        assert!(ended.is_some(), "it still runs");
        self.process = self.launch.spawn();
        ready(&mut self.process, self.sql.engine(), self.sql.url()).await;
    }

    /// Whether all of it is gone.
    fn kill(&mut self) -> bool {
        // Each session of PostgreSQL is a process, of no group but its own.
        let sessions = children_of(self.pid());
        self.process.child.kill().expect("a running child can be killed");
        self.process.child.wait().expect("a killed child ends");
        let ids = sessions.iter().map(u32::to_string);
        // Those that have noticed that the first process is gone have ended by themselves.
        let _ =
            Command::new("sh").args(["-c", "kill -s KILL \"$@\" 2>&-", "sh"]).args(ids).status();
        let deadline = Instant::now() + KILL_TIMEOUT;
        while sessions.iter().any(|id| parent_of(*id).is_some()) {
            if Instant::now() > deadline {
                return false;
            }
            std::thread::sleep(POLL);
        }
        true
    }
}

impl Drop for DatabaseServer {
    /// A test that fails shows what its server said.
    fn drop(&mut self) {
        if matches!(self.process.child.try_wait(), Ok(None)) {
            self.kill();
        }
        if std::thread::panicking() {
            let (engine, said) = (self.engine(), self.said());
            // A failing test has nowhere better to say that this failed.
            let _ = writeln!(std::io::stderr(), "{engine} at {} said:\n{said}", self.url());
        }
    }
}

/// Makes a cluster, and tells how to start its server.
async fn create_postgres(directory: &Path) -> Launch {
    let (data, password) = (directory.join("data"), directory.join("password"));
    std::fs::create_dir(&data).expect("a directory for the data");
    std::fs::write(&password, "firstcome").expect("a file for the password");
    let (data, password) = (text_of(&data), text_of(&password));
    if is_root() {
        succeed(&Launch::new("chown", &[POSTGRES_USER, data])).await;
    }
    let initdb = as_postgres_user(&program("initdb", "postgresql"));
    let user = ["--username=firstcome", "--auth=scram-sha-256", "--pwfile", password];
    let rest = ["--encoding=UTF8", "--locale=C.UTF-8", "--no-sync", "--pgdata", data];
    succeed(&initdb.arguments(&user).arguments(&rest)).await;
    as_postgres_user(&program("postgres", "postgresql")).arguments(&["-D", data]).arguments(&[
        "--listen_addresses=127.0.0.1",
        "--unix_socket_directories=",
        "--shared_buffers=32MB",
    ])
}

/// Makes a data directory, and tells how to start its server.
async fn create_mariadb(directory: &Path) -> Launch {
    let (data, setup) = (directory.join("data"), directory.join("setup.sql"));
    std::fs::write(&setup, MARIADB_SETUP).expect("a file for the first statements");
    let data = format!("--datadir={}", text_of(&data));
    let setup = format!("--init-file={}", text_of(&setup));
    let of_both = |program: &str| {
        // The first one must be the first.
        Launch::new(self::program(program, "mariadb-server"), &["--no-defaults", &data])
            .arguments(if is_root() { &["--user=root"] } else { &[] })
            .arguments(&["--skip-name-resolve", "--innodb-log-file-size=16M"])
            .arguments(&["--innodb-buffer-pool-size=32M"])
    };
    let root = ["--auth-root-authentication-method=normal", "--skip-test-db"];
    succeed(&of_both("mariadb-install-db").arguments(&root)).await;
    // The socket lies in the data: its path must be short, and that of the directory need not be.
    let places = ["--socket=mariadb.sock", "--pid-file=mariadb.pid", &setup];
    of_both("mariadbd").arguments(&["--bind-address=127.0.0.1"]).arguments(&places)
}

/// Runs a program that must succeed.
async fn succeed(launch: &Launch) {
    let Ended { code, stdout, stderr } = launch.run().await;
    assert_eq!(code, Some(0), "{launch:?} said:\n{stdout}{stderr}");
}

/// Waits until a server answers a query.
async fn ready(process: &mut Process, engine: Engine, url: &str) -> Connection {
    let deadline = Instant::now() + READY_TIMEOUT;
    loop {
        let ended = process.child.try_wait().expect("the child's status");
        assert!(ended.is_none(), "{engine}: {ended:?} at its start; it said:\n{}", process.said());
        if let Ok(mut connection) = Connection::open(engine, url).await
            && connection.value("SELECT 1").await.is_ok()
        {
            return connection;
        }
        let said = || process.said();
        assert!(Instant::now() < deadline, "{engine} does not answer; it said:\n{}", said());
        sleep(POLL).await;
    }
}

/// A program as a user that PostgreSQL accepts. Root gives that user the one right it needs here:
/// to reach a directory below one that is closed to others.
fn as_postgres_user(program: &Path) -> Launch {
    if !is_root() {
        return Launch::new(program, &[]);
    }
    let user = ["--reuid", POSTGRES_USER, "--regid", POSTGRES_USER, "--init-groups"];
    Launch::new("setpriv", &user)
        .arguments(&["--inh-caps=+dac_override", "--ambient-caps=+dac_override", "--"])
        .arguments(&[text_of(program)])
}

/// Where a program lies: on the path, or where Debian puts servers.
fn program(name: &str, package: &str) -> PathBuf {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let mut places: Vec<PathBuf> = std::env::split_paths(&path).collect();
    places.push("/usr/sbin".into());
    if let Ok(versions) = std::fs::read_dir("/usr/lib/postgresql") {
        let mut bins: Vec<_> =
            versions.flatten().map(|version| version.path().join("bin")).collect();
        bins.sort_unstable();
        places.extend(bins.into_iter().rev());
    }
    let found = places.iter().map(|place| place.join(name)).find(|program| program.is_file());
    found.unwrap_or_else(|| {
        panic!("{name} is missing: install it (on Debian: `sudo apt-get install {package}`)")
    })
}

/// A port that nobody has, and that no other test of this process is given.
fn free_port() -> u16 {
    static TURN: AtomicU16 = AtomicU16::new(0);
    // Other processes begin elsewhere.
    let first = u16::try_from(std::process::id() % 1_000).expect("below a thousand") * 12;
    for _ in PORTS {
        let turn = TURN.fetch_add(1, Ordering::Relaxed);
        let port = PORTS.start + first.wrapping_add(turn) % (PORTS.end - PORTS.start);
        if TcpListener::bind((Ipv4Addr::LOCALHOST, port)).is_ok() {
            return port;
        }
    }
    panic!("all ports of {PORTS:?} are taken by other programs");
}

fn is_root() -> bool {
    std::fs::metadata("/proc/self").is_ok_and(|this| this.uid() == 0)
}

fn text_of(path: &Path) -> &str {
    path.to_str().expect("a path in UTF-8")
}

fn children_of(parent: u32) -> Vec<u32> {
    let Ok(processes) = std::fs::read_dir("/proc") else { return Vec::new() };
    let ids = processes.flatten().filter_map(|process| process.file_name().to_str()?.parse().ok());
    ids.filter(|id| parent_of(*id) == Some(parent)).collect()
}

/// The parent of a process that has not ended.
fn parent_of(id: u32) -> Option<u32> {
    let stat = std::fs::read_to_string(format!("/proc/{id}/stat")).ok()?;
    // The name in parentheses may hold anything; the state and the parent are behind it.
    let mut fields = stat.rsplit_once(')')?.1.split_whitespace();
    let has_ended = matches!(fields.next()?, "Z" | "X");
    fields.next()?.parse().ok().filter(|_| !has_ended)
}
