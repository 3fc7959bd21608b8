//! What a database's refusal means, and what to do about it.

use std::io::ErrorKind;

use sea_orm::{DbErr, RuntimeErr};
use sqlx::error::DatabaseError;

use super::Address;
use crate::LedgerError;

/// Of a server that only follows another.
pub(crate) const REPLICA: &str = "it is a read-only replica, which can decide no claim: give the \
                                  address of the primary, or end its read-only mode";

impl Address {
    /// Says which database it was that could not be used, and why.
    pub(crate) fn unusable(&self, error: LedgerError) -> LedgerError {
        let reason = match &error {
            LedgerError::Database(error) => sentence(error),
            LedgerError::Driver(error) => meaning(error),
            _ => return error,
        };
        LedgerError::Refused { at: self.to_string(), reason }
    }
}

/// A sentence for an error that sea-orm passes on.
pub(crate) fn sentence(error: &DbErr) -> String {
    match (driver_error(error), error) {
        (Some(error), _) => meaning(error),
        (None, DbErr::ConnectionAcquire(_)) => "no connection in time".to_owned(),
        (None, other) => other.to_string(),
    }
}

fn driver_error(error: &DbErr) -> Option<&sqlx::Error> {
    match error {
        DbErr::Conn(RuntimeErr::SqlxError(error))
        | DbErr::Exec(RuntimeErr::SqlxError(error))
        | DbErr::Query(RuntimeErr::SqlxError(error)) => Some(error),
        _ => None,
    }
}

/// A sentence for an error of the driver.
pub(crate) fn meaning(error: &sqlx::Error) -> String {
    match error {
        sqlx::Error::Database(error) => {
            let remedy = remedy(error.as_ref());
            let said = error.message();
            remedy.map_or_else(|| said.to_owned(), |remedy| format!("{said}: {remedy}"))
        }
        sqlx::Error::Tls(error) => format!(
            "TLS was asked for and is not to be had ({error}): set up TLS on the server, or ask \
             for less in the ledger URL (sslmode=prefer, or ssl-mode=PREFERRED for MySQL)"
        ),
        // What TLS finds wrong in what the server shows or says.
        sqlx::Error::Io(error) if error.kind() == ErrorKind::InvalidData => format!(
            "TLS with the server fails ({error}): its certificate must be for the URL's host and \
             of an authority that the ledger URL names (sslrootcert, or ssl-ca for MySQL), and \
             ours (sslcert, or ssl-cert) of one that the server knows"
        ),
        sqlx::Error::Io(error) => format!(
            "{error}: check host and port in the ledger URL; is the server running there, and may \
             this machine reach it?"
        ),
        // The driver's words are of features of its own.
        sqlx::Error::Configuration(said) if said.to_string().contains("mysql-rsa") => {
            UNDER_TLS_ONLY.to_owned()
        }
        sqlx::Error::Configuration(said) => said.to_string(),
        other => other.to_string(),
    }
}

/// What to do about a refusal, by its code.
fn remedy(error: &dyn DatabaseError) -> Option<&'static str> {
    if let Some(mysql) = error.try_downcast_ref::<sqlx::mysql::MySqlDatabaseError>() {
        return mysql_remedy(mysql.number());
    }
    let code = error.code()?;
    Some(match code.as_ref() {
        "28P01" => "check user and password in the ledger URL",
        "28000" if error.message().contains("no encryption") => {
            "the server wants TLS: add ?sslmode=require to the ledger URL"
        }
        "28000" if error.message().contains("client certificate") => {
            "add sslcert and sslkey to the ledger URL"
        }
        "28000" => "check the user in the ledger URL, and what pg_hba.conf allows it",
        "3D000" => "make the database, or name another in the ledger URL",
        "42501" => RIGHTS,
        "53300" => CONNECTIONS,
        "57P03" => "the server is starting or stopping: try again in a moment",
        "25006" => REPLICA,
        _ => return None,
    })
}

/// The error numbers of MySQL and MariaDB; see their "Error Reference".
fn mysql_remedy(number: u16) -> Option<&'static str> {
    Some(match number {
        1044 => "make the database, or give the user rights on it",
        // MariaDB says nothing else to who comes without TLS and must not.
        1045 | 1698 => {
            "check user and password in the ledger URL, and add ?ssl-mode=REQUIRED if the server \
             lets this user in with TLS only"
        }
        1049 => "make the database, or name another in the ledger URL",
        1040 | 1203 | 1226 => CONNECTIONS,
        1142 | 1143 | 1227 | 1370 => RIGHTS,
        1290 | 1836 | 1792 => REPLICA,
        3159 | 4151 => "the server wants TLS: add ?ssl-mode=REQUIRED to the ledger URL",
        _ => return None,
    })
}

/// Of MySQL's usual way to log in, on a server without TLS: the password would have to be encrypted
/// with a key that whoever answers sends.
const UNDER_TLS_ONLY: &str = "this user's password (caching_sha2_password) is sent under TLS only: \
                              set up TLS on the server, which MySQL does by itself unless told \
                              otherwise, or make the user log in with mysql_native_password";
/// Of a user that may not do what it must.
pub(crate) const RIGHTS: &str = "the user lacks rights: grant them as docs/operations/databases.md \
                                 says, and migrate as the owner with `firstcome migrate`";
const CONNECTIONS: &str = "raise max_connections on the server, or lower ledger.readers_max, \
                           ledger.writers_max and issuance.lanes";

#[cfg(test)]
mod tests {
    use super::*;

    /// As the driver says it.
    #[test]
    fn a_password_that_goes_under_tls_only_has_a_remedy() {
        let said = "RSA auth backend disabled; enable feature `mysql-rsa` or use TLS.";
        let meant = meaning(&sqlx::Error::Configuration(said.into()));
        assert!(meant.contains("under TLS only: set up TLS on the server"), "{meant}");
        let other = meaning(&sqlx::Error::Configuration("another".into()));
        assert_eq!(other, "another");
    }
}
