//! What an event has issued: page by page, and as a file.

use axum::http::Method;
use serde_json::{Value, json};
use uuid::Uuid;

use crate::support::{TestIssuance, claim_of};

const HEADER: &str = "id,event_id,coupon_id,user_id,sequence,code,state,issued_at,valid_from,\
                      expires_at,used_at";

#[tokio::test]
async fn pages_follow_the_sequences_and_show_issued_coupons() {
    let test = TestIssuance::new().await;
    let (event, other) = (test.event(9).await, test.event(9).await);
    let mut won = Vec::new();
    for user in ["kim", "lee", "park", "choi", "jung"] {
        won.push(test.claim(event.id, user).await.expect(201));
    }
    let path = format!("/v1/events/{}/issued-coupons", event.id);
    let mut found = Vec::new();
    let mut query = "?limit=2".to_owned();
    let mut pages = 0;
    loop {
        let page = test.get(&format!("{path}{query}")).await.expect(200);
        found.extend(page["items"].as_array().expect("items").iter().cloned());
        pages += 1;
        let Some(cursor) = page["next_cursor"].as_str() else { break };
        query = format!("?limit=2&cursor={cursor}");
        let elsewhere = format!("/v1/events/{}/issued-coupons{query}", other.id);
        test.get(&elsewhere).await.problem(400, "malformed");
    }
    assert_eq!((found, pages), (won, 3));
    let empty = test.get(&format!("/v1/events/{}/issued-coupons", other.id)).await.expect(200);
    assert_eq!(empty, json!({"items": [], "next_cursor": null}));
}

#[tokio::test]
async fn the_file_has_every_row_once_with_the_members_of_the_shape() {
    let test = TestIssuance::new().await;
    let event = test.event(2_500).await;
    let claims = (0..2_500).map(|index| claim_of(&event, &format!("u{index}")));
    let claims: Vec<_> = claims.collect();
    for batch in claims.chunks(1_000) {
        test.ledger.claim(batch.to_vec()).await.expect("verdicts");
    }
    let path = format!("/v1/events/{}/issued-coupons", event.id);
    let csv = [("accept", "text/csv, */*;q=0.1")];
    let file = test.admin_with(Method::GET, &path, &csv, &Value::Null).await;
    assert_eq!(file.status, 200);
    assert!(file.header("content-type").starts_with("text/csv"));
    let name = format!("attachment; filename=\"issued-coupons-{}.csv\"", event.id);
    assert_eq!(file.header("content-disposition"), name);
    let mut lines = file.text.split("\r\n");
    assert_eq!(lines.next(), Some(HEADER));
    let page = test.get(&format!("{path}?limit=1")).await.expect(200);
    let first = &page["items"][0];
    let expected = HEADER.split(',').map(|member| match &first[member] {
        Value::String(text) => text.clone(),
        Value::Null => String::new(),
        other => other.to_string(),
    });
    let rows: Vec<&str> = lines.collect();
    assert_eq!(rows[0], expected.collect::<Vec<_>>().join(","));
    assert_eq!((rows.len(), rows[2_500]), (2_501, ""), "it ends with a line break");
    for (index, row) in rows[..2_500].iter().enumerate() {
        let mut fields = row.split(',').skip(3);
        assert_eq!(fields.next(), Some(format!("u{index}").as_str()));
        assert_eq!(fields.next(), Some((index + 1).to_string().as_str()));
    }
}

#[tokio::test]
async fn a_user_id_that_is_a_formula_is_none_in_the_file_and_itself_in_the_list() {
    let test = TestIssuance::new().await;
    let event = test.event(9).await;
    test.claim(event.id, "=HYPERLINK(\"http://x\",1)").await.expect(201);
    let path = format!("/v1/events/{}/issued-coupons", event.id);
    let csv = [("accept", "text/csv")];
    let file = test.admin_with(Method::GET, &path, &csv, &Value::Null).await;
    assert!(file.text.contains(",\"'=HYPERLINK(\"\"http://x\"\",1)\",1,"), "{}", file.text);
    let page = test.get(&path).await.expect(200);
    assert_eq!(page["items"][0]["user_id"], "=HYPERLINK(\"http://x\",1)");
}

#[tokio::test]
async fn an_unknown_event_has_neither() {
    let test = TestIssuance::new().await;
    let path = format!("/v1/events/{}/issued-coupons", Uuid::now_v7());
    for accept in ["application/json", "text/csv"] {
        let answer = test.admin_with(Method::GET, &path, &[("accept", accept)], &Value::Null).await;
        answer.problem(404, "event_not_found");
    }
}
