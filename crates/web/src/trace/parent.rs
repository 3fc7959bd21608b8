//! What a request says it is part of: W3C Trace Context, level 1
//! (<https://www.w3.org/TR/trace-context-1/>). Written here because the SDK's own reading takes ids
//! that are too short.

use std::str::FromStr as _;

use axum::http::HeaderMap;
use opentelemetry::trace::{SpanContext, SpanId, TraceFlags, TraceId, TraceState};

const TRACEPARENT: &str = "traceparent";
const TRACESTATE: &str = "tracestate";
/// Bytes of a `traceparent` of version 00: `00-<32 digits>-<16 digits>-<2 digits>`.
const TRACEPARENT_BYTES: usize = 55;
/// Most bytes of all `tracestate` together that are passed on; the specification asks for 512.
const TRACESTATE_BYTES_MAX: usize = 512;
/// Most entries of a `tracestate`.
const TRACESTATE_ENTRIES_MAX: usize = 32;

/// The span that the request was sent from. One that is malformed or given twice is none; a
/// malformed `tracestate` beside it is ignored alone.
pub(super) fn of(headers: &HeaderMap) -> Option<SpanContext> {
    let mut values = headers.get_all(TRACEPARENT).iter();
    let (Some(only), None) = (values.next(), values.next()) else { return None };
    let (trace, span, flags) = traceparent(only.as_bytes())?;
    let context = SpanContext::new(trace, span, flags, true, tracestate(headers));
    context.is_valid().then_some(context)
}

/// The ids and flags. A version that is not known is read as far as it begins as version 00 does.
fn traceparent(text: &[u8]) -> Option<(TraceId, SpanId, TraceFlags)> {
    let (known, rest) = text.split_at_checked(TRACEPARENT_BYTES)?;
    let dashes = [2, 35, 52].iter().all(|place| known[*place] == b'-');
    let version = hex(&known[..2])?;
    let ends = match version {
        0 => rest.is_empty(),
        0xff => false,
        _ => rest.first().is_none_or(|next| *next == b'-'),
    };
    if !dashes || !ends {
        return None;
    }
    let trace = TraceId::from_bytes(hex(&known[3..35])?.to_be_bytes());
    let span = SpanId::from_bytes(u64::try_from(hex(&known[36..52])?).ok()?.to_be_bytes());
    let flags = u8::try_from(hex(&known[53..])?).ok()?;
    Some((trace, span, TraceFlags::new(flags) & TraceFlags::SAMPLED))
}

/// At most 32 hexadecimal digits, which must be in lower case, as a number.
fn hex(digits: &[u8]) -> Option<u128> {
    let lower = |digit: &u8| matches!(digit, b'0'..=b'9' | b'a'..=b'f');
    let text = digits.iter().all(lower).then(|| std::str::from_utf8(digits).ok())??;
    u128::from_str_radix(text, 16).ok()
}

