//! A drop from its opening to its close, by hand and by the clock.

use std::cell::{Cell, RefCell};

use firstcome_testkit::Answer;
use serde_json::json;

use crate::shop::{Shop, eventually, lasting};

#[tokio::test]
async fn opened_early_paused_resumed_and_closed_by_hand() {
    let shop = Shop::open().await;
    let window = ("2098-01-01T00:00:00Z", "2099-01-01T00:00:00Z");
    let event = shop.event_of(|body| body.window(window.0, window.1)).await.member_text("/id");
    let [a, b, c] = [shop.user("a").await, shop.user("b").await, shop.user("c").await];
    let _ = shop.claim(&event, &a).await.expect_problem(409, "not_open");

    let _ = shop.act(&event, "open").await.expect(200);
    let first = shop.claim(&event, &a).await.expect(201);
    assert_eq!(first.member("/sequence"), 1);
    let _ = shop.act(&event, "pause").await.expect(200);
    let _ = shop.claim(&event, &b).await.expect_problem(409, "paused");
    let _ = shop.claim(&event, &a).await.expect_problem(409, "already_claimed");
    let _ = shop.act(&event, "resume").await.expect(200);
    assert_eq!(shop.claim(&event, &b).await.expect(201).member("/sequence"), 2);
    let closed = shop.act(&event, "close").await.expect(200);
    assert_eq!((closed.member("/issued"), closed.member("/remaining")), (json!(2), json!(8)));
    let _ = shop.claim(&event, &c).await.expect_problem(409, "closed");
    shop.expect_audit(&event, 2).await;
}

#[tokio::test]
async fn raised_after_it_was_sold_out() {
    let shop = Shop::open().await;
    let event = shop.event(2).await;
    let tokens = shop.server.tokens("shopper", 6).await;
    let mut told = Vec::new();
    for (round, quantity) in [2, 3, 5].into_iter().enumerate() {
        if round > 0 {
            let raised = shop.change_event(&event, json!({"quantity": quantity})).await;
            assert_eq!(raised.expect(200).member("/state"), "open");
        }
        for token in &tokens[told.len()..quantity] {
            told.push(lasting(&shop.claim(&event, token).await.expect(201).json()));
        }
        // Again and again: the answer from memory is the decider's.
        for _ in 0..5 {
            let _ = shop.claim(&event, &tokens[5]).await.expect_problem(409, "sold_out");
            for (token, issued) in tokens.iter().zip(&told) {
                let again = shop.claim(&event, token).await;
                let again = again.expect_problem(409, "already_claimed");
                assert_eq!(&lasting(&again.member("/issued_coupon")), issued);
            }
        }
    }
    let sequences: Vec<u64> =
        told.iter().map(|issued| issued["sequence"].as_u64().expect("a sequence")).collect();
    assert_eq!(sequences, [1, 2, 3, 4, 5]);
    shop.expect_audit(&event, 5).await;
}

#[tokio::test]
async fn lowered_to_what_is_issued_it_is_sold_out() {
    let shop = Shop::open().await;
    let event = shop.event(10).await;
    let tokens = shop.server.tokens("shopper", 3).await;
    let _ = shop.claim(&event, &tokens[0]).await.expect(201);
    let lowered = shop.change_event(&event, json!({"quantity": 1})).await.expect(200);
    assert_eq!(lowered.member("/state"), "sold_out");
    let _ = shop.claim(&event, &tokens[1]).await.expect_problem(409, "sold_out");
    let _ = shop.change_event(&event, json!({"quantity": 2})).await.expect(200);
    assert_eq!(shop.claim(&event, &tokens[2]).await.expect(201).member("/sequence"), 2);
    shop.expect_audit(&event, 2).await;
}

/// Nobody flips a switch: the first claim that wins is not before `opens_at`, and none wins from
/// `closes_at` on.
#[tokio::test]
async fn opened_and_closed_by_the_clock() {
    let shop = Shop::open().await;
    let (opens_at, closes_at) = (shop.moment_in(2).await, shop.moment_in(4).await);
    let event = shop.event_of(|body| body.quantity(1_000_000).window(&opens_at, &closes_at)).await;
    assert_eq!(event.member("/state"), "scheduled");
    let event = event.member_text("/id");
    let user = shop.user("u").await;
    let refused = shop.claim(&event, &user).await.expect_problem(409, "not_open");
    assert!(matches!(refused.header("retry-after"), "1" | "2"), "{refused}");

    let claim = || shop.claim(&event, &user);
    let first = eventually("open", claim, |answer| answer.status == 201).await;
    let moment = |text: &str| firstcome_core::Timestamp::parse_rfc3339(text).expect("a moment");
    assert!(moment(&first.member_text("/issued_at")) >= moment(&opens_at), "{first}");
    assert_eq!(shop.read_event(&event).await.member("/state"), "open");

    let late = shop.server.tokens("late", 1_000).await;
    let (next, won) = (Cell::new(0), RefCell::new(vec![first]));
    let claim = || {
        let token = &late[next.replace(next.get() + 1)];
        async { shop.claim(&event, token).await }
    };
    let lost = |answer: &Answer| {
        let lost = answer.status != 201;
        if !lost {
            won.borrow_mut().push(answer.clone());
        }
        lost
    };
    let _ = eventually("closed", claim, lost).await.expect_problem(409, "closed");
    let last = won.borrow().last().expect("a win").clone();
    assert!(moment(&last.member_text("/issued_at")) < moment(&closes_at), "{last}");
    let read = shop.read_event(&event).await;
    assert_eq!(read.member("/state"), "closed");
    for token in &late[990..] {
        let _ = shop.claim(&event, token).await.expect_problem(409, "closed");
    }
    let _ = shop.claim(&event, &user).await.expect_problem(409, "already_claimed");
    let _ = shop.act(&event, "open").await.expect_problem(409, "wrong_state");
}

#[tokio::test]
async fn everything_is_the_same_after_a_restart() {
    let mut shop = Shop::open().await;
    let event = shop.event(3).await;
    let tokens = shop.server.tokens("shopper", 4).await;
    let first = shop.claim(&event, &tokens[0]).await.expect(201);
    let _ = shop.act(&event, "pause").await.expect(200);
    let before = shop.read_event(&event).await;
    assert_eq!(shop.server.terminate().await, Some(0));
    shop.reopen().await;

    let after = shop.read_event(&event).await;
    assert_eq!(after.header("etag"), before.header("etag"));
    assert_eq!(after.member("/state"), "paused");
    let again = shop.claim(&event, &tokens[0]).await.expect_problem(409, "already_claimed");
    assert_eq!(again.member("/issued_coupon"), first.json(), "and the old token is still good");
    let _ = shop.act(&event, "resume").await.expect(200);
    assert_eq!(shop.claim(&event, &tokens[1]).await.expect(201).member("/sequence"), 2);
    let _ = shop.claim(&event, &tokens[2]).await.expect(201);
    let _ = shop.claim(&event, &tokens[3]).await.expect_problem(409, "sold_out");
    shop.expect_audit(&event, 3).await;
}
