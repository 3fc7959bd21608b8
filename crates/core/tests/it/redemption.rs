//! The redemption rule as tables.

use firstcome_core::redemption::discount_amount;
use firstcome_core::{
    Amount, Attempt, Benefit, Conditions, Currency, IssuedCouponId, IssuedRule, IssuedState, Label,
    MinOrderAmount, NotRedeemed, Order, OrderId, OrderItem, Percent, Redeemed, Redemption,
    RedemptionId, Timestamp, Unmet, redeem,
};
use uuid::Uuid;

use crate::sample::at;

const FROM: i64 = 1_000;
const UNTIL: i64 = 2_000;

fn amount(number: u64) -> Amount {
    Amount::parse(number.into()).expect("an amount")
}

fn labels(texts: &[&str]) -> Vec<Label> {
    texts.iter().map(|text| Label::parse(text).expect("a label")).collect()
}

/// 5,000 won off.
fn five_thousand() -> Benefit {
    Benefit::Amount { amount: amount(5_000), currency: Currency::krw() }
}

fn percent(percent: i128, max_amount: Option<u64>) -> Benefit {
    let percent = Percent::parse(percent).expect("a percentage");
    Benefit::Percent { percent, max_amount: max_amount.map(amount), currency: Currency::krw() }
}

fn anything() -> Conditions {
    Conditions {
        min_order_amount: MinOrderAmount::MIN,
        product_ids: Vec::new(),
        category_ids: Vec::new(),
    }
}

fn unused() -> IssuedRule {
    IssuedRule { valid_from: at(FROM), expires_at: at(UNTIL), used_at: None, revoked_at: None }
}

fn used() -> IssuedRule {
    IssuedRule { used_at: Some(at(FROM)), ..unused() }
}

fn order(id: &str, order_amount: u64) -> Order {
    let id = OrderId::parse(id).expect("an order id");
    Order { id, amount: amount(order_amount), currency: Currency::krw(), items: Vec::new() }
}

fn item(product_id: &str, category_ids: &[&str]) -> OrderItem {
    let product_id = Label::parse(product_id).expect("a label");
    OrderItem { product_id, category_ids: labels(category_ids), amount: None }
}

fn attempt(id: u128, order: &Order) -> Attempt {
    Attempt {
        id: RedemptionId::from_uuid(Uuid::from_u128(id)),
        issued_coupon_id: IssuedCouponId::from_uuid(Uuid::from_u128(7)),
        order: order.clone(),
    }
}

/// The redemption that `order` got at `FROM`.
fn redemption(order: &Order, cancelled_at: Option<Timestamp>) -> Redemption {
    let Attempt { id, issued_coupon_id, .. } = attempt(1, order);
    Redemption {
        id,
        issued_coupon_id,
        order_id: order.id.clone(),
        order_amount: order.amount,
        discount_amount: 5_000,
        currency: order.currency.clone(),
        redeemed_at: at(FROM),
        cancelled_at,
    }
}

/// Redeems 5,000 won off anything.
fn redeem_plain(
    issued: &IssuedRule,
    prior: &[Redemption],
    order: &Order,
    now: i64,
) -> Result<Redeemed, NotRedeemed> {
    redeem(&attempt(2, order), issued, &five_thousand(), &anything(), prior, at(now))
}

/// The redemption that a first attempt on this order makes at `now`.
fn new(order: &Order, now: i64) -> Result<Redeemed, NotRedeemed> {
    let id = attempt(2, order).id;
    let made = Redemption { id, redeemed_at: at(now), ..redemption(order, None) };
    Ok(Redeemed::New(made))
}

#[test]
fn the_state_of_an_issued_coupon() {
    let revoked = IssuedRule { revoked_at: Some(at(FROM)), ..unused() };
    for (rule, now, state) in [
        (unused(), 0, IssuedState::Issued),
        (unused(), FROM, IssuedState::Issued),
        (unused(), UNTIL - 1, IssuedState::Issued),
        (unused(), UNTIL, IssuedState::Expired),
        (used(), UNTIL - 1, IssuedState::Used),
        (used(), UNTIL, IssuedState::Used),
        (revoked, FROM, IssuedState::Revoked),
        (revoked, UNTIL, IssuedState::Revoked),
    ] {
        assert_eq!(rule.state(at(now)), state, "{rule:?} at {now}");
    }
    for state in IssuedState::ALL {
        assert_eq!(IssuedState::parse(state.as_str()), Some(state));
    }
    assert_eq!(IssuedState::parse("ISSUED"), None);
}

