//! The headers of answers, each described once.

use utoipa::openapi::extensions::Extensions;
use utoipa::openapi::path::{Parameter, ParameterBuilder, ParameterIn};
use utoipa::openapi::schema::{ObjectBuilder, Type};
use utoipa::openapi::{Components, Header, HeaderBuilder, Ref, RefOr, Required};

/// A header that answers carry.
struct Known {
    name: &'static str,
    about: &'static str,
    pattern: &'static str,
    /// Whether every answer that names it carries it.
    is_always_there: bool,
    example: &'static str,
}

const KNOWN: [Known; 11] = [
    Known {
        name: "Allow",
        about: "The methods that the path has.",
        pattern: "^[A-Z]+(, ?[A-Z]+)*$",
        is_always_there: true,
        example: "GET,HEAD,PATCH",
    },
    Known {
        name: "Cache-Control",
        about: "What may keep the answer: nothing, where it is for one bearer alone.",
        pattern: "^(no-store|public, max-age=[0-9]+)$",
        is_always_there: true,
        example: "no-store",
    },
    Known {
        name: "Content-Disposition",
        about: "Of the file: its name.",
        pattern: "^attachment; filename=\"[A-Za-z0-9._-]+\"$",
        is_always_there: true,
        example: "attachment; filename=\"issued-coupons.csv\"",
    },
    Known {
        name: "ETag",
        about: "The version, for `If-Match`. It moves with an admin's changes, not with claims.",
        pattern: "^\"[0-9]+\"$",
        is_always_there: true,
        example: "\"7\"",
    },
    Known {
        name: "Location",
        about: "Where what was made is read.",
        pattern: "^/v1/",
        is_always_there: true,
        example: "/v1/events/0199a8e2-7c1b-7d3e-8f00-0123456789ab",
    },
    Known {
        name: "Pragma",
        about: "As RFC 6749 asks.",
        pattern: "^no-cache$",
        is_always_there: true,
        example: "no-cache",
    },
    Known {
        name: "RateLimit",
        about: "What is left of a limit until when (draft-ietf-httpapi-ratelimit-headers-11); not \
                where the limit is off.",
        pattern: "^\"[a-z_]+\";r=[0-9]+;t=[0-9]+",
        is_always_there: false,
        example: "\"log_in_address\";r=0;t=30",
    },
    Known {
        name: "RateLimit-Policy",
        about: "The limit itself: its quota, and the seconds in which it comes back.",
        pattern: "^\"[a-z_]+\";q=[0-9]+;w=[0-9]+",
        is_always_there: false,
        example: "\"log_in_address\";q=500;w=50",
    },
    Known {
        name: "Vary",
        about: "The answer depends on this header of the request.",
        pattern: "^Accept$",
        is_always_there: true,
        example: "Accept",
    },
    Known {
        name: "WWW-Authenticate",
        about: "The scheme to authenticate with, and what was wrong (RFC 6750, section 3).",
        pattern: "^(Bearer|Basic)",
        is_always_there: true,
        example: "Bearer error=\"invalid_token\"",
    },
    Known {
        name: "X-Request-Id",
        about: "The request's id: the one sent, or one made.",
        pattern: "^[A-Za-z0-9._-]{1,64}$",
        is_always_there: true,
        example: "3f2b8c1d9e0a4f6b8d7c5e3a1b9f0d2c",
    },
];

/// A header that requests carry.
struct Asked {
    name: &'static str,
    about: &'static str,
    /// What it must look like; none where anything else is no fault of form.
    pattern: Option<&'static str>,
    is_required: bool,
    example: &'static str,
}

const ASKED: [Asked; 3] = [
    Asked {
        name: "X-Request-Id",
        about: "Names the request in the answer and the log: 1 to 64 of `A-Za-z0-9._-`; anything \
                else is replaced.",
        pattern: None,
        is_required: false,
        example: "checkout-7f3a",
    },
    Asked {
        name: "If-Match",
        about: "The `ETag` that was read: the change is made to that version, or not at all.",
        pattern: None,
        is_required: true,
        example: "\"7\"",
    },
    Asked {
        name: "Idempotency-Key",
        about: "For 24 hours, the first answer under this key again; with another body, \
                `idempotency_mismatch`.",
        pattern: Some("^[!-~]{1,64}$"),
        is_required: false,
        example: "8e03978e-40d5-43e8-bc93-6894a57f9324",
    },
];

/// A header that every answer of its kind carries.
///
/// # Panics
/// When nothing describes it.
pub(super) fn known(name: &str) -> RefOr<Header> {
    let is_known = name == "Retry-After" || KNOWN.iter().any(|known| known.name == name);
    assert!(is_known, "describe the header {name} in openapi/headers.rs");
    RefOr::Ref(Ref::new(format!("#/components/headers/{}", key(name))))
}

/// `Retry-After` where only some of the answers have it.
pub(super) fn optional_retry_after() -> RefOr<Header> {
    retry_after().into()
}

/// A header that some requests carry; none where nothing describes it.
pub(super) fn of_request(name: &str) -> Option<RefOr<Parameter>> {
    let asked = ASKED.iter().find(|asked| asked.name == name)?;
    Some(RefOr::Ref(Ref::new(format!("#/components/parameters/{}", key(asked.name)))))
}

/// Adds what [`known`] and [`of_request`] refer to.
pub(super) fn add(components: &mut Components) {
    for known in &KNOWN {
        let header = text(known);
        let header = if known.is_always_there { required(header) } else { header };
        components.headers.insert(key(known.name), header.into());
    }
    components.headers.insert(key("Retry-After"), required(retry_after()).into());
    for asked in &ASKED {
        components.parameters.insert(key(asked.name), parameter(asked).into());
    }
}

/// The name of a component.
fn key(name: &str) -> String {
    name.replace('-', "")
}

fn text(known: &Known) -> Header {
    let schema = ObjectBuilder::new().schema_type(Type::String).pattern(Some(known.pattern));
    let mut header = HeaderBuilder::new().schema(Some(schema)).description(Some(known.about));
    header = header.example(Some(known.example.into()));
    header.build()
}

fn retry_after() -> Header {
    let seconds = ObjectBuilder::new().schema_type(Type::Integer).minimum(Some(0));
    let about = "When to send the same request again, in seconds.";
    let header = HeaderBuilder::new().schema(Some(seconds)).description(Some(about));
    header.example(Some(1.into())).build()
}

/// The library's header has no member for this, but writes its extensions as they are.
fn required(mut header: Header) -> Header {
    header.extensions = Some(Extensions::from_iter([("required", true)]));
    header
}

fn parameter(asked: &Asked) -> Parameter {
    let schema = ObjectBuilder::new().schema_type(Type::String).pattern(asked.pattern);
    ParameterBuilder::new()
        .name(asked.name)
        .parameter_in(ParameterIn::Header)
        .required(if asked.is_required { Required::True } else { Required::False })
        .description(Some(asked.about))
        .schema(Some(schema))
        .example(Some(asked.example.into()))
        .build()
}
