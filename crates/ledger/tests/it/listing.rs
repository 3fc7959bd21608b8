//! The table of holders on a server: it lists every winner once, and whoever asks for a coupon
//! finds it, listed or not.

use firstcome_core::{
    Amount, Attempt, Currency, IssuedCouponId, Label, Order, OrderId, Redeemed, Redemption,
    RedemptionId, Timestamp, UserId,
};
use firstcome_ledger::{Decision, EventRecord, IssuedCouponRecord, IssuedQuery, Ledger, Purpose};
use firstcome_testkit::database::Engine;
use tokio::task::JoinSet;
use uuid::Uuid;

use crate::support::{OPENS_AT, Store, TestLedger, batch, on_every_server};

on_every_server! {
    what_a_user_holds_is_found_listed_unlisted_and_half_listed,
    by_its_id_alone_a_coupon_is_found_listed_or_not,
    several_processes_list_every_winner_of_a_drop_once,
    more_winners_than_fit_in_a_step_are_listed,
    an_audit_names_holders_that_are_wrong,
}

const ROWS: &str = "SELECT count(*) FROM holders";

fn user(id: &str) -> UserId {
    UserId::parse(id).expect("a user id")
}

/// What these users win of a new event.
async fn won(test: &TestLedger, users: &[&str]) -> (EventRecord, Vec<IssuedCouponRecord>) {
    let event = test.event(100).await;
    let won = |decision| match decision {
        Decision::Issued(won) => won,
        other => panic!("not won: {other:?}"),
    };
    let coupons = test.claim(&event, users).await.into_iter().map(won).collect();
    (event, coupons)
}

async fn held(test: &TestLedger, user: &UserId) -> Vec<IssuedCouponRecord> {
    let now = Timestamp::from_micros(OPENS_AT);
    let query = IssuedQuery { user_id: user.clone(), state: None, now, after: None, limit: 200 };
    let mut held = test.ledger.issued_coupons_of(&query).await.expect("a page");
    held.sort_by_key(|coupon| (coupon.event_id, coupon.sequence));
    held
}

async fn what_a_user_holds_is_found_listed_unlisted_and_half_listed(store: Store) {
    // A visitor lists nothing.
    let mut test = TestLedger::new(store).await.reopen(Purpose::Visit).await;
    let (first, mut kims) = won(&test, &["lee", "kim"]).await;
    kims.remove(0);
    for round in 0..3 {
        let (_, won) = won(&test, &["kim", "park"]).await;
        kims.push(won[0].clone());
        // Some of the first event's are listed by now, these are not.
        test.claim(&first, &[format!("late-{round}").as_str()]).await;
        for _ in ["unlisted", "listed"] {
            assert_eq!(held(&test, &user("kim")).await, kims);
            for coupon in &kims {
                let found = test.ledger.issued_coupon_of(&user("kim"), coupon.id).await;
                assert_eq!(found.expect("an answer").as_ref(), Some(coupon));
                let others = test.ledger.issued_coupon_of(&user("park"), coupon.id).await;
                assert_eq!(others.expect("an answer"), None);
            }
            assert_eq!(held(&test, &user("nobody")).await, []);
            test = test.reopen(Purpose::Serve).await;
            test.listed().await;
        }
        let rows = 2 + 3 * (round + 1);
        assert_eq!(test.place().database().number(ROWS).await, rows);
        test = test.reopen(Purpose::Visit).await;
    }
}

async fn revoke(test: &TestLedger, id: IssuedCouponId) -> IssuedCouponRecord {
    let reason = Label::parse("-").expect("a reason");
    let revoked = test.ledger.revoke(id, reason).await.expect("an answer");
    revoked.expect("the coupon is there").expect("it is unused")
}

async fn redeem(test: &TestLedger, holder: &str, id: IssuedCouponId) -> Option<Redemption> {
    let order = Order {
        id: OrderId::parse("A-1").expect("an order id"),
        amount: Amount::parse(30_000).expect("an amount"),
        currency: Currency::krw(),
        items: Vec::new(),
    };
    let redemption = RedemptionId::from_uuid(Uuid::now_v7());
    let attempt = Attempt { id: redemption, issued_coupon_id: id, order };
    match test.ledger.redeem(user(holder), attempt).await.expect("an answer")? {
        Ok(Redeemed::New(redemption)) => Some(redemption),
        other => panic!("not used: {other:?}"),
    }
}

