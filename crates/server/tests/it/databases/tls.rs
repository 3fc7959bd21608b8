//! TLS to a database server: that all is encrypted, and whose certificate is believed.

use std::time::Duration;

use firstcome_testkit::{Certificates, DatabaseServer, Engine, event_body};
use tokio::time::{sleep, timeout};

use super::logins::url_of;
use super::refusals::{SECRET, refused};
use crate::databases::on_each_engine;
use crate::shop::{Shop, WAIT_MAX, eventually};

on_each_engine!(
    every_connection_is_encrypted,
    certificates_are_checked,
    clients_show_certificates,
    a_certificate_that_is_changed,
);

/// How often a test looks again at what a server says.
const POLL: Duration = Duration::from_millis(20);

/// What a URL asks for, the least first: no TLS, TLS, one authority, and its host too.
fn modes(engine: Engine) -> [&'static str; 4] {
    match engine {
        Engine::Postgres => {
            ["sslmode=disable", "sslmode=require", "sslmode=verify-ca", "sslmode=verify-full"]
        }
        Engine::MariaDb => {
            let (ca, host) = ("ssl-mode=VERIFY_CA", "ssl-mode=VERIFY_IDENTITY");
            ["ssl-mode=DISABLED", "ssl-mode=REQUIRED", ca, host]
        }
    }
}

/// The parameters of the files: the authority's certificate, a client's, and its key.
fn files(engine: Engine) -> [&'static str; 3] {
    match engine {
        Engine::Postgres => ["sslrootcert", "sslcert", "sslkey"],
        Engine::MariaDb => ["ssl-ca", "ssl-cert", "ssl-key"],
    }
}

/// A server with TLS and a user for what is tested, and its certificates.
async fn server_with(engine: Engine, arguments: &[&str]) -> (DatabaseServer, Certificates) {
    let certificates = Certificates::make();
    let server = DatabaseServer::start_with_tls(engine, &certificates, arguments).await;
    let user = match engine {
        Engine::Postgres => {
            format!("CREATE USER shop PASSWORD '{SECRET}'; GRANT ALL ON SCHEMA public TO shop")
        }
        Engine::MariaDb => format!(
            "CREATE USER shop@'%' IDENTIFIED BY '{SECRET}'; \
             GRANT ALL PRIVILEGES ON firstcome.* TO shop@'%'"
        ),
    };
    server.execute(&user).await;
    (server, certificates)
}

/// What makes MariaDB tell of every connection whether it is encrypted.
fn telling(engine: Engine) -> &'static [&'static str] {
    match engine {
        Engine::Postgres => &[],
        Engine::MariaDb => &["--performance-schema=ON"],
    }
}

/// How many connections the user has, and how many of them are encrypted.
async fn connections(server: &DatabaseServer) -> (i64, i64) {
    let both = match server.engine() {
        Engine::Postgres => {
            "SELECT concat(count(*), ' ', count(*) FILTER (WHERE ssl)) \
             FROM pg_stat_activity JOIN pg_stat_ssl USING (pid) WHERE usename = 'shop'"
        }
        Engine::MariaDb => {
            "SELECT CONCAT(COUNT(*), ' ', COUNT(NULLIF(variable_value, ''))) \
             FROM performance_schema.threads \
             JOIN performance_schema.status_by_thread USING (thread_id) \
             WHERE processlist_user = 'shop' AND variable_name = 'Ssl_cipher'"
        }
    };
    let both = server.text(both).await;
    let (all, encrypted) = both.split_once(' ').expect("two numbers");
    (all.parse().expect("a number"), encrypted.parse().expect("a number"))
}

/// In every mode the connections of every kind do as the URL says.
async fn every_connection_is_encrypted(engine: Engine) {
    let (server, certificates) = server_with(engine, telling(engine)).await;
    let (ca, ..) = certificates.paths();
    let (url, [none, some, authority, host]) = (url_of(&server, "shop"), modes(engine));
    let [file, ..] = files(engine);
    for (asked, is_encrypted) in [
        (format!("{url}?{none}"), false),
        (url.clone(), true),
        (format!("{url}?{some}"), true),
        (format!("{url}?{authority}&{file}={ca}"), true),
        (format!("{url}?{host}&{file}={ca}"), true),
    ] {
        let mut shop = Shop::open_patiently_on(&asked).await;
        let event = shop.event(2).await;
        let user = shop.user("u").await;
        let claimed = shop.claim(&event, &user).await.expect(201).json();
        assert!(shop.walk("/v1/me/coupons", &user, 10).await.contains(&claimed));
        shop.expect_audit(&event, 1).await;
        // One that claims, one that reads, one that writes, at least.
        let (all, encrypted) = connections(&server).await;
        assert!(all >= 3, "{asked}: {all} connections");
        assert_eq!(encrypted, if is_encrypted { all } else { 0 }, "of {all}: {asked}");
        let audit = shop.server.command(&["audit", "--all"]).await;
        assert_eq!(audit.code, Some(0), "{asked}: {audit:?}");
        assert_eq!(shop.server.terminate().await, Some(0));
        let gone = async { while connections(&server).await.0 > 0 {} };
        timeout(WAIT_MAX, gone).await.expect("the server notices that its client has ended");
    }
}

