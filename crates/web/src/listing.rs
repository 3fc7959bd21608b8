//! Pages of lists: `?limit=…&cursor=…`.

use axum::extract::{FromRequestParts, Query};
use axum::http::request::Parts;
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use firstcome_core::limits::{PAGE_LIMIT_DEFAULT, PAGE_LIMIT_MAX, PAGE_LIMIT_MIN};
use hmac::{Hmac, KeyInit, Mac};
use serde::Serialize;
use serde::de::DeserializeOwned;
use sha2::Sha256;
use utoipa::ToSchema;

use crate::json::Checks;
use crate::problem::{Code, Problem};

/// Bytes of a cursor's signature: enough that none can be guessed, short in a URL.
const SIGNATURE_BYTES: usize = 16;
/// Longest cursor that is looked at.
const CURSOR_BYTES_MAX: usize = 1024;

/// One page of a list.
#[derive(Debug, Clone, Serialize, ToSchema)]
pub struct Page<T> {
    /// The items, in the list's order.
    pub items: Vec<T>,
    /// Where the next page begins; null on the last page.
    #[schema(required = true)]
    pub next_cursor: Option<String>,
}

impl<T> Page<T> {
    /// The page of the first `limit` of `rows`, of which one more than that was asked for: it
    /// tells whether there is a next page. `cursor` is that of the page's last row.
    pub fn of<R>(
        mut rows: Vec<R>,
        limit: u32,
        cursor: impl FnOnce(&R) -> String,
        show: impl FnMut(R) -> T,
    ) -> Self {
        let more = rows.len() as u64 > u64::from(limit);
        rows.truncate(limit as usize);
        let next_cursor = rows.last().filter(|_| more).map(cursor);
        Self { items: rows.into_iter().map(show).collect(), next_cursor }
    }
}

/// The query of a list: how many items, from where, and the list's own filters. Parameters that no
/// one asks for are ignored.
#[derive(Debug, Clone)]
pub struct Listing {
    /// Most items on the page.
    pub limit: u32,
    cursor: Option<String>,
    filters: Vec<(String, String)>,
}

impl Listing {
    /// The value of a filter, where it is given.
    #[must_use]
    pub fn filter(&self, name: &str) -> Option<&str> {
        self.filters.iter().find(|(key, _)| key == name).map(|(_, value)| value.as_str())
    }

    /// The position after which the page begins; none for the first page.
    ///
    /// # Errors
    /// 400 `malformed` when the cursor is not one that [`CursorKey::encode`] made for the same
    /// list and filters.
    pub fn position<P: DeserializeOwned>(
        &self,
        key: &CursorKey,
        list: &str,
        filters: &[&str],
    ) -> Result<Option<P>, Problem> {
        self.cursor.as_deref().map(|cursor| key.decode(list, filters, cursor)).transpose()
    }
}

impl<S: Send + Sync> FromRequestParts<S> for Listing {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Problem> {
        let Query(pairs) = Query::<Vec<(String, String)>>::try_from_uri(&parts.uri)
            .map_err(|_| Problem::new(Code::Malformed, "The query cannot be read."))?;
        let mut listing = Self { limit: PAGE_LIMIT_DEFAULT, cursor: None, filters: Vec::new() };
        for (index, (name, value)) in pairs.iter().enumerate() {
            if pairs[..index].iter().any(|(before, _)| before == name) {
                let detail = format!("The query has the parameter {name:?} twice.");
                return Err(Problem::new(Code::Malformed, detail));
            }
            match name.as_str() {
                "limit" => listing.limit = parse_limit(value)?,
                "cursor" => listing.cursor = Some(value.clone()),
                _ => listing.filters.push((name.clone(), value.clone())),
            }
        }
        Ok(listing)
    }
}

fn parse_limit(text: &str) -> Result<u32, Problem> {
    let digits = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    let limit = digits.then(|| text.parse().ok()).flatten();
    limit.filter(|limit| (PAGE_LIMIT_MIN..=PAGE_LIMIT_MAX).contains(limit)).ok_or_else(|| {
        let mut checks = Checks::new();
        checks.refuse("/limit", format!("must be {PAGE_LIMIT_MIN} to {PAGE_LIMIT_MAX}"));
        checks.into_problem()
    })
}

/// Signs cursors, so that a position in a list is one that we named, and stays in its list.
#[derive(Clone)]
pub struct CursorKey(Hmac<Sha256>);

impl CursorKey {
    /// A key with this secret.
    #[must_use]
    pub fn new(secret: &[u8; 32]) -> Self {
        Self(Hmac::new_from_slice(secret).expect("HMAC takes a key of any length"))
    }

    /// The cursor of a position in a list under these filters (whoever owns the list included).
    ///
    /// # Panics
    /// When the position does not serialize, which plain values always do.
    pub fn encode(&self, list: &str, filters: &[&str], position: &impl Serialize) -> String {
        let mut bytes = vec![0; SIGNATURE_BYTES];
        serde_json::to_writer(&mut bytes, position)
            .expect("a position is made of plain values, which always serialize");
        let signature = self.sign(list, filters, &bytes[SIGNATURE_BYTES..]);
        bytes[..SIGNATURE_BYTES]
            .copy_from_slice(&signature.finalize().into_bytes()[..SIGNATURE_BYTES]);
        URL_SAFE_NO_PAD.encode(bytes)
    }

