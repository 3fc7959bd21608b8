//! Both READMEs, typed word by word: only ports, addresses and the time-outs of a cluster are the
//! test's, and cargo has built already.

use std::fs;
use std::os::unix::fs::symlink;
use std::time::Duration;

use firstcome_testkit::{Engine, KafkaServer, Launch, RedisServer, TestDatabase, free_port};
use tempfile::TempDir;

use crate::cluster::PATIENCE;
use crate::shop::BINARY;

const ENGLISH: &str = include_str!("../../../../README.md");
const KOREAN: &str = include_str!("../../../../README.ko.md");
/// What makes what is not the README's own end with the script, and stands for cargo.
const BEFORE: &str = r#"
set -eum
trap 'for job in $(jobs -p); do kill -- -$job || true; done 2> /dev/null; wait' EXIT
cargo() {
  case "$*" in
    'run --release -- '*) shift 3; target/release/firstcome "$@" ;;
    'build --release' | 'xtask services up' | 'xtask services down') ;;
    *) echo "cargo $*: not expected" >&2; exit 1 ;;
  esac
}
"#;
/// Longest that a walk may take.
const WALK_MAX: Duration = Duration::from_secs(180);

/// The blocks to be typed into a shell, from the first that begins so to the last before one that
/// begins so.
fn blocks(readme: &str, first: &str, before: Option<&str>) -> String {
    let shell = readme.split("```sh\n").skip(1);
    let blocks = shell.map(|rest| rest.split("```").next().expect("a first part"));
    let from = blocks.skip_while(|block| !block.starts_with(first));
    from.take_while(|block| before.is_none_or(|before| !block.starts_with(before)))
        .flat_map(|block| [block, "echo\n"])
        .collect()
}

/// With this for that, which must be there.
fn with(text: &str, that: &str, this: &str) -> String {
    assert!(text.contains(that), "not in the README any more: {that}");
    text.replace(that, this)
}

/// What is said by who types this, each word parted from the next by one space.
async fn typed(script: &str, listen: Option<&str>) -> String {
    let dir = TempDir::new().expect("a directory");
    let target = dir.path().join("target/release");
    fs::create_dir_all(&target).expect("a directory");
    symlink(BINARY, target.join("firstcome")).expect("a link");
    let file = dir.path().join("walk.sh");
    let place = dir.path().to_str().expect("a path in UTF-8");
    fs::write(&file, format!("cd {place:?}{BEFORE}{script}")).expect("a file");
    let (file, limit) = (file.to_str().expect("a path in UTF-8"), WALK_MAX.as_secs().to_string());
    let launch = Launch::new("timeout", &[&limit, "bash", file]);
    let launch = listen
        .into_iter()
        .fold(launch, |launch, listen| launch.environment("FIRSTCOME_LISTEN", listen));
    let ended = launch.run_within(2 * WALK_MAX).await;
    assert_eq!(ended.code, Some(0), "{}\n{}", ended.stdout, ended.stderr);
    ended.stdout.split_whitespace().collect::<Vec<_>>().join(" ")
}

fn assert_says(said: &str, expected: &[&str]) {
    for expected in expected {
        assert!(said.contains(expected), "nothing says {expected}: {said}");
    }
}

/// A drop, step by step, and a thousand at once.
async fn on_one_machine(readme: &str, password: &str) {
    let authority = format!("127.0.0.1:{}", free_port());
    let serve = blocks(readme, "cargo run --release -- serve", Some("cargo xtask test"));
    let serve = with(&serve, "-- serve", "-- serve > serve.log 2>&1 &");
    let walk = blocks(readme, "BASE=", Some("cargo build"));
    let walk = with(&walk, "127.0.0.1:8080", &authority);
    let printed = r#""$(sed -n 's/.*password \([a-z0-9]*\) (shown.*/\1/p' serve.log)""#;
    let walk = with(&walk, password, printed);
    let until_ready =
        format!("until curl -sf -o /dev/null http://{authority}/readyz; do sleep 0.1; done\n");
    let said = typed(&(serve + &until_ready + &walk), Some(&authority)).await;
    assert_says(
        &said,
        &[
            "HTTP/1.1 201 Created",
            "HTTP/1.1 409 Conflict",
            r#""code":"already_claimed""#,
            r#""order_id":"order-1""#,
            r#""verdict":"pass""#,
            "99 201 901 409",
        ],
    );
}

#[tokio::test]
async fn on_one_machine_in_english() {
    on_one_machine(ENGLISH, "'the password that the server printed'").await;
}

#[tokio::test]
async fn on_one_machine_in_korean() {
    on_one_machine(KOREAN, "'서버가 출력한 비밀번호'").await;
}

/// A cluster, with a broker of its own: the topic is that of the defaults.
async fn as_a_cluster(readme: &str) {
    let (kafka, redis) = (KafkaServer::start().await, RedisServer::start().await);
    let database = TestDatabase::new(Engine::Postgres).await;
    let mut walk = blocks(readme, "cargo build", None);
    let data = "server.data_dir = \"./cluster\"\n";
    for (that, this) in [
        (data, &*format!("{data}{PATIENCE}")),
        ("postgres://firstcome:firstcome@127.0.0.1:25432/postgres", database.url()),
        ("redis://127.0.0.1:26380", &redis.url()),
        ("127.0.0.1:29094", &kafka.authority()),
        ("810?.log", "*.log"),
    ] {
        walk = with(&walk, that, this);
    }
    // In two steps: one of the README's ports may be a part of a free one.
    for number in 1..=7 {
        walk = with(&walk, &format!("810{number}"), &format!("@{number}@"));
    }
    for number in 1..=7 {
        walk = with(&walk, &format!("@{number}@"), &free_port().to_string());
    }
    let said = typed(&walk, None).await;
    assert_says(&said, &["100 201 200 409", r#""pending":0"#, r#""verdict":"pass""#]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn as_a_cluster_in_english() {
    as_a_cluster(ENGLISH).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn as_a_cluster_in_korean() {
    as_a_cluster(KOREAN).await;
}
