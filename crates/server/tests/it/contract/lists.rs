//! Lists: pages, limits, cursors, and the export as CSV.

use std::collections::HashSet;

use serde_json::Value;

use super::NOWHERE;
use crate::shop::Shop;

/// Seven coupons, seven events, and seven issued coupons of the last event and of one user.
async fn filled() -> (Shop, String, String) {
    let shop = Shop::open().await;
    let collector = shop.user("collector").await;
    let mut event = String::new();
    for _ in 0..7 {
        event = shop.event(50).await;
        let _ = shop.claim(&event, &collector).await.expect(201);
    }
    for token in shop.server.tokens("shopper", 6).await {
        let _ = shop.claim(&event, &token).await.expect(201);
    }
    (shop, event, collector)
}

/// Every list, with a token that may read it.
fn lists(shop: &Shop, event: &str, collector: &str) -> [(String, String); 4] {
    [
        ("/v1/coupons".to_owned(), String::new()),
        ("/v1/events".to_owned(), String::new()),
        (format!("/v1/events/{event}/issued-coupons"), shop.admin.clone()),
        ("/v1/me/coupons".to_owned(), collector.to_owned()),
    ]
}

#[tokio::test]
async fn a_list_is_walked_page_by_page() {
    let (shop, event, collector) = filled().await;
    for (path, token) in lists(&shop, &event, &collector) {
        let whole = shop.walk(&path, &token, 200).await;
        let ids = |items: &[Value]| -> Vec<String> {
            items.iter().map(|item| item["id"].as_str().expect("an id").to_owned()).collect()
        };
        let all = ids(&whole);
        assert_eq!(all.len(), 7, "{path}");
        assert_eq!(all.iter().collect::<HashSet<_>>().len(), 7, "{path}");
        for limit in [1, 2, 3, 6, 7, 8] {
            assert_eq!(ids(&shop.walk(&path, &token, limit).await), all, "{path} by {limit}");
        }
        let page = shop.api.get(&path).token(&token).await.expect(200);
        assert_eq!(page.members(""), ["items", "next_cursor"].map(str::to_owned).into());
        assert_eq!(page.member("/next_cursor"), Value::Null);
    }
}

#[tokio::test]
async fn an_item_of_a_list_is_what_its_own_path_answers() {
    let (shop, event, collector) = filled().await;
    for (path, token) in lists(&shop, &event, &collector) {
        let own = if path.ends_with("issued-coupons") { continue } else { &path };
        let listed = &shop.walk(&path, &token, 3).await[4];
        let id = listed["id"].as_str().expect("an id");
        let mut read = shop.api.get(&format!("{own}/{id}")).token(&token).await.expect(200).json();
        let mut listed = listed.clone();
        for event in [&mut read, &mut listed] {
            event.as_object_mut().expect("an object").remove("server_time");
        }
        assert_eq!(listed, read);
    }
}

#[tokio::test]
async fn a_limit_out_of_range_is_refused() {
    let (shop, event, collector) = filled().await;
    for (path, token) in lists(&shop, &event, &collector) {
        for limit in ["0", "201", "-1", "1.5", "abc", "", "9223372036854775808", "%EC%9D%BC"] {
            let answer = shop.api.get(&format!("{path}?limit={limit}")).token(&token).await;
            assert_eq!((answer.status, answer.code().as_str()), (422, "invalid"), "{answer}");
        }
        for limit in [1, 200] {
            let _ = shop.api.get(&format!("{path}?limit={limit}")).token(&token).await.expect(200);
        }
    }
}

#[tokio::test]
async fn a_cursor_that_we_did_not_make_is_refused() {
    let (shop, event, collector) = filled().await;
    let lists = lists(&shop, &event, &collector);
    let mut cursors = Vec::new();
    for (path, token) in &lists {
        let page = shop.api.get(&format!("{path}?limit=2")).token(token).await.expect(200);
        cursors.push(page.member_text("/next_cursor"));
    }
    for (index, (path, token)) in lists.iter().enumerate() {
        let ask = async |cursor: &str| {
            shop.api.get(&format!("{path}?cursor={cursor}")).token(token).await
        };
        let _ = ask(&cursors[index]).await.expect(200);
        let tail = &cursors[index][1..];
        for bad in ["", "x", "1", "%00", "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA", tail] {
            let _ = ask(bad).await.expect_problem(400, "malformed");
        }
        for (other, cursor) in cursors.iter().enumerate() {
            if other != index {
                let _ = ask(cursor).await.expect_problem(400, "malformed");
            }
        }
    }
}

