//! What keeps a process from starting on a database: one sentence that names it and the remedy, no
//! password in it, and nothing written.

use std::net::TcpListener;

use firstcome_testkit::{Engine, TestDatabase};

use crate::databases::on_each_engine;
use crate::shop::{Shop, lasting};
use crate::startup;

on_each_engine!(
    an_address_that_leads_nowhere,
    an_address_that_is_wrong,
    a_schema_that_is_newer,
    a_schema_that_is_half_migrated,
    a_database_of_another_encoding,
);

pub(super) const SECRET: &str = "geheim-geheim";

/// Starts a server that must not start on this URL; what it says.
pub(super) async fn refused(url: &str, names: &[&str]) -> String {
    let data = startup::directory();
    let launch = startup::serve(data.path()).environment("FIRSTCOME_LEDGER_URL", url);
    let said = startup::check_refused(launch, names).await;
    for password in [SECRET, ":firstcome@"] {
        assert!(!said.contains(password), "a password is told: {said}");
    }
    assert_eq!(said.lines().count(), 1, "more than a sentence: {said}");
    let files = std::fs::read_dir(data.path()).expect("the data directory").count();
    assert_eq!(files, 0, "something was written to the data directory: {said}");
    said
}

/// What lists the tables of a database.
pub(super) const fn tables(engine: Engine) -> &'static str {
    match engine {
        Engine::Postgres => {
            "SELECT coalesce(string_agg(tablename::text, ' ' ORDER BY tablename), '') \
             FROM pg_tables WHERE schemaname = 'public'"
        }
        Engine::MariaDb => {
            "SELECT coalesce(group_concat(table_name ORDER BY table_name SEPARATOR ' '), '') \
             FROM information_schema.tables WHERE table_schema = database()"
        }
    }
}

/// The same, and the database has the tables that it had.
async fn refused_by(database: &TestDatabase, names: &[&str]) {
    let before = database.text(tables(database.engine())).await;
    let said = refused(database.url(), names).await;
    assert_eq!(database.text(tables(database.engine())).await, before, "{said}");
}

/// The parts of a URL: scheme, login, host and port, database.
pub(super) fn parts(url: &str) -> [&str; 4] {
    let (scheme, rest) = url.split_once("://").expect("a URL");
    let (login, rest) = rest.rsplit_once('@').expect("a login");
    let (authority, database) = rest.split_once('/').expect("a database");
    [scheme, login, authority, database]
}

async fn an_address_that_leads_nowhere(engine: Engine) {
    let database = TestDatabase::new(engine).await;
    let [scheme, login, authority, name] = parts(database.url());
    let (user, _) = login.split_once(':').expect("a password");

    let wrong = format!("{scheme}://{user}:{SECRET}@{authority}/{name}");
    refused(&wrong, &[user, authority, "check user and password in the ledger URL"]).await;

    let absent = format!("{scheme}://{login}@{authority}/no_such_database");
    let remedies = ["no_such_database", "make the database, or name another in the ledger URL"];
    refused(&absent, &remedies).await;

    let port = TcpListener::bind("127.0.0.1:0").expect("a port").local_addr().expect("a port");
    let silent = format!("{scheme}://{user}:{SECRET}@{port}/{name}");
    refused(&silent, &[&port.to_string(), "is the server running there"]).await;

    let unknown = format!("{scheme}://{user}:{SECRET}@nowhere.invalid/{name}");
    refused(&unknown, &["nowhere.invalid", "check host and port in the ledger URL"]).await;
    assert_eq!(database.text(tables(engine)).await, "");
}

async fn an_address_that_is_wrong(engine: Engine) {
    let (scheme, known, weak, file) = match engine {
        Engine::Postgres => ("postgres", "sslmode", "require", "sslrootcert"),
        Engine::MariaDb => ("mysql", "ssl-mode", "REQUIRED", "ssl-ca"),
    };
    let there = format!("{scheme}://someone:{SECRET}@127.0.0.1:1");
    let variable = "FIRSTCOME_LEDGER_URL";
    refused(&there, &[variable, "names no database"]).await;
    refused(&format!("{there}/"), &[variable, "names no database"]).await;
    refused(&format!("{there}/x?sslmod=1"), &[variable, "\"sslmod\"", known]).await;
    refused(&format!("{there}/x?{known}=maybe"), &[variable, "maybe", known]).await;
    let unchecked = [variable, file, "add", known];
    refused(&format!("{there}/x?{file}=/ca.pem"), &unchecked).await;
    refused(&format!("{there}/x?{file}=/ca.pem&{known}={weak}"), &unchecked).await;
    refused(&format!("{scheme}://someone:{SECRET}@127.0.0.1:port/x"), &[variable, "port"]).await;
}

async fn a_schema_that_is_newer(engine: Engine) {
    let database = TestDatabase::new(engine).await;
    let mut shop = Shop::open_patiently_on(database.url()).await;
    assert_eq!(shop.server.terminate().await, Some(0));
    database.execute("INSERT INTO seaql_migrations VALUES ('m9001_lottery', 4102444800)").await;
    refused_by(&database, &["newer", "m9001_lottery", "start the newer version"]).await;
    assert_eq!(database.number("SELECT count(*) FROM accounts").await, 1);
}

async fn a_schema_that_is_half_migrated(engine: Engine) {
    let database = TestDatabase::new(engine).await;
    database.execute("CREATE TABLE coupons (id INT)").await;
    let names = ["half migrated", "coupons", "restore the database from a backup"];
    refused_by(&database, &names).await;
}

/// MariaDB's tables have a character set of their own; PostgreSQL's do not.
async fn a_database_of_another_encoding(engine: Engine) {
    if engine == Engine::Postgres {
        let options = "TEMPLATE template0 ENCODING 'LATIN1' LOCALE 'C'";
        let database = TestDatabase::new_as(engine, options).await;
        refused_by(&database, &["LATIN1", "ENCODING 'UTF8'"]).await;
        return;
    }
    let options = "CHARACTER SET latin1 COLLATE latin1_swedish_ci";
    let database = TestDatabase::new_as(engine, options).await;
    let shop = Shop::open_patiently_on(database.url()).await;
    let made = shop.event_of(|body| body.with("/name", "선착순 쿠폰 ❤")).await;
    let event = made.member_text("/id");
    assert_eq!(shop.read_event(&event).await.member("/name"), "선착순 쿠폰 ❤");
    let upper = shop.claim(&event, &shop.user("Kim").await).await.expect(201);
    let lower = shop.claim(&event, &shop.user("kim").await).await.expect(201);
    let issued = shop.issued(&event).await;
    assert_eq!(lasting(&issued["Kim"]), lasting(&upper.json()));
    assert_eq!(lasting(&issued["kim"]), lasting(&lower.json()));
    shop.expect_audit(&event, 2).await;
}
