//! MariaDB and MySQL, through `mariadb`.

use std::process::Command;

use super::{Engine, Login};

pub(crate) const MARIADB: Engine = Engine {
    service: "mariadb",
    client: ("mariadb", "mariadb-client-core"),
    command,
    create_options: "CHARACTER SET utf8mb4",
    drop_options: "",
    databases: "SHOW DATABASES",
    settings: "SHOW GLOBAL VARIABLES WHERE variable_name IN ('version', \
               'innodb_flush_log_at_trx_commit', 'innodb_doublewrite', 'innodb_flush_method', \
               'innodb_buffer_pool_size', 'innodb_log_file_size', 'log_bin', 'sync_binlog')",
    rest: &[],
};

fn command(login: &Login, database: &str) -> Command {
    let mut command = Command::new("mariadb");
    command.args(["--no-defaults", "--batch", "--skip-column-names", "--protocol=tcp"]);
    command.args(["--host", &login.host, "--port", &login.port, "--user", &login.user]);
    if !database.is_empty() {
        command.args(["--database", database]);
    }
    command.arg("--execute").env("MYSQL_PWD", &login.password);
    command
}
