//! A disk that fills up during a drop, and has room again.

use std::process::Command;

use crate::shop::{Shop, lasting};

/// Room for the ledger and a while of claims.
const ROOM_KIB: u32 = 2_048;
const USERS: usize = 40_000;

/// Sets the server's limit on the size of a file, in bytes or `unlimited`.
fn leave_room(shop: &Shop, limit: &str) {
    let process = shop.server.id().to_string();
    let limit = format!("--fsize={limit}:unlimited");
    let set = Command::new("prlimit").args(["--pid", &process, &limit]).status();
    assert!(set.expect("prlimit of util-linux").success(), "the limit was not set");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn claims_are_refused_while_it_is_full_and_win_again_afterwards() {
    let shop = Shop::open_as(|launch| launch.file_kib_max(ROOM_KIB)).await;
    let event = shop.event(100_000).await;
    let what = format!("POST /v1/events/{event}/claims");
    let tokens = shop.server.tokens("shopper", USERS).await;

    let mut won = Vec::new();
    let mut wire = shop.wire().await;
    let mut refused = None;
    for token in &tokens {
        wire.request(&what, token, "").await.expect("the server reads");
        let answer = wire.answer().await.expect("an answer");
        if answer.status != 201 {
            refused = Some((token, answer));
            break;
        }
        won.push(lasting(&answer.json()));
    }
    let (token, refused) = refused.expect("the disk is full before all have claimed");
    assert!(won.len() > 10, "room for some claims at first");
    assert_eq!(refused.status, 503, "{refused}");
    assert!(matches!(refused.code().as_str(), "unavailable" | "in_doubt"), "{refused}");
    assert_eq!(refused.member("/retryable"), true);
    assert!(!refused.header("retry-after").is_empty(), "{refused}");
    // The ledger makes room by itself once a second, by copying its log: none of that from here.
    leave_room(&shop, "0");
    for _ in 0..20 {
        let _ = shop.claim(&event, token).await.expect(503);
    }

    // Other writes fare the same, and reads go on.
    let coupon = firstcome_testkit::coupon_body();
    let made = shop.api.post("/v1/coupons").token(&shop.admin).json(coupon).await;
    let _ = made.expect_problem(503, "unavailable");
    let _ = shop.claim(&event, &tokens[0]).await.expect_problem(409, "already_claimed");
    let _ = shop.read_event(&event).await;
    let _ = shop.api.get("/livez").await.expect(200);

    leave_room(&shop, "unlimited");
    let ask = || async { shop.claim(&event, token).await };
    let wins = |answer: &firstcome_testkit::Answer| answer.status == 201;
    let again = crate::shop::eventually("room again", ask, wins).await;
    won.push(lasting(&again.json()));
    let late = shop.user("late").await;
    won.push(lasting(&shop.claim(&event, &late).await.expect(201).json()));

    let issued = shop.issued(&event).await;
    for told in &won {
        let user = told["user_id"].as_str().expect("a user");
        assert_eq!(issued.get(user).map(lasting).as_ref(), Some(told), "lost or changed");
    }
    shop.expect_audit(&event, issued.len()).await;
    assert_eq!(issued.len(), won.len(), "nothing was issued that nobody was told of");
}