#[test]
fn validity_is_half_open() {
    let order = order("o-1", 20_000);
    for (now, expected) in [
        (FROM - 1, Err(NotRedeemed::NotYetValid)),
        (FROM, new(&order, FROM)),
        (UNTIL - 1, new(&order, UNTIL - 1)),
        (UNTIL, Err(NotRedeemed::Expired)),
    ] {
        assert_eq!(redeem_plain(&unused(), &[], &order, now), expected, "at {now}");
    }
}

#[test]
fn the_same_order_gets_its_redemption_again_whatever_happened_since() {
    let order = order("o-1", 20_000);
    let active = redemption(&order, None);
    let cancelled = redemption(&order, Some(at(1_500)));
    let revoked = IssuedRule { revoked_at: Some(at(1_600)), ..unused() };
    for (issued, prior, now) in [
        (used(), &active, FROM),
        (used(), &active, UNTIL),
        (unused(), &cancelled, 1_700),
        (unused(), &cancelled, UNTIL),
        (revoked, &cancelled, 1_700),
    ] {
        let answer = redeem_plain(&issued, std::slice::from_ref(prior), &order, now);
        assert_eq!(answer, Ok(Redeemed::Same(prior.clone())));
    }
}

#[test]
fn the_same_order_with_another_amount_or_currency() {
    let first = order("o-1", 20_000);
    let prior = [redemption(&first, None)];
    let dollars = Currency::parse("USD").expect("a currency");
    for changed in [
        Order { amount: amount(20_001), ..first.clone() },
        Order { currency: dollars, ..first.clone() },
    ] {
        for now in [FROM, UNTIL] {
            let answer = redeem_plain(&used(), &prior, &changed, now);
            assert_eq!(answer, Err(NotRedeemed::OrderMismatch));
        }
    }
    let items = Order { items: vec![item("p", &[])], ..first };
    assert!(redeem_plain(&used(), &prior, &items, FROM).is_ok(), "items are not the order's sum");
}

#[test]
fn one_use_only() {
    let prior = [redemption(&order("o-1", 20_000), None)];
    for now in [0, FROM, UNTIL] {
        let answer = redeem_plain(&used(), &prior, &order("o-2", 20_000), now);
        assert_eq!(answer, Err(NotRedeemed::AlreadyUsed(prior[0].clone())));
    }
}

#[test]
fn a_cancelled_redemption_frees_the_coupon_for_another_order() {
    let prior = [redemption(&order("o-1", 20_000), Some(at(1_500)))];
    let second = order("o-2", 20_000);
    assert_eq!(redeem_plain(&unused(), &prior, &second, 1_600), new(&second, 1_600));
    let answer = redeem_plain(&unused(), &prior, &second, UNTIL);
    assert_eq!(answer, Err(NotRedeemed::Expired));
}

#[test]
fn a_revoked_coupon_is_refused_before_all_else() {
    let revoked = IssuedRule { revoked_at: Some(at(FROM)), ..unused() };
    for now in [0, FROM, UNTIL] {
        let answer = redeem_plain(&revoked, &[], &order("o-1", 20_000), now);
        assert_eq!(answer, Err(NotRedeemed::Revoked));
    }
}

#[test]
fn time_is_told_before_conditions() {
    let conditions = Conditions { product_ids: labels(&["p1"]), ..anything() };
    for (now, expected) in [(0, NotRedeemed::NotYetValid), (UNTIL, NotRedeemed::Expired)] {
        let attempt = attempt(2, &order("o-1", 20_000));
        let answer = redeem(&attempt, &unused(), &five_thousand(), &conditions, &[], at(now));
        assert_eq!(answer, Err(expected), "at {now}");
    }
}

#[test]
#[should_panic(expected = "used is what has an active redemption")]
fn used_without_a_redemption_is_a_bug() {
    let _ = redeem_plain(&used(), &[], &order("o-1", 20_000), FROM);
}

