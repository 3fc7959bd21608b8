//! Issued coupons as CSV (RFC 4180), streamed.

use std::fmt::Write as _;

use axum::body::{Body, Bytes};
use axum::http::{HeaderName, HeaderValue, header};
use firstcome_core::{EventId, Timestamp};
use firstcome_ledger::{IssuedCouponRecord, LedgerError};
use futures_util::{Stream, StreamExt, TryStreamExt, stream};

const HEADER: &str = "id,event_id,coupon_id,user_id,sequence,code,state,issued_at,valid_from,\
                      expires_at,used_at\r\n";
/// Bytes that hold a row with a user id of usual length.
const ROW_BYTES: usize = 288;

/// A file to be saved.
pub(crate) type CsvFile = ([(HeaderName, HeaderValue); 3], Body);

/// The file of an event's issued coupons, with their states at `now`. What fails before the first
/// row is an error; what fails later breaks the answer off, so that nobody takes it for whole.
///
/// # Errors
/// When the ledger does not answer.
pub(crate) async fn file(
    event: EventId,
    now: Timestamp,
    chunks: impl Stream<Item = Result<Vec<IssuedCouponRecord>, LedgerError>> + Send + 'static,
) -> Result<CsvFile, LedgerError> {
    let mut chunks = Box::pin(chunks);
    let first = chunks.try_next().await?;
    let rows = stream::iter(first.map(Ok)).chain(chunks).map_ok(move |chunk| rows(&chunk, now));
    let body = stream::iter([Ok(Bytes::from_static(HEADER.as_bytes()))]).chain(rows);
    let name = format!("attachment; filename=\"issued-coupons-{event}.csv\"");
    let headers = [
        (header::CONTENT_TYPE, HeaderValue::from_static("text/csv; charset=utf-8; header=present")),
        (
            header::CONTENT_DISPOSITION,
            HeaderValue::try_from(name).expect("a name of ASCII letters is a header value"),
        ),
        (header::VARY, HeaderValue::from_static("Accept")),
    ];
    Ok((headers, Body::from_stream(body)))
}

fn rows(chunk: &[IssuedCouponRecord], now: Timestamp) -> Bytes {
    let mut text = String::with_capacity(chunk.len() * ROW_BYTES);
    for coupon in chunk {
        row(&mut text, coupon, now).expect("writing to a string does not fail");
    }
    Bytes::from(text)
}

fn row(text: &mut String, coupon: &IssuedCouponRecord, now: Timestamp) -> std::fmt::Result {
    let IssuedCouponRecord { id, event_id, coupon_id, sequence, code, issued_at, .. } = coupon;
    let IssuedCouponRecord { valid_from, expires_at, .. } = coupon;
    let state = coupon.state(now).as_str();
    write!(text, "{id},{event_id},{coupon_id},")?;
    user_id(text, coupon.user_id.as_str());
    write!(text, ",{sequence},{code},{state},{issued_at},{valid_from},{expires_at},")?;
    if let Some(used_at) = coupon.used_at {
        write!(text, "{used_at}")?;
    }
    text.write_str("\r\n")
}

/// A user id as a field. Spreadsheets run a field that begins like a formula, and a user id is
/// whatever a token says: such an id is shown behind an apostrophe.
fn user_id(text: &mut String, id: &str) {
    let guard = if id.starts_with(['=', '+', '-', '@']) { "'" } else { "" };
    if id.contains([',', '"']) {
        text.push('"');
        text.push_str(guard);
        text.push_str(&id.replace('"', "\"\""));
        text.push('"');
    } else {
        text.push_str(guard);
        text.push_str(id);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_user_id_is_one_field_and_no_formula() {
        let cases = [
            ("kim", "kim"),
            ("a,b", "\"a,b\""),
            ("say-\"hi\"", "\"say-\"\"hi\"\"\""),
            ("=1+1", "'=1+1"),
            ("+82-10", "'+82-10"),
            ("-1", "'-1"),
            ("@SUM(A1,A2)", "\"'@SUM(A1,A2)\""),
        ];
        for (id, expected) in cases {
            let mut text = String::new();
            user_id(&mut text, id);
            assert_eq!(text, expected);
        }
    }
}
