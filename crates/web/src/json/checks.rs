//! Collecting what is wrong with each member of a body.

use std::borrow::Cow;

use firstcome_core::Invalid;
use serde::Serialize;
use utoipa::ToSchema;

use crate::problem::{Code, Problem};

/// What is wrong with one member.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
pub struct FieldError {
    /// RFC 6901 JSON pointer into the body; for a query parameter, `/` and its name.
    #[schema(value_type = String, examples("/quantity"))]
    pub pointer: Cow<'static, str>,
    /// A sentence for the sender.
    pub detail: String,
}

impl FieldError {
    /// The refusal of the member at `pointer`.
    pub fn new(pointer: impl Into<Cow<'static, str>>, detail: impl Into<String>) -> Self {
        Self { pointer: pointer.into(), detail: detail.into() }
    }
}

/// Collects the refusals of a body's members, so that the sender learns of all of them at once.
///
/// ```
/// use firstcome_core::{Name, Quantity};
/// use firstcome_web::{Checks, Problem};
///
/// fn parse(name: &str, quantity: i128) -> Result<(Name, Quantity), Problem> {
///     let mut checks = Checks::new();
///     let name = checks.field("/name", Name::parse(name));
///     let quantity = checks.field("/quantity", Quantity::parse(quantity));
///     match (name, quantity) {
///         (Some(name), Some(quantity)) => Ok((name, quantity)),
///         _ => Err(checks.into_problem()),
///     }
/// }
/// assert!(parse("Friday", 10).is_ok());
/// assert!(parse("", 0).is_err());
/// ```
#[derive(Debug, Default)]
pub struct Checks {
    errors: Vec<FieldError>,
}

impl Checks {
    /// Nothing refused yet.
    #[must_use]
    pub const fn new() -> Self {
        Self { errors: Vec::new() }
    }

    /// The parsed member; none, and a refusal noted, when it is invalid.
    pub fn field<T>(
        &mut self,
        pointer: impl Into<Cow<'static, str>>,
        parsed: Result<T, Invalid>,
    ) -> Option<T> {
        parsed.map_err(|invalid| self.refuse(pointer, invalid.to_string())).ok()
    }

    /// The parsed member where there is one; the outer none means that it was refused.
    pub fn optional<T>(
        &mut self,
        pointer: impl Into<Cow<'static, str>>,
        parsed: Option<Result<T, Invalid>>,
    ) -> Option<Option<T>> {
        match parsed {
            None => Some(None),
            Some(parsed) => self.field(pointer, parsed).map(Some),
        }
    }

    /// Notes a refusal.
    pub fn refuse(&mut self, pointer: impl Into<Cow<'static, str>>, detail: impl Into<String>) {
        self.errors.push(FieldError::new(pointer, detail));
    }

    /// Whether nothing was refused.
    #[must_use]
    pub fn is_clean(&self) -> bool {
        self.errors.is_empty()
    }

    /// 422 `invalid` with everything that was refused.
    #[must_use]
    pub fn into_problem(self) -> Problem {
        let detail: Cow<'static, str> = match self.errors.as_slice() {
            [error] => format!("{}: {}.", error.pointer, error.detail).into(),
            errors => format!("{} members are not acceptable; see errors.", errors.len()).into(),
        };
        Problem::new(Code::Invalid, detail).errors(self.errors)
    }

    /// The value, when nothing was refused.
    ///
    /// # Errors
    /// 422 `invalid` otherwise.
    pub fn finish<T>(self, value: T) -> Result<T, Problem> {
        if self.is_clean() { Ok(value) } else { Err(self.into_problem()) }
    }
}