#[test]
fn the_discount() {
    let max = Amount::MAX.get();
    for (benefit, order_amount, discount) in [
        (five_thousand(), 20_000, 5_000),
        (five_thousand(), 5_000, 5_000),
        (five_thousand(), 4_999, 4_999),
        (five_thousand(), 1, 1),
        (percent(10, None), 20_000, 2_000),
        (percent(10, None), 19_999, 1_999),
        (percent(10, None), 9, 0),
        (percent(1, None), 99, 0),
        (percent(33, None), 100, 33),
        (percent(10, Some(3_000)), 29_999, 2_999),
        (percent(10, Some(3_000)), 30_001, 3_000),
        (percent(100, None), max, max),
        (percent(100, Some(1)), max, 1),
        (percent(99, None), max, max / 100 * 99),
        (percent(100, Some(max)), 7, 7),
    ] {
        let found = discount_amount(&benefit, amount(order_amount));
        assert_eq!(found, discount, "{benefit:?} of {order_amount}");
        assert!(found <= order_amount);
    }
}

#[track_caller]
fn check_conditions(conditions: &Conditions, order: &Order, unmet: Vec<Unmet>) {
    let attempt = attempt(2, order);
    let answer = redeem(&attempt, &unused(), &five_thousand(), conditions, &[], at(FROM));
    let expected =
        if unmet.is_empty() { new(order, FROM) } else { Err(NotRedeemed::ConditionsNotMet(unmet)) };
    assert_eq!(answer, expected);
}

#[test]
fn the_least_order_amount() {
    let min_order_amount = MinOrderAmount::parse(20_000).expect("an amount");
    let conditions = Conditions { min_order_amount, ..anything() };
    check_conditions(&conditions, &order("o", 20_000), Vec::new());
    let unmet = Unmet::MinOrderAmount { expected: min_order_amount, found: amount(19_999) };
    check_conditions(&conditions, &order("o", 19_999), vec![unmet]);
}

#[test]
fn any_one_item_of_the_products_or_categories() {
    let products = Conditions { product_ids: labels(&["p1", "p2"]), ..anything() };
    let categories = Conditions { category_ids: labels(&["c1", "c2"]), ..anything() };
    let both = Conditions { category_ids: labels(&["c1"]), ..products.clone() };
    let order = |items: &[OrderItem]| Order { items: items.to_vec(), ..order("o", 20_000) };

    check_conditions(&products, &order(&[item("x", &[]), item("p2", &[])]), Vec::new());
    check_conditions(&categories, &order(&[item("x", &["y", "c2"])]), Vec::new());
    check_conditions(&both, &order(&[item("p1", &["c1"])]), Vec::new());
    check_conditions(&both, &order(&[item("p1", &[]), item("x", &["c1"])]), Vec::new());

    let no_product = |found: &[&str]| Unmet::ProductIds {
        expected: labels(&["p1", "p2"]),
        found: labels(found),
    };
    let no_category = |expected: &[&str], found: &[&str]| Unmet::CategoryIds {
        expected: labels(expected),
        found: labels(found),
    };
    check_conditions(&products, &order(&[]), vec![no_product(&[])]);
    check_conditions(&products, &order(&[item("P1", &["p1"])]), vec![no_product(&["P1"])]);
    let unmet = no_category(&["c1", "c2"], &["x"]);
    check_conditions(&categories, &order(&[item("c1", &["x"])]), vec![unmet]);
    check_conditions(&both, &order(&[item("p1", &[])]), vec![no_category(&["c1"], &[])]);
    let unmet = vec![no_product(&["x"]), no_category(&["c1"], &[])];
    check_conditions(&both, &order(&[item("x", &[])]), unmet);
}

#[test]
fn another_currency_and_everything_else_unmet_is_told_at_once() {
    let min_order_amount = MinOrderAmount::parse(20_000).expect("an amount");
    let conditions = Conditions { min_order_amount, ..anything() };
    let dollars = Currency::parse("USD").expect("a currency");
    let order = Order { currency: dollars.clone(), ..order("o", 10) };
    let currency = Unmet::Currency { expected: Currency::krw(), found: dollars };
    let too_small = Unmet::MinOrderAmount { expected: min_order_amount, found: amount(10) };
    check_conditions(&conditions, &order, vec![currency, too_small]);
}
