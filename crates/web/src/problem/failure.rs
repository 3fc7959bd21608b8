//! Failures of ours, each told by one line of the log.

use super::{Code, Problem};

/// A failure on its way out to the edge, which knows the call and has the line for it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Failure {
    what: &'static str,
    code: Code,
    cause: String,
}

/// What the log is told of a problem.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Telling {
    /// What its code deserves.
    ByCode,
    /// A line that says this.
    Failed(&'static str),
    /// Nothing more: it was told already.
    Told,
}

impl Failure {
    /// The failure that a problem is, if it is one. A 503 that names no failure says by its code
    /// what is missing, and whoever misses it has logged why: under load a line for each would do
    /// harm.
    pub(super) fn of(problem: &Problem) -> Option<Self> {
        let what = match (problem.telling, problem.code) {
            (Telling::Told, _) => return None,
            (Telling::Failed(what), _) => what,
            (Telling::ByCode, Code::Internal) => "a call failed",
            (Telling::ByCode, Code::Timeout) => "a call was given up",
            (Telling::ByCode, _) => return None,
        };
        Some(Self { what, code: problem.code, cause: problem.detail.to_string() })
    }

    /// The line.
    pub(crate) fn log(&self, method: &'static str, route: &str, status: u16) {
        let Self { what, code, cause } = self;
        let (late, code) = (*code == Code::Timeout, code.as_str());
        if late {
            tracing::warn!(
                error.message = cause,
                error.code = code,
                http.request.method = method,
                http.response.status_code = status,
                firstcome.route = route,
                "{what}"
            );
        } else {
            tracing::error!(
                error.message = cause,
                error.code = code,
                http.request.method = method,
                http.response.status_code = status,
                firstcome.route = route,
                "{what}"
            );
        }
    }
}
