//! The redemption rule, as tables.

use firstcome_core::redemption::discount_amount;
use firstcome_core::{
    Amount, Attempt, Benefit, Conditions, Currency, IssuedCouponId, IssuedRule, IssuedState, Label,
    MinOrderAmount, NotRedeemed, Order, OrderId, OrderItem, Percent, Redeemed, Redemption,
    RedemptionId, Timestamp, Unmet, limits, redeem,
};
use uuid::Uuid;

/// The coupon is valid in `[FROM, UNTIL)`.
const FROM: i64 = 1_000;
const UNTIL: i64 = 2_000;

fn at(micros: i64) -> Timestamp {
    Timestamp::from_micros(micros)
}

fn amount(number: u64) -> Amount {
    Amount::parse(number.into()).expect("an amount")
}

fn currency(code: &str) -> Currency {
    Currency::parse(code).expect("a currency")
}

fn labels(texts: &[&str]) -> Vec<Label> {
    texts.iter().map(|text| Label::parse(text).expect("a label")).collect()
}

fn fixed(number: u64) -> Benefit {
    Benefit::Amount { amount: amount(number), currency: Currency::krw() }
}

fn percent(number: i128, cap: Option<u64>) -> Benefit {
    Benefit::Percent {
        percent: Percent::parse(number).expect("a percentage"),
        max_amount: cap.map(amount),
        currency: Currency::krw(),
    }
}

fn conditions(min_order_amount: u64, product_ids: &[&str], category_ids: &[&str]) -> Conditions {
    Conditions {
        min_order_amount: MinOrderAmount::parse(min_order_amount.into()).expect("an amount"),
        product_ids: labels(product_ids),
        category_ids: labels(category_ids),
    }
}

fn order(id: &str, number: u64) -> Order {
    Order {
        id: OrderId::parse(id).expect("an order id"),
        amount: amount(number),
        currency: Currency::krw(),
        items: Vec::new(),
    }
}

fn item(product_id: &str, category_ids: &[&str]) -> OrderItem {
    let product_id = Label::parse(product_id).expect("a label");
    OrderItem { product_id, category_ids: labels(category_ids), amount: None }
}

fn redemption(order_id: &str, cancelled_at: Option<i64>) -> Redemption {
    Redemption {
        id: RedemptionId::from_uuid(Uuid::from_u128(1)),
        issued_coupon_id: IssuedCouponId::from_uuid(Uuid::from_u128(7)),
        order_id: OrderId::parse(order_id).expect("an order id"),
        order_amount: amount(30_000),
        discount_amount: 5_000,
        currency: Currency::krw(),
        redeemed_at: at(FROM),
        cancelled_at: cancelled_at.map(at),
    }
}

fn unused() -> IssuedRule {
    IssuedRule { valid_from: at(FROM), expires_at: at(UNTIL), used_at: None, revoked_at: None }
}

fn used() -> IssuedRule {
    IssuedRule { used_at: Some(at(FROM)), ..unused() }
}

fn revoked() -> IssuedRule {
    IssuedRule { revoked_at: Some(at(FROM)), ..unused() }
}

fn attempt(order: Order) -> Attempt {
    Attempt {
        id: RedemptionId::from_uuid(Uuid::from_u128(2)),
        issued_coupon_id: IssuedCouponId::from_uuid(Uuid::from_u128(7)),
        order,
    }
}

/// Redeems 5,000 off for the order at a moment, after `prior`.
fn outcome(
    issued: IssuedRule,
    prior: &[Redemption],
    order: Order,
    now: i64,
) -> Result<Redeemed, NotRedeemed> {
    redeem(&attempt(order), &issued, &fixed(5_000), &conditions(0, &[], &[]), prior, at(now))
}

#[test]
fn a_state_is_revoked_before_used_before_expired() {
    let both = IssuedRule { revoked_at: Some(at(FROM)), ..used() };
    let table = [
        (unused(), FROM - 1, IssuedState::Issued),
        (unused(), FROM, IssuedState::Issued),
        (unused(), UNTIL - 1, IssuedState::Issued),
        (unused(), UNTIL, IssuedState::Expired),
        (used(), FROM, IssuedState::Used),
        (used(), UNTIL, IssuedState::Used),
        (revoked(), FROM, IssuedState::Revoked),
        (revoked(), UNTIL, IssuedState::Revoked),
        (both, UNTIL, IssuedState::Revoked),
    ];
    for (rule, now, expected) in table {
        assert_eq!(rule.state(at(now)), expected, "{rule:?} at {now}");
    }
}

