//! What keeps the server from starting: one clear sentence that names it, and a failure to the
//! caller.

use std::path::Path;

use firstcome_testkit::{Ended, Launch, Server};
use tempfile::TempDir;

use crate::shop::{BINARY, Shop};

/// Starts a server that must not start; what it says names all of these.
pub(crate) async fn check_refused(launch: Launch, names: &[&str]) -> String {
    let Ended { code, stdout, stderr } = launch.run().await;
    assert!(code.is_some_and(|code| code != 0), "ended with {code:?}: {stdout}{stderr}");
    for name in names {
        assert!(stderr.contains(name), "{name:?} is not named in: {stderr}");
    }
    for inside in ["panicked", "stack backtrace", "RUST_BACKTRACE", "Err(", "Error {"] {
        assert!(!stderr.contains(inside), "{inside:?} is for developers: {stderr}");
    }
    stderr
}

fn text(path: &Path) -> &str {
    path.to_str().expect("a path in UTF-8")
}

/// `serve` on this directory and any free port.
pub(crate) fn serve(data: &Path) -> Launch {
    Launch::new(BINARY, &["serve", "--listen", "127.0.0.1:0", "--data-dir", text(data)])
}

pub(crate) fn directory() -> TempDir {
    TempDir::new().expect("a temporary directory")
}

#[tokio::test]
async fn a_port_in_use() {
    let server = Server::start(BINARY).await;
    let data = directory();
    let arguments = ["serve", "--listen", server.authority(), "--data-dir", text(data.path())];
    check_refused(Launch::new(BINARY, &arguments), &[server.authority(), "in use"]).await;
}

#[tokio::test]
async fn a_data_directory_in_use() {
    let shop = Shop::open().await;
    let event = shop.event(10).await;
    let data = shop.server.data_dir();
    check_refused(serve(data), &[text(data), "in use"]).await;
    // The first process is not disturbed, and commands that only visit work beside it.
    let _ = shop.claim(&event, &shop.user("u").await).await.expect(201);
    let audit = shop.server.command(&["audit", "--all"]).await;
    assert_eq!(audit.code, Some(0), "{audit:?}");
}

/// A file where the directory should be: nothing can be written there, not even by root.
#[tokio::test]
async fn a_data_directory_that_cannot_be_written() {
    let data = directory();
    let file = data.path().join("file");
    std::fs::write(&file, "in the way").expect("a file");
    check_refused(serve(&file), &[text(&file)]).await;
    let below = file.join("data");
    check_refused(serve(&below), &[text(&below)]).await;
    assert_eq!(std::fs::read_to_string(&file).expect("the file"), "in the way");
}

#[tokio::test]
async fn a_database_file_that_is_none() {
    let mut server = Server::start(BINARY).await;
    assert_eq!(server.terminate().await, Some(0));
    let file = server.data_dir().join("ledger.db");
    std::fs::write(&file, "나는 데이터베이스가 아니다 ".repeat(1_000)).expect("a file");
    check_refused(serve(server.data_dir()), &[text(&file)]).await;
}

#[tokio::test]
async fn a_database_file_that_was_cut() {
    let mut server = Server::start(BINARY).await;
    assert_eq!(server.terminate().await, Some(0));
    let file = server.data_dir().join("ledger.db");
    let bytes = std::fs::read(&file).expect("the ledger");
    std::fs::write(&file, &bytes[..bytes.len() / 3]).expect("a file");
    check_refused(serve(server.data_dir()), &[text(&file)]).await;
}

