//! Redemptions: one order has the coupon, and a cancel frees it.

use std::collections::HashSet;
use std::convert::Infallible;

use firstcome_core::{
    Amount, Attempt, CouponDraft, Currency, Days, IssuedCouponId, Label, NotRedeemed, Order,
    OrderId, Redeemed, Redemption, RedemptionId, Timestamp, UserId, Validity,
};
use firstcome_ledger::{CouponRecord, Decision, EventRecord};
use uuid::Uuid;

use crate::support::{HOUR, OPENS_AT, Store, TestLedger, draft, on_every_store};

on_every_store! {
    a_use_is_written_and_a_retry_gets_the_same,
    a_refusal_writes_nothing,
    a_cancel_frees_the_coupon_for_another_order_and_is_answered_again,
    a_revoked_coupon_is_not_redeemed,
    what_is_not_there_is_none,
    benefit_and_conditions_are_the_present_ones_and_dates_those_of_the_issue,
    of_a_hundred_orders_at_once_one_has_the_coupon,
}

const DAY: i64 = 24 * HOUR;

fn attempt(id: IssuedCouponId, order_id: &str) -> Attempt {
    let order = Order {
        id: OrderId::parse(order_id).expect("an order id"),
        amount: Amount::parse(30_000).expect("an amount"),
        currency: Currency::krw(),
        items: Vec::new(),
    };
    Attempt { id: RedemptionId::from_uuid(Uuid::now_v7()), issued_coupon_id: id, order }
}

async fn redeem(
    test: &TestLedger,
    id: IssuedCouponId,
    order_id: &str,
) -> Result<Redeemed, NotRedeemed> {
    let outcome =
        test.ledger.redeem(kim(), attempt(id, order_id)).await.expect("the ledger answers");
    outcome.expect("the coupon is there")
}

async fn redeemed(test: &TestLedger, id: IssuedCouponId, order_id: &str) -> Redemption {
    match redeem(test, id, order_id).await {
        Ok(Redeemed::New(redemption)) => redemption,
        other => panic!("not a new redemption: {other:?}"),
    }
}

async fn cancel(test: &TestLedger, id: RedemptionId) -> Redemption {
    let cancelled = test.ledger.cancel_redemption(id).await.expect("the ledger answers");
    cancelled.expect("the redemption is there")
}

async fn won(test: &TestLedger, event: &EventRecord) -> IssuedCouponId {
    match test.claim(event, &["kim"]).await.remove(0) {
        Decision::Issued(won) => won.id,
        other => panic!("not won: {other:?}"),
    }
}

fn kim() -> UserId {
    UserId::parse("kim").expect("a user id")
}

async fn used_at(test: &TestLedger, id: IssuedCouponId) -> Option<Timestamp> {
    let kim = kim();
    let found = test.ledger.issued_coupon_of(&kim, id).await.expect("the ledger answers");
    found.expect("the coupon is there").used_at
}

async fn a_use_is_written_and_a_retry_gets_the_same(store: Store) {
    let test = TestLedger::new(store).await;
    let id = won(&test, &test.event(1).await).await;
    let redemption = redeemed(&test, id, "A-1").await;
    assert_eq!(redemption.discount_amount, 5_000);
    assert_eq!(used_at(&test, id).await, Some(redemption.redeemed_at));
    test.clock.set(OPENS_AT + 31 * DAY);
    assert_eq!(redeem(&test, id, "A-1").await, Ok(Redeemed::Same(redemption.clone())));
    assert_eq!(redeem(&test, id, "A-2").await, Err(NotRedeemed::AlreadyUsed(redemption)));
}

async fn a_refusal_writes_nothing(store: Store) {
    let test = TestLedger::new(store).await;
    let id = won(&test, &test.event(1).await).await;
    test.clock.set(OPENS_AT + 30 * DAY);
    assert_eq!(redeem(&test, id, "A-1").await, Err(NotRedeemed::Expired));
    assert_eq!(used_at(&test, id).await, None);
    test.clock.set(OPENS_AT);
    redeemed(&test, id, "A-1").await;
}

