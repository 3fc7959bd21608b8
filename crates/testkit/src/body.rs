//! JSON bodies with safe defaults: a test states only what matters to it.

use serde_json::{Value, json};

/// A JSON body that a test changes member by member.
#[derive(Debug, Clone, PartialEq)]
pub struct Body(Value);

/// A coupon: 5,000 won off any order, for 30 days after issue.
#[must_use]
pub fn coupon_body() -> Body {
    Body(json!({
        "name": "5,000원 할인",
        "benefit": {"type": "amount", "amount": 5_000, "currency": "KRW"},
        "validity": {"type": "days", "days": 30},
    }))
}

/// An event of ten coupons, open from long ago until long hence.
#[must_use]
pub fn event_body(coupon_id: &str) -> Body {
    Body(json!({
        "coupon_id": coupon_id,
        "name": "선착순 10명",
        "quantity": 10,
        "opens_at": "2020-01-01T00:00:00Z",
        "closes_at": "2099-01-01T00:00:00Z",
    }))
}

impl Body {
    /// With the member at this JSON pointer set; objects on the way must be there.
    #[must_use]
    pub fn with(mut self, pointer: &str, value: impl Into<Value>) -> Self {
        let (parent, member) = Self::split(pointer);
        let object = self.0.pointer_mut(parent).and_then(Value::as_object_mut);
        object.expect("an object on the way").insert(member.to_owned(), value.into());
        self
    }

    /// Without the member at this JSON pointer.
    #[must_use]
    pub fn without(mut self, pointer: &str) -> Self {
        let (parent, member) = Self::split(pointer);
        let object = self.0.pointer_mut(parent).and_then(Value::as_object_mut);
        object.expect("an object on the way").remove(member).expect("the member was there");
        self
    }

    /// With this many coupons.
    #[must_use]
    pub fn quantity(self, quantity: u32) -> Self {
        self.with("/quantity", quantity)
    }

    /// With this window.
    #[must_use]
    pub fn window(self, opens_at: &str, closes_at: &str) -> Self {
        self.with("/opens_at", opens_at).with("/closes_at", closes_at)
    }

    /// With these conditions of use.
    #[must_use]
    pub fn conditions(self, conditions: Value) -> Self {
        self.with("/conditions", conditions)
    }

    /// The body itself.
    #[must_use]
    pub const fn json(&self) -> &Value {
        &self.0
    }

    fn split(pointer: &str) -> (&str, &str) {
        pointer.rsplit_once('/').expect("a JSON pointer below the root")
    }
}

impl From<Value> for Body {
    fn from(value: Value) -> Self {
        Self(value)
    }
}