/// Damage that no query meets by chance is found by the audit, which reads the whole file.
#[tokio::test]
async fn a_damaged_database_file_fails_the_audit() {
    let mut shop = Shop::open().await;
    let event = shop.event(500).await;
    for token in shop.server.tokens("shopper", 300).await {
        let _ = shop.claim(&event, &token).await.expect(201);
    }
    assert_eq!(shop.server.terminate().await, Some(0));
    let whole = shop.server.command(&["audit", "--all"]).await;
    assert_eq!(whole.code, Some(0), "{whole:?}");

    let file = shop.server.data_dir().join("ledger.db");
    let mut bytes = std::fs::read(&file).expect("the ledger");
    // The last page: rows or an index of issued coupons.
    let last_page = bytes.len() - 4_096;
    bytes[last_page..last_page + 64].fill(0xa5);
    std::fs::write(&file, bytes).expect("the ledger");
    let damaged = shop.server.command(&["audit", "--all"]).await;
    assert!(damaged.code.is_some_and(|code| code != 0), "{damaged:?}");
    let said = format!("{}{}", damaged.stdout, damaged.stderr);
    assert!(said.contains("fail") || said.contains("malformed"), "{damaged:?}");
}

/// No room for as much as the schema.
#[tokio::test]
async fn a_full_disk() {
    let data = directory();
    check_refused(serve(data.path()).file_kib_max(16), &[text(data.path())]).await;
}

/// The name of the migration that was applied is replaced, in the file itself, by one that this
/// binary does not know, as a later version would have left it.
#[tokio::test]
async fn a_schema_that_is_newer() {
    let mut server = Server::start(BINARY).await;
    assert_eq!(server.terminate().await, Some(0));
    let file = server.data_dir().join("ledger.db");
    let mut bytes = std::fs::read(&file).expect("the ledger");
    let (known, newer) = (b"m0001_first_tables", b"m9001_first_tables");
    let places: Vec<usize> =
        (0..bytes.len() - known.len()).filter(|&at| bytes[at..].starts_with(known)).collect();
    assert!(!places.is_empty(), "the ledger names its migrations");
    for place in places {
        bytes[place..place + newer.len()].copy_from_slice(newer);
    }
    std::fs::write(&file, bytes).expect("the ledger");
    check_refused(serve(server.data_dir()), &["newer", "m9001_first_tables"]).await;
}

/// A path may hold what URLs and shells make something of.
#[tokio::test]
async fn a_data_directory_of_any_name() {
    for name in ["쿠폰 데이터", "100%", "a?mode=ro", "a#b", "a%20b", "'\"&;$x", "-x"] {
        let parent = directory();
        let data = parent.path().join(name);
        let server = Server::start_on(BINARY, &data).await;
        let _ = server.api().get("/readyz").await.expect(200);
        assert!(data.join("ledger.db").exists(), "the ledger of {name:?} is elsewhere");
    }
}

#[tokio::test]
async fn unknown_flags_and_commands() {
    for (arguments, name) in [
        (&["serve", "--lisen", "127.0.0.1:0"][..], "--lisen"),
        (&["serv"], "serv"),
        (&["audit", "--event", "x"], "x"),
        (&["sync", "--event", "x"], "x"),
        (&["journal", "skip", "--partition", "0", "--offset", "0"], "--reason"),
        (&["journal", "skip", "--partition", "0", "--offset", "0", "--reason", " "], "1 to 500"),
        (&["journal", "skip", "--partition", "0", "--offset", "0", "--reason", "a\nb"], "line"),
        (&["journal", "skip", "--partition", "-1", "--offset", "0", "--reason", "a"], "-1"),
        (&["token"], "--sub"),
        (&["token", "--sub", "a b"], "a b"),
        (&["token", "--sub", "u", "--scope", "owner"], "owner"),
        (&["token", "--sub", "u", "--ttl", "soon"], "soon"),
        (&["token", "--sub", "u", "--count", "0"], "0"),
    ] {
        check_refused(Launch::new(BINARY, arguments), &[name]).await;
    }
}

#[tokio::test]
async fn a_configuration_that_is_wrong() {
    let data = directory();
    let file = data.path().join("firstcome.toml");
    for (toml, names) in [
        ("[server]\nlisten_on = \"127.0.0.1:0\"\n", &["listen_on"][..]),
        ("[sever]\nlisten = \"127.0.0.1:0\"\n", &["sever"]),
        ("[server]\nconnections_max = \"many\"\n", &["connections_max"]),
        ("[server]\nconnections_max = 0\n", &["connections_max"]),
        ("[ledger]\nurl = \"mysql://root:geheim@localhost/x\"\n", &["ledger"]),
        ("[server\n", &["firstcome.toml"]),
    ] {
        std::fs::write(&file, toml).expect("a file");
        let launch = serve(&data.path().join("data")).arguments(&["--config", text(&file)]);
        check_refused(launch.clone(), names).await;
        assert!(!launch.run().await.stderr.contains("geheim"), "a password is told");
    }
    let absent = data.path().join("absent.toml");
    let launch = serve(data.path()).arguments(&["--config", text(&absent)]);
    check_refused(launch, &["absent.toml"]).await;
}

