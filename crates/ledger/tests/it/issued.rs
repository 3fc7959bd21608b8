//! Issued coupons: every read sees every won claim, and SQL tells the states as the rule does.

use firstcome_core::{
    Attempt, EventId, IssuedCouponId, IssuedState, Label, Order, OrderId, Redeemed, RedemptionId,
    Sequence, Timestamp, UserId,
};
use firstcome_ledger::{
    Decision, EventRecord, IssuedCouponRecord, IssuedPlace, IssuedQuery, Purpose,
};
use futures_util::TryStreamExt;
use uuid::Uuid;

use crate::support::{HOUR, OPENS_AT, Store, TestLedger, on_every_store};

on_every_store! {
    the_filter_of_each_state_is_the_rule,
    a_users_pages_are_newest_first_without_gap_or_repeat,
    every_way_to_a_coupon_sees_a_claim_that_is_not_settled,
    what_is_not_there_is_none,
    a_stream_holds_every_coupon_in_order_across_its_chunks,
    revoking_is_once_and_for_good_and_refused_when_used,
}

const DAY: i64 = 24 * HOUR;

fn user(id: &str) -> UserId {
    UserId::parse(id).expect("a user id")
}

/// What `kim` wins of a new event of 10 coupons, `micros` after the opening.
async fn won_at(test: &TestLedger, micros: i64) -> IssuedCouponRecord {
    test.clock.set(OPENS_AT + micros);
    let event = test.event(10).await;
    won(test, &event, "kim").await
}

async fn won(test: &TestLedger, event: &EventRecord, user: &str) -> IssuedCouponRecord {
    match test.claim(event, &[user]).await.remove(0) {
        Decision::Issued(won) => won,
        other => panic!("not won: {other:?}"),
    }
}

async fn redeem(test: &TestLedger, coupon: &IssuedCouponRecord) -> Redeemed {
    let order = Order {
        id: OrderId::parse("A-1").expect("an order id"),
        amount: firstcome_core::Amount::parse(30_000).expect("an amount"),
        currency: firstcome_core::Currency::krw(),
        items: Vec::new(),
    };
    let redemption = RedemptionId::from_uuid(Uuid::now_v7());
    let attempt = Attempt { id: redemption, issued_coupon_id: coupon.id, order };
    let outcome =
        test.ledger.redeem(coupon.user_id.clone(), attempt).await.expect("the ledger answers");
    outcome.expect("the coupon is there").expect("it can be used")
}

async fn revoke(test: &TestLedger, id: IssuedCouponId) -> IssuedCouponRecord {
    let reason = Label::parse("부정 사용").expect("a reason");
    let outcome = test.ledger.revoke(id, reason).await.expect("the ledger answers");
    outcome.expect("the coupon is there").expect("it is unused")
}

fn all_of_kim(state: Option<IssuedState>, now: i64) -> IssuedQuery {
    let now = Timestamp::from_micros(now);
    IssuedQuery { user_id: user("kim"), state, now, after: None, limit: 200 }
}

async fn listed(test: &TestLedger, query: &IssuedQuery) -> Vec<IssuedCouponRecord> {
    test.ledger.issued_coupons_of(query).await.expect("a page")
}

async fn the_filter_of_each_state_is_the_rule(store: Store) {
    let test = TestLedger::new(store).await;
    // Untouched, used, revoked, and used and freed again; issued at two moments each, so that the
    // later half outlives the earlier.
    for micros in [0, HOUR / 2] {
        won_at(&test, micros).await;
        let used = won_at(&test, micros + 1).await;
        redeem(&test, &used).await;
        let revoked = won_at(&test, micros + 2).await;
        revoke(&test, revoked.id).await;
        let freed = won_at(&test, micros + 3).await;
        let (Redeemed::New(redemption) | Redeemed::Same(redemption)) = redeem(&test, &freed).await;
        test.ledger.cancel_redemption(redemption.id).await.expect("the ledger answers");
    }
    let expiry = OPENS_AT + 30 * DAY;
    let moments =
        [OPENS_AT, expiry - 1, expiry, expiry + 3, expiry + 4, expiry + HOUR / 2, expiry + HOUR];
    for now in moments {
        let all = listed(&test, &all_of_kim(None, now)).await;
        assert_eq!(all.len(), 8);
        let mut told = 0;
        for state in IssuedState::ALL {
            let by_sql = listed(&test, &all_of_kim(Some(state), now)).await;
            let mut by_rule = all.clone();
            by_rule.retain(|coupon| coupon.state(Timestamp::from_micros(now)) == state);
            assert_eq!(by_sql, by_rule, "{state:?} at {now}");
            told += by_sql.len();
        }
        assert_eq!(told, all.len(), "every coupon has one state at {now}");
    }
}

async fn a_users_pages_are_newest_first_without_gap_or_repeat(store: Store) {
    let test = TestLedger::new(store).await;
    // Two of one moment, to be told apart by their ids.
    for micros in [0, 1, 1, 1, 2] {
        won_at(&test, micros).await;
    }
    let event = test.event(10).await;
    won(&test, &event, "lee").await;
    let all = listed(&test, &all_of_kim(None, OPENS_AT)).await;
    let place = |coupon: &IssuedCouponRecord| (coupon.issued_at, coupon.id);
    assert!(all.is_sorted_by(|before, after| place(before) > place(after)));
    assert_eq!(all.len(), 5);
    let mut paged: Vec<IssuedCouponRecord> = Vec::new();
    loop {
        let last = paged.last().map(place);
        let after = last.map(|(issued_at, id)| IssuedPlace { issued_at, id });
        let query = IssuedQuery { after, limit: 2, ..all_of_kim(None, OPENS_AT) };
        let page = listed(&test, &query).await;
        if page.is_empty() {
            break;
        }
        paged.extend(page);
    }
    assert_eq!(paged, all);
}

