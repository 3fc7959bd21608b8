//! Every call that takes a body, with a good body and its members.

use firstcome_testkit::{Body, coupon_body, event_body};
use serde_json::json;

use crate::shop::Shop;

/// What a member is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    /// An integer, at least this.
    Integer {
        min: u8,
    },
    /// A text with rules, and texts that break them.
    Text(&'static [&'static str]),
    /// One of some words.
    Word,
    /// A coupon's code: any text may be one, and most are unknown.
    Code,
    Object,
    List,
}

/// One member of a body.
pub(super) struct Member {
    pub(super) pointer: &'static str,
    pub(super) kind: Kind,
    pub(super) required: bool,
}

/// One call with a good body.
pub(super) struct Target {
    pub(super) method: &'static str,
    pub(super) path: String,
    pub(super) token: String,
    pub(super) if_match: Option<String>,
    pub(super) body: Body,
    pub(super) members: Vec<Member>,
    /// What the good body is answered where that is no success.
    pub(super) answers_otherwise: Option<u16>,
}

/// What the calls are about.
pub(super) struct World {
    coupon: String,
    pub(super) event: String,
    issued: String,
    code: String,
    /// The token of who holds the issued coupon.
    pub(super) owner: String,
    checkout: String,
}

impl World {
    pub(super) async fn make(shop: &Shop) -> Self {
        let made = shop.event_of(|body| body).await;
        let event = made.member_text("/id");
        let owner = shop.user("owner").await;
        let issued = shop.claim(&event, &owner).await.expect(201);
        Self {
            coupon: made.member_text("/coupon_id"),
            event,
            issued: issued.member_text("/id"),
            code: issued.member_text("/code"),
            owner,
            checkout: shop.checkout().await,
        }
    }
}

const NAME: Kind = Kind::Text(&["", " ", "a\u{0}b", "줄\n바꿈", "\u{1b}[2J", "\u{7f}"]);
const TIME: Kind =
    Kind::Text(&["", "now", "2026-11-27", "2026-11-27T10:00:00", "내일", "😀", "\u{7}"]);
const ASCII: Kind = Kind::Text(&["", " ", "a b", "주문-1", "😀", "a\u{7}", "é"]);
const CURRENCY: Kind = Kind::Text(&["", "krw", "WON", "원", "💰", "KRW\u{0}"]);
const EMAIL: Kind = Kind::Text(&["", "x", "@", "a b@c.d", "a@b\u{7}", "😀"]);
const PASSWORD: Kind = Kind::Text(&["", "1234567", "비밀번호일곱자", "😀😀"]);
const SCOPE: Kind = Kind::Text(&["", " ", "user", "root", "redeem,admin", "redeem ", "쿠폰"]);
const POSITIVE: Kind = Kind::Integer { min: 1 };

const fn required(pointer: &'static str, kind: Kind) -> Member {
    Member { pointer, kind, required: true }
}

const fn optional(pointer: &'static str, kind: Kind) -> Member {
    Member { pointer, kind, required: false }
}

/// The conditions of a coupon, and the benefit and validity of the first kind.
fn coupon_members() -> Vec<Member> {
    vec![
        required("/name", NAME),
        required("/benefit", Kind::Object),
        required("/benefit/type", Kind::Word),
        required("/benefit/amount", POSITIVE),
        optional("/benefit/currency", CURRENCY),
        optional("/conditions", Kind::Object),
        optional("/conditions/min_order_amount", Kind::Integer { min: 0 }),
        optional("/conditions/product_ids", Kind::List),
        optional("/conditions/category_ids", Kind::List),
        required("/validity", Kind::Object),
        required("/validity/type", Kind::Word),
        required("/validity/days", POSITIVE),
    ]
}

fn coupon() -> Body {
    coupon_body().conditions(json!({
        "min_order_amount": 20_000, "product_ids": ["p1"], "category_ids": ["c1"],
    }))
}

/// A coupon of the other kinds of benefit and validity.
fn other_coupon() -> Body {
    let benefit = json!({"type": "percent", "percent": 10, "max_amount": 3_000, "currency": "KRW"});
    let validity = json!({
        "type": "period", "from": "2026-11-27T00:00:00Z", "until": "2026-12-27T00:00:00Z",
    });
    coupon_body().with("/benefit", benefit).with("/validity", validity)
}

