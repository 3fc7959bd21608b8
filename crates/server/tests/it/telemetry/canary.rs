//! Secrets that must not get out: every call is driven with marked ones, at the most talkative
//! level of the log and with traces on; then the log, the metrics, the traces and the bodies of
//! refusals are searched for each.
//!
//! What may show a secret: the answer to its owner, and standard output, where the first start
//! prints the password that it made. An `already_claimed` refusal is an answer to the owner too: it
//! shows the issued coupon with its code.

mod calls;
mod staff;

use std::collections::BTreeMap;

use firstcome_testkit::{Answer, DatabaseServer, Engine, Launch, Server};

use super::collector::Collector;
use crate::shop::{BINARY, Shop, eventually, patient};
use calls::{ADMIN_EMAIL, ADMIN_PASSWORD, Heard, MARK};

/// Whatever is searched, by its name.
type Places = BTreeMap<String, Vec<u8>>;

/// Fewer bytes may stand somewhere by chance.
const BYTES_MIN: usize = 12;
/// The bytes in base64url of the shortest key; a key's id is shorter.
const KEY_BYTES_MIN: usize = 43;

/// Where a secret is: its name and the place's.
fn leaks(secrets: &BTreeMap<String, String>, places: &Places) -> Vec<String> {
    let mut found = Vec::new();
    for (place, bytes) in places {
        let text = String::from_utf8_lossy(bytes).to_lowercase();
        for (secret, value) in secrets {
            assert!(value.len() >= BYTES_MIN, "{secret} is too short to be searched for");
            if let Some(at) = text.find(&value.to_lowercase()) {
                let from = text.floor_char_boundary(at.saturating_sub(200));
                let to = text.ceil_char_boundary((at + value.len() + 40).min(text.len()));
                found.push(format!("{secret} is in {place}: …{}…", &text[from..to]));
            }
        }
    }
    found
}

/// The bodies of refusals, without what is shown to its owner.
fn refusals(answers: &[Answer]) -> Places {
    let mut places = Places::new();
    for (number, answer) in answers.iter().enumerate().filter(|(_, it)| it.status >= 400) {
        let mut text = answer.text();
        if let Ok(mut body) = serde_json::from_str::<serde_json::Value>(&text)
            && body["code"] == "already_claimed"
        {
            body["issued_coupon"]["code"].take();
            text = body.to_string();
        }
        let headers = format!("{:?}", answer.headers);
        let place = format!("refusal {number}, {} {}", answer.call, answer.status);
        places.insert(place, format!("{headers}\n{text}").into_bytes());
    }
    places
}

/// A shop with marked secrets that tells all it can.
async fn talkative(
    collector: &Collector,
    format: &str,
    change: impl FnOnce(Launch) -> Launch,
) -> Shop {
    let server = Server::start_as(BINARY, |launch| {
        let launch = launch.arguments(&["--log-format", format, "--log-level", "trace"]);
        let launch = launch.environment("FIRSTCOME_ADMIN_EMAIL", ADMIN_EMAIL);
        let launch = launch.environment("FIRSTCOME_ADMIN_PASSWORD", ADMIN_PASSWORD);
        let key = format!("authorization=Bearer {MARK}-of-the-collector");
        let launch = launch.environment("OTEL_EXPORTER_OTLP_HEADERS", &key);
        change(launch.environment("FIRSTCOME_OTLP_ENDPOINT", collector.url()))
    })
    .await;
    Shop::of(server, Vec::new()).await
}

