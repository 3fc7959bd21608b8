//! The bytes of a body, within a limit, as extractors.

use axum::body::{Body as Bytestream, HttpBody};
use axum::extract::{FromRequest, Request};
use axum::http::{HeaderMap, header};
use bytes::Bytes;
use http_body_util::{BodyExt, LengthLimitError, Limited};
use serde::de::DeserializeOwned;

use super::{decode, strict};
use crate::problem::{Code, Problem};

/// Most bytes of a body.
pub const BODY_BYTES_MAX: usize = 64 * 1024;
/// Most bytes of a claim's body, which is empty or `{}`.
pub const CLAIM_BODY_BYTES_MAX: usize = 4 * 1024;
/// Most bytes of a body over the limit that are read and thrown away, so that a sender who does not
/// listen while sending still hears the refusal instead of a reset connection.
const DISCARDED_BYTES_MAX: usize = 1024 * 1024;

/// A JSON body as a `T`. It refuses, in this order: another media type (415), a body over
/// [`BODY_BYTES_MAX`] (413), what is not strict JSON or has an unknown or repeated member (400),
/// a missing member or one of a wrong type (422).
#[derive(Debug, Clone)]
pub struct Body<T>(pub T);

impl<T: DeserializeOwned, S: Sync> FromRequest<S> for Body<T> {
    type Rejection = Problem;

    async fn from_request(request: Request, _: &S) -> Result<Self, Problem> {
        Self::with_bytes(request).await.map(|(body, _)| Self(body))
    }
}

impl<T: DeserializeOwned> Body<T> {
    /// The body beside the bytes that were sent.
    pub(crate) async fn with_bytes(request: Request) -> Result<(T, Bytes), Problem> {
        if request.body().is_end_stream() {
            return Err(malformed("The body is missing."));
        }
        if !is_json(request.headers()) {
            return Err(unsupported());
        }
        let bytes = read(request, BODY_BYTES_MAX).await?;
        let node = strict::parse(&bytes).map_err(malformed)?;
        Ok((decode::decode(node)?, bytes))
    }
}

/// The bytes of a body of any media type, at most [`BODY_BYTES_MAX`], for a call whose protocol
/// takes no JSON.
#[derive(Debug, Clone)]
pub struct RawBody(pub Bytes);

impl<S: Sync> FromRequest<S> for RawBody {
    type Rejection = Problem;

    async fn from_request(request: Request, _: &S) -> Result<Self, Problem> {
        read(request, BODY_BYTES_MAX).await.map(Self)
    }
}

/// The body of a call that takes none: absent, or `{}`.
#[derive(Debug, Clone, Copy)]
pub struct OptionalBody<const BYTES_MAX: usize = BODY_BYTES_MAX>;

/// The body of a claim: absent, or `{}`, and small.
pub type ClaimBody = OptionalBody<CLAIM_BODY_BYTES_MAX>;

/// `{}`.
#[derive(serde::Deserialize)]
struct Nothing {}

impl<const BYTES_MAX: usize, S: Sync> FromRequest<S> for OptionalBody<BYTES_MAX> {
    type Rejection = Problem;

    async fn from_request(request: Request, _: &S) -> Result<Self, Problem> {
        if request.body().is_end_stream() {
            return Ok(Self);
        }
        let typed = is_json(request.headers());
        let bytes = read(request, BYTES_MAX).await?;
        if bytes.is_empty() {
            return Ok(Self);
        }
        if !typed {
            return Err(unsupported());
        }
        let node = strict::parse(&bytes).map_err(malformed)?;
        decode::decode::<Nothing>(node).map(|Nothing {}| Self)
    }
}

fn malformed(detail: impl Into<std::borrow::Cow<'static, str>>) -> Problem {
    Problem::new(Code::Malformed, detail)
}

fn unsupported() -> Problem {
    Problem::new(Code::UnsupportedMediaType, "Send application/json, in UTF-8 and not compressed.")
}

/// Reads a whole body of at most `bytes_max` bytes.
async fn read(request: Request, bytes_max: usize) -> Result<Bytes, Problem> {
    // The sender waits for a sign before it sends: refusing is the sign, reading would ask for it.
    let waits = request.headers().contains_key(header::EXPECT);
    let mut body = request.into_body();
    let announced = body.size_hint().lower();
    let too_large = || {
        let detail = format!("The body may have at most {bytes_max} bytes.");
        Problem::new(Code::TooLarge, detail)
    };
    if announced > bytes_max as u64 {
        if !waits {
            discard(&mut body).await;
        }
        return Err(too_large());
    }
    match Limited::new(&mut body, bytes_max).collect().await {
        Ok(collected) => Ok(collected.to_bytes()),
        Err(error) if error.is::<LengthLimitError>() => {
            discard(&mut body).await;
            Err(too_large())
        }
        Err(_) => Err(malformed("The body ended before its announced length.")),
    }
}

/// Throws away what comes, up to [`DISCARDED_BYTES_MAX`].
async fn discard(body: &mut Bytestream) {
    let mut discarded = 0;
    while let Some(Ok(frame)) = body.frame().await {
        discarded += frame.data_ref().map_or(0, Bytes::len);
        if discarded > DISCARDED_BYTES_MAX {
            return;
        }
    }
}

/// Whether the body is announced as JSON in UTF-8, without a content coding.
fn is_json(headers: &HeaderMap) -> bool {
    let mut types = headers.get_all(header::CONTENT_TYPE).iter();
    let (Some(media_type), None) = (types.next(), types.next()) else {
        return false;
    };
    let Ok(media_type) = media_type.to_str() else {
        return false;
    };
    let (essence, parameters) = media_type.split_once(';').unwrap_or((media_type, ""));
    let plain = headers
        .get_all(header::CONTENT_ENCODING)
        .iter()
        .all(|coding| coding.as_bytes().eq_ignore_ascii_case(b"identity"));
    plain
        && essence.trim().eq_ignore_ascii_case("application/json")
        && parameters.split(';').map(str::trim).all(|parameter| {
            parameter.is_empty()
                || parameter.eq_ignore_ascii_case("charset=utf-8")
                || parameter.eq_ignore_ascii_case("charset=\"utf-8\"")
        })
}
