//! The programs of the servers, and as whom they run.

use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use crate::{Engine, Launch};

/// PostgreSQL refuses to run as root; this user comes with its packages.
pub(super) const POSTGRES_USER: &str = "postgres";

/// Where a program of an engine lies: on the path, or where Debian puts servers.
pub(super) fn find(engine: Engine, name: &str) -> PathBuf {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let mut places: Vec<PathBuf> = std::env::split_paths(&path).collect();
    places.push("/usr/sbin".into());
    if let Ok(versions) = std::fs::read_dir("/usr/lib/postgresql") {
        let mut newest: Vec<_> = versions.flatten().map(|version| version.path()).collect();
        newest.sort_unstable();
        places.extend(newest.into_iter().rev().map(|version| version.join("bin")));
    }
    let found = places.iter().map(|place| place.join(name)).find(|program| program.is_file());
    found.unwrap_or_else(|| {
        let package = match engine {
            Engine::Postgres => "postgresql",
            Engine::MariaDb => "mariadb-server",
        };
        panic!(
            "{name} is missing: install {engine} (on Debian: `sudo apt-get install {package}`), \
             or let `cargo xtask services up` do it"
        )
    })
}

/// A program as a user that PostgreSQL accepts. Root gives that user the one right it needs here:
/// to reach a directory below one that is closed to others.
pub(super) fn as_postgres_user(program: &Path) -> Launch {
    if !is_root() {
        return Launch::new(program, &[]);
    }
    let user = ["--reuid", POSTGRES_USER, "--regid", POSTGRES_USER, "--init-groups"];
    Launch::new("setpriv", &user)
        .arguments(&["--inh-caps=+dac_override", "--ambient-caps=+dac_override", "--"])
        .arguments(&[text_of(program)])
}

pub(super) fn is_root() -> bool {
    user_id() == 0
}

/// The user that the tests run as.
pub(super) fn user_id() -> u32 {
    std::fs::metadata("/proc/self").expect("a process knows itself").uid()
}

pub(super) fn text_of(path: &Path) -> &str {
    path.to_str().expect("a path in UTF-8")
}
