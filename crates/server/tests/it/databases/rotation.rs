//! Refresh tokens and clients of two processes on one database.

use firstcome_testkit::{Engine, TestDatabase};

use crate::databases::on_each_engine;
use crate::oauth::{check_denied, race, refresh_token};
use crate::shop::Shop;

on_each_engine!(one_refresh_token_at_two_processes, one_client_at_two_processes);

async fn one_refresh_token_at_two_processes(engine: Engine) {
    let database = TestDatabase::new(engine).await;
    let here = Shop::open_patiently_on(database.url()).await;
    let there = here.beside().await;
    for number in 0..3 {
        let tokens = here.log_in(&format!("u{number}@example.com")).await;
        let given = race(&[&here, &there], &refresh_token(&tokens)).await;
        let next = there.refresh(&given.member_text("/refresh_token")).await;
        check_denied(&next, 400, "invalid_grant");
    }
    // In turns: each process knows what the other has used up.
    let tokens = here.log_in("kim@example.com").await;
    let second = there.refresh(&refresh_token(&tokens)).await.expect(200).json();
    let third = here.refresh(&refresh_token(&second)).await.expect(200).json();
    check_denied(&there.refresh(&refresh_token(&second)).await, 400, "invalid_grant");
    check_denied(&here.refresh(&refresh_token(&third)).await, 400, "invalid_grant");
}

async fn one_client_at_two_processes(engine: Engine) {
    let database = TestDatabase::new(engine).await;
    let here = Shop::open_patiently_on(database.url()).await;
    let there = here.beside().await;
    let (id, secret) = here.client("redeem").await;
    let _ = there.client_token(&id, &secret).await.expect(200);
    let _ = here.client("redeem").await;
    let page = here.api.get("/v1/clients?limit=1").token(&here.admin).await.expect(200);
    let next = format!("/v1/clients?limit=1&cursor={}", page.member_text("/next_cursor"));
    let last = there.api.get(&next).token(&there.admin).await.expect(200);
    assert_eq!(last.member("/items/0/client_id"), id.as_str(), "cursors are good at both");
    let path = format!("/v1/clients/{id}");
    let _ = there.api.call("DELETE", &path).token(&there.admin).await.expect(204);
    check_denied(&here.client_token(&id, &secret).await, 401, "invalid_client");
}