#[test]
fn the_words_of_the_states_are_read_back() {
    for state in IssuedState::ALL {
        assert_eq!(IssuedState::parse(state.as_str()), Some(state));
    }
    assert_eq!(IssuedState::parse("Issued"), None);
}

#[test]
fn a_new_redemption_holds_the_order_and_the_discount() {
    let new = outcome(unused(), &[], order("A-1", 30_000), FROM);
    let expected =
        Redemption { id: RedemptionId::from_uuid(Uuid::from_u128(2)), ..redemption("A-1", None) };
    assert_eq!(new, Ok(Redeemed::New(expected)));
}

#[test]
fn validity_is_half_open() {
    let at_moment = |now| outcome(unused(), &[], order("A-1", 30_000), now);
    assert_eq!(at_moment(FROM - 1), Err(NotRedeemed::NotYetValid));
    assert!(matches!(at_moment(FROM), Ok(Redeemed::New(_))));
    assert!(matches!(at_moment(UNTIL - 1), Ok(Redeemed::New(_))));
    assert_eq!(at_moment(UNTIL), Err(NotRedeemed::Expired));
}

#[test]
fn the_same_order_gets_its_redemption_whatever_happened_since() {
    let (active, cancelled) = (redemption("A-1", None), redemption("A-1", Some(1_500)));
    let table = [
        ("while valid", used(), active.clone(), FROM),
        ("after expiry", used(), active.clone(), UNTIL),
        ("after a cancel", unused(), cancelled.clone(), FROM),
        ("after a cancel and expiry", unused(), cancelled.clone(), UNTIL),
        ("after a cancel and a revocation", revoked(), cancelled.clone(), FROM),
    ];
    for (when, issued, prior, now) in table {
        let same = outcome(issued, std::slice::from_ref(&prior), order("A-1", 30_000), now);
        assert_eq!(same, Ok(Redeemed::Same(prior)), "{when}");
    }
}

#[test]
fn the_same_order_with_another_amount_or_currency_is_a_mismatch() {
    let prior = [redemption("A-1", None)];
    let dollars = Order { currency: currency("USD"), ..order("A-1", 30_000) };
    for other in [order("A-1", 30_001), dollars] {
        let mismatch = outcome(used(), &prior, other, UNTIL);
        assert_eq!(mismatch, Err(NotRedeemed::OrderMismatch));
    }
}

#[test]
fn another_order_meets_the_first_reason_that_applies() {
    let active = redemption("A-1", None);
    let cancelled = redemption("A-1", Some(1_500));
    let other = || order("A-2", 30_000);
    let already_used = NotRedeemed::AlreadyUsed(active.clone());
    let table = [
        ("used", used(), active.clone(), FROM, already_used.clone()),
        ("used, then expired", used(), active, UNTIL, already_used),
        ("revoked", revoked(), cancelled.clone(), FROM, NotRedeemed::Revoked),
        ("revoked and expired", revoked(), cancelled.clone(), UNTIL, NotRedeemed::Revoked),
        ("cancelled, then expired", unused(), cancelled.clone(), UNTIL, NotRedeemed::Expired),
    ];
    for (what, issued, prior, now, expected) in table {
        assert_eq!(outcome(issued, &[prior], other(), now), Err(expected), "{what}");
    }
    let again = outcome(unused(), &[cancelled], other(), FROM);
    assert!(matches!(again, Ok(Redeemed::New(_))), "a cancelled use leaves the coupon usable");
}

#[test]
fn time_is_told_before_conditions() {
    let asked = conditions(40_000, &[], &[]);
    let attempt = attempt(order("A-1", 30_000));
    let at_moment = |now| redeem(&attempt, &unused(), &fixed(1), &asked, &[], at(now));
    assert_eq!(at_moment(FROM - 1), Err(NotRedeemed::NotYetValid));
    assert_eq!(at_moment(UNTIL), Err(NotRedeemed::Expired));
    assert!(matches!(at_moment(FROM), Err(NotRedeemed::ConditionsNotMet(_))));
}