/// Certificates of another authority, of none that was named, and for another host.
async fn certificates_are_checked(engine: Engine) {
    let (server, certificates) = server_with(engine, &[]).await;
    let ((ca, ..), other) = (certificates.paths(), Certificates::make());
    let (url, [_, _, authority, host]) = (url_of(&server, "shop"), modes(engine));
    let [file, ..] = files(engine);
    let fails = "TLS with the server fails (invalid peer certificate";
    for mode in [authority, host] {
        refused(&format!("{url}?{mode}"), &[fails, "UnknownIssuer", file]).await;
        refused(&format!("{url}?{mode}&{file}={}", other.paths().0), &[fails, file]).await;
        let absent = format!("{file}=/absent/ca.pem cannot be read");
        refused(&format!("{url}?{mode}&{file}=/absent/ca.pem"), &[&absent]).await;
    }
    let elsewhere = url.replace("127.0.0.1", "localhost");
    assert_ne!(elsewhere, url);
    let names = [fails, "localhost", "for the URL's host"];
    refused(&format!("{elsewhere}?{host}&{file}={ca}"), &names).await;
    // The same address, asked for less.
    let shop = Shop::open_patiently_on(&format!("{elsewhere}?{authority}&{file}={ca}")).await;
    let _ = shop.claim(&shop.event(1).await, &shop.user("u").await).await.expect(201);
}

/// A server that lets in only who has a certificate beside the password.
async fn clients_show_certificates(engine: Engine) {
    let rules = tempfile::NamedTempFile::new().expect("a file");
    let text = "hostssl all shop all scram-sha-256 clientcert=verify-ca\n\
                host all firstcome all scram-sha-256\n";
    std::fs::write(rules.path(), text).expect("a file");
    let setting = format!("--hba_file={}", rules.path().display());
    let arguments: &[&str] = if engine == Engine::Postgres { &[&setting] } else { &[] };
    let (server, certificates) = server_with(engine, arguments).await;
    let missing = match engine {
        Engine::Postgres => "add sslcert and sslkey",
        Engine::MariaDb => {
            server.execute("ALTER USER shop@'%' REQUIRE X509").await;
            "check user and password"
        }
    };
    let ((ca, certificate, key), other) = (certificates.paths(), Certificates::make());
    let ([.., host], [file, own, own_key]) = (modes(engine), files(engine));
    let url = format!("{}?{host}&{file}={ca}", url_of(&server, "shop"));
    refused(&url, &[missing]).await;
    let (_, strange, its_key) = other.paths();
    refused(&format!("{url}&{own}={strange}&{own_key}={its_key}"), &["received fatal alert", own])
        .await;
    let shop = Shop::open_patiently_on(&format!("{url}&{own}={certificate}&{own_key}={key}")).await;
    let _ = shop.claim(&shop.event(1).await, &shop.user("u").await).await.expect(201);
}

/// The certificate and the key of a server, as they are in the files now.
fn shown(certificates: &Certificates) -> [String; 2] {
    let (_, certificate, key) = certificates.paths();
    [certificate, key].map(|file| std::fs::read_to_string(file).expect("a file"))
}

/// Lets the server show these from now on, and ends all connections that the user has.
async fn show(server: &DatabaseServer, certificates: &Certificates, shown: &[String; 2]) {
    let (_, certificate, key) = certificates.paths();
    for (file, text) in [certificate, key].into_iter().zip(shown) {
        std::fs::write(file, text).expect("a file of the server's");
    }
    if server.engine() == Engine::MariaDb {
        server.execute("FLUSH SSL; KILL USER shop").await;
        return;
    }
    let reloads = || server.said().matches("reloading configuration files").count();
    let before = reloads();
    server.execute("SELECT pg_reload_conf()").await;
    let reloaded = async {
        while reloads() == before {
            sleep(POLL).await;
        }
    };
    timeout(WAIT_MAX, reloaded).await.expect("the server reads its files in time");
    let end = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE usename = 'shop'";
    server.execute(end).await;
}

/// Whoever takes the server's place while a process runs gets none of its connections.
async fn a_certificate_that_is_changed(engine: Engine) {
    let (server, certificates) = server_with(engine, telling(engine)).await;
    let own = shown(&certificates);
    let ((ca, ..), [.., host], [file, ..]) = (certificates.paths(), modes(engine), files(engine));
    let url = format!("{}?{host}&{file}={ca}", url_of(&server, "shop"));
    let shop = Shop::open_patiently_on(&url).await;
    let (event, coupon) = (shop.event(10).await, shop.coupon().await);
    let users = [shop.user("u").await, shop.user("v").await];
    let first = shop.claim(&event, &users[0]).await.expect(201);

    show(&server, &certificates, &shown(&Certificates::make())).await;
    for _ in 0..3 {
        let _ = shop.claim(&event, &users[1]).await.expect(503);
        let _ = shop.api.get("/v1/me/coupons").token(&users[0]).await.expect(503);
        let call = shop.api.post("/v1/events").token(&shop.admin);
        let _ = call.json(event_body(&coupon)).await.expect(503);
        assert_eq!(connections(&server).await, (0, 0));
    }

    show(&server, &certificates, &own).await;
    let claim = || shop.claim(&event, &users[1]);
    let second = eventually("won", claim, |answer| answer.status == 201).await;
    assert_eq!([first.member("/sequence"), second.member("/sequence")], [1, 2]);
    shop.expect_audit(&event, 2).await;
}
