//! The tables of a drop: accounts, coupons, events, issued coupons, redemptions, and the journal
//! of claims of the embedded ledger.

use sea_orm_migration::prelude::*;
use sea_orm_migration::sea_orm::DbBackend;

/// See the module.
#[derive(DeriveMigrationName)]
pub(crate) struct Migration;

#[expect(elided_lifetimes_in_paths, reason = "as async-trait has expanded the trait")]
#[async_trait::async_trait]
impl MigrationTrait for Migration {
    async fn up(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        let backend = manager.get_database_backend();
        for table in tables(backend) {
            manager.create_table(table).await?;
        }
        for index in indexes() {
            manager.create_index(index).await?;
        }
        Ok(())
    }

    async fn down(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        let mut tables = vec![
            "redemptions",
            "issued_coupons",
            "events",
            "coupons",
            "sessions",
            "accounts",
            "secrets",
        ];
        if manager.get_database_backend() == DbBackend::Sqlite {
            tables.push("claim_journal");
        }
        for table in tables {
            manager.drop_table(Table::drop().table(Alias::new(table)).to_owned()).await?;
        }
        Ok(())
    }
}

/// Every table, in the order of creation.
pub(crate) fn tables(backend: DbBackend) -> Vec<TableCreateStatement> {
    let mut tables = vec![
        accounts(backend),
        sessions(),
        coupons(backend),
        events(backend),
        issued_coupons(backend),
        redemptions(backend),
        secrets(backend),
    ];
    if backend == DbBackend::Sqlite {
        // Only the embedded ledger keeps a journal: the others write the winners in place.
        tables.push(claim_journal());
    }
    if backend == DbBackend::MySql {
        // Whatever the server's defaults: every text is Unicode and compared byte by byte, and
        // every table knows transactions.
        for table in &mut tables {
            table.engine("InnoDB").character_set("utf8mb4").collate("utf8mb4_bin");
        }
    }
    tables
}

/// Every index beside the keys.
pub(crate) fn indexes() -> Vec<IndexCreateStatement> {
    let index = |name: &'static str, table: &'static str, columns: &[&'static str]| {
        let mut index = Index::create();
        index.name(name).table(table);
        for column in columns {
            index.col(*column);
        }
        index
    };
    let mut holder = index("issued_coupons_holder", "issued_coupons", &["event_no", "user_id"]);
    let mut id = index("issued_coupons_id", "issued_coupons", &["id"]);
    let mut order = index("redemptions_order", "redemptions", &["issued_coupon_id", "order_id"]);
    let mut refresh = index("sessions_refresh", "sessions", &["refresh_hash"]);
    vec![
        holder.unique().take(),
        id.unique().take(),
        order.unique().take(),
        refresh.unique().take(),
        index("issued_coupons_user", "issued_coupons", &["user_id", "issued_at"]).take(),
        index("events_coupon", "events", &["coupon_id"]).take(),
        index("sessions_account", "sessions", &["account_id"]).take(),
    ]
}

fn accounts(backend: DbBackend) -> TableCreateStatement {
    Table::create()
        .table("accounts")
        .col(id("id").primary_key())
        .col(exact("email", 254, backend).unique_key())
        .col(ColumnDef::new("password_hash").string_len(255).not_null())
        .col(ColumnDef::new("scope").string_len(255).not_null())
        .col(number("created_at"))
        .take()
}

fn sessions() -> TableCreateStatement {
    Table::create()
        .table("sessions")
        .col(id("id").primary_key())
        .col(id("account_id"))
        .col(ColumnDef::new("refresh_hash").var_binary(32).not_null())
        .col(number("created_at"))
        .col(number("expires_at"))
        .col(ColumnDef::new("revoked_at").big_integer())
        .foreign_key(ForeignKey::create().from("sessions", "account_id").to("accounts", "id"))
        .take()
}

fn coupons(backend: DbBackend) -> TableCreateStatement {
    Table::create()
        .table("coupons")
        .col(id("id").primary_key())
        .col(ColumnDef::new("name").string_len(100).not_null())
        .col(ColumnDef::new("amount").big_integer())
        .col(ColumnDef::new("percent").integer())
        .col(ColumnDef::new("max_amount").big_integer())
        .col(exact("currency", 3, backend))
        .col(number("min_order_amount"))
        .col(labels("product_ids", backend))
        .col(labels("category_ids", backend))
        .col(ColumnDef::new("valid_from").big_integer())
        .col(ColumnDef::new("valid_until").big_integer())
        .col(ColumnDef::new("valid_days").integer())
        .col(number("version"))
        .col(number("created_at"))
        .col(number("updated_at"))
        .check(Expr::col("amount").is_null().ne(Expr::col("percent").is_null()))
        .check(Expr::col("valid_days").is_null().ne(Expr::col("valid_until").is_null()))
        .take()
}