async fn a_cancel_frees_the_coupon_for_another_order_and_is_answered_again(store: Store) {
    let test = TestLedger::new(store).await;
    let id = won(&test, &test.event(1).await).await;
    let first = redeemed(&test, id, "A-1").await;
    test.clock.set(OPENS_AT + 1);
    let cancelled = cancel(&test, first.id).await;
    let cancelled_at = Some(Timestamp::from_micros(OPENS_AT + 1));
    assert_eq!(cancelled, Redemption { cancelled_at, ..first });
    assert_eq!(used_at(&test, id).await, None);

    test.clock.set(OPENS_AT + 2);
    let second = redeemed(&test, id, "A-2").await;
    assert_eq!(cancel(&test, cancelled.id).await, cancelled, "the first cancel, again");
    assert_eq!(used_at(&test, id).await, Some(second.redeemed_at), "the second use stands");
    assert_eq!(redeem(&test, id, "A-1").await, Ok(Redeemed::Same(cancelled)));
    assert_eq!(redeem(&test, id, "A-2").await, Ok(Redeemed::Same(second)));
}

async fn a_revoked_coupon_is_not_redeemed(store: Store) {
    let test = TestLedger::new(store).await;
    let id = won(&test, &test.event(1).await).await;
    let reason = Label::parse("사기").expect("a reason");
    test.ledger.revoke(id, reason).await.expect("the ledger answers");
    assert_eq!(redeem(&test, id, "A-1").await, Err(NotRedeemed::Revoked));
}

async fn what_is_not_there_is_none(store: Store) {
    let test = TestLedger::new(store).await;
    let nobodys = attempt(IssuedCouponId::from_uuid(Uuid::now_v7()), "A-1");
    assert_eq!(test.ledger.redeem(kim(), nobodys).await.expect("an answer"), None);
    let unknown = RedemptionId::from_uuid(Uuid::now_v7());
    assert_eq!(test.ledger.cancel_redemption(unknown).await.expect("an answer"), None);
}

async fn benefit_and_conditions_are_the_present_ones_and_dates_those_of_the_issue(store: Store) {
    let test = TestLedger::new(store).await;
    let coupon = test.coupon(draft()).await;
    let id = won(&test, &test.event_of(&coupon, 1).await).await;
    let change = |found: &CouponRecord| {
        let benefit = firstcome_core::Benefit::Amount {
            amount: Amount::parse(700).expect("an amount"),
            currency: Currency::krw(),
        };
        let validity = Validity::Days(Days::parse(1).expect("days"));
        Ok::<_, Infallible>(CouponDraft { benefit, validity, ..found.draft.clone() })
    };
    test.ledger.change_coupon(coupon.id, change).await.expect("the ledger answers");
    test.clock.set(OPENS_AT + 2 * DAY);
    assert_eq!(redeemed(&test, id, "A-1").await.discount_amount, 700);
}

async fn of_a_hundred_orders_at_once_one_has_the_coupon(store: Store) {
    let test = TestLedger::new(store).await;
    let id = won(&test, &test.event(1).await).await;
    let tasks: Vec<_> = (0..100)
        .map(|n| {
            let (ledger, attempt) = (test.ledger.clone(), attempt(id, &format!("A-{n}")));
            tokio::spawn(async move { ledger.redeem(kim(), attempt).await })
        })
        .collect();
    let (mut new, mut others) = (Vec::new(), HashSet::new());
    for task in tasks {
        match task.await.expect("no panic").expect("the ledger answers").expect("the coupon") {
            Ok(Redeemed::New(redemption)) => new.push(redemption.id),
            Err(NotRedeemed::AlreadyUsed(redemption)) => drop(others.insert(redemption.id)),
            other => panic!("neither won nor used: {other:?}"),
        }
    }
    assert_eq!(new.len(), 1);
    assert_eq!(others, HashSet::from([new[0]]), "everyone else is shown the one use");
}
