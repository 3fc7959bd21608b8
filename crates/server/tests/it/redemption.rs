//! Many redemptions of one issued coupon at the same time.

use std::sync::Arc;

use firstcome_testkit::{Answer, Wire};
use serde_json::json;
use tokio::sync::Barrier;
use tokio::task::JoinSet;

use crate::shop::Shop;

const PARALLEL: usize = 100;

/// Redeems the issued coupon for every one of these orders at once.
async fn redeem_at_once(
    shop: &Shop,
    issued: &str,
    token: &str,
    orders: Vec<String>,
) -> Vec<Answer> {
    let barrier = Arc::new(Barrier::new(orders.len()));
    let mut clients = JoinSet::new();
    for order in orders {
        let what = format!("POST /v1/me/coupons/{issued}/redemptions");
        let body = format!(r#"{{"order_id":"{order}","order_amount":20000}}"#);
        let (authority, token) = (shop.server.authority().to_owned(), token.to_owned());
        let barrier = Arc::clone(&barrier);
        clients.spawn(async move {
            let mut wire = Wire::connect(&authority).await.expect("the server listens");
            barrier.wait().await;
            wire.request(&what, &token, &body).await.expect("the server reads");
            wire.answer().await.expect("an answer")
        });
    }
    clients.join_all().await
}

fn with_status(answers: &[Answer], status: u16) -> Vec<&Answer> {
    answers.iter().filter(|answer| answer.status == status).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_many_orders_one_wins() {
    let shop = Shop::open().await;
    let event = shop.event(1).await;
    let user = shop.user("u").await;
    let issued = shop.claim(&event, &user).await.expect(201).member_text("/id");
    let orders = (0..PARALLEL).map(|number| format!("order-{number}")).collect();
    let answers = redeem_at_once(&shop, &issued, &user, orders).await;

    let won = with_status(&answers, 201);
    assert_eq!(won.len(), 1, "{answers:?}");
    let refused = with_status(&answers, 409);
    assert_eq!(refused.len(), PARALLEL - 1, "{answers:?}");
    for answer in refused {
        assert_eq!(answer.code(), "already_used");
        assert_eq!(answer.member("/redemption"), won[0].json());
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_many_retries_of_one_order_all_meet_the_same() {
    let shop = Shop::open().await;
    let event = shop.event(1).await;
    let user = shop.user("u").await;
    let issued = shop.claim(&event, &user).await.expect(201).member_text("/id");
    let orders = vec!["order-1".to_owned(); PARALLEL];
    let answers = redeem_at_once(&shop, &issued, &user, orders).await;
    let won = with_status(&answers, 201);
    assert_eq!((won.len(), with_status(&answers, 200).len()), (1, PARALLEL - 1), "{answers:?}");
    for answer in &answers {
        assert_eq!(answer.json(), won[0].json());
    }
}

/// Used or revoked, never both.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_redemption_and_a_revocation_at_once() {
    let shop = Shop::open().await;
    let event = shop.event(20).await;
    for (number, token) in shop.server.tokens("shopper", 20).await.into_iter().enumerate() {
        let issued = shop.claim(&event, &token).await.expect(201).member_text("/id");
        let revoke = format!("/v1/issued-coupons/{issued}/revoke");
        let revoke = shop.api.post(&revoke).token(&shop.admin).json(json!({"reason": "실수"}));
        let order = json!({"order_id": format!("order-{number}"), "order_amount": 20_000});
        let (revoked, redeemed) =
            tokio::join!(revoke.into_future(), shop.redeem(&issued, &token, order));
        let read = shop.api.get(&format!("/v1/me/coupons/{issued}")).token(&token).await;
        match (revoked.status, redeemed.status) {
            (200, 409) => {
                assert_eq!(redeemed.code(), "revoked");
                assert_eq!(read.member("/state"), "revoked");
            }
            (409, 201) => {
                assert_eq!(revoked.code(), "already_used");
                assert_eq!(read.member("/state"), "used");
            }
            _ => panic!("{revoked} and {redeemed}"),
        }
    }
}