    /// The position that a cursor names.
    ///
    /// # Errors
    /// 400 `malformed` for a cursor that this key did not make for the same list and filters.
    pub fn decode<P: DeserializeOwned>(
        &self,
        list: &str,
        filters: &[&str],
        cursor: &str,
    ) -> Result<P, Problem> {
        let refused = || {
            let detail = "The cursor is not one that this list gave out.";
            Problem::new(Code::Malformed, detail)
        };
        if cursor.len() > CURSOR_BYTES_MAX {
            return Err(refused());
        }
        let bytes = URL_SAFE_NO_PAD.decode(cursor).map_err(|_| refused())?;
        let (signature, position) = bytes.split_at_checked(SIGNATURE_BYTES).ok_or_else(refused)?;
        self.sign(list, filters, position)
            .verify_truncated_left(signature)
            .map_err(|_| refused())?;
        serde_json::from_slice(position).map_err(|_| refused())
    }

    /// The signature's state over everything that a cursor is bound to, each part with its length.
    fn sign(&self, list: &str, filters: &[&str], position: &[u8]) -> Hmac<Sha256> {
        let mut mac = self.0.clone();
        let parts = [list].into_iter().chain(filters.iter().copied()).map(str::as_bytes);
        for part in parts.chain([position]) {
            mac.update(&(part.len() as u64).to_be_bytes());
            mac.update(part);
        }
        mac
    }
}

impl std::fmt::Debug for CursorKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("CursorKey")
    }
}

#[cfg(test)]
mod tests {
    use axum::http::Request;

    use super::*;

    async fn listing(query: &str) -> Result<Listing, Problem> {
        let request = Request::builder().uri(format!("/v1/events{query}")).body(()).unwrap();
        Listing::from_request_parts(&mut request.into_parts().0, &()).await
    }

    #[tokio::test]
    async fn limits_within_the_bounds_are_taken() {
        for (query, limit) in [("", 50), ("?limit=1", 1), ("?limit=200", 200), ("?limit=007", 7)] {
            assert_eq!(listing(query).await.unwrap().limit, limit, "{query}");
        }
    }

    #[tokio::test]
    async fn other_queries_are_refused() {
        for (query, code) in [
            ("?limit=0", Code::Invalid),
            ("?limit=201", Code::Invalid),
            ("?limit=-1", Code::Invalid),
            ("?limit=%2B5", Code::Invalid),
            ("?limit=1.5", Code::Invalid),
            ("?limit=", Code::Invalid),
            ("?limit=ten", Code::Invalid),
            ("?limit=18446744073709551616", Code::Invalid),
            ("?limit=%EF%BC%91", Code::Invalid),
            ("?limit=5&limit=5", Code::Malformed),
            ("?state=open&state=closed", Code::Malformed),
        ] {
            assert_eq!(listing(query).await.unwrap_err().code(), code, "{query}");
        }
    }

    #[tokio::test]
    async fn filters_are_found_by_name() {
        let listing = listing("?state=open&limit=5&q=%EC%BF%A0%ED%8F%B0").await.unwrap();
        assert_eq!(listing.filter("state"), Some("open"));
        assert_eq!(listing.filter("q"), Some("쿠폰"));
        assert_eq!(listing.filter("limit"), None);
    }

    #[test]
    fn a_page_names_the_next_one_where_there_is_more() {
        let page = |rows: &[u8]| {
            let page = Page::of(rows.to_vec(), 2, |last| format!("after {last}"), |row| row * 10);
            (page.items, page.next_cursor)
        };
        assert_eq!(page(&[]), (vec![], None));
        assert_eq!(page(&[1, 2]), (vec![10, 20], None));
        assert_eq!(page(&[1, 2, 3]), (vec![10, 20], Some("after 2".to_owned())));
    }

    #[test]
    fn a_cursor_stays_in_its_list() {
        let key = CursorKey::new(&[7; 32]);
        let cursor = key.encode("events", &["open"], &("2026", 5));
        let decode = |key: &CursorKey, list, filters: &[&str], cursor: &str| {
            key.decode::<(String, u64)>(list, filters, cursor).map_err(|problem| problem.code())
        };
        assert_eq!(decode(&key, "events", &["open"], &cursor), Ok(("2026".to_owned(), 5)));

        let mut forged = cursor.clone().into_bytes();
        *forged.last_mut().unwrap() ^= 1;
        let forged = String::from_utf8(forged).unwrap();
        let long = "A".repeat(CURSOR_BYTES_MAX + 1);
        for (key, list, filters, cursor) in [
            (&CursorKey::new(&[8; 32]), "events", &["open"][..], cursor.as_str()),
            (&key, "coupons", &["open"], &cursor),
            (&key, "events", &["closed"], &cursor),
            (&key, "events", &[], &cursor),
            (&key, "eventsopen", &[], &cursor),
            (&key, "events", &["open"], &forged),
            (&key, "events", &["open"], &cursor[..20]),
            (&key, "events", &["open"], ""),
            (&key, "events", &["open"], "쿠폰"),
            (&key, "events", &["open"], &long),
        ] {
            assert_eq!(decode(key, list, filters, cursor), Err(Code::Malformed), "{cursor}");
        }
    }
}
