//! What some codes add to a refusal.

use serde_json::{Value, json};
use utoipa::openapi::schema::{
    AnyOfBuilder, ArrayBuilder, KnownFormat, ObjectBuilder, Schema, SchemaFormat, Type,
};
use utoipa::openapi::{Components, Ref, RefOr};
use utoipa::{PartialSchema, ToSchema};

use super::refused::Codes;
use crate::json::FieldError;
use crate::problem::Code;
use crate::views::{self, IssuedView};

/// A member beyond those of every refusal.
pub(super) struct Member {
    pub(super) name: &'static str,
    pub(super) schema: RefOr<Schema>,
    /// Whether every refusal with the code has it.
    pub(super) is_always_there: bool,
    pub(super) example: Value,
}

/// What a code adds.
pub(super) fn of(code: Code) -> Vec<Member> {
    let always = |name, schema, example| Member { name, schema, is_always_there: true, example };
    let at_times = |name, schema, example| Member { name, schema, is_always_there: false, example };
    let errors = |pointer: &str, detail: &str| json!([{"pointer": pointer, "detail": detail}]);
    let found = match code {
        Code::Malformed => {
            at_times("errors", list("FieldError"), errors("/colour", "is not known here"))
        }
        Code::Invalid => {
            always("errors", list("FieldError"), errors("/name", "must be 1 to 100 characters"))
        }
        Code::AlreadyClaimed => {
            always("issued_coupon", named("IssuedCoupon"), views::issued_example())
        }
        Code::NotOpen => always("opens_at", moment(), "2026-11-27T01:00:00Z".into()),
        Code::WrongState => always("state", named("EventState"), "closed".into()),
        Code::QuantityBelowIssued => always("issued", count(), 1_200.into()),
        Code::AlreadyUsed => always("redemption", named("Redemption"), views::redemption_example()),
        Code::ConditionsNotMet => always("unmet", list("UnmetCondition"), unmet_example()),
        // Only `/readyz` says what is missing.
        Code::Unavailable => at_times("missing", words(), json!(["ledger"])),
        _ => return Vec::new(),
    };
    vec![found]
}

/// Adds what the members of these codes refer to; a redemption is the service's own that has them.
pub(super) fn add(components: &mut Components, used: Codes) {
    let schemas = &mut components.schemas;
    for code in used.iter() {
        match code {
            Code::Malformed | Code::Invalid => {
                schemas.insert("FieldError".to_owned(), FieldError::schema());
            }
            Code::AlreadyClaimed => {
                schemas.insert("IssuedCoupon".to_owned(), IssuedView::schema());
                let mut theirs = Vec::new();
                IssuedView::schemas(&mut theirs);
                schemas.extend(theirs);
            }
            Code::ConditionsNotMet => {
                schemas.insert("UnmetCondition".to_owned(), unmet());
            }
            _ => {}
        }
    }
}

/// A condition that an order does not meet. What was expected and found is a text for `currency`, a
/// number for `min_order_amount`, and a list of ids for the others.
fn unmet() -> RefOr<Schema> {
    let condition = ["currency", "min_order_amount", "product_ids", "category_ids"];
    let condition = ObjectBuilder::new().schema_type(Type::String).enum_values(Some(condition));
    let value = |about: &str| {
        AnyOfBuilder::new()
            .item(ObjectBuilder::new().schema_type(Type::String))
            .item(ObjectBuilder::new().schema_type(Type::Integer).minimum(Some(0)))
            .item(words())
            .description(Some(about))
    };
    ObjectBuilder::new()
        .property("condition", condition)
        .property("expected", value("What the coupon asks for; of a list, one of them."))
        .property("found", value("What the order has."))
        .required("condition")
        .required("expected")
        .required("found")
        .description(Some("A condition of the coupon that the order does not meet."))
        .into()
}

fn unmet_example() -> Value {
    json!([{"condition": "min_order_amount", "expected": 20_000, "found": 12_000}])
}

fn named(schema: &str) -> RefOr<Schema> {
    Ref::from_schema_name(schema).into()
}

fn list(schema: &str) -> RefOr<Schema> {
    ArrayBuilder::new().items(Ref::from_schema_name(schema)).min_items(Some(1)).into()
}

fn words() -> RefOr<Schema> {
    ArrayBuilder::new().items(ObjectBuilder::new().schema_type(Type::String)).into()
}

fn count() -> RefOr<Schema> {
    ObjectBuilder::new().schema_type(Type::Integer).minimum(Some(0)).into()
}

fn moment() -> RefOr<Schema> {
    let format = SchemaFormat::KnownFormat(KnownFormat::DateTime);
    ObjectBuilder::new().schema_type(Type::String).format(Some(format)).into()
}
