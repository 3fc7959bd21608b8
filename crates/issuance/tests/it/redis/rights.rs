//! What the user in Redis must be allowed.

use firstcome_core::{Commit, Strategy};
use firstcome_testkit::{Engine, RedisServer, TestDatabase};
use serde_json::json;

use super::{Deployment, Place, decided, issued, process};

/// What an operator is told to type is enough for all that is done to an event.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_user_of_the_operations_page_may_decide() {
    let page = include_str!("../../../../../docs/operations/redis.md");
    let (_, rules) = page.split_once("ACL SETUSER firstcome ").expect("the page has the user");
    let (rules, _) = rules.split_once("```").expect("a block");
    let rules = rules.replace('\\', "").replace(">PASSWORD", ">p");
    let (redis, database) = (RedisServer::start().await, TestDatabase::new(Engine::Postgres).await);
    let command: Vec<_> =
        ["ACL", "SETUSER", "firstcome"].into_iter().chain(rules.split_whitespace()).collect();
    redis.cli(&command).await;
    redis.cli(&["ACL", "SETUSER", "default", "off"]).await;
    let url = format!("redis://firstcome:p@{}", redis.authority());
    let one = process(&url, database.url(), None).await;
    let (commit, topic, worker) = (Commit::Ledger, None, None);
    let ledger = Place::Server(database);
    let test = Deployment { redis, ledger, commit, topic, one, worker };
    for strategy in [Strategy::Redis, Strategy::RedisLock] {
        let event = test.event(strategy, 2).await;
        issued(decided(&test.one, &event, "kim").await);
        test.act(&event, "pause").await;
        test.act(&event, "resume").await;
        test.act(&event, "sync").await;
        issued(decided(&test.one, &event, "lee").await);
        assert_eq!(test.act(&event, "close").await["state"], json!("closed"));
        assert_eq!(test.winners(&event).await.len(), 2);
    }
}