async fn nothing_gets_out(format: &str, algorithm: &str) {
    let files = tempfile::tempdir().expect("a directory");
    let file = files.path().join("firstcome.toml");
    let signing = format!("identity.algorithm = \"{algorithm}\"\n");
    std::fs::write(&file, signing).expect("a file");
    let file = file.to_str().expect("a path in UTF-8");
    let collector = Collector::start().await;
    let change = |launch: Launch| launch.environment("FIRSTCOME_CONFIG", file);
    let mut shop = talkative(&collector, format, change).await;
    let heard = Heard::drive(&shop).await;
    let metrics = shop.api.get("/metrics").await.expect(200);
    assert_eq!(shop.server.terminate().await, Some(0));

    let mut places = refusals(&heard.answers);
    assert!(places.len() > 20, "refusals were heard: {:#?}", places.keys());
    places.insert("the log".to_owned(), shop.server.logged().into_bytes());
    places.insert("the metrics".to_owned(), metrics.bytes);
    places.insert("the traces".to_owned(), collector.bytes());
    assert!(places["the traces"].len() > 10_000, "traces were heard");
    assert!(shop.server.logged().len() > 10_000, "the log was heard");
    let mut secrets = heard.secrets;
    let keys = std::fs::read_to_string(shop.server.data_dir().join("signing.key"));
    let keys = keys.expect("the file of the keys");
    let long = keys.split(|c: char| !c.is_ascii_alphanumeric() && !"_-".contains(c));
    for (number, key) in long.filter(|word| word.len() >= KEY_BYTES_MIN).enumerate() {
        secrets.insert(format!("a signing key ({number})"), key.to_owned());
    }
    assert!(secrets.contains_key("a signing key (0)"), "a key was found");
    let leaks = leaks(&secrets, &places);
    assert!(leaks.is_empty(), "{leaks:#?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_secret_gets_out_of_a_readable_log() {
    nothing_gets_out("text", "HS256").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_secret_gets_out_of_a_log_of_json() {
    nothing_gets_out("json", "ES256").await;
}

/// The password of the ledger's URL, while the database answers, refuses and is gone.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_password_of_the_ledger_gets_out() {
    let collector = Collector::start().await;
    let mut database = DatabaseServer::start(Engine::Postgres).await;
    let password = format!("{MARK}-of-the-ledger");
    database.execute(&format!("CREATE USER marked SUPERUSER PASSWORD '{password}'")).await;
    let url = database.url().replace("firstcome:firstcome@", &format!("marked:{password}@"));
    assert!(url.contains(MARK), "{url}");
    let mut shop = talkative(&collector, "json", |launch| {
        patient(launch.environment("FIRSTCOME_LEDGER_URL", &url))
    })
    .await;
    let heard = Heard::drive(&shop).await;
    database.execute("ALTER USER marked PASSWORD 'another'").await;
    database.kill9();
    let mut answers = heard.answers;
    for path in ["/readyz", "/v1/coupons", "/v1/events"] {
        answers.push(shop.api.get(path).await.expect(503));
    }
    answers.push(shop.claim(&heard.event, &shop.user("late").await).await.expect(503));
    database.restart().await;
    // Connections that died with the server are found first.
    let ask = || async { shop.api.get("/readyz").await.expect(503) };
    let refused = |_: &Answer| shop.server.logged().contains("password authentication failed");
    answers.push(eventually("a refused log-in is logged", ask, refused).await);

    let metrics = shop.api.get("/metrics").await.expect(200);
    shop.server.terminate().await;

    let mut places = refusals(&answers);
    places.insert("the log".to_owned(), shop.server.logged().into_bytes());
    places.insert("the metrics".to_owned(), metrics.bytes);
    places.insert("the traces".to_owned(), collector.bytes());
    let mut secrets = heard.secrets;
    secrets.insert("the ledger's password".to_owned(), password);
    let leaks = leaks(&secrets, &places);
    assert!(leaks.is_empty(), "{leaks:#?}");
}

/// The search finds what is there.
#[test]
fn a_leak_is_found_wherever_it_is() {
    let secrets = BTreeMap::from([("a password".to_owned(), format!("{MARK}-password"))]);
    let place = |text: &str| Places::from([("the log".to_owned(), text.as_bytes().to_vec())]);
    assert_eq!(leaks(&secrets, &place("canary, password")), [""; 0]);
    for text in ["x kanarienvogel-password", "KANARIENVOGEL-PASSWORD", "쿠kanarienvogel-password쿠"]
    {
        assert_eq!(leaks(&secrets, &place(text)).len(), 1, "{text}");
    }
}
