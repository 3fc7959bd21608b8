//! Changes that an admin makes by one process are met by claims at another one.

use std::time::Duration;

use firstcome_testkit::{Answer, Engine, TestDatabase};
use serde_json::json;
use tokio::time::{Instant, sleep};

use crate::databases::on_each_engine;
use crate::shop::Shop;

on_each_engine!(the_lifecycle, a_top_up_after_sold_out);

const POLL: Duration = Duration::from_millis(20);
/// Longest that a process may answer from what it remembers after another one's change: a second
/// by design, and what a busy machine adds.
const NEWS_MAX: Duration = Duration::from_secs(5);
const WAIT_MAX: Duration = Duration::from_secs(30);

async fn two(database: &TestDatabase) -> (Shop, Shop) {
    let here = Shop::open_patiently_on(database.url()).await;
    let there = here.beside().await;
    (here, there)
}

async fn the_lifecycle(engine: Engine) {
    let database = TestDatabase::new(engine).await;
    let (here, there) = two(&database).await;
    let tokens = here.server.tokens("u", 8).await;
    let scheduled =
        |body: firstcome_testkit::Body| body.window("2098-01-01T00:00:00Z", "2099-01-01T00:00:00Z");
    let event = here.event_of(scheduled).await.member_text("/id");
    let _ = there.claim(&event, &tokens[0]).await.expect_problem(409, "not_open");
    for (place, (by, met_by)) in [(&here, &there), (&there, &here)].into_iter().enumerate() {
        if place == 0 {
            let _ = by.act(&event, "open").await.expect(200);
            let _ = met_by.claim(&event, &tokens[0]).await.expect(201);
        }
        let _ = by.act(&event, "pause").await.expect(200);
        let _ = met_by.claim(&event, &tokens[1 + place]).await.expect_problem(409, "paused");
        assert_eq!(met_by.read_event(&event).await.member("/state"), "paused");
        let _ = by.act(&event, "resume").await.expect(200);
        let _ = met_by.claim(&event, &tokens[1 + place]).await.expect(201);
    }
    let _ = there.change_event(&event, json!({"quantity": 3})).await.expect(200);
    let _ = here.claim(&event, &tokens[3]).await.expect_problem(409, "sold_out");
    let _ = here.act(&event, "close").await.expect(200);
    let _ = there.claim(&event, &tokens[3]).await.expect_problem(409, "closed");
    let _ = there.claim(&event, &tokens[0]).await.expect_problem(409, "already_claimed");
    there.expect_audit(&event, 3).await;
}

/// Claims that this process has answered from memory.
async fn latched(shop: &Shop) -> u64 {
    let metrics = shop.api.get("/metrics").await.expect(200).text();
    let labels = [r#"verdict="sold_out""#, r#"source="latch""#];
    let is_latched = |line: &&str| {
        line.starts_with("firstcome_claims_total{") && labels.iter().all(|it| line.contains(it))
    };
    let line = metrics.lines().find(is_latched).expect("the metric");
    line.rsplit_once(' ').expect("a value").1.parse().expect("a count")
}

/// Claims until the answer is such.
async fn claims_until(
    shop: &Shop,
    event: &str,
    token: &str,
    is_such: impl Fn(&Answer) -> bool,
) -> Answer {
    let deadline = Instant::now() + NEWS_MAX;
    loop {
        let answer = shop.claim(event, token).await;
        if is_such(&answer) {
            return answer;
        }
        assert!(Instant::now() < deadline, "still {answer}");
        sleep(POLL).await;
    }
}

/// As often as the event is sold out and topped up again, the other process answers from memory
/// first, and lets exactly as many more win then.
async fn a_top_up_after_sold_out(engine: Engine) {
    let database = TestDatabase::new(engine).await;
    let (here, there) = two(&database).await;
    let event = here.event(1).await;
    let tokens = here.server.tokens("u", 10).await;
    let stranger = here.user("stranger").await;
    let _ = there.claim(&event, &tokens[0]).await.expect(201);
    for quantity in 2..=4 {
        let (before, deadline) = (latched(&there).await, Instant::now() + WAIT_MAX);
        while latched(&there).await == before {
            let _ = there.claim(&event, &stranger).await.expect_problem(409, "sold_out");
            assert!(Instant::now() < deadline, "no latch was built");
            sleep(POLL).await;
        }
        let _ = here.change_event(&event, json!({"quantity": quantity})).await.expect(200);
        // Here the change was made: here it is met at once, and there soon.
        let (soon, token) = (&there, &tokens[quantity - 1]);
        let won = claims_until(soon, &event, token, |answer| answer.status == 201).await;
        assert_eq!(won.member("/sequence"), quantity);
        let _ = here.claim(&event, &stranger).await.expect_problem(409, "sold_out");
    }
    there.expect_audit(&event, 4).await;
}