#[test]
fn the_discount_is_floored_capped_and_never_above_the_order() {
    let table = [
        (fixed(5_000), 30_000, 5_000),
        (fixed(5_000), 5_000, 5_000),
        (fixed(5_000), 4_999, 4_999),
        (percent(10, None), 30_000, 3_000),
        (percent(10, Some(2_999)), 30_000, 2_999),
        (percent(10, Some(3_000)), 30_000, 3_000),
        (percent(10, Some(3_001)), 30_000, 3_000),
        (percent(33, None), 10, 3),
        (percent(1, None), 99, 0),
        (percent(100, None), 1, 1),
        (percent(100, None), limits::AMOUNT_MAX, limits::AMOUNT_MAX),
        (percent(99, None), limits::AMOUNT_MAX, limits::AMOUNT_MAX / 100 * 99),
    ];
    for (benefit, order_amount, expected) in table {
        let found = discount_amount(&benefit, amount(order_amount));
        assert_eq!(found, expected, "{benefit:?} of {order_amount}");
    }
}

/// The conditions that an order does not meet, at a moment when everything else is right.
fn unmet(asked: &Conditions, order: Order) -> Vec<Unmet> {
    match redeem(&attempt(order), &unused(), &fixed(5_000), asked, &[], at(FROM)) {
        Ok(_) => Vec::new(),
        Err(NotRedeemed::ConditionsNotMet(unmet)) => unmet,
        Err(other) => panic!("refused for another reason: {other}"),
    }
}

#[test]
fn the_minimum_includes_itself() {
    let asked = conditions(20_000, &[], &[]);
    assert_eq!(unmet(&asked, order("A-1", 20_000)), []);
    let (expected, found) = (asked.min_order_amount, amount(19_999));
    let too_little = Unmet::MinOrderAmount { expected, found };
    assert_eq!(unmet(&asked, order("A-1", 19_999)), [too_little]);
}

#[test]
fn another_currency_is_not_met() {
    let dollars = Order { currency: currency("USD"), ..order("A-1", 30_000) };
    let expected = Unmet::Currency { expected: Currency::krw(), found: currency("USD") };
    assert_eq!(unmet(&conditions(0, &[], &[]), dollars), [expected]);
}

#[test]
fn one_item_suffices_for_each_list_of_ids() {
    let (shoes, hats) = (item("shoes", &["wear", "feet"]), item("hats", &["heads"]));
    let with = |items: &[&OrderItem]| Order {
        items: items.iter().map(|item| (*item).clone()).collect(),
        ..order("A-1", 30_000)
    };
    let products = |found| Unmet::ProductIds { expected: labels(&["shoes"]), found: labels(found) };
    let categories =
        |found| Unmet::CategoryIds { expected: labels(&["heads"]), found: labels(found) };
    let both = conditions(0, &["shoes"], &["heads"]);
    let table = [
        (conditions(0, &["shoes"], &[]), with(&[]), vec![products(&[])]),
        (conditions(0, &["shoes"], &[]), with(&[&hats]), vec![products(&["hats"])]),
        (conditions(0, &["shoes"], &[]), with(&[&hats, &shoes]), vec![]),
        (conditions(0, &["boots", "hats"], &[]), with(&[&hats]), vec![]),
        (conditions(0, &[], &["heads"]), with(&[&shoes]), vec![categories(&["wear", "feet"])]),
        (conditions(0, &[], &["heads"]), with(&[&shoes, &hats]), vec![]),
        (both.clone(), with(&[&shoes, &hats]), vec![]),
        (both.clone(), with(&[&shoes]), vec![categories(&["wear", "feet"])]),
        (both, with(&[]), vec![products(&[]), categories(&[])]),
    ];
    for (asked, order, expected) in table {
        assert_eq!(unmet(&asked, order.clone()), expected, "{asked:?} of {order:?}");
    }
}

#[test]
fn every_unmet_condition_is_told() {
    let asked = conditions(20_000, &["shoes"], &["heads"]);
    let dollars = Order { currency: currency("USD"), ..order("A-1", 1) };
    assert_eq!(unmet(&asked, dollars).len(), 4);
}
