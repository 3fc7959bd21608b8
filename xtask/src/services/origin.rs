//! Which server is used: one that the environment names, a container, or a process of ours.

use anyhow::Context as _;

use super::Service;

/// Where a service comes from.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Origin {
    /// The environment names it; nobody here starts or ends it.
    Named(Named),
    /// A container engine runs it.
    Compose,
    /// A process of this machine.
    Native,
}

/// A server that the environment names.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Named {
    /// As it was given; it may hold a password, so it is not shown.
    pub(crate) url: String,
    /// Its host and port.
    pub(crate) address: String,
}

/// Chooses. A server that runs is kept, whatever has been installed since; the engine is asked
/// only when that decides.
pub(crate) fn choose(
    named: Option<Named>,
    is_running: bool,
    engine_answers: impl FnOnce() -> bool,
) -> Origin {
    match named {
        Some(named) => Origin::Named(named),
        None if is_running => Origin::Native,
        None if engine_answers() => Origin::Compose,
        None => Origin::Native,
    }
}

/// Reads the variable of a service; an empty one names nothing.
///
/// # Errors
/// When its value is no URL of that service; the message does not show the value.
pub(crate) fn named(service: &Service, value: Option<String>) -> anyhow::Result<Option<Named>> {
    let Some(url) = value.filter(|value| !value.is_empty()) else { return Ok(None) };
    let address = address_of(service, &url).with_context(|| service.variable.to_owned())?;
    Ok(Some(Named { url, address }))
}

/// The host and port of a URL, or of the first of a list of brokers.
///
/// # Errors
/// When it begins as no URL of the service does, or names no host or no such port.
pub(crate) fn address_of(service: &Service, url: &str) -> anyhow::Result<String> {
    let authority = if service.schemes.is_empty() {
        url.split(',').next().unwrap_or_default()
    } else {
        let (scheme, rest) = url.split_once("://").unwrap_or_default();
        let schemes = service.schemes.join(":// or ");
        anyhow::ensure!(service.schemes.contains(&scheme), "must begin with {schemes}://");
        let end = rest.find(['/', '?', '#']).unwrap_or(rest.len());
        // A password may hold an `@`, a host may not.
        rest[..end].rsplit_once('@').map_or(&rest[..end], |(_, host)| host)
    };
    // The colons within the brackets of an IPv6 address are not before a port.
    let name_end = authority.rfind(']').map_or(0, |bracket| bracket + 1);
    let (host, port) = match authority[name_end..].rsplit_once(':') {
        Some((_, port)) => (&authority[..authority.len() - port.len() - 1], port.parse()?),
        None => (authority, service.usual_port),
    };
    anyhow::ensure!(!host.is_empty(), "names no host");
    Ok(format!("{host}:{port}"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::services::{kafka, mariadb, postgres, redis};

    fn a_server() -> Option<Named> {
        Some(Named { url: "redis://there".to_owned(), address: "there:6379".to_owned() })
    }

    #[test]
    fn the_environment_goes_first_then_what_runs_then_the_engine() {
        let unasked = || panic!("the engine need not be asked");
        assert_eq!(choose(a_server(), true, unasked), Origin::Named(a_server().unwrap()));
        assert_eq!(choose(None, true, unasked), Origin::Native);
        assert_eq!(choose(None, false, || true), Origin::Compose);
        assert_eq!(choose(None, false, || false), Origin::Native);
    }

    #[test]
    fn the_address_of_a_url_is_read() {
        let read = |service, url| address_of(service, url).unwrap();
        assert_eq!(read(&postgres::SERVICE, "postgres://a:b@there:1/x"), "there:1");
        assert_eq!(read(&postgres::SERVICE, "postgresql://there?sslmode=off"), "there:5432");
        assert_eq!(read(&mariadb::SERVICE, "mysql://a:p@ss@there/x"), "there:3306");
        assert_eq!(read(&redis::SERVICE, "redis://[::1]/2"), "[::1]:6379");
        assert_eq!(read(&redis::SERVICE, "redis://:secret@[::1]:7/2"), "[::1]:7");
        assert_eq!(read(&kafka::SERVICE, "one:9092,two:9093"), "one:9092");
    }

    #[test]
    fn what_is_no_url_of_the_service_is_refused_unseen() {
        let refused = |url: &str| {
            let error = named(&postgres::SERVICE, Some(url.to_owned())).unwrap_err();
            format!("{error:#}")
        };
        let expected = "FIRSTCOME_TEST_POSTGRES_URL: must begin with postgres:// or postgresql://";
        assert_eq!(refused("mysql://a:secret@there"), expected);
        assert_eq!(refused("there"), expected);
        assert_eq!(refused("postgres://secret@/x"), "FIRSTCOME_TEST_POSTGRES_URL: names no host");
        assert!(refused("postgres://there:port").ends_with("invalid digit found in string"));
    }

    #[test]
    fn an_empty_variable_names_nothing() {
        assert_eq!(named(&redis::SERVICE, None).unwrap(), None);
        assert_eq!(named(&redis::SERVICE, Some(String::new())).unwrap(), None);
        assert_eq!(named(&redis::SERVICE, Some("redis://there".to_owned())).unwrap(), a_server());
    }
}