/// A cursor is bound to its filter, and to whose list it is.
#[tokio::test]
async fn a_cursor_of_another_filter_or_owner_is_refused() {
    let (shop, event, collector) = filled().await;
    let mine = shop.api.get("/v1/me/coupons?limit=2").token(&collector).await.expect(200);
    let path = format!("/v1/me/coupons?cursor={}", mine.member_text("/next_cursor"));
    let other = shop.user("shopper-1").await;
    let _ = shop.api.get(&path).token(&other).await.expect_problem(400, "malformed");
    let filtered = shop.api.get(&format!("{path}&state=issued")).token(&collector).await;
    let _ = filtered.expect_problem(400, "malformed");

    let listed = shop.api.get("/v1/events?state=open&limit=2").await.expect(200);
    let cursor = listed.member_text("/next_cursor");
    let _ = shop.api.get(&format!("/v1/events?state=open&cursor={cursor}")).await.expect(200);
    let unfiltered = shop.api.get(&format!("/v1/events?cursor={cursor}")).await;
    let _ = unfiltered.expect_problem(400, "malformed");

    let other_event = shop.event(10).await;
    let issued = format!("/v1/events/{event}/issued-coupons?limit=2");
    let cursor = shop.api.get(&issued).token(&shop.admin).await.member_text("/next_cursor");
    let path = format!("/v1/events/{other_event}/issued-coupons?cursor={cursor}");
    let foreign = shop.api.get(&path).token(&shop.admin).await;
    let _ = foreign.expect_problem(400, "malformed");
}

#[tokio::test]
async fn a_list_of_my_coupons_has_nobody_elses() {
    let (shop, ..) = filled().await;
    let stranger = shop.user("stranger").await;
    assert_eq!(shop.walk("/v1/me/coupons", &stranger, 50).await, Vec::<Value>::new());
}

#[tokio::test]
async fn the_export_has_every_issued_coupon_once() {
    let (shop, event, _) = filled().await;
    let path = format!("/v1/events/{event}/issued-coupons");
    let export = shop.api.get(&path).token(&shop.admin).header("accept", "text/csv").await;
    let export = export.expect(200);
    assert!(export.header("content-type").starts_with("text/csv"), "{export}");
    let text = export.text();
    let mut lines = text.lines();
    let header: Vec<&str> = lines.next().expect("a header").split(',').collect();
    let column = |name: &str| header.iter().position(|known| *known == name).expect(name);
    let (user, sequence, code) = (column("user_id"), column("sequence"), column("code"));
    let mut exported: Vec<[String; 3]> = lines
        .map(|line| {
            let cells: Vec<&str> = line.split(',').collect();
            assert_eq!(cells.len(), header.len(), "{line}");
            [cells[user], cells[sequence], cells[code]].map(str::to_owned)
        })
        .collect();
    exported.sort();
    let listed: Vec<[String; 3]> = shop
        .issued(&event)
        .await
        .values()
        .map(|item| {
            let text = |member: &str| item[member].as_str().expect("text").to_owned();
            [text("user_id"), item["sequence"].to_string(), text("code")]
        })
        .collect();
    assert_eq!(exported, listed);
    assert_eq!(exported.len(), 7);
}

/// A user id may begin as a formula of a spreadsheet does, and may hold the separators themselves.
#[tokio::test]
async fn the_export_quotes_what_a_spreadsheet_would_misread() {
    let shop = Shop::open().await;
    let event = shop.event(10).await;
    for sub in ["a,\"b\"", "=1+1"] {
        let _ = shop.claim(&event, &shop.user(sub).await).await.expect(201);
    }
    let path = format!("/v1/events/{event}/issued-coupons");
    let export = shop.api.get(&path).token(&shop.admin).header("accept", "text/csv").await;
    let text = export.expect(200).text();
    assert!(text.contains(r#","a,""b""","#), "{text}");
    assert!(text.contains(",'=1+1,"), "{text}");
}

#[tokio::test]
async fn the_list_of_an_event_without_issued_coupons() {
    let shop = Shop::open().await;
    let event = shop.event(10).await;
    let path = format!("/v1/events/{event}/issued-coupons");
    assert_eq!(shop.walk(&path, &shop.admin, 50).await, Vec::<Value>::new());
    let export = shop.api.get(&path).token(&shop.admin).header("accept", "text/csv").await;
    assert_eq!(export.expect(200).text().lines().count(), 1, "the header alone");
    let nowhere = format!("/v1/events/{NOWHERE}/issued-coupons");
    let export = shop.api.get(&nowhere).token(&shop.admin).header("accept", "text/csv").await;
    let _ = export.expect_problem(404, "event_not_found");
}