async fn every_way_to_a_coupon_sees_a_claim_that_is_not_settled(store: Store) {
    let test = TestLedger::new(store).await.reopen(Purpose::Visit).await;
    // Nothing settles in the background, and each way is the first to ask for its coupon.
    let event = test.event(10).await;
    let found = won(&test, &event, "a").await;
    let (id, holder) = (found.id, user("a"));
    assert_eq!(test.ledger.issued_coupon_of(&holder, id).await.expect("a"), Some(found));

    let found = won(&test, &event, "b").await;
    let claimed = test.ledger.issued_coupon_claimed(event.id, &user("b")).await;
    assert_eq!(claimed.expect("an answer"), Some(found));

    let found = won(&test, &event, "c").await;
    let by_code = test.ledger.issued_coupon_by_code(found.code).await;
    assert_eq!(by_code.expect("an answer"), Some(found));

    let found = won(&test, &event, "kim").await;
    assert_eq!(listed(&test, &all_of_kim(None, OPENS_AT)).await, [found]);

    let found = won(&test, &event, "e").await;
    let after = Sequence::parse(4).ok();
    let page = test.ledger.issued_coupons_of_event(event.no, after, 10).await;
    assert_eq!(page.expect("a page"), [found]);

    let found = won(&test, &event, "f").await;
    assert_eq!(revoke(&test, found.id).await.id, found.id);

    let found = won(&test, &event, "g").await;
    assert!(matches!(redeem(&test, &found).await, Redeemed::New(_)));

    let found = won(&test, &event, "h").await;
    let chunks: Vec<Vec<IssuedCouponRecord>> =
        test.ledger.issued_coupons_stream(event.no).try_collect().await.expect("chunks");
    assert_eq!(chunks.concat().last(), Some(&found));
}

async fn what_is_not_there_is_none(store: Store) {
    let test = TestLedger::new(store).await;
    let event = test.event(1).await;
    let held = won(&test, &event, "kim").await;
    let lee = user("lee");
    assert_eq!(test.ledger.issued_coupon_of(&lee, held.id).await.expect("an answer"), None);
    assert_eq!(test.ledger.issued_coupon_claimed(event.id, &lee).await.expect("an answer"), None);
    let unknown = EventId::from_uuid(Uuid::now_v7());
    let kim = user("kim");
    assert_eq!(test.ledger.issued_coupon_claimed(unknown, &kim).await.expect("an answer"), None);
    for code in ["0000-0000-0000", "ZZZZ-ZZZZ-ZZZZ"] {
        let code = firstcome_core::Code::parse(code).expect("a code");
        assert_eq!(test.ledger.issued_coupon_by_code(code).await.expect("an answer"), None);
    }
    let reason = Label::parse("-").expect("a reason");
    let nobodys = IssuedCouponId::from_uuid(Uuid::now_v7());
    assert_eq!(test.ledger.revoke(nobodys, reason).await.expect("an answer"), None);
}

async fn a_stream_holds_every_coupon_in_order_across_its_chunks(store: Store) {
    let test = TestLedger::new(store).await;
    let other = test.event(10).await;
    won(&test, &other, "kim").await;
    let event = test.event(2_500).await;
    for batch in 0..3 {
        let users: Vec<String> = (0..1_000).map(|n| format!("{batch}-{n}")).collect();
        let users: Vec<&str> = users.iter().map(String::as_str).collect();
        test.claim(&event, &users).await;
    }
    let chunks: Vec<Vec<IssuedCouponRecord>> =
        test.ledger.issued_coupons_stream(event.no).try_collect().await.expect("rows");
    assert!(chunks.iter().all(|chunk| (1..=1_000).contains(&chunk.len())), "chunks are bounded");
    let sequences = chunks.iter().flatten().map(|coupon| coupon.sequence.get());
    assert!(sequences.eq(1..=2_500));

    let none = test.event(10).await;
    let empty: Vec<Vec<IssuedCouponRecord>> =
        test.ledger.issued_coupons_stream(none.no).try_collect().await.expect("rows");
    assert!(empty.is_empty());
}

async fn revoking_is_once_and_for_good_and_refused_when_used(store: Store) {
    let test = TestLedger::new(store).await;
    let coupon = won_at(&test, 0).await;
    let revoked = revoke(&test, coupon.id).await;
    assert_eq!(revoked.revoked_at, Some(Timestamp::from_micros(OPENS_AT)));
    test.clock.set(OPENS_AT + 1);
    assert_eq!(revoke(&test, coupon.id).await, revoked, "a second time changes nothing");

    let used = won_at(&test, 2).await;
    let Redeemed::New(redemption) = redeem(&test, &used).await else { panic!("new") };
    let reason = || Label::parse("-").expect("a reason");
    let refused = test.ledger.revoke(used.id, reason()).await.expect("an answer");
    assert_eq!(refused, Some(Err(redemption.clone())));
    test.ledger.cancel_redemption(redemption.id).await.expect("an answer");
    assert!(revoke(&test, used.id).await.revoked_at.is_some(), "freed, it can be revoked");
}
