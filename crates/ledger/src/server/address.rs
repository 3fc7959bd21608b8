//! The address of a database on a server.

use std::fmt;
use std::str::FromStr;

use sqlx::mysql::MySqlConnectOptions;
use sqlx::postgres::PgConnectOptions;

use crate::LedgerError;
use crate::open::without_password;

/// What a URL may say behind the `?`; the rest is the ledger's own business.
const POSTGRES_PARAMETERS: [&str; 4] = ["sslmode", "sslrootcert", "sslcert", "sslkey"];
const MYSQL_PARAMETERS: [&str; 4] = ["ssl-mode", "ssl-ca", "ssl-cert", "ssl-key"];

/// Where a database is, and how to log in there.
#[derive(Debug, Clone)]
pub(crate) struct Address {
    pub(crate) driver: Driver,
    shown: String,
}

/// The protocol that the server speaks.
#[derive(Debug, Clone)]
pub(crate) enum Driver {
    Postgres(PgConnectOptions),
    /// MySQL and MariaDB.
    MySql(MySqlConnectOptions),
}

impl Address {
    /// Reads a URL; none when it is of no database server.
    pub(crate) fn parse(url: &str) -> Result<Option<Self>, LedgerError> {
        let scheme = url.split_once("://").map_or("", |(scheme, _)| scheme);
        let refuse = |reason: String| LedgerError::Url { url: without_password(url), reason };
        let invalid = |error: sqlx::Error| refuse(error.to_string());
        let (driver, parameters, database) = match scheme {
            "postgres" | "postgresql" => {
                let options = PgConnectOptions::from_str(url).map_err(invalid)?;
                let database = options.get_database().map(str::to_owned);
                (Driver::Postgres(options), POSTGRES_PARAMETERS, database)
            }
            "mysql" | "mariadb" => {
                let options = MySqlConnectOptions::from_str(url).map_err(invalid)?;
                let database = options.get_database().map(str::to_owned);
                (Driver::MySql(options), MYSQL_PARAMETERS, database)
            }
            _ => return Ok(None),
        };
        let query = url.split_once('?').map_or("", |(_, query)| query);
        for parameter in query.split('&').filter(|parameter| !parameter.is_empty()) {
            let name = parameter.split_once('=').map_or(parameter, |(name, _)| name);
            if !parameters.contains(&name) {
                let known = parameters.join(", ");
                return Err(refuse(format!("unknown parameter {name:?}; there are {known}")));
            }
        }
        if database.is_none_or(|database| database.is_empty()) {
            return Err(refuse(
                "it names no database, as in //user:password@host/firstcome".into(),
            ));
        }
        let shown = shown(url);
        Ok(Some(Self { driver, shown }))
    }

    /// Whether both are of the same database by host, port and name.
    pub(crate) fn is_same(&self, other: &Self) -> bool {
        self.driver.place() == other.driver.place()
    }
}

impl Driver {
    /// Protocol, host, port and database.
    fn place(&self) -> (&'static str, &str, u16, Option<&str>) {
        match self {
            Self::Postgres(options) => {
                ("postgres", options.get_host(), options.get_port(), options.get_database())
            }
            Self::MySql(options) => {
                ("mysql", options.get_host(), options.get_port(), options.get_database())
            }
        }
    }
}

/// The URL without password and parameters.
fn shown(url: &str) -> String {
    let url = url.split_once('?').map_or(url, |(url, _)| url);
    let Some((scheme, rest)) = url.split_once("://") else { return url.to_owned() };
    match rest.rsplit_once('@') {
        Some((login, place)) => {
            let user = login.split_once(':').map_or(login, |(user, _)| user);
            format!("{scheme}://{user}@{place}")
        }
        None => url.to_owned(),
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.shown)
    }
}
