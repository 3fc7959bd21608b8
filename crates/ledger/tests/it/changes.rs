//! The trail of admins' changes: told in the transaction of the change, and never changed.

use std::convert::Infallible;

use firstcome_core::{
    Amount, Attempt, CouponId, Currency, Label, Name, Order, OrderId, Quantity, Redeemed,
    RedemptionId, Timestamp, UserId,
};
use firstcome_ledger::{
    By, ChangeQuery, ChangeRecord, Decision, EventRecord, IssuedCouponRecord, Ledger, Resource,
};
use serde_json::{Value, json};
use uuid::Uuid;

use crate::support::{OPENS_AT, Place, Store, TestLedger, draft, on_every_store};

on_every_store! {
    a_change_is_told_as_it_was_and_as_it_became,
    what_nobody_is_named_for_is_not_told,
    what_is_refused_is_not_told,
    a_revocation_and_a_cancel_are_told_once,
    changes_are_listed_newest_first_by_page_and_filter,
    what_was_told_stays,
}

fn user(id: &str) -> UserId {
    UserId::parse(id).expect("a user id")
}

fn by(ledger: &Ledger, action: &'static str) -> Ledger {
    ledger.by(By { actor: user("admin"), action, request_id: format!("r-{action}") })
}

async fn told(ledger: &Ledger, query: ChangeQuery) -> Vec<ChangeRecord> {
    ledger.changes(&ChangeQuery { limit: 100, ..query }).await.expect("the ledger answers")
}

async fn all(ledger: &Ledger) -> Vec<ChangeRecord> {
    told(ledger, ChangeQuery::default()).await
}

async fn double(ledger: &Ledger, event: &EventRecord) {
    let double = |mut record: EventRecord| {
        let quantity = record.rule.quantity.get() * 2;
        record.rule.quantity = Quantity::parse(quantity.into()).expect("a quantity");
        Ok::<_, Infallible>(record)
    };
    let _ = ledger.change_event(event.id, double).await.expect("an answer").expect("the event");
}

async fn a_change_is_told_as_it_was_and_as_it_became(store: Store) {
    let test = TestLedger::new(store).await;
    let id = CouponId::from_uuid(Uuid::now_v7());
    let made = by(&test.ledger, "create").create_coupon(id, draft()).await;
    made.expect("the ledger answers");
    let name = Name::parse("새 이름 🎉").expect("a name");
    let rename = move |found: &firstcome_ledger::CouponRecord| {
        Ok::<_, Infallible>(firstcome_core::CouponDraft { name, ..found.draft.clone() })
    };
    test.clock.set(OPENS_AT + 5);
    let changed = by(&test.ledger, "change").change_coupon(id, rename).await;
    let _ = changed.expect("the ledger answers").expect("the coupon");

    let [change, create] = &all(&test.ledger).await[..] else { panic!("two changes") };
    let coupon = json!({
        "name": "5,000원",
        "benefit": {"type": "amount", "amount": 5_000, "currency": "KRW"},
        "conditions": {"min_order_amount": 0, "product_ids": [], "category_ids": []},
        "validity": {"type": "days", "days": 30},
    });
    assert_eq!((create.before.as_ref(), create.after.as_ref()), (None, Some(&coupon)));
    let mut renamed = coupon.clone();
    renamed["name"] = "새 이름 🎉".into();
    let expected = ChangeRecord {
        id: change.id,
        at: Timestamp::from_micros(OPENS_AT + 5),
        actor: user("admin"),
        action: "change".to_owned(),
        resource: Resource::Coupon,
        resource_id: id.to_string(),
        before: Some(coupon),
        after: Some(renamed),
        request_id: "r-change".to_owned(),
    };
    assert_eq!(change, &expected);

    let event = test.event(10).await;
    double(&by(&test.ledger, "change"), &event).await;
    let [change, ..] = &all(&test.ledger).await[..] else { panic!("a change") };
    let quantity = |value: &Option<Value>| value.as_ref().map(|event| event["quantity"].clone());
    assert_eq!(quantity(&change.before), Some(json!(10)));
    assert_eq!(quantity(&change.after), Some(json!(20)));
    assert_eq!(change.after.as_ref().map(|event| event["state"].clone()), Some(json!("open")));
}

async fn what_nobody_is_named_for_is_not_told(store: Store) {
    let test = TestLedger::new(store).await;
    let event = test.event(10).await;
    double(&test.ledger, &event).await;
    test.claim(&event, &["kim"]).await;
    assert_eq!(all(&test.ledger).await, []);
}

async fn what_is_refused_is_not_told(store: Store) {
    let test = TestLedger::new(store).await;
    let event = test.event(10).await;
    let refused = by(&test.ledger, "change").change_event(event.id, |_| Err("no")).await;
    assert!(matches!(refused.expect("an answer"), Some(Err("no"))));
    assert_eq!(all(&test.ledger).await, []);
}

async fn issued(test: &TestLedger, event: &EventRecord, holder: &str) -> IssuedCouponRecord {
    match test.claim(event, &[holder]).await.remove(0) {
        Decision::Issued(coupon) => coupon,
        other => panic!("not won: {other:?}"),
    }
}

