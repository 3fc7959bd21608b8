//! The process that rebuilds an event dies, or sleeps, at any step of it: others end it, and nobody
//! hears anything else than before.

use firstcome_testkit::{Answer, DatabaseServer, Fuse, Program, Proxy};
use serde_json::Value;

use crate::promised::Promises;
use crate::shop::{Shop, eventually, lasting};

/// What a rebuild asks for at least, of Redis and the ledger.
const REQUESTS_MIN: usize = 15;
/// What it asks for at most, while it waits for a worker.
const REQUESTS_MAX: usize = 100;
/// Processes that sleep at once: each has connections of its own.
const SLEEPERS_MAX: usize = 20;
/// Users that have won before.
const WINNERS: [&str; 3] = ["kim", "lee", "park"];

/// A test of each of these, for every commit.
macro_rules! of_each_commit {
    ($($test:ident),+ $(,)?) => { $(
        mod $test {
            #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn ledger() {
                super::$test("ledger").await;
            }

            #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn kafka() {
                super::$test("kafka").await;
            }

            #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn redis_stream() {
                super::$test("redis_stream").await;
            }
        }
    )+ };
}

of_each_commit!(who_dies_at_any_step_is_replaced, who_sleeps_at_any_step_is_replaced);

/// An event that a process was about to rebuild, and has not.
struct Stopped {
    event: String,
    /// What each of the winners has been told.
    told: Vec<Value>,
    process: Program,
    fuse: Fuse,
    proxies: [Proxy; 2],
}

impl Stopped {
    /// A process that rebuilds an event is about to ask for something, after so many other things;
    /// none where it asks for no more than these.
    async fn after(promises: &Promises<DatabaseServer>, requests: usize) -> Option<Self> {
        let Promises { shop, database, redis, .. } = promises;
        let event = shop.event(10).await;
        let mut told = Vec::new();
        for winner in WINNERS {
            told.push(win(shop, &event, winner).await);
        }
        let fuse = Fuse::new(&format!("{{{event}}}:sync"), requests);
        let proxies = [Proxy::start(database.url()).await, Proxy::start(&redis.url()).await];
        for proxy in &proxies {
            proxy.fuse(&fuse);
        }
        let (ledger, memory) = (proxies[0].url(database.url()), proxies[1].url(&redis.url()));
        let command = promises.command(&["sync", "--event", &event], &ledger, &memory);
        let mut process = Program::begin(&command);
        tokio::select! {
            () = fuse.blown() => {}
            ended = process.end() => {
                assert_eq!(ended.code, Some(0), "{ended:?}");
                assert!(ended.stdout.starts_with(&format!("{event}: 3 winners, ")), "{ended:?}");
                return None;
            }
        }
        Some(Self { event, told, process, fuse, proxies })
    }

    /// Stops processes after each number of requests that a rebuild may have, and then sees, of so
    /// many at a time, what became of their events.
    async fn after_each(
        promises: &Promises<DatabaseServer>,
        at_once: usize,
        stop: impl AsyncFn(&mut Self),
        see: impl AsyncFn(Self),
    ) {
        let (mut few, mut last) = (Vec::new(), None);
        for requests in 0..REQUESTS_MAX {
            match Self::after(promises, requests).await {
                Some(mut stopped) => {
                    stop(&mut stopped).await;
                    few.push(stopped);
                }
                None => last = Some(requests),
            }
            if last.is_some() || few.len() == at_once {
                for stopped in few.drain(..) {
                    see(stopped).await;
                }
            }
            if let Some(last) = last {
                assert!(last >= REQUESTS_MIN, "{last} are fewer than it needs");
                return;
            }
        }
        panic!("it asks again and again");
    }

    /// One more user wins, and who has won before hears of the same coupon.
    async fn goes_on(&self, shop: &Shop, newcomer: &str) {
        win(shop, &self.event, newcomer).await;
        for (winner, told) in WINNERS.iter().zip(&self.told) {
            let winner = shop.user(winner).await;
            let again = verdict(shop, &self.event, &winner, 409).await;
            assert_eq!(lasting(&again.member("/issued_coupon")), *told);
        }
    }
}

/// A user wins; what lasts of what they are told.
async fn win(shop: &Shop, event: &str, user: &str) -> Value {
    let token = shop.user(user).await;
    lasting(&verdict(shop, event, &token, 201).await.json())
}

/// This verdict on a claim, before which nobody is told another.
async fn verdict(shop: &Shop, event: &str, token: &str, status: u16) -> Answer {
    let answer = |it: &Answer| {
        assert!([status, 503].contains(&it.status), "{it}");
        it.status == status
    };
    eventually("a verdict", || shop.claim(event, token), answer).await
}

async fn who_dies_at_any_step_is_replaced(commit: &str) {
    let promises = Promises::open_with_room(commit).await;
    let kill = async |stopped: &mut Stopped| {
        stopped.process.kill9();
        for proxy in &stopped.proxies {
            proxy.reset().await;
        }
    };
    let shop = &promises.shop;
    let see = async |stopped: Stopped| {
        stopped.goes_on(shop, "newcomer").await;
        shop.recorded(&stopped.event).await;
        shop.expect_audit(&stopped.event, WINNERS.len() + 1).await;
    };
    Stopped::after_each(&promises, REQUESTS_MAX, kill, see).await;
}

/// What it has asked for last is answered while it sleeps.
async fn who_sleeps_at_any_step_is_replaced(commit: &str) {
    let promises = Promises::open_with_room(commit).await;
    let lull = async |stopped: &mut Stopped| {
        stopped.process.stop();
        stopped.fuse.mend();
    };
    let shop = &promises.shop;
    let see = async |mut stopped: Stopped| {
        stopped.goes_on(shop, "newcomer").await;
        stopped.process.wake();
        // It may succeed, and it may have slept too long.
        let _ = stopped.process.end().await;
        stopped.goes_on(shop, "latecomer").await;
        shop.recorded(&stopped.event).await;
        shop.expect_audit(&stopped.event, WINNERS.len() + 2).await;
    };
    Stopped::after_each(&promises, SLEEPERS_MAX, lull, see).await;
}
