//! PostgreSQL, through `psql`.

use std::process::Command;

use super::{Engine, Login};

pub(crate) const POSTGRES: Engine = Engine {
    service: "postgres",
    client: ("psql", "postgresql-client-15"),
    command,
    // The usual template would have to be free of clients.
    create_options: "TEMPLATE template0 ENCODING 'UTF8'",
    drop_options: "WITH (FORCE)",
    databases: "SELECT datname FROM pg_database",
    settings: "SELECT name, current_setting(name) FROM unnest(ARRAY['server_version', 'fsync', \
               'synchronous_commit', 'full_page_writes', 'wal_sync_method', 'wal_level', \
               'shared_buffers', 'max_wal_size']) AS names (name)",
    // Otherwise autovacuum and a checkpoint fall into a later measurement.
    rest: &["VACUUM (ANALYZE)", "CHECKPOINT"],
};

fn command(login: &Login, database: &str) -> Command {
    let mut command = Command::new("psql");
    command.args(["--no-psqlrc", "--quiet", "--tuples-only", "--no-align"]);
    command.args(["--field-separator=\t", "--set=ON_ERROR_STOP=1", "--no-password"]);
    command.args(["--host", &login.host, "--port", &login.port, "--username", &login.user]);
    let database = if database.is_empty() { "postgres" } else { database };
    command.args(["--dbname", database, "--command"]);
    command.env("PGPASSWORD", &login.password);
    command
}
