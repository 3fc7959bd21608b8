//! Every call of the contract: shapes, headers, refusals.

mod accounts;
mod claims;
pub(crate) mod conventions;
mod coupons;
mod events;
mod lists;
mod redemptions;
mod wallet;

use std::collections::BTreeSet;

use firstcome_testkit::Answer;

const NOWHERE: &str = "0199a8e2-7c1b-7d3e-8f00-0123456789ab";
/// Ids that are none of ours.
const MALFORMED_IDS: [&str; 6] =
    ["1", "x", "%00", "..%2F..%2Fetc", "0199a8e27c1b7d3e8f000123456789ab", "%EC%BF%A0%ED%8F%B0"];

/// That the object at this pointer has exactly these members.
#[track_caller]
fn check_members(answer: &Answer, pointer: &str, members: &str) {
    let expected: BTreeSet<String> = members.split_whitespace().map(str::to_owned).collect();
    assert_eq!(answer.members(pointer), expected, "{answer}");
}

/// That this is a moment in UTC.
#[track_caller]
fn check_utc(answer: &Answer, pointer: &str) {
    let text = answer.member_text(pointer);
    let moment = firstcome_core::Timestamp::parse_rfc3339(&text);
    assert!(text.ends_with('Z') && moment.is_ok(), "{pointer} of {answer}");
}