fn events(backend: DbBackend) -> TableCreateStatement {
    Table::create()
        .table("events")
        .col(ColumnDef::new("no").big_integer().not_null().auto_increment().primary_key())
        .col(id("id").unique_key())
        .col(id("coupon_id"))
        .col(ColumnDef::new("name").string_len(100).not_null())
        .col(number("quantity"))
        .col(number("issued"))
        .col(number("opens_at"))
        .col(number("closes_at"))
        .col(ColumnDef::new("opened_early").boolean().not_null())
        .col(ColumnDef::new("paused").boolean().not_null())
        .col(ColumnDef::new("closed").boolean().not_null())
        .col(exact("strategy", 16, backend))
        .col(number("epoch"))
        .col(number("version"))
        .col(number("created_at"))
        .col(number("updated_at"))
        .check(Expr::col("issued").gte(0))
        .check(Expr::col("issued").lte(Expr::col("quantity")))
        .check(Expr::col("opens_at").lt(Expr::col("closes_at")))
        .foreign_key(ForeignKey::create().from("events", "coupon_id").to("coupons", "id"))
        .take()
}

fn issued_coupons(backend: DbBackend) -> TableCreateStatement {
    Table::create()
        .table("issued_coupons")
        .col(number("event_no"))
        .col(number("sequence"))
        .col(id("id"))
        .col(exact("user_id", 128, backend))
        .col(number("issued_at"))
        .col(number("valid_from"))
        .col(number("expires_at"))
        .col(ColumnDef::new("used_at").big_integer())
        .col(ColumnDef::new("revoked_at").big_integer())
        .col(ColumnDef::new("revoke_reason").string_len(200))
        .primary_key(Index::create().col("event_no").col("sequence"))
        .check(Expr::col("sequence").gte(1))
        .check(Expr::col("used_at").is_null().or(Expr::col("revoked_at").is_null()))
        .foreign_key(ForeignKey::create().from("issued_coupons", "event_no").to("events", "no"))
        .take()
}

fn redemptions(backend: DbBackend) -> TableCreateStatement {
    Table::create()
        .table("redemptions")
        .col(id("id").primary_key())
        .col(id("issued_coupon_id"))
        .col(exact("order_id", 64, backend))
        .col(number("order_amount"))
        .col(number("discount_amount"))
        .col(exact("currency", 3, backend))
        .col(number("redeemed_at"))
        .col(ColumnDef::new("cancelled_at").big_integer())
        .check(Expr::col("discount_amount").lte(Expr::col("order_amount")))
        .take()
}

fn secrets(backend: DbBackend) -> TableCreateStatement {
    Table::create()
        .table("secrets")
        .col(exact("name", 64, backend).primary_key())
        .col(ColumnDef::new("secret").var_binary(64).not_null())
        .take()
}

/// One row a batch of winners: `entries` is a JSON array with, for each event,
/// `[event_no, first sequence, issued_at, valid_from, expires_at, [user_id, …]]`.
fn claim_journal() -> TableCreateStatement {
    Table::create()
        .table("claim_journal")
        .col(ColumnDef::new("no").integer().not_null().primary_key())
        .col(ColumnDef::new("entries").text().not_null())
        .take()
}

pub(super) fn id(name: &'static str) -> ColumnDef {
    ColumnDef::new(name).uuid().not_null().take()
}

pub(super) fn number(name: &'static str) -> ColumnDef {
    ColumnDef::new(name).big_integer().not_null().take()
}

/// A list of labels as JSON; MySQL's `text` would be too short for the longest.
fn labels(name: &'static str, backend: DbBackend) -> ColumnDef {
    let mut column = ColumnDef::new(name);
    match backend {
        DbBackend::MySql => column.custom("mediumtext"),
        _ => column.text(),
    };
    column.not_null().take()
}

/// A text that is compared byte by byte, whatever the server's default collation. SQLite does so
/// by itself, and on MySQL the whole table does.
pub(super) fn exact(name: &'static str, chars_max: u32, backend: DbBackend) -> ColumnDef {
    let mut column = ColumnDef::new(name);
    column.string_len(chars_max).not_null();
    if backend == DbBackend::Postgres {
        column.extra("COLLATE \"C\"");
    }
    column.take()
}

#[cfg(test)]
mod tests {
    use sea_orm_migration::sea_orm::DbBackend;

    use super::{indexes, tables};

    /// The schema as each database gets it, to be read by people when it changes.
    #[test]
    fn the_schema_in_three_dialects() {
        for backend in [DbBackend::Sqlite, DbBackend::Postgres, DbBackend::MySql] {
            let mut sql = String::new();
            for table in tables(backend) {
                sql += &(backend.build(&table).sql + ";\n");
            }
            for index in indexes() {
                sql += &(backend.build(&index).sql + ";\n");
            }
            insta::assert_snapshot!(format!("schema_{backend:?}").to_lowercase(), sql);
        }
    }
}
