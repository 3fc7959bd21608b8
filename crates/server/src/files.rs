//! How many files the process may open: each connection is one.

/// Files that the process opens beside its connections: the ledger's, the threads', the log's.
const BESIDE_CONNECTIONS: u64 = 256;

/// Raises the limit of open files as far as the system allows, and warns when that is too few for
/// so many connections.
pub(crate) fn raise_limit(connections_max: usize) {
    let wanted = u64::try_from(connections_max).unwrap_or(u64::MAX);
    let wanted = wanted.saturating_add(BESIDE_CONNECTIONS);
    match allowed() {
        Some(files) if files < wanted => tracing::warn!(
            "only {files} files may be open at once, and server.connections_max = \
             {connections_max} asks for {wanted}: raise the limit of open files, as with \
             LimitNOFILE= or --ulimit nofile=, or lower the key"
        ),
        _ => {}
    }
}

/// The files that may be open, once the limit is as high as it can be; none when there is no limit.
#[cfg(unix)]
fn allowed() -> Option<u64> {
    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
    let Rlimit { current, maximum } = getrlimit(Resource::Nofile);
    if current == maximum {
        return current;
    }
    match setrlimit(Resource::Nofile, Rlimit { current: maximum, maximum }) {
        Ok(()) => maximum,
        Err(error) => {
            tracing::warn!("cannot raise the limit of open files: {error}");
            current
        }
    }
}

/// Elsewhere there is no such limit.
#[cfg(not(unix))]
const fn allowed() -> Option<u64> {
    None
}
