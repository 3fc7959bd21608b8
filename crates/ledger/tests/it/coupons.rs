//! Coupons: what is written is read, and a change is met by the next claim.

use std::convert::Infallible;

use firstcome_core::{
    Amount, Benefit, Conditions, CouponDraft, CouponId, Currency, Days, Label, MinOrderAmount,
    Name, Percent, Timestamp, Validity,
};
use firstcome_ledger::{CouponRecord, Decision, LedgerError};
use uuid::Uuid;

use crate::support::{HOUR, OPENS_AT, Store, TestLedger, draft, on_every_store};

on_every_store! {
    what_is_written_is_read,
    an_id_is_taken_once_and_an_unknown_one_is_none,
    pages_are_newest_first_without_gap_or_repeat,
    a_change_moves_version_and_time_and_a_refusal_changes_nothing,
    claims_after_a_change_meet_the_new_validity_and_earlier_ones_keep_theirs,
}

const DAY: i64 = 24 * HOUR;

fn amount(number: i128) -> Amount {
    Amount::parse(number).expect("an amount")
}

fn labels(texts: &[&str]) -> Vec<Label> {
    texts.iter().map(|text| Label::parse(text).expect("a label")).collect()
}

fn percent(max_amount: Option<Amount>) -> Benefit {
    let percent = Percent::parse(10).expect("a percentage");
    Benefit::Percent { percent, max_amount, currency: Currency::parse("USD").expect("a currency") }
}

async fn read(test: &TestLedger, id: CouponId) -> CouponRecord {
    test.ledger.coupon(id).await.expect("the ledger answers").expect("the coupon is there")
}

async fn what_is_written_is_read(store: Store) {
    let test = TestLedger::new(store).await;
    let conditions = Conditions {
        min_order_amount: MinOrderAmount::parse(20_000).expect("an amount"),
        product_ids: labels(&["P-1", "상품 \"둘\""]),
        category_ids: labels(&["신발"]),
    };
    let from = Timestamp::from_micros(OPENS_AT);
    let period = Validity::period(from, Timestamp::from_micros(OPENS_AT + HOUR));
    let drafts = [
        draft(),
        CouponDraft { benefit: percent(None), ..draft() },
        CouponDraft { benefit: percent(Some(amount(3_000))), ..draft() },
        CouponDraft { conditions, validity: period.expect("a period"), ..draft() },
    ];
    for written in drafts {
        let made = test.coupon(written.clone()).await;
        assert_eq!(made.draft, written);
        assert_eq!((made.version, made.created_at, made.updated_at), (1, from, from));
        assert_eq!(read(&test, made.id).await, made);
    }
}

async fn an_id_is_taken_once_and_an_unknown_one_is_none(store: Store) {
    let test = TestLedger::new(store).await;
    let made = test.coupon(draft()).await;
    let again = test.ledger.create_coupon(made.id, draft()).await;
    assert!(matches!(again, Err(LedgerError::Duplicate)), "{again:?}");
    let unknown = CouponId::from_uuid(Uuid::now_v7());
    assert_eq!(test.ledger.coupon(unknown).await.expect("an answer"), None);
    let change = |_: &CouponRecord| Ok::<_, Infallible>(draft());
    let changed = test.ledger.change_coupon(unknown, change).await.expect("an answer");
    assert_eq!(changed, None);
}

async fn pages_are_newest_first_without_gap_or_repeat(store: Store) {
    let test = TestLedger::new(store).await;
    let mut made = Vec::new();
    for _ in 0..5 {
        made.insert(0, test.coupon(draft()).await);
    }
    let mut paged = Vec::new();
    loop {
        let after = paged.last().map(|coupon: &CouponRecord| coupon.id);
        let page = test.ledger.coupons(after, 2).await.expect("a page");
        assert!(page.len() <= 2);
        if page.is_empty() {
            break;
        }
        paged.extend(page);
    }
    assert_eq!(paged, made);
}

async fn a_change_moves_version_and_time_and_a_refusal_changes_nothing(store: Store) {
    let test = TestLedger::new(store).await;
    let made = test.coupon(draft()).await;
    test.clock.set(OPENS_AT + 1);
    let name = Name::parse("10 %").expect("a name");
    let after = CouponDraft { name, benefit: percent(None), ..draft() };
    let wanted = after.clone();
    let change = move |_: &CouponRecord| Ok::<_, Infallible>(after);
    let changed = test.ledger.change_coupon(made.id, change).await.expect("an answer");
    let Ok(changed) = changed.expect("the coupon is there");
    let updated_at = Timestamp::from_micros(OPENS_AT + 1);
    let expected = CouponRecord { draft: wanted, version: 2, updated_at, ..made };
    assert_eq!(changed, expected);
    assert_eq!(read(&test, made.id).await, expected);

    let refuse = |found: &CouponRecord| Err::<CouponDraft, _>(found.version);
    let refused = test.ledger.change_coupon(made.id, refuse).await.expect("an answer");
    assert_eq!(refused, Some(Err(2)));
    assert_eq!(read(&test, made.id).await, expected);
}

async fn claims_after_a_change_meet_the_new_validity_and_earlier_ones_keep_theirs(store: Store) {
    let test = TestLedger::new(store).await;
    let coupon = test.coupon(draft()).await;
    let event = test.event_of(&coupon, 10).await;
    let before = test.claim(&event, &["kim"]).await;
    let week = Validity::Days(Days::parse(7).expect("days"));
    let change = move |found: &CouponRecord| {
        Ok::<_, Infallible>(CouponDraft { validity: week, ..found.draft.clone() })
    };
    test.ledger.change_coupon(coupon.id, change).await.expect("an answer");
    let after = test.claim(&event, &["lee", "kim"]).await;
    let days = |decision: &Decision| match decision {
        Decision::Issued(won) | Decision::AlreadyClaimed(won) => {
            (won.expires_at.as_micros() - OPENS_AT) / DAY
        }
        other => panic!("not a holder: {other:?}"),
    };
    assert_eq!([days(&before[0]), days(&after[0]), days(&after[1])], [30, 7, 30]);
}