#[tokio::test]
async fn an_environment_that_is_wrong() {
    let data = directory();
    for (name, value) in [
        ("FIRSTCOME_LISTEN", "nowhere"),
        ("FIRSTCOME_STRATEGY", "lottery"),
        ("FIRSTCOME_COMMIT", "hope"),
        ("FIRSTCOME_ROLES", "gambler"),
        ("FIRSTCOME_LEDGER_URL", "oracle://x"),
        ("FIRSTCOME_REDIS_URL", "http://127.0.0.1"),
        ("FIRSTCOME_KAFKA_BROKERS", "127.0.0.1:9092"),
    ] {
        let launch = Launch::new(BINARY, &["serve", "--data-dir", text(data.path())]);
        check_refused(launch.environment(name, value), &[name]).await;
    }
    let launch = serve(data.path()).arguments(&["--role", "gambler"]);
    let said = check_refused(launch, &["gambler", "`wallet`, `worker`"]).await;
    assert!(!said.contains("gateway"), "it is refused, too: {said}");
}

#[tokio::test]
async fn config_check_tells_values_and_where_they_came_from() {
    let launch = Launch::new(BINARY, &["config", "check", "--listen", "127.0.0.1:4711"]);
    let launch = launch.environment("FIRSTCOME_ADMIN_PASSWORD", "a canary's password");
    let launch = launch.environment("FIRSTCOME_ADMIN_EMAIL", "owner@example.com");
    let url = "postgres://shop:a-canarys-password@127.0.0.1:1/shop";
    let ended = launch.environment("FIRSTCOME_LEDGER_URL", url).run().await;
    assert_eq!(ended.code, Some(0), "{ended:?}");
    let told = |key: &str, value: &str, source: &str| {
        ended
            .stdout
            .lines()
            .any(|line| line.contains(key) && line.contains(value) && line.contains(source))
    };
    assert!(told("listen", "127.0.0.1:4711", "--listen"), "{ended:?}");
    assert!(told("admin.email", "owner@example.com", "FIRSTCOME_ADMIN_EMAIL"), "{ended:?}");
    assert!(told("connections_max", "10000", "default"), "{ended:?}");
    assert!(told("ledger.url", "@127.0.0.1:1/shop", "FIRSTCOME_LEDGER_URL"), "{ended:?}");
    assert!(!format!("{ended:?}").contains("canary"), "a secret is told: {ended:?}");
}

#[tokio::test]
async fn the_password_of_the_first_admin_is_told_once() {
    let mut server = Server::start(BINARY).await;
    let first = server.said();
    assert!(first.contains("admin@localhost"), "{first}");
    // The banner's command for logging in has it, ready to be pasted.
    let told = first.split_once("\"password\":\"").and_then(|(_, rest)| rest.split_once('"'));
    let password = told.expect("a password").0.to_owned();
    assert_eq!(server.terminate().await, Some(0));
    server.restart().await;
    assert!(!server.said().contains(&password), "{}", server.said());
    let body = serde_json::json!({"email": "admin@localhost", "password": password});
    let _ = server.api().post("/v1/sessions").json(body).await.expect(200);
}

#[tokio::test]
async fn the_document_is_printed_as_it_is_served() {
    let server = Server::start(BINARY).await;
    let printed = Launch::new(BINARY, &["openapi"]).run().await;
    assert_eq!(printed.code, Some(0), "{printed:?}");
    let printed: serde_json::Value = serde_json::from_str(&printed.stdout).expect("JSON");
    assert_eq!(server.api().get("/openapi.json").await.expect(200).json(), printed);
}
