//! What an admin writes of a coupon, read by the rules of single values.
//!
//! A benefit and a validity are of one of two types. A member that belongs to the other type is
//! unknown (400), as a member that belongs to none; all other refusals are collected (422).

use firstcome_core::{
    Amount, Benefit, Conditions, CouponDraft, Currency, Days, Invalid, Label, MinOrderAmount, Name,
    Percent, Timestamp, Validity, limits,
};
use firstcome_web::{Checks, Code, FieldError, Integer, LabelText, NameText, Problem, present};
use serde::Deserialize;
use utoipa::ToSchema;

use crate::kinds::{BenefitInputKinds, ValidityInputKinds};

/// A coupon to be made.
#[derive(Debug, Deserialize, ToSchema)]
#[schema(as = NewCoupon, examples(json!({
    "name": "Welcome 5,000",
    "benefit": {"type": "amount", "amount": 5000, "currency": "KRW"},
    "conditions": {"min_order_amount": 20000},
    "validity": {"type": "days", "days": 30},
})))]
#[serde(deny_unknown_fields)]
pub struct CouponBody {
    /// What people call it.
    #[schema(value_type = NameText)]
    name: String,
    /// What it gives.
    #[schema(value_type = BenefitInputKinds)]
    benefit: BenefitBody,
    /// What an order must meet; nothing when it is absent.
    #[serde(default)]
    conditions: ConditionsBody,
    /// When it can be used.
    #[schema(value_type = ValidityInputKinds)]
    validity: ValidityBody,
}

/// A change of a coupon: what is given is replaced whole, what is absent stays.
#[derive(Debug, Deserialize, ToSchema)]
#[schema(as = CouponChange, examples(json!({"name": "Welcome 5,000, again"})))]
#[serde(deny_unknown_fields)]
pub struct CouponPatch {
    /// What people call it.
    #[serde(default, deserialize_with = "present")]
    #[schema(value_type = Option<NameText>, nullable = false)]
    name: Option<String>,
    /// What it gives.
    #[serde(default, deserialize_with = "present")]
    #[schema(value_type = Option<BenefitInputKinds>, nullable = false)]
    benefit: Option<BenefitBody>,
    /// What an order must meet.
    #[serde(default, deserialize_with = "present")]
    #[schema(nullable = false)]
    conditions: Option<ConditionsBody>,
    /// When it can be used.
    #[serde(default, deserialize_with = "present")]
    #[schema(value_type = Option<ValidityInputKinds>, nullable = false)]
    validity: Option<ValidityBody>,
}

/// What a coupon gives. Money is in the currency's minor unit.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct BenefitBody {
    r#type: BenefitType,
    /// Of type `amount`, and required there.
    #[serde(default, deserialize_with = "present")]
    amount: Option<Integer>,
    /// Of type `percent`, and required there.
    #[serde(default, deserialize_with = "present")]
    percent: Option<Integer>,
    /// Of type `percent`: the most that it gives; no cap when it is absent.
    #[serde(default, deserialize_with = "present")]
    max_amount: Option<Integer>,
    /// An ISO 4217 code; `KRW` when it is absent.
    #[serde(default, deserialize_with = "present")]
    currency: Option<String>,
}

#[derive(Debug, Clone, Copy, Deserialize)]
#[serde(rename_all = "snake_case")]
enum BenefitType {
    Amount,
    Percent,
}

/// What an order must meet; all of it.
#[derive(Debug, Default, Deserialize, ToSchema)]
#[schema(as = ConditionsInput)]
#[serde(deny_unknown_fields)]
struct ConditionsBody {
    /// The least amount of the order; 0 when it is absent.
    #[serde(default, deserialize_with = "present")]
    #[schema(value_type = Option<u64>, nullable = false, maximum = 1_000_000_000_000_u64)]
    min_order_amount: Option<Integer>,
    /// One of these products is in the order; any when it is empty or absent.
    #[serde(default)]
    #[schema(value_type = Vec<LabelText>, max_items = 100)]
    product_ids: Vec<String>,
    /// A product of one of these categories is in the order; any when it is empty or absent.
    #[serde(default)]
    #[schema(value_type = Vec<LabelText>, max_items = 100)]
    category_ids: Vec<String>,
}

/// When an issued coupon can be used.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct ValidityBody {
    r#type: ValidityType,
    /// Of type `period`, and required there: its first moment.
    #[serde(default, deserialize_with = "present")]
    from: Option<String>,
    /// Of type `period`, and required there: the first moment after it.
    #[serde(default, deserialize_with = "present")]
    until: Option<String>,
    /// Of type `days`, and required there: days of 24 hours from issue.
    #[serde(default, deserialize_with = "present")]
    days: Option<Integer>,
}

#[derive(Debug, Clone, Copy, Deserialize)]
#[serde(rename_all = "snake_case")]
enum ValidityType {
    Period,
    Days,
}

/// A change of a coupon, read.
#[derive(Debug)]
pub(crate) struct CouponChange {
    name: Option<Name>,
    benefit: Option<Benefit>,
    conditions: Option<Conditions>,
    validity: Option<Validity>,
}

impl CouponBody {
    /// The coupon.
    pub(crate) fn parse(&self) -> Result<CouponDraft, Problem> {
        self.benefit.refuse_foreign()?;
        self.validity.refuse_foreign()?;
        let mut checks = Checks::new();
        let name = checks.field("/name", Name::parse(&self.name));
        let benefit = self.benefit.parse(&mut checks);
        let conditions = self.conditions.parse(&mut checks);
        let validity = self.validity.parse(&mut checks);
        match (name, benefit, conditions, validity) {
            (Some(name), Some(benefit), Some(conditions), Some(validity)) => {
                Ok(CouponDraft { name, benefit, conditions, validity })
            }
            _ => Err(checks.into_problem()),
        }
    }
}

