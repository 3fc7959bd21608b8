//! The refusals that a call declares.

use std::collections::BTreeMap;

use utoipa::IntoResponses;
use utoipa::openapi::extensions::Extensions;
use utoipa::openapi::{RefOr, Response, ResponseBuilder};

use crate::problem::Code;

/// Where a declared response keeps its codes till [`complete()`](super::complete()) tells of them.
const DECLARED: &str = "x-codes";

const _: () = assert!(Code::ALL.len() <= 64, "a set of codes is a bit for each");

/// Some codes, a bit for each.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct Codes(u64);

/// For `responses(…)`: the refusals that a call's own rules make, as
/// `Refused<{ codes(&[Code::SoldOut, Code::Paused]) }>`.
pub struct Refused<const CODES: u64>;

/// The parameter of [`Refused`].
#[must_use]
pub const fn codes(list: &[Code]) -> u64 {
    let (mut bits, mut index) = (0, 0);
    while index < list.len() {
        bits |= bit(list[index]);
        index += 1;
    }
    bits
}

const fn bit(code: Code) -> u64 {
    1 << code as u64
}

impl Codes {
    pub(super) const fn of(list: &[Code]) -> Self {
        Self(codes(list))
    }

    pub(super) const fn and(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }

    /// Each of them, in the order of the table.
    pub(super) fn iter(self) -> impl Iterator<Item = Code> {
        Code::ALL.iter().copied().filter(move |code| self.0 & bit(*code) != 0)
    }

    /// Those of each status.
    pub(super) fn by_status(self) -> BTreeMap<u16, Self> {
        let mut by_status = BTreeMap::<u16, Self>::new();
        for code in self.iter() {
            by_status.entry(code.status()).or_default().0 |= bit(code);
        }
        by_status
    }

    /// The codes that were declared for a response; none for a response of another kind.
    pub(super) fn declared(response: &RefOr<Response>) -> Option<Self> {
        let RefOr::T(response) = response else { return None };
        let bits = response.extensions.as_ref()?.get(DECLARED)?.as_u64()?;
        Some(Self(bits))
    }
}

impl<const CODES: u64> IntoResponses for Refused<CODES> {
    fn responses() -> BTreeMap<String, RefOr<Response>> {
        let declare = |(status, codes): (u16, Codes)| {
            let extensions = Extensions::from_iter([(DECLARED, codes.0)]);
            let response = ResponseBuilder::new().extensions(Some(extensions)).build();
            (status.to_string(), response.into())
        };
        Codes(CODES).by_status().into_iter().map(declare).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_are_declared_by_status() {
        type Both = Refused<{ codes(&[Code::SoldOut, Code::Paused, Code::EventNotFound]) }>;
        let responses = Both::responses();
        let declared = |status: &str| {
            let codes = Codes::declared(&responses[status]).expect("declared");
            codes.iter().collect::<Vec<_>>()
        };
        assert_eq!(responses.len(), 2);
        assert_eq!(declared("404"), [Code::EventNotFound]);
        assert_eq!(declared("409"), [Code::SoldOut, Code::Paused]);
        assert_eq!(Codes::declared(&Response::new("The event.").into()), None);
    }
}
