//! Forms, read strictly: what is not UTF-8 in percent-encoding is no form.

use axum::http::HeaderMap;
use axum::http::header::CONTENT_TYPE;

use super::{Denial, Denied};
use crate::sessions::RefreshToken;

// Without `Debug`: it holds secrets.
/// What is asked of the token endpoint.
pub(super) struct TokenForm {
    pub(super) grant: GrantAsked,
    pub(super) scope: Option<String>,
    pub(super) client_id: Option<String>,
    pub(super) client_secret: Option<String>,
}

/// For what an access token is asked.
pub(super) enum GrantAsked {
    /// For a refresh token; none when it has not the form of ours.
    RefreshToken(Option<RefreshToken>),
    /// For the client's own sake.
    ClientCredentials,
}

impl TokenForm {
    /// Reads the form. A parameter without a value counts as absent, an unknown one is ignored, a
    /// repeated one is refused (RFC 6749, section 3.2).
    pub(super) fn parse(headers: &HeaderMap, body: &[u8]) -> Result<Self, Denied> {
        let refuse = |description: &'static str| Denied::new(Denial::InvalidRequest, description);
        if !is_form(headers) {
            return Err(refuse("Send application/x-www-form-urlencoded."));
        }
        let no_form = || refuse("The form is not UTF-8 in percent-encoding.");
        let mut seen = Vec::new();
        let (mut grant_type, mut refresh_token, mut scope) = (None, None, None);
        let (mut client_id, mut client_secret) = (None, None);
        for (name, value) in parameters(body).ok_or_else(no_form)? {
            let parameter = match name.as_str() {
                "grant_type" => &mut grant_type,
                "refresh_token" => &mut refresh_token,
                "scope" => &mut scope,
                "client_id" => &mut client_id,
                "client_secret" => &mut client_secret,
                _ => continue,
            };
            if seen.contains(&name) {
                return Err(refuse("A parameter is sent twice."));
            }
            *parameter = Some(value).filter(|value| !value.is_empty());
            seen.push(name);
        }
        let grant = match (grant_type.as_deref(), refresh_token) {
            (Some("refresh_token"), Some(token)) => {
                GrantAsked::RefreshToken(RefreshToken::sent(token))
            }
            (Some("refresh_token"), None) => return Err(refuse("refresh_token is missing.")),
            (Some("client_credentials"), _) => GrantAsked::ClientCredentials,
            (Some(_), _) => {
                let description = "Use refresh_token or client_credentials.";
                return Err(Denied::new(Denial::UnsupportedGrantType, description));
            }
            (None, _) => return Err(refuse("grant_type is missing.")),
        };
        Ok(Self { grant, scope, client_id, client_secret })
    }
}

/// Whether the body is announced as a form.
fn is_form(headers: &HeaderMap) -> bool {
    let mut types = headers.get_all(CONTENT_TYPE).iter();
    let (Some(media_type), None) = (types.next(), types.next()) else { return false };
    media_type.to_str().is_ok_and(|media_type| {
        let essence = media_type.split(';').next().unwrap_or_default().trim();
        essence.eq_ignore_ascii_case("application/x-www-form-urlencoded")
    })
}

/// Names and values in their order; none when one of them cannot be decoded.
fn parameters(body: &[u8]) -> Option<Vec<(String, String)>> {
    let pairs = body.split(|byte| *byte == b'&').filter(|pair| !pair.is_empty());
    let decoded = pairs.map(|pair| {
        let mut parts = pair.splitn(2, |byte| *byte == b'=');
        let (name, value) = (parts.next()?, parts.next().unwrap_or_default());
        Some((decode(name)?, decode(value)?))
    });
    decoded.collect()
}

/// The text that was encoded as `application/x-www-form-urlencoded` has it; none where a `%` lacks
/// its two hexadecimal digits, or the bytes are not UTF-8.
pub(super) fn decode(encoded: &[u8]) -> Option<String> {
    let mut decoded = Vec::with_capacity(encoded.len());
    let mut rest = encoded.iter().copied();
    while let Some(byte) = rest.next() {
        decoded.push(match byte {
            b'+' => b' ',
            b'%' => digit(rest.next()?)? << 4 | digit(rest.next()?)?,
            plain => plain,
        });
    }
    String::from_utf8(decoded).ok()
}

/// The value of a hexadecimal digit.
fn digit(byte: u8) -> Option<u8> {
    char::from(byte).to_digit(16).and_then(|digit| u8::try_from(digit).ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_encoded_is_decoded_and_the_rest_is_none() {
        for (encoded, decoded) in [
            ("", Some("")),
            ("a-b_c.d~", Some("a-b_c.d~")),
            ("a+b%20c%2B", Some("a b c+")),
            ("%EC%BF%a0%ed%8f%b0", Some("쿠폰")),
            ("쿠폰", Some("쿠폰")),
            ("%00%25", Some("\0%")),
            ("%", None),
            ("a%2", None),
            ("%zz", None),
            ("%+1", None),
            ("%EC%BF", None),
            ("%ff", None),
            ("%c0%80", None),
            ("%ed%a0%80", None),
        ] {
            assert_eq!(decode(encoded.as_bytes()).as_deref(), decoded, "{encoded}");
        }
        assert_eq!(decode(b"\xff"), None);
    }

    #[test]
    fn pairs_are_apart_by_ampersands_and_may_lack_a_value() {
        let pair = |name: &str, value: &str| (name.to_owned(), value.to_owned());
        assert_eq!(
            parameters(b"&a=1&&b=&c&=d&e=f=g%26&"),
            Some(vec![
                pair("a", "1"),
                pair("b", ""),
                pair("c", ""),
                pair("", "d"),
                pair("e", "f=g&")
            ])
        );
        assert_eq!(parameters(b""), Some(vec![]));
        assert_eq!(parameters(b"a=1&b=%"), None);
    }
}
