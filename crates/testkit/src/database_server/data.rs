//! The first data of a server: made once for a version of it, then copied.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use tempfile::TempDir;
use tokio::sync::Mutex;

use super::program::{POSTGRES_USER, as_postgres_user, find, is_root, text_of, user_id};
use crate::{Ended, Engine, Launch};

/// Of what is made below; another number for other data.
const FORMAT: u32 = 1;
/// Where what is copied lies.
const TEMPLATES: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../../target/testkit");

const POSTGRES_SETUP: &str = "CREATE DATABASE firstcome TEMPLATE template0\n";
/// Without the first line the server would not yet know of users.
const MARIADB_SETUP: &str = "\
    FLUSH PRIVILEGES;\n\
    CREATE DATABASE firstcome CHARACTER SET utf8mb4;\n\
    CREATE USER firstcome@'%' IDENTIFIED BY 'firstcome';\n\
    GRANT ALL PRIVILEGES ON *.* TO firstcome@'%' WITH GRANT OPTION;\n";

/// A file system in memory: what a process has written to it outlives the process as on a disk, and
/// nobody waits for a disk that others keep busy.
const MEMORY: &str = "/dev/shm";
/// The room that this must have for the data of some servers at once.
const MEMORY_FREE_KIB_MIN: u64 = 1 << 20;

/// A temporary directory for the data of one server.
pub(super) async fn directory() -> TempDir {
    let Ended { stdout, .. } = Launch::new("df", &["-P", "-k", MEMORY]).run().await;
    let free = stdout.lines().last().and_then(|line| line.split_whitespace().nth(3)?.parse().ok());
    let has_room = free.is_some_and(|free: u64| free >= MEMORY_FREE_KIB_MIN);
    let made = if has_room { named().tempdir_in(MEMORY) } else { named().tempdir() };
    made.expect("a temporary directory")
}

fn named() -> tempfile::Builder<'static, 'static> {
    let mut builder = tempfile::Builder::new();
    builder.prefix("firstcome-test-");
    builder
}

/// Puts the data of an engine into a directory, and tells how to start its server there.
pub(super) async fn create(engine: Engine, directory: &Path) -> Launch {
    copy(&template(engine).await, directory).await;
    match engine {
        Engine::Postgres => postgres(directory),
        Engine::MariaDb => mariadb(directory),
    }
}

/// Copies the data of a server that was killed, and tells how to start one there that only reads.
pub(super) async fn copy_read_only(engine: Engine, from: &Path, to: &Path) -> Launch {
    copy(from, to).await;
    match engine {
        Engine::Postgres => {
            // It names the other server's process.
            std::fs::remove_file(to.join("data/postmaster.pid")).expect("a server was killed");
            std::fs::write(to.join("data/standby.signal"), "").expect("a file in the data");
            postgres(to)
        }
        Engine::MariaDb => mariadb(to).arguments(&["--read-only"]),
    }
}

async fn copy(from: &Path, to: &Path) {
    let everything = format!("{}/.", text_of(from));
    succeed(&Launch::new("cp", &["-a", &everything, text_of(to)])).await;
}

fn postgres(directory: &Path) -> Launch {
    let data = directory.join("data");
    as_postgres_user(&find(Engine::Postgres, "postgres"))
        .arguments(&["-D", text_of(&data), "--listen_addresses=127.0.0.1"])
        .arguments(&["--unix_socket_directories=", "--shared_buffers=32MB"])
        // In the data, where a server that is killed may leave it.
        .arguments(&["--dynamic_shared_memory_type=mmap"])
}

/// Frees what PostgreSQL, when it is killed, leaves in the kernel until the next start.
pub(super) fn forget_memory(directory: &Path) {
    let file = std::fs::read_to_string(directory.join("data/postmaster.pid")).unwrap_or_default();
    // The line of the shared memory holds its key and its id.
    if let Some(id) = file.lines().nth(6).and_then(|line| line.split_whitespace().nth(1)) {
        // What is not there any more need not be freed.
        let _ = Command::new("ipcrm").args(["-m", id]).stderr(Stdio::null()).status();
    }
}

