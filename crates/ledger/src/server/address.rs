//! The address of a database on a server.

use std::fmt;
use std::str::FromStr;

use sqlx::mysql::MySqlConnectOptions;
use sqlx::postgres::PgConnectOptions;

use crate::LedgerError;
use crate::open::without_password;

/// What a URL may say behind the `?`; the rest is the ledger's own business. The first is the mode,
/// the others name files, the authority's first.
const POSTGRES_PARAMETERS: [&str; 4] = ["sslmode", "sslrootcert", "sslcert", "sslkey"];
const MYSQL_PARAMETERS: [&str; 4] = ["ssl-mode", "ssl-ca", "ssl-cert", "ssl-key"];
/// The modes that look at the server's certificate, the strictest first.
const POSTGRES_CHECKING: [&str; 2] = ["verify-full", "verify-ca"];
const MYSQL_CHECKING: [&str; 2] = ["VERIFY_IDENTITY", "VERIFY_CA"];
/// How a certificate or key begins that is in the URL itself.
const PEM: &str = "-----BEGIN";

/// Where a database is, and how to log in there.
#[derive(Debug, Clone)]
pub(crate) struct Address {
    pub(crate) driver: Driver,
    /// The files that the URL names, each behind its parameter.
    files: Vec<(&'static str, String)>,
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
        let (driver, parameters, checking, database) = match scheme {
            "postgres" | "postgresql" => {
                let options = PgConnectOptions::from_str(url).map_err(invalid)?;
                let database = options.get_database().map(str::to_owned);
                (Driver::Postgres(options), POSTGRES_PARAMETERS, POSTGRES_CHECKING, database)
            }
            "mysql" | "mariadb" => {
                let options = MySqlConnectOptions::from_str(url).map_err(invalid)?;
                let database = options.get_database().map(str::to_owned);
                (Driver::MySql(options), MYSQL_PARAMETERS, MYSQL_CHECKING, database)
            }
            _ => return Ok(None),
        };
        let query = url.split_once('?').map_or("", |(_, query)| query);
        let mut said = [const { None }; 4];
        for (name, value) in form_urlencoded::parse(query.as_bytes()) {
            let Some(at) = parameters.iter().position(|known| *known == name) else {
                let known = parameters.join(", ");
                return Err(refuse(format!("unknown parameter {name:?}; there are {known}")));
            };
            said[at] = Some(value.into_owned());
        }
        if database.is_none_or(|database| database.is_empty()) {
            return Err(refuse(
                "it names no database, as in //user:password@host/firstcome".into(),
            ));
        }
        let [mode, authority, ..] = &said;
        let mode = mode.as_deref().unwrap_or_default();
        let is_checked = checking.iter().any(|checks| checks.eq_ignore_ascii_case(mode));
        if authority.is_some() && !is_checked {
            let ([name, file, ..], [strictest, _]) = (parameters, checking);
            return Err(refuse(format!(
                "{file} is given and nothing looks at it: add {name}={strictest}"
            )));
        }
        let files = parameters.into_iter().zip(said).skip(1);
        let files = files.filter_map(|(name, value)| Some((name, value?)));
        let files = files.filter(|(_, value)| !value.starts_with(PEM)).collect();
        Ok(Some(Self { driver, files, shown: shown(url) }))
    }

    /// Refuses a URL that names a file which cannot be read: the driver would not say which.
    pub(super) fn check_files(&self) -> Result<(), LedgerError> {
        for (name, file) in &self.files {
            if let Err(error) = std::fs::read(file) {
                let reason = format!("{name}={file} cannot be read: {error}");
                return Err(LedgerError::Refused { at: self.to_string(), reason });
            }
        }
        Ok(())
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
