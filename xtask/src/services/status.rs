//! What `cargo xtask services status` shows.

use std::path::Path;
use std::time::Duration;

use super::origin::named;
use super::place::Place;
use super::start::local;
use super::{SERVICES, Service, compose};

/// One line about a service.
#[derive(Debug, PartialEq, Eq)]
struct Line {
    name: &'static str,
    origin: &'static str,
    address: String,
    state: String,
    url: String,
}

/// Prints where each service is, whether it answers, since when, and the URL to use.
///
/// # Errors
/// When what is known of a service cannot be read.
pub(crate) fn print(root: &Path) -> anyhow::Result<()> {
    for service in &SERVICES {
        let value = std::env::var(service.variable).ok();
        let Line { name, origin, address, state, url } =
            line(service, &Place::of(root, service.name), value)?;
        println!("{name:<9} {origin:<12} {address:<16} {state:<24} {url}");
    }
    Ok(())
}

fn line(service: &Service, place: &Place, value: Option<String>) -> anyhow::Result<Line> {
    let line = |origin, address: String, state: String, url| Line {
        name: service.name,
        origin,
        address,
        state,
        url,
    };
    let word = |address: &str| if service.answers_at(address) { "answers" } else { "SILENT" };
    if let Some(named) = named(service, value)? {
        let state = word(&named.address).to_owned();
        // The URL may hold a password.
        return Ok(line("environment", named.address, state, format!("${}", service.variable)));
    }
    if let Some(running) = service.running(place)? {
        let address = local(running.port);
        let age = running.age().map_or_else(String::new, |age| format!(", up {}", short(age)));
        let state = format!("{}{age}", word(&address));
        return Ok(line("process", address, state, (service.url)(running.port)));
    }
    if place.is_composed() {
        let address = local(service.port);
        let age = compose::age(place, service.name);
        let age = age.map_or_else(String::new, |age| format!(", {age}"));
        let state = format!("{}{age}", word(&address));
        return Ok(line("container", address, state, (service.url)(service.port)));
    }
    Ok(line("-", "-".to_owned(), "not started".to_owned(), String::new()))
}

/// A duration in its largest whole unit.
fn short(time: Duration) -> String {
    let seconds = time.as_secs();
    match seconds {
        0..60 => format!("{seconds} s"),
        60..3_600 => format!("{} min", seconds / 60),
        3_600..86_400 => format!("{} h", seconds / 3_600),
        _ => format!("{} d", seconds / 86_400),
    }
}

#[cfg(test)]
mod tests {
    use std::net::TcpListener;
    use std::process::Command;

    use super::*;
    use crate::services::recorded::Recorded;
    use crate::services::redis;

    #[test]
    fn a_duration_is_shown_in_its_largest_unit() {
        let shown = |seconds| short(Duration::from_secs(seconds));
        assert_eq!((shown(59), shown(60)), ("59 s".to_owned(), "1 min".to_owned()));
        assert_eq!((shown(3_599), shown(3_600)), ("59 min".to_owned(), "1 h".to_owned()));
        assert_eq!((shown(86_399), shown(200_000)), ("23 h".to_owned(), "2 d".to_owned()));
    }

    #[test]
    fn what_runs_is_told_from_what_does_not() {
        let root = tempfile::tempdir().unwrap();
        let place = Place::of(root.path(), "redis");
        assert_eq!(line(&redis::SERVICE, &place, None).unwrap().state, "not started");
        place.make().unwrap();
        let mut child = Command::new("sleep").arg("60").spawn().unwrap();
        let silent = TcpListener::bind(("127.0.0.1", 0)).unwrap();
        let port = silent.local_addr().unwrap().port();
        drop(silent);
        place.record(&Recorded::of(child.id(), port).unwrap()).unwrap();
        let shown = line(&redis::SERVICE, &place, None).unwrap();
        child.kill().unwrap();
        child.wait().unwrap();
        assert!(shown.state.starts_with("SILENT, up "), "{shown:?}");
        assert_eq!(shown.url, format!("redis://127.0.0.1:{port}/"));
        assert_eq!(line(&redis::SERVICE, &place, None).unwrap().state, "not started");
    }

    #[test]
    fn a_server_of_the_environment_is_shown_without_its_password() {
        let root = tempfile::tempdir().unwrap();
        let place = Place::of(root.path(), "redis");
        let value = "redis://:secret@127.0.0.1:1/".to_owned();
        let shown = line(&redis::SERVICE, &place, Some(value)).unwrap();
        assert_eq!((shown.origin, shown.state.as_str()), ("environment", "SILENT"));
        assert_eq!(shown.address, "127.0.0.1:1");
        assert_eq!(shown.url, "$FIRSTCOME_TEST_REDIS_URL");
    }
}