fn mariadb(directory: &Path) -> Launch {
    // The socket lies in the data: its path must be short, and that of the directory need not be.
    let local = ["--bind-address=127.0.0.1", "--socket=mariadb.sock", "--pid-file=mariadb.pid"];
    mariadb_program("mariadbd", directory).arguments(&local)
}

/// A program of MariaDB with what both of them must agree on.
fn mariadb_program(name: &str, directory: &Path) -> Launch {
    let data = format!("--datadir={}", text_of(&directory.join("data")));
    // A server that starts removes the temporary files of others from a directory that they share.
    let files = format!("--tmpdir={}", text_of(&directory.join("files")));
    // The first argument must be the first.
    Launch::new(find(Engine::MariaDb, name), &["--no-defaults", &data, &files])
        .arguments(if is_root() { &["--user=root"] } else { &[] })
        .arguments(&["--skip-name-resolve", "--innodb-log-file-size=16M"])
        .arguments(&["--innodb-buffer-pool-size=32M"])
}

/// The directory to copy, which is made unless it is there and whole.
async fn template(engine: Engine) -> PathBuf {
    static TURN: Mutex<()> = Mutex::const_new(());
    let _turn = TURN.lock().await;
    let server = if engine == Engine::Postgres { "postgres" } else { "mariadbd" };
    let version = succeed(&Launch::new(find(engine, server), &["--version"])).await;
    let version = version.replace(|c: char| !c.is_ascii_alphanumeric(), "-");
    let name = format!("{server}-{FORMAT}-{}-{version}", user_id());
    let template = Path::new(TEMPLATES).join(name);
    if template.exists() {
        return template;
    }
    std::fs::create_dir_all(TEMPLATES).expect("a directory for what is copied");
    let partial = tempfile::tempdir_in(TEMPLATES).expect("a temporary directory");
    match engine {
        Engine::Postgres => make_postgres(partial.path()).await,
        Engine::MariaDb => make_mariadb(partial.path()).await,
    }
    let renamed = std::fs::rename(partial.path(), &template);
    // Another process may have been faster.
    assert!(template.exists(), "cannot make {}: {renamed:?}", template.display());
    template
}

async fn make_postgres(directory: &Path) {
    let (data, password) = (directory.join("data"), directory.join("password"));
    let setup = directory.join("setup.sql");
    std::fs::create_dir(&data).expect("a directory for the data");
    std::fs::write(&password, "firstcome").expect("a file for the password");
    std::fs::write(&setup, POSTGRES_SETUP).expect("a file for the first statement");
    let (data, password, setup) = (text_of(&data), text_of(&password), text_of(&setup));
    if is_root() {
        succeed(&Launch::new("chown", &[POSTGRES_USER, data])).await;
    }
    let user = ["--username=firstcome", "--auth=scram-sha-256", "--pwfile", password];
    let rest = ["--encoding=UTF8", "--locale=C.UTF-8", "--no-sync", "--pgdata", data];
    let initdb = as_postgres_user(&find(Engine::Postgres, "initdb"));
    succeed(&initdb.arguments(&user).arguments(&rest)).await;
    let postgres = find(Engine::Postgres, "postgres");
    let script = "exec \"$0\" --single -F -j -D \"$1\" postgres < \"$2\"";
    let single = as_postgres_user(Path::new("sh")).arguments(&["-c", script, text_of(&postgres)]);
    succeed(&single.arguments(&[data, setup])).await;
}

async fn make_mariadb(directory: &Path) {
    let setup = directory.join("setup.sql");
    std::fs::create_dir(directory.join("files")).expect("a directory for temporary files");
    std::fs::write(&setup, MARIADB_SETUP).expect("a file for the first statements");
    let setup = format!("--extra-file={}", text_of(&setup));
    let root = ["--auth-root-authentication-method=normal", "--skip-test-db", &setup];
    succeed(&mariadb_program("mariadb-install-db", directory).arguments(&root)).await;
}

/// Runs a program that must succeed, and gives what it said.
async fn succeed(launch: &Launch) -> String {
    let Ended { code, stdout, stderr } = launch.run().await;
    assert_eq!(code, Some(0), "{launch:?} said:\n{stdout}{stderr}");
    stdout.trim().to_owned()
}