fn other_coupon_members() -> Vec<Member> {
    vec![
        required("/benefit/percent", POSITIVE),
        optional("/benefit/max_amount", POSITIVE),
        required("/validity/from", TIME),
        required("/validity/until", TIME),
    ]
}

fn event_members() -> Vec<Member> {
    vec![
        required("/coupon_id", Kind::Word),
        required("/name", NAME),
        required("/quantity", POSITIVE),
        required("/opens_at", TIME),
        required("/closes_at", TIME),
        optional("/strategy", Kind::Word),
    ]
}

fn order_members() -> Vec<Member> {
    vec![
        required("/order_id", ASCII),
        required("/order_amount", POSITIVE),
        optional("/currency", CURRENCY),
        optional("/items", Kind::List),
        required("/items/0/product_id", NAME),
        optional("/items/0/category_ids", Kind::List),
        optional("/items/0/amount", POSITIVE),
    ]
}

fn order() -> Body {
    json!({
        "order_id": "o-1", "order_amount": 32_000, "currency": "KRW",
        "items": [{"product_id": "p1", "category_ids": ["c1"], "amount": 1_000}],
    })
    .into()
}

/// Members that may all be left out, as in a change.
fn all_optional(members: Vec<Member>) -> Vec<Member> {
    let inner = |member: &Member| member.pointer.matches('/').count() > 1;
    let optional =
        |member: Member| Member { required: member.required && inner(&member), ..member };
    members.into_iter().map(optional).collect()
}

/// Every call that takes a body.
pub(super) fn targets(shop: &Shop, world: &World) -> Vec<Target> {
    let call = |method, path: &str, token: &str, body: Body, members| Target {
        method,
        path: path.to_owned(),
        token: token.to_owned(),
        if_match: None,
        body,
        members,
        answers_otherwise: None,
    };
    let change = |path: &str, body, members| Target {
        if_match: Some("\"1\"".to_owned()),
        ..call("PATCH", path, &shop.admin, body, all_optional(members))
    };
    let credentials: Body = json!({"email": "a@example.com", "password": "a long password"}).into();
    let account = || vec![required("/email", EMAIL), required("/password", PASSWORD)];
    let client: Body = json!({"name": "checkout", "scope": "redeem"}).into();
    let client_members = vec![required("/name", NAME), required("/scope", SCOPE)];
    let event = event_body(&world.coupon).with("/strategy", "ledger");
    let patch = json!({
        "name": "x", "quantity": 20,
        "opens_at": "2020-01-01T00:00:00Z", "closes_at": "2098-01-01T00:00:00Z",
    });
    let patch_members = event_members()
        .into_iter()
        .filter(|member| !matches!(member.pointer, "/coupon_id" | "/strategy"));
    let code = || required("/code", Kind::Code);
    let reason: Body = json!({"reason": "부정 사용"}).into();
    let coupon_path = format!("/v1/coupons/{}", world.coupon);
    let event_path = format!("/v1/events/{}", world.event);
    let redeem_path = format!("/v1/me/coupons/{}/redemptions", world.issued);
    let revoke_path = format!("/v1/issued-coupons/{}/revoke", world.issued);
    let by_code = order().with("/code", world.code.clone());
    vec![
        call("POST", "/v1/users", "", credentials.clone(), account()),
        call("POST", "/v1/sessions", "", credentials, account()),
        call("POST", "/v1/clients", &shop.admin, client, client_members),
        call("POST", "/v1/coupons", &shop.admin, coupon(), coupon_members()),
        call("POST", "/v1/coupons", &shop.admin, other_coupon(), other_coupon_members()),
        change(&coupon_path, coupon(), coupon_members()),
        Target {
            answers_otherwise: Some(412),
            ..change(&coupon_path, other_coupon(), other_coupon_members())
        },
        call("POST", "/v1/events", &shop.admin, event, event_members()),
        change(&event_path, patch.into(), patch_members.collect()),
        call("POST", &redeem_path, &world.owner, order(), order_members()),
        call("POST", "/v1/redemptions", &world.checkout, by_code, {
            let mut members = order_members();
            members.push(code());
            members
        }),
        Target {
            answers_otherwise: Some(409),
            ..call("POST", &revoke_path, &shop.admin, reason, vec![required("/reason", NAME)])
        },
    ]
}