async fn a_revocation_and_a_cancel_are_told_once(store: Store) {
    let test = TestLedger::new(store).await;
    let event = test.event(10).await;
    let (kims, lees) = (issued(&test, &event, "kim").await, issued(&test, &event, "lee").await);
    let order = Order {
        id: OrderId::parse("A-1").expect("an order id"),
        amount: Amount::parse(30_000).expect("an amount"),
        currency: Currency::krw(),
        items: Vec::new(),
    };
    let id = RedemptionId::from_uuid(Uuid::now_v7());
    let attempt = Attempt { id, issued_coupon_id: lees.id, order };
    let redeemed = test.ledger.redeem(user("lee"), attempt).await.expect("an answer");
    assert!(matches!(redeemed, Some(Ok(Redeemed::New(_)))));
    for _ in ["first", "again"] {
        let reason = Label::parse("부정 사용").expect("a reason");
        let revoked = by(&test.ledger, "revoke").revoke(kims.id, reason).await;
        assert!(matches!(revoked.expect("an answer"), Some(Ok(_))));
        let cancelled = by(&test.ledger, "cancel").cancel_redemption(id).await;
        assert!(cancelled.expect("an answer").is_some());
    }
    let [cancel, revoke] = &all(&test.ledger).await[..] else { panic!("two changes") };
    let (event_id, issued_coupon_id) = (event.id.to_string(), lees.id.to_string());
    assert_eq!(
        (revoke.resource, &revoke.resource_id),
        (Resource::IssuedCoupon, &kims.id.to_string())
    );
    let before = json!({"event_id": event_id, "sequence": 1, "state": "issued"});
    assert_eq!(revoke.before, Some(before));
    let after = json!(
        {"event_id": event_id, "sequence": 1, "state": "revoked", "reason": "부정 사용"}
    );
    assert_eq!(revoke.after, Some(after), "of whom it was is not told");
    assert_eq!((cancel.resource, &cancel.resource_id), (Resource::Redemption, &id.to_string()));
    let of = |state: &str| {
        let id = &issued_coupon_id;
        json!({"issued_coupon_id": id, "order_id": "A-1", "state": state})
    };
    assert_eq!((&cancel.before, &cancel.after), (&Some(of("redeemed")), &Some(of("cancelled"))));
}

async fn changes_are_listed_newest_first_by_page_and_filter(store: Store) {
    let test = TestLedger::new(store).await;
    let events = [test.event(10).await, test.event(10).await];
    for event in &events {
        double(&by(&test.ledger, "change"), event).await;
        let lee = By { actor: user("lee"), action: "pause", request_id: "r".to_owned() };
        double(&test.ledger.by(lee), event).await;
    }
    let everything = all(&test.ledger).await;
    assert_eq!(everything.len(), 4);
    assert!(everything.is_sorted_by(|newer, older| newer.id > older.id));

    let mut paged = Vec::new();
    while paged.len() < 4 {
        let after = paged.last().map(|change: &ChangeRecord| change.id);
        let query = ChangeQuery { limit: 3, after, ..ChangeQuery::default() };
        paged.extend(test.ledger.changes(&query).await.expect("the ledger answers"));
    }
    assert_eq!(paged, everything);

    let count = async |query| told(&test.ledger, query).await.len();
    let of_lee = ChangeQuery { actor: Some("lee".to_owned()), ..ChangeQuery::default() };
    let lee_upper = ChangeQuery { actor: Some("LEE".to_owned()), ..ChangeQuery::default() };
    assert_eq!((count(of_lee).await, count(lee_upper).await), (2, 0));
    let first = Some(events[0].id.to_string());
    let of_first = ChangeQuery {
        resource: Some(Resource::Event),
        resource_id: first.clone(),
        ..ChangeQuery::default()
    };
    let of_coupon = ChangeQuery { resource: Some(Resource::Coupon), ..of_first.clone() };
    assert_eq!((count(of_first).await, count(of_coupon).await), (2, 0));
    let both =
        ChangeQuery { actor: Some("lee".to_owned()), resource_id: first, ..Default::default() };
    assert_eq!(count(both).await, 1);
}

/// There they are left to whoever has the right: docs/operations/databases.md.
const MARIADB_TRIGGER: &str = "
    CREATE TRIGGER NAME BEFORE OPERATION ON changes
        FOR EACH ROW SIGNAL SQLSTATE '45000' SET MESSAGE_TEXT = 'changes are only added to'";

async fn what_was_told_stays(store: Store) {
    let test = TestLedger::new(store).await;
    if store == Store::MariaDb {
        for (name, operation) in [("changes_keep", "UPDATE"), ("changes_stay", "DELETE")] {
            let trigger = MARIADB_TRIGGER.replace("NAME", name).replace("OPERATION", operation);
            test.place().execute(&trigger).await;
        }
    }
    let event = test.event(10).await;
    double(&by(&test.ledger, "change"), &event).await;
    for sql in ["UPDATE changes SET actor = 'lee'", "DELETE FROM changes"] {
        assert!(refused(test.place(), sql).await.contains("changes are only added to"), "{sql}");
    }
    assert_eq!(all(&test.ledger).await.len(), 1);
}

/// What the database says to a statement that it refuses.
async fn refused(place: &Place, sql: &str) -> String {
    match place {
        Place::Directory(_) => {
            let db = rusqlite::Connection::open(place.path()).expect("the file opens");
            db.execute_batch(sql).expect_err(sql).to_string()
        }
        Place::Database(database) => database.refused(sql).await,
    }
}
