//! What the user in Redis must be allowed.

use firstcome_core::{Commit, Strategy};
use firstcome_testkit::{Engine, RedisServer, TestDatabase};
use serde_json::json;

use super::{Deployment, Place, decided, issued, process};

/// What an operator is told to type is enough for all that is done to an event.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_user_of_the_operations_page_may_decide() {
    let (redis, database) = (RedisServer::start().await, TestDatabase::new(Engine::Postgres).await);
    let redis_url = redis.make_operations_user().await;
    redis.cli(&["ACL", "SETUSER", "default", "off"]).await;
    let one = process(&redis_url, database.url(), None).await;
    let (commit, topic, worker) = (Commit::Ledger, None, None);
    let ledger = Place::Server(database);
    let test = Deployment { redis, redis_url, ledger, commit, topic, one, worker };
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
