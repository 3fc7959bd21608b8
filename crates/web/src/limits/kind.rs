//! Which limits there are, and which of them a request meets.

use axum::extract::Request;
use axum::http::Method;

use crate::auth::Scopes;

macro_rules! kinds {
    ($($(#[$doc:meta])* $name:ident $word:literal $refusal:literal;)+) => {
        /// A limit: what is counted, and for whom.
        #[derive(Debug, Clone, Copy, PartialEq, Eq)]
        pub(super) enum Kind {
            $($(#[$doc])* $name,)+
        }

        impl Kind {
            /// Every limit, in the order of its number.
            pub(super) const ALL: [Self; [$(Self::$name),+].len()] = [$(Self::$name),+];

            /// Its name: in the configuration, in `RateLimit-Policy` and in the metrics.
            pub(super) const fn word(self) -> &'static str {
                match self {
                    $(Self::$name => $word,)+
                }
            }

            /// What a refused caller is told.
            pub(super) const fn refusal(self) -> &'static str {
                match self {
                    $(Self::$name => $refusal,)+
                }
            }
        }
    };
}

kinds! {
    /// Sign-ups from an address.
    SignUpAddress "sign_up_address" "Too many sign-ups from this address.";
    /// Log-ins from an address, whatever becomes of them.
    LogInAddress "log_in_address" "Too many log-ins from this address.";
    /// Failed log-ins with an e-mail address, whether or not it has an account.
    LogInAccount "log_in_account" "Too many failed log-ins with this e-mail address.";
    /// Requests to the token endpoint from an address.
    TokenAddress "token_address" "Too many requests for tokens from this address.";
    /// Claims from an address.
    ClaimAddress "claim_address" "Too many claims from this address.";
    /// Claims of a user.
    ClaimUser "claim_user" "Too many claims of this user.";
    /// All other requests from an address.
    OtherAddress "other_address" "Too many requests from this address.";
    /// All other requests of a user.
    OtherUser "other_user" "Too many requests of this user.";
    /// The same of an admin or a checkout service.
    StaffUser "staff_user" "Too many requests of this admin or service.";
}

/// What a request is, for the limits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Class {
    SignUp,
    LogIn,
    Token,
    Claim,
    /// What operators and their probes ask; never limited.
    Operations,
    Other,
}

impl Class {
    /// The class of a request. A path that is almost one of these is none of them: no route has it.
    pub(super) fn of(request: &Request) -> Self {
        let path = request.uri().path();
        let posts = request.method() == Method::POST;
        match path {
            "/v1/users" if posts => Self::SignUp,
            "/v1/sessions" if posts => Self::LogIn,
            "/oauth/token" if posts => Self::Token,
            "/livez" | "/readyz" | "/metrics" => Self::Operations,
            _ if posts && path.starts_with("/v1/events/") && path.ends_with("/claims") => {
                Self::Claim
            }
            _ => Self::Other,
        }
    }

    /// Whether the class is limited so that an honest program may meet its limit: then every
    /// answer tells how much is left.
    pub(super) const fn is_strict(self) -> bool {
        matches!(self, Self::SignUp | Self::LogIn | Self::Token)
    }

    pub(super) const fn by_address(self) -> Option<Kind> {
        match self {
            Self::SignUp => Some(Kind::SignUpAddress),
            Self::LogIn => Some(Kind::LogInAddress),
            Self::Token => Some(Kind::TokenAddress),
            Self::Claim => Some(Kind::ClaimAddress),
            Self::Other => Some(Kind::OtherAddress),
            Self::Operations => None,
        }
    }

    pub(super) fn by_user(self, scope: Scopes) -> Kind {
        match self {
            Self::Claim => Kind::ClaimUser,
            _ if scope.has_any(Scopes::ADMIN.and(Scopes::REDEEM)) => Kind::StaffUser,
            _ => Kind::OtherUser,
        }
    }
}

#[cfg(test)]
mod tests {
    use axum::body::Body;

    use super::*;

    #[test]
    fn kinds_are_numbered_in_their_order() {
        for (number, kind) in Kind::ALL.into_iter().enumerate() {
            assert_eq!(kind as usize, number);
        }
    }

    #[test]
    fn each_request_has_its_class() {
        for (method, path, class) in [
            ("POST", "/v1/users", Class::SignUp),
            ("POST", "/v1/sessions", Class::LogIn),
            ("POST", "/v1/sessions?x=1", Class::LogIn),
            ("POST", "/oauth/token", Class::Token),
            ("POST", "/v1/events/1/claims", Class::Claim),
            ("POST", "/v1/events//claims", Class::Claim),
            ("GET", "/livez", Class::Operations),
            ("GET", "/readyz", Class::Operations),
            ("GET", "/metrics", Class::Operations),
            ("GET", "/v1/users", Class::Other),
            ("DELETE", "/v1/sessions/current", Class::Other),
            ("GET", "/v1/events/1/claims/me", Class::Other),
            ("GET", "/v1/events/1/claims", Class::Other),
            ("POST", "/v1/events/1/open", Class::Other),
            ("POST", "/v1/users/", Class::Other),
        ] {
            let request = Request::builder().method(method).uri(path).body(Body::empty());
            assert_eq!(Class::of(&request.expect("a request")), class, "{method} {path}");
        }
    }

    #[test]
    fn a_user_is_counted_as_what_the_token_permits() {
        assert_eq!(Class::Claim.by_user(Scopes::USER.and(Scopes::ADMIN)), Kind::ClaimUser);
        assert_eq!(Class::Other.by_user(Scopes::USER), Kind::OtherUser);
        assert_eq!(Class::Other.by_user(Scopes::default()), Kind::OtherUser);
        assert_eq!(Class::Other.by_user(Scopes::USER.and(Scopes::ADMIN)), Kind::StaffUser);
        assert_eq!(Class::Other.by_user(Scopes::REDEEM), Kind::StaffUser);
    }
}
