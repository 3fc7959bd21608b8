//! Two processes that serve from one database.

use firstcome_testkit::{Engine, TestDatabase};

use crate::databases::on_each_engine;
use crate::durability;
use crate::shop::Shop;

on_each_engine!(no_acknowledged_claim_is_lost);

/// Drops in which both processes are killed.
const DROPS: usize = 6;

async fn no_acknowledged_claim_is_lost(engine: Engine) {
    let database = TestDatabase::new(engine).await;
    let shop = Shop::open_patiently_on(database.url()).await;
    let beside = shop.beside().await;
    durability::kill_again_and_again(&mut [shop, beside], DROPS).await;
}
