//! Which of two media types a caller wants.

use std::convert::Infallible;

use axum::extract::FromRequestParts;
use axum::http::HeaderMap;
use axum::http::header::ACCEPT;
use axum::http::request::Parts;

/// What to answer a list as.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Wanted {
    /// A page, as JSON. Also for who wants neither.
    Page,
    /// All of it, as CSV.
    Csv,
}

/// How much a media type is wanted (RFC 9110, section 12.5.1): the quality of the most specific
/// range that matches it, in thousandths; then how specific that range is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default)]
struct Preference {
    quality: u16,
    specificity: u8,
}

impl<S: Sync> FromRequestParts<S> for Wanted {
    type Rejection = Infallible;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Infallible> {
        Ok(wanted(&parts.headers))
    }
}

fn wanted(headers: &HeaderMap) -> Wanted {
    let preference = |essence: &str| {
        let accepts = headers.get_all(ACCEPT).iter().filter_map(|value| value.to_str().ok());
        let ranges = accepts.flat_map(|value| value.split(','));
        let matches = ranges.filter_map(|range| match_range(range, essence));
        matches.max_by_key(|found| found.specificity).unwrap_or_default()
    };
    let csv = preference("text/csv");
    if csv.quality > 0 && csv > preference("application/json") { Wanted::Csv } else { Wanted::Page }
}

/// How much a range of `Accept` wants the media type; none if it does not match.
fn match_range(range: &str, essence: &str) -> Option<Preference> {
    let mut parts = range.split(';').map(str::trim);
    let wanted = parts.next()?.to_ascii_lowercase();
    let specificity = match wanted.strip_suffix('*') {
        None if wanted == essence => 3,
        Some("*/") => 1,
        Some(family) if family.ends_with('/') && essence.starts_with(family) => 2,
        None | Some(_) => return None,
    };
    let quality = parts.find_map(|part| part.strip_prefix("q=").or(part.strip_prefix("Q=")));
    Some(Preference { quality: quality.map_or(1000, thousandths), specificity })
}

/// A quality as thousandths; what is none counts as not wanted.
fn thousandths(quality: &str) -> u16 {
    let (whole, fraction) = quality.split_once('.').unwrap_or((quality, ""));
    let digits = fraction.len() <= 3 && fraction.bytes().all(|byte| byte.is_ascii_digit());
    match (whole, digits) {
        ("1", true) => 1000,
        ("0", true) => format!("{fraction:0<3}").parse().unwrap_or(0),
        _ => 0,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn csv_is_for_who_prefers_it() {
        let csv = [
            "text/csv",
            "TEXT/CSV; charset=utf-8",
            "text/*",
            "text/csv, */*",
            "text/csv, application/json;q=0.9",
            "application/json;q=0, */*;q=0.5",
            "text/csv;q=0.2, application/json;q=0.1",
            "text/html, text/csv;q=0.001",
        ];
        let page = [
            "",
            "*/*",
            "application/json",
            "application/*",
            "text/csv, application/json",
            "text/csv;q=0.5, application/json",
            "text/csv;q=0",
            "text/csv;q=0, text/*",
            "text/csv;q=nonsense",
            "text/csv;q=2",
            "text/html",
            "쿠폰",
        ];
        for (accepts, expected) in [(&csv[..], Wanted::Csv), (&page[..], Wanted::Page)] {
            for accept in accepts {
                let mut headers = HeaderMap::new();
                headers.insert(ACCEPT, accept.as_bytes().try_into().expect("a header value"));
                assert_eq!(wanted(&headers), expected, "{accept:?}");
            }
        }
        assert_eq!(wanted(&HeaderMap::new()), Wanted::Page);
    }
}
