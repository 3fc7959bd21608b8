//! Schemas of single values.

use std::borrow::Cow;

use firstcome_core::{EventState, IssuedState, Strategy, limits};
use utoipa::openapi::schema::{Discriminator, ObjectBuilder, OneOfBuilder, Schema, Type};
use utoipa::openapi::{Ref, RefOr};
use utoipa::{PartialSchema, ToSchema};

use crate::json::Integer;

impl PartialSchema for Integer {
    fn schema() -> RefOr<Schema> {
        i64::schema()
    }
}

impl ToSchema for Integer {}

macro_rules! words {
    ($($(#[$doc:meta])* $name:ident $schema:literal of $type:ident;)+) => {$(
        $(#[$doc])*
        pub struct $name;

        impl PartialSchema for $name {
            fn schema() -> RefOr<Schema> {
                ObjectBuilder::new()
                    .schema_type(Type::String)
                    .enum_values(Some($type::ALL.map($type::as_str)))
                    .into()
            }
        }

        impl ToSchema for $name {
            fn name() -> Cow<'static, str> {
                $schema.into()
            }
        }
    )+};
}

words! {
    /// The schema of an event's state.
    EventStateWord "EventState" of EventState;
    /// The schema of an issued coupon's state.
    IssuedStateWord "IssuedState" of IssuedState;
    /// The schema of a strategy.
    StrategyWord "Strategy" of Strategy;
}

macro_rules! lines {
    ($($(#[$doc:meta])* $name:ident $schema:literal $chars_max:expr;)+) => {$(
        $(#[$doc])*
        pub struct $name;

        impl PartialSchema for $name {
            fn schema() -> RefOr<Schema> {
                let about = "One line; blanks around it are dropped, and something is left.";
                ObjectBuilder::new()
                    .schema_type(Type::String)
                    .min_length(Some(1))
                    .max_length(Some($chars_max))
                    .pattern(Some(NO_CONTROL_CHARACTER))
                    .description(Some(about))
                    .into()
            }
        }

        impl ToSchema for $name {
            fn name() -> Cow<'static, str> {
                $schema.into()
            }
        }
    )+};
}

/// The control characters of Unicode are those of C0, DEL and C1.
const NO_CONTROL_CHARACTER: &str = r"^[^\u0000-\u001f\u007f-\u009f]*$";

lines! {
    /// The schema of the name of a coupon or event, as it is written.
    NameText "Name" limits::NAME_CHARS_MAX;
    /// The schema of a product id, a category id or a reason, as it is written.
    LabelText "Label" limits::LABEL_CHARS_MAX;
}

/// The schema of a body that says nothing: `{}`.
#[derive(Debug, ToSchema)]
#[schema(as = Empty, examples(json!({})))]
#[serde(deny_unknown_fields)]
pub struct EmptyBody {}

/// One of some objects, told apart by their member `type`: for each its word and the name of its
/// schema.
pub fn one_of(kinds: &[(&str, &str)]) -> RefOr<Schema> {
    let reference = |schema: &str| Ref::from_schema_name(schema);
    let mapping = kinds.iter().map(|(word, schema)| (*word, reference(schema).ref_location));
    let one_of = OneOfBuilder::new();
    let one_of = one_of.discriminator(Some(Discriminator::with_mapping("type", mapping)));
    let items = kinds.iter().map(|(_, schema)| reference(schema));
    Schema::OneOf(items.fold(one_of, OneOfBuilder::item).build()).into()
}
