//! What `serve` says on standard output when it is ready: where it listens, where its data is, who
//! the admin is, and what to type next.

use std::net::SocketAddr;

use firstcome_core::Email;
use firstcome_identity::{AdminChange, FirstAdmin};

/// What the banner tells.
pub(crate) struct Banner<'a> {
    pub(crate) address: SocketAddr,
    pub(crate) ledger: &'a str,
    /// The admin of the configuration, or the default one.
    pub(crate) email: &'a Email,
    pub(crate) admin: &'a FirstAdmin,
}

impl Banner<'_> {
    /// The lines.
    pub(crate) fn text(&self) -> String {
        let Self { address, ledger, email, admin } = self;
        let version = env!("CARGO_PKG_VERSION");
        let (about, password) = match admin {
            FirstAdmin::Existing => (String::new(), "…"),
            FirstAdmin::Configured(change) => (format!("  admin   {email}{}\n", how(*change)), "…"),
            FirstAdmin::Generated { email, password } => {
                let password = password.expose();
                (
                    format!("  admin   {email}, password {password} (shown only this once)\n"),
                    password,
                )
            }
        };
        format!(
            "firstcome {version}\n\
             listening on http://{address}\n  \
             ledger  {ledger}\n  \
             docs    http://{address}/docs\n\
             {about}\
             Next, in another terminal, log in as the admin; the docs show every call:\n  \
             curl -s http://{address}/v1/sessions -H 'Content-Type: application/json' \\\n    \
             -d '{{\"email\":\"{email}\",\"password\":\"{password}\"}}'\n\
             Ctrl-C stops.\n"
        )
    }
}

/// What became of the configured admin.
fn how(change: AdminChange) -> &'static str {
    match change {
        AdminChange::Created | AdminChange::Unchanged { same_password: true } => {
            ", with the configured password"
        }
        AdminChange::Promoted => ", made an admin",
        AdminChange::Unchanged { same_password: false } => {
            ", with another password than the configured one, which was left as it is"
        }
    }
}

#[cfg(test)]
mod tests {
    use firstcome_core::Password;

    use super::*;

    fn banner(admin: &FirstAdmin) -> String {
        let address = "127.0.0.1:41234".parse().unwrap();
        let email = Email::parse("boss@example.com").unwrap();
        Banner { address, ledger: "/srv/data/ledger.db", email: &email, admin }.text()
    }

    #[test]
    fn the_first_start_shows_the_password_that_it_made() {
        let email = Email::parse("boss@example.com").unwrap();
        let password = Password::parse("k7-made-here").unwrap();
        let expected = format!(
            "firstcome {}\n\
             listening on http://127.0.0.1:41234\n  \
             ledger  /srv/data/ledger.db\n  \
             docs    http://127.0.0.1:41234/docs\n  \
             admin   boss@example.com, password k7-made-here (shown only this once)\n\
             Next, in another terminal, log in as the admin; the docs show every call:\n  \
             curl -s http://127.0.0.1:41234/v1/sessions \
             -H 'Content-Type: application/json' \\\n    \
             -d '{{\"email\":\"boss@example.com\",\"password\":\"k7-made-here\"}}'\n\
             Ctrl-C stops.\n",
            env!("CARGO_PKG_VERSION")
        );
        assert_eq!(banner(&FirstAdmin::Generated { email, password }), expected);
    }

    #[test]
    fn a_configured_password_is_not_shown() {
        let text = banner(&FirstAdmin::Configured(AdminChange::Created));
        assert!(
            text.contains("admin   boss@example.com, with the configured password\n"),
            "{text}"
        );
        assert!(text.contains("\"password\":\"…\""), "{text}");
    }

    #[test]
    fn a_later_start_names_no_admin() {
        assert!(!banner(&FirstAdmin::Existing).contains("  admin "));
    }
}
