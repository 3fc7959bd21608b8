//! Identifiers.

use firstcome_core::{AccountId, EventId, IssuedCouponId, UserId};

use crate::sample::user;

const CANONICAL: &str = "0199a8e2-7c1b-7d3e-8f00-0123456789ab";

#[test]
fn an_id_is_read_in_its_canonical_form_only() {
    let id = EventId::parse(CANONICAL).expect("canonical");
    assert_eq!(id.to_string(), CANONICAL);
    assert_eq!(EventId::parse(&CANONICAL.to_uppercase()), Some(id), "case means nothing in a UUID");

    for text in [
        "",
        "x",
        "0199a8e27c1b7d3e8f000123456789ab",
        "{0199a8e2-7c1b-7d3e-8f00-0123456789ab}",
        "urn:uuid:0199a8e2-7c1b-7d3e-8f00-0123456789ab",
        "0199a8e2-7c1b-7d3e-8f00-0123456789a",
        "0199a8e2-7c1b-7d3e-8f00-0123456789abc",
        "0199a8e2-7c1b-7d3e-8f00-0123456789ag",
        "0199a8e27-c1b-7d3e-8f00-0123456789ab",
        " 0199a8e2-7c1b-7d3e-8f00-0123456789a",
        "0199a8e2-7c1b-7d3e-8f00-012345678쿠",
        "0199a8e2_7c1b_7d3e_8f00_0123456789ab",
    ] {
        assert_eq!(EventId::parse(text), None, "{text:?}");
    }
}

#[test]
fn a_user_id_is_visible_ascii() {
    let longest = "u".repeat(128);
    for text in ["u", "A-z_0.9~", "auth0|12345", "!", "~", "a@b.c", longest.as_str()] {
        assert_eq!(UserId::parse(text).expect("a user id").as_str(), text);
    }
    let too_long = "u".repeat(129);
    for text in [
        "",
        " ",
        "a b",
        "a\t",
        "a\n",
        "\0",
        "a\u{7f}",
        "민수",
        "😀",
        "é",
        "a\u{200b}b",
        too_long.as_str(),
    ] {
        let refused = UserId::parse(text).expect_err(text);
        assert_eq!(refused.to_string(), "must be 1 to 128 visible ASCII characters");
    }
}

#[test]
fn user_ids_differ_by_case() {
    assert_ne!(user("Kim"), user("kim"));
}

#[test]
fn an_account_is_a_user() {
    let account = AccountId::parse(CANONICAL).expect("canonical");
    assert_eq!(UserId::from(account).as_str(), CANONICAL);
}

/// The vector was computed by another implementation: Python's
/// `uuid.uuid5(uuid.UUID("0199a8e2-7c1b-7d3e-8f00-0123456789ab"), "user-1")`.
#[test]
fn the_issued_coupon_id_is_the_uuid5_of_event_and_user() {
    let event = EventId::parse(CANONICAL).expect("canonical");
    let id = IssuedCouponId::derive(event, &user("user-1"));
    assert_eq!(id.to_string(), "666d3ea1-c194-5129-afed-ff2829452dda");
    assert_ne!(id, IssuedCouponId::derive(event, &user("user-2")));
    let other = EventId::parse("0199a8e2-7c1b-7d3e-8f00-0123456789ac").expect("canonical");
    assert_ne!(id, IssuedCouponId::derive(other, &user("user-1")));
}
