//! The schemas of what is of one of two types: a benefit, a validity. As they are written, no other
//! member is known and the currency may be left out; as they are answered, it is always there.

use std::borrow::Cow;

use firstcome_core::limits;
use firstcome_web::openapi::one_of;
use utoipa::openapi::RefOr;
use utoipa::openapi::schema::{
    AdditionalProperties, KnownFormat, Object, ObjectBuilder, Schema, SchemaFormat, Type,
};
use utoipa::{PartialSchema, ToSchema};

macro_rules! kinds {
    ($($(#[$doc:meta])* $kinds:ident $name:literal is
        $($word:literal $schema:literal $make:ident)|+ $side:ident;)+) => {$(
        $(#[$doc])*
        pub(crate) struct $kinds;

        impl PartialSchema for $kinds {
            fn schema() -> RefOr<Schema> {
                one_of(&[$(($word, $schema)),+])
            }
        }

        impl ToSchema for $kinds {
            fn name() -> Cow<'static, str> {
                $name.into()
            }

            fn schemas(schemas: &mut Vec<(String, RefOr<Schema>)>) {
                $(schemas.push(($schema.to_owned(), $make(Side::$side)));)+
            }
        }
    )+};
}

kinds! {
    /// A benefit as it is answered.
    BenefitKinds "Benefit" is
        "amount" "AmountBenefit" amount | "percent" "PercentBenefit" percent Answer;
    /// A benefit as it is written.
    BenefitInputKinds "BenefitInput" is
        "amount" "AmountBenefitInput" amount | "percent" "PercentBenefitInput" percent Input;
    /// A validity as it is answered.
    ValidityKinds "Validity" is
        "period" "PeriodValidity" period | "days" "DaysValidity" days Answer;
    /// A validity as it is written.
    ValidityInputKinds "ValidityInput" is
        "period" "PeriodValidityInput" period | "days" "DaysValidityInput" days Input;
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Side {
    Answer,
    Input,
}

fn amount(side: Side) -> RefOr<Schema> {
    let amount = number(1, limits::AMOUNT_MAX, "What it takes off, in the minor unit.");
    let kind = kind("amount", "A fixed amount off the order.").property("amount", amount);
    with_currency(kind.required("amount"), side)
}

fn percent(side: Side) -> RefOr<Schema> {
    let about = "The most that it takes off, in the minor unit; no cap when it is absent.";
    let kind = kind("percent", "A share of the order.")
        .property("percent", number(1, 100, "The share, in per cent."))
        .property("max_amount", number(1, limits::AMOUNT_MAX, about))
        .required("percent");
    with_currency(kind, side)
}

fn period(side: Side) -> RefOr<Schema> {
    let kind = kind("period", "The same period for everybody: `[from, until)`.")
        .property("from", moment("The first moment."))
        .property("until", moment("The first moment after it."));
    finished(kind.required("from").required("until"), side)
}

fn days(side: Side) -> RefOr<Schema> {
    let days = number(1, limits::VALIDITY_DAYS_MAX.into(), "Days of 24 hours.");
    let kind = kind("days", "From issue, for so many days.").property("days", days);
    finished(kind.required("days"), side)
}

/// An object of this type.
fn kind(word: &str, about: &str) -> ObjectBuilder {
    let word = ObjectBuilder::new().schema_type(Type::String).enum_values(Some([word]));
    let kind = ObjectBuilder::new().description(Some(about));
    kind.property("type", word).required("type")
}

fn with_currency(kind: ObjectBuilder, side: Side) -> RefOr<Schema> {
    let currency = ObjectBuilder::new().schema_type(Type::String).pattern(Some("^[A-Z]{3}$"));
    // Not as the member's `default`: generators of clients take that for "always there".
    let about = match side {
        Side::Answer => "An ISO 4217 code.",
        Side::Input => "An ISO 4217 code; `KRW` when it is absent.",
    };
    let currency = currency.description(Some(about));
    let kind = kind.property("currency", currency);
    finished(if side == Side::Answer { kind.required("currency") } else { kind }, side)
}

fn finished(kind: ObjectBuilder, side: Side) -> RefOr<Schema> {
    let closed = (side == Side::Input).then_some(AdditionalProperties::FreeForm(false));
    kind.additional_properties(closed).into()
}

fn number(least: u64, most: u64, about: &str) -> Object {
    ObjectBuilder::new()
        .schema_type(Type::Integer)
        .format(Some(SchemaFormat::KnownFormat(KnownFormat::Int64)))
        .minimum(Some(least))
        .maximum(Some(most))
        .description(Some(about))
        .build()
}

fn moment(about: &str) -> Object {
    ObjectBuilder::new()
        .schema_type(Type::String)
        .format(Some(SchemaFormat::KnownFormat(KnownFormat::DateTime)))
        .description(Some(about))
        .build()
}