async fn by_its_id_alone_a_coupon_is_found_listed_or_not(store: Store) {
    let mut test = TestLedger::new(store).await.reopen(Purpose::Visit).await;
    for _ in ["unlisted", "listed"] {
        let (event, coupons) = won(&test, &["a", "b", "c"]).await;
        let [a, b, c] = [0, 1, 2].map(|index: usize| coupons[index].id);
        if test.place().database().number(ROWS).await > 0 {
            test.listed().await;
        }
        assert_eq!(revoke(&test, a).await.user_id, user("a"));
        assert_eq!(redeem(&test, "c", b).await, None, "it is not theirs");
        let redemption = redeem(&test, "b", b).await.expect("it is theirs");
        let cancelled = test.ledger.cancel_redemption(redemption.id).await.expect("an answer");
        assert!(cancelled.expect("it is there").cancelled_at.is_some());
        assert!(redeem(&test, "c", c).await.is_some());
        let audit = test.ledger.audit(event.id).await.expect("an answer").expect("the event");
        assert!(audit.pass(), "{audit:?}");
        test = test.reopen(Purpose::Serve).await;
        test.listed().await;
    }
}

async fn several_processes_list_every_winner_of_a_drop_once(store: Store) {
    let test = TestLedger::new(store).await;
    let ledgers = [test.ledger.clone(), test.another().await, test.another().await];
    let events = [test.event(4_000).await, test.event(4_000).await];
    let mut drop = JoinSet::new();
    for (number, ledger) in ledgers.into_iter().enumerate() {
        let events = events.clone();
        drop.spawn(async move { rush(&ledger, &events, number).await });
    }
    while let Some(ended) = drop.join_next().await {
        ended.expect("the claims were decided");
    }
    test.listed().await;
    assert_eq!(test.place().database().number(ROWS).await, 8_000);
    for event in events {
        let audit = test.ledger.audit(event.id).await.expect("an answer").expect("the event");
        assert!(audit.pass(), "{audit:?}");
        assert_eq!(audit.rows, 4_000);
    }
}

/// Claims on both events, with users of its own.
async fn rush(ledger: &Ledger, events: &[EventRecord; 2], number: usize) {
    for round in 0..20 {
        for event in events {
            let users: Vec<_> = (0..100).map(|n| format!("u-{number}-{round}-{n}")).collect();
            ledger.claim(batch(event, &users)).await.expect("verdicts");
        }
    }
}

async fn more_winners_than_fit_in_a_step_are_listed(store: Store) {
    let test = TestLedger::new(store).await.reopen(Purpose::Visit).await;
    let event = test.event(9_000).await;
    for round in 0..9 {
        let users: Vec<_> = (0..1_000).map(|n| format!("u-{round}-{n}")).collect();
        test.ledger.claim(batch(&event, &users)).await.expect("verdicts");
    }
    assert_eq!(test.place().database().number(ROWS).await, 0);
    let test = test.reopen(Purpose::Serve).await;
    test.listed().await;
    assert_eq!(test.place().database().number(ROWS).await, 9_000);
    assert!(test.ledger.audit(event.id).await.expect("an answer").expect("the event").pass());
    let id = |user: &UserId| IssuedCouponId::derive(event.id, user);
    let (first, last) = (user("u-0-0"), user("u-8-999"));
    assert_eq!(revoke(&test, id(&first)).await.user_id, first);
    if test.place().database().engine() == Engine::Postgres {
        // From here on most rows stand in the index of ids.
        test.tamper("VACUUM ANALYZE holders").await;
    }
    for user in [user("u-1-0"), user("u-4-500"), last] {
        assert_eq!(revoke(&test, id(&user)).await.user_id, user);
    }
    let reason = Label::parse("-").expect("a reason");
    let nobodys = test.ledger.revoke(id(&user("nobody")), reason).await.expect("an answer");
    assert_eq!(nobodys, None);
}

async fn an_audit_names_holders_that_are_wrong(store: Store) {
    let cases = [
        "DELETE FROM holders WHERE user_id = 'kim'",
        "UPDATE holders SET sequence = 7 WHERE user_id = 'kim'",
        "UPDATE holders SET user_id = 'choi' WHERE user_id = 'kim'",
        "UPDATE holders SET id = {uuid} WHERE user_id = 'kim'",
        "UPDATE events SET unlisted_after = 2",
    ];
    for tampering in cases {
        let test = TestLedger::new(store).await;
        let (event, _) = won(&test, &["kim", "lee", "park"]).await;
        test.listed().await;
        let test = test.reopen(Purpose::Visit).await;
        test.tamper(tampering).await;
        let audit = test.ledger.audit(event.id).await.expect("an answer").expect("the event");
        let failed: Vec<_> = audit.checks.iter().filter(|check| !check.pass).collect();
        let [check] = failed[..] else { panic!("{tampering}: {audit:?}") };
        assert_eq!(check.name, "coupons_found_by_holder", "{tampering}");
    }
}