fn tracestate(headers: &HeaderMap) -> TraceState {
    let mut entries = Vec::new();
    let mut bytes = 0;
    for value in headers.get_all(TRACESTATE) {
        let Ok(text) = value.to_str() else { return TraceState::default() };
        bytes += text.len();
        let given = text.split(',').map(|entry| entry.trim_matches([' ', '\t']));
        entries.extend(given.filter(|entry| !entry.is_empty()));
    }
    if bytes > TRACESTATE_BYTES_MAX || entries.len() > TRACESTATE_ENTRIES_MAX {
        return TraceState::default();
    }
    TraceState::from_str(&entries.join(",")).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use axum::http::{HeaderName, HeaderValue};

    use super::*;

    const TRACE: &str = "0af7651916cd43dd8448eb211c80319c";
    const SPAN: &str = "b7ad6b7169203331";

    fn parent(headers: &[(&'static str, &str)]) -> Option<SpanContext> {
        let mut map = HeaderMap::new();
        for (name, value) in headers {
            let value = HeaderValue::from_bytes(value.as_bytes()).unwrap();
            map.append(HeaderName::from_static(name), value);
        }
        of(&map)
    }

    #[test]
    fn a_parent_is_taken_with_its_ids_and_whether_it_is_sampled() {
        for (flags, sampled) in [("00", false), ("01", true), ("03", true), ("fe", false)] {
            let found = parent(&[(TRACEPARENT, &format!("00-{TRACE}-{SPAN}-{flags}"))]);
            let found = found.expect("a parent");
            assert_eq!(found.trace_id().to_string(), TRACE);
            assert_eq!(found.span_id().to_string(), SPAN);
            assert_eq!(found.is_sampled(), sampled, "{flags}");
            assert!(found.is_remote());
        }
    }

    #[test]
    fn a_later_version_is_read_as_far_as_it_is_known() {
        for rest in ["", "-", "-more", "-01-02"] {
            let found = parent(&[(TRACEPARENT, &format!("cc-{TRACE}-{SPAN}-01{rest}"))]);
            assert!(found.is_some_and(|found| found.is_sampled()), "{rest:?}");
        }
        assert!(parent(&[(TRACEPARENT, &format!("cc-{TRACE}-{SPAN}-01more"))]).is_none());
    }

    #[test]
    fn a_malformed_parent_is_none() {
        let zeros = "0".repeat(32);
        let cases = [
            String::new(),
            "00".to_owned(),
            format!("00-{TRACE}-{SPAN}"),
            format!("00-{TRACE}-{SPAN}-"),
            format!("00-{TRACE}-{SPAN}-1"),
            format!("00-{TRACE}-{SPAN}-01-"),
            format!("00-{TRACE}-{SPAN}-01-more"),
            format!("ff-{TRACE}-{SPAN}-01"),
            format!("0-{TRACE}-{SPAN}-001"),
            format!("00-{}-{SPAN}-01", TRACE.to_uppercase()),
            format!("00-{TRACE}-{}-01", SPAN.to_uppercase()),
            format!("00-{TRACE}-{SPAN}-0A"),
            format!("00-{zeros}-{SPAN}-01"),
            format!("00-{TRACE}-{}-01", &zeros[..16]),
            format!("00-{}-{SPAN}-01", &TRACE[1..]),
            format!("00-+{}-{SPAN}-01", &TRACE[1..]),
            format!("00_{TRACE}_{SPAN}_01"),
            format!("00-{TRACE}-{SPAN}-x1"),
            format!("쿠-{TRACE}-{SPAN}-01"),
        ];
        for case in &cases {
            assert!(parent(&[(TRACEPARENT, case)]).is_none(), "{case:?}");
        }
        let good = format!("00-{TRACE}-{SPAN}-01");
        assert!(parent(&[(TRACEPARENT, &good), (TRACEPARENT, &good)]).is_none(), "given twice");
        assert!(parent(&[(TRACESTATE, "a=1")]).is_none(), "a state of nothing");
    }

    #[test]
    fn a_state_goes_with_its_parent() {
        let good = format!("00-{TRACE}-{SPAN}-01");
        let state = |states: &[&str]| {
            let mut headers = vec![(TRACEPARENT, good.as_str())];
            headers.extend(states.iter().map(|state| (TRACESTATE, *state)));
            parent(&headers).expect("the parent stands whatever its state").trace_state().header()
        };
        assert_eq!(state(&["a=1,b=2"]), "a=1,b=2");
        assert_eq!(state(&["a=1 , ,b=2,", "c=3"]), "a=1,b=2,c=3");
        let many = (0..33).map(|number| format!("k{number}=v")).collect::<Vec<_>>().join(",");
        for malformed in ["a", "a=1,b", "A=1", &many, &format!("a={}", "v".repeat(511)), "쿠=1"] {
            assert_eq!(state(&[malformed]), "", "{malformed}");
        }
    }
}
