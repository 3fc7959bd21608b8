//! Ids in paths.

use axum::extract::{FromRequestParts, RawPathParams};
use axum::http::request::Parts;
use firstcome_core::{ClientId, CouponId, EventId, IssuedCouponId, RedemptionId, UserId};

use crate::problem::{Code, Problem};

/// An id that names a resource in a path.
pub trait PathKey: Sized {
    /// What is told where no resource has the id, a malformed one included.
    const NOT_FOUND: Code;

    /// Reads the id.
    fn parse(text: &str) -> Option<Self>;
}

macro_rules! path_keys {
    ($($id:ident $code:ident)+) => {$(
        impl PathKey for $id {
            const NOT_FOUND: Code = Code::$code;

            fn parse(text: &str) -> Option<Self> {
                $id::parse(text)
            }
        }
    )+};
}

path_keys! {
    CouponId CouponNotFound
    EventId EventNotFound
    IssuedCouponId IssuedCouponNotFound
    RedemptionId RedemptionNotFound
    ClientId ClientNotFound
}

impl PathKey for UserId {
    const NOT_FOUND: Code = Code::UserNotFound;

    fn parse(text: &str) -> Option<Self> {
        Self::parse(text).ok()
    }
}

/// The id in a path with one parameter.
///
/// A malformed id answers like an unknown one, so that neither tells which ids exist. That answer
/// comes when the extractor runs: list the token first, or strangers learn it before 401.
#[derive(Debug, Clone)]
pub struct PathId<T>(pub T);

impl<T: PathKey> PathId<T> {
    /// The refusal for an id that names nothing.
    #[must_use]
    pub fn not_found() -> Problem {
        Problem::new(T::NOT_FOUND, T::NOT_FOUND.title())
    }
}

impl<T: PathKey, S: Send + Sync> FromRequestParts<S> for PathId<T> {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Problem> {
        let params =
            RawPathParams::from_request_parts(parts, state).await.map_err(|_| Self::not_found())?;
        let text = params.iter().next().map(|(_, text)| text);
        text.and_then(T::parse).map(Self).ok_or_else(Self::not_found)
    }
}