impl CouponPatch {
    /// The change.
    pub(crate) fn parse(&self) -> Result<CouponChange, Problem> {
        self.benefit.as_ref().map_or(Ok(()), BenefitBody::refuse_foreign)?;
        self.validity.as_ref().map_or(Ok(()), ValidityBody::refuse_foreign)?;
        let mut checks = Checks::new();
        let name = self.name.as_deref().map(Name::parse);
        let change = CouponChange {
            name: checks.optional("/name", name).flatten(),
            benefit: self.benefit.as_ref().and_then(|body| body.parse(&mut checks)),
            conditions: self.conditions.as_ref().and_then(|body| body.parse(&mut checks)),
            validity: self.validity.as_ref().and_then(|body| body.parse(&mut checks)),
        };
        checks.finish(change)
    }
}

impl CouponChange {
    /// The coupon after the change.
    pub(crate) fn apply(self, before: &CouponDraft) -> CouponDraft {
        let before = before.clone();
        CouponDraft {
            name: self.name.unwrap_or(before.name),
            benefit: self.benefit.unwrap_or(before.benefit),
            conditions: self.conditions.unwrap_or(before.conditions),
            validity: self.validity.unwrap_or(before.validity),
        }
    }
}

impl BenefitBody {
    fn refuse_foreign(&self) -> Result<(), Problem> {
        match self.r#type {
            BenefitType::Amount => refuse_foreign(&[
                ("/benefit/percent", self.percent.is_some()),
                ("/benefit/max_amount", self.max_amount.is_some()),
            ]),
            BenefitType::Percent => refuse_foreign(&[("/benefit/amount", self.amount.is_some())]),
        }
    }

    fn parse(&self, checks: &mut Checks) -> Option<Benefit> {
        let currency = self.currency.as_deref().map_or(Ok(Currency::krw()), Currency::parse);
        let currency = checks.field("/benefit/currency", currency);
        match self.r#type {
            BenefitType::Amount => {
                let amount = required(self.amount, |Integer(amount)| Amount::parse(amount));
                let amount = checks.field("/benefit/amount", amount);
                Some(Benefit::Amount { amount: amount?, currency: currency? })
            }
            BenefitType::Percent => {
                let percent = required(self.percent, |Integer(percent)| Percent::parse(percent));
                let percent = checks.field("/benefit/percent", percent);
                let cap = self.max_amount.map(|Integer(amount)| Amount::parse(amount));
                let cap = checks.optional("/benefit/max_amount", cap);
                Some(Benefit::Percent { percent: percent?, max_amount: cap?, currency: currency? })
            }
        }
    }
}

impl ConditionsBody {
    fn parse(&self, checks: &mut Checks) -> Option<Conditions> {
        let Integer(minimum) = self.min_order_amount.unwrap_or(Integer(0));
        let minimum = MinOrderAmount::parse(minimum);
        let minimum = checks.field("/conditions/min_order_amount", minimum);
        let product_ids = labels("/conditions/product_ids", &self.product_ids, checks);
        let category_ids = labels("/conditions/category_ids", &self.category_ids, checks);
        Some(Conditions {
            min_order_amount: minimum?,
            product_ids: product_ids?,
            category_ids: category_ids?,
        })
    }
}

impl ValidityBody {
    fn refuse_foreign(&self) -> Result<(), Problem> {
        match self.r#type {
            ValidityType::Period => refuse_foreign(&[("/validity/days", self.days.is_some())]),
            ValidityType::Days => refuse_foreign(&[
                ("/validity/from", self.from.is_some()),
                ("/validity/until", self.until.is_some()),
            ]),
        }
    }

    fn parse(&self, checks: &mut Checks) -> Option<Validity> {
        match self.r#type {
            ValidityType::Period => {
                let from = required(self.from.as_deref(), Timestamp::parse_rfc3339);
                let from = checks.field("/validity/from", from);
                let until = required(self.until.as_deref(), Timestamp::parse_rfc3339);
                let until = checks.field("/validity/until", until);
                checks.field("/validity/until", Validity::period(from?, until?))
            }
            ValidityType::Days => {
                let days = required(self.days, |Integer(days)| Days::parse(days));
                checks.field("/validity/days", days).map(Validity::Days)
            }
        }
    }
}

/// A member that its type requires.
fn required<T, U>(
    member: Option<T>,
    parse: impl FnOnce(T) -> Result<U, Invalid>,
) -> Result<U, Invalid> {
    member.map_or_else(|| Err(Invalid::new("is required")), parse)
}

/// A bounded list of ids.
fn labels(pointer: &'static str, texts: &[String], checks: &mut Checks) -> Option<Vec<Label>> {
    if texts.len() > limits::LABELS_MAX {
        checks.refuse(pointer, format!("must have at most {}", limits::LABELS_MAX));
        return None;
    }
    let parsed = texts.iter().enumerate();
    let parsed: Vec<Option<Label>> = parsed
        .map(|(index, text)| checks.field(format!("{pointer}/{index}"), Label::parse(text)))
        .collect();
    parsed.into_iter().collect()
}

/// 400 when a member is given that belongs to another type.
fn refuse_foreign(foreign: &[(&'static str, bool)]) -> Result<(), Problem> {
    let Some((pointer, _)) = foreign.iter().find(|(_, given)| *given) else { return Ok(()) };
    let detail = format!("The member {pointer:?} is not known for this type.");
    let error = FieldError::new(*pointer, "is not known for this type");
    Err(Problem::new(Code::Malformed, detail).errors([error]))
}
