//! A deployment moves from SQLite to PostgreSQL: everyone keeps what they have.

use firstcome_testkit::{Ended, Engine, Launch, TestDatabase};
use serde_json::{Value, json};

use crate::shop::{BINARY, Shop, lasting};

/// `ledger copy` from a server's own ledger.
fn copy(shop: &Shop, to: &str) -> Launch {
    let from = format!("sqlite:{}", shop.server.data_dir().join("ledger.db").display());
    Launch::new(BINARY, &["ledger", "copy", "--from", &from, "--to", to])
}

fn check_refused(ended: &Ended, names: &[&str]) {
    assert_eq!(ended.code, Some(1), "{ended:?}");
    for name in names {
        assert!(ended.stderr.contains(name), "{name:?} is not named in: {ended:?}");
    }
    let told = format!("{}{}", ended.stdout, ended.stderr);
    assert!(!told.contains(":firstcome@"), "a password is told: {told}");
}

#[tokio::test]
async fn everyone_keeps_coupon_code_and_token_on_another_ledger() {
    let mut shop = Shop::open().await;
    let event = shop.event(10).await;
    let (kim, lee) = (shop.user("kim").await, shop.user("lee").await);
    let kims = shop.claim(&event, &kim).await.expect(201).json();
    let lees = shop.claim(&event, &lee).await.expect(201).json();
    let order = json!({"order_id": "A-1", "order_amount": 30_000, "currency": "KRW"});
    let id = lees["id"].as_str().expect("an id").to_owned();
    let _ = shop.redeem(&id, &lee, order.clone()).await.expect(201);

    let database = TestDatabase::new(Engine::Postgres).await;
    let in_use = copy(&shop, database.url()).run().await;
    check_refused(&in_use, &["ledger.db", "in use", "stop it"]);
    assert_eq!(shop.server.terminate().await, Some(0));
    let migrated = shop.server.command(&["migrate", "--ledger-url", database.url()]).await;
    assert_eq!(migrated.code, Some(0), "{migrated:?}");
    let copied = copy(&shop, database.url()).run().await;
    assert_eq!(copied.code, Some(0), "{copied:?}");
    let row = |line: &str| line.split_whitespace().map(str::to_owned).collect::<Vec<_>>();
    let told: Vec<Vec<String>> = copied.stdout.lines().map(row).collect();
    assert!(told.contains(&row("issued_coupons 2 2")), "{copied:?}");
    assert!(told.contains(&row("redemptions 1 1")), "{copied:?}");
    let again = copy(&shop, database.url()).run().await;
    check_refused(&again, &["not empty", "nothing was copied"]);

    // The same data directory, whose key signed the tokens; another ledger.
    shop.reopen_as(|launch| launch.arguments(&["--ledger-url", database.url()])).await;
    let told = shop.claim(&event, &kim).await.expect(409);
    assert_eq!(told.member_text("/code"), "already_claimed");
    assert_eq!(told.member("/issued_coupon"), kims);
    let mine = shop.api.get(&format!("/v1/events/{event}/claims/me")).token(&lee).await;
    let mine = mine.expect(200).json();
    assert_eq!((lasting(&mine), &mine["state"]), (lasting(&lees), &Value::from("used")));
    let _ = shop.redeem(&id, &lee, order).await.expect(200);
    let park = shop.claim(&event, &shop.user("park").await).await.expect(201);
    assert_eq!(park.member("/sequence"), 3);
    shop.expect_audit(&event, 3).await;
    let _ = shop.event(1).await;
}
