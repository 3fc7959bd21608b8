//! The stable words of refusals, and what each of them means over HTTP.

/// What a code means over HTTP.
struct Meaning {
    word: &'static str,
    status: u16,
    title: &'static str,
    retryable: bool,
    page: &'static str,
}

macro_rules! codes {
    ($($name:ident $word:literal $status:literal $retry:ident $title:literal)+) => {
        /// The stable word of a refusal: clients branch on it, so a word never changes its
        /// meaning. `docs/errors/<word>.md` explains each.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
        pub enum Code {
            $(#[doc = $title] $name,)+
        }

        impl Code {
            /// Every code, in the order of the table.
            pub const ALL: &[Self] = &[$(Self::$name),+];

            const fn meaning(self) -> Meaning {
                match self {
                    $(Self::$name => Meaning {
                        word: $word,
                        status: $status,
                        title: $title,
                        retryable: codes!(@ $retry),
                        page: include_str!(concat!("../../../../docs/errors/", $word, ".md")),
                    },)+
                }
            }
        }
    };
    (@ again) => { true };
    (@ final) => { false };
}

// `again`: the same request may succeed when it is sent again later. `final`: it will not, unless
// somebody changes something first.
codes! {
    Malformed             "malformed"               400 final "The request cannot be read."
    Unauthenticated       "unauthenticated"         401 final "A valid access token is needed."
    InvalidCredentials    "invalid_credentials"     401 final "The e-mail or the password is wrong."
    Forbidden             "forbidden"               403 final "The token lacks the scope."
    NotFound              "not_found"               404 final "There is nothing at this path."
    CouponNotFound        "coupon_not_found"        404 final "There is no such coupon."
    EventNotFound         "event_not_found"         404 final "There is no such event."
    IssuedCouponNotFound  "issued_coupon_not_found" 404 final "There is no such issued coupon."
    RedemptionNotFound    "redemption_not_found"    404 final "There is no such redemption."
    UserNotFound          "user_not_found"          404 final "There is no such user."
    ClientNotFound        "client_not_found"        404 final "There is no such client."
    NotClaimed            "not_claimed"             404 final "You hold no coupon of this event."
    MethodNotAllowed      "method_not_allowed"      405 final "This path lacks the method."
    AlreadyClaimed        "already_claimed"         409 final "You already hold this coupon."
    SoldOut               "sold_out"                409 final "Every coupon of this event is gone."
    NotOpen               "not_open"                409 again "This event has not opened yet."
    Paused                "paused"                  409 final "This event is paused."
    Closed                "closed"                  409 final "This event is closed."
    WrongState            "wrong_state"             409 final "The event's state forbids this."
    QuantityBelowIssued   "quantity_below_issued"   409 final "More coupons are issued already."
    AlreadyUsed           "already_used"            409 final "This issued coupon has been used."
    Expired               "expired"                 409 final "This issued coupon has expired."
    NotYetValid           "not_yet_valid"           409 final "This issued coupon is not valid yet."
    Revoked               "revoked"                 409 final "This issued coupon was revoked."
    OrderMismatch         "order_mismatch"          409 final "The order was redeemed differently."
    EmailTaken            "email_taken"             409 final "An account has this e-mail."
    IdempotencyInProgress "idempotency_in_progress" 409 again "The first request is under way."
    PreconditionFailed    "precondition_failed"     412 final "The resource has changed since."
    TooLarge              "too_large"               413 final "The body is too large."
    UnsupportedMediaType  "unsupported_media_type"  415 final "The body must be JSON."
    Invalid               "invalid"                 422 final "A value is not acceptable."
    ConditionsNotMet      "conditions_not_met"      422 final "The order lacks a condition."
    IdempotencyMismatch   "idempotency_mismatch"    422 final "The key had another request."
    PreconditionRequired  "precondition_required"   428 final "The change needs If-Match."
    RateLimited           "rate_limited"            429 again "Too many requests."
    HeadersTooLarge       "headers_too_large"       431 final "The request's head is too large."
    Internal              "internal"                500 final "Something went wrong here."
    Unavailable           "unavailable"             503 again "The service cannot answer now."
    InDoubt               "in_doubt"                503 again "The outcome is not known yet."
    Timeout               "timeout"                 503 again "The answer took too long."
}

impl Code {
    /// The word in answers, documents and metrics.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        self.meaning().word
    }

    /// The HTTP status.
    #[must_use]
    pub const fn status(self) -> u16 {
        self.meaning().status
    }

    /// One sentence that says what happened, the same every time.
    #[must_use]
    pub const fn title(self) -> &'static str {
        self.meaning().title
    }

    /// Whether the same request may succeed when it is sent again after `Retry-After`.
    #[must_use]
    pub const fn retryable(self) -> bool {
        self.meaning().retryable
    }

    /// The page that explains the code, in Markdown.
    #[must_use]
    pub const fn page(self) -> &'static str {
        self.meaning().page
    }

    /// The code with this word.
    #[must_use]
    pub fn parse(word: &str) -> Option<Self> {
        Self::ALL.iter().copied().find(|code| code.as_str() == word)
    }

    /// The code of a bare HTTP status: what an answer made by a library, not by us, is told as.
    #[must_use]
    pub const fn of_status(status: u16) -> Self {
        match status {
            401 => Self::Unauthenticated,
            403 => Self::Forbidden,
            404 => Self::NotFound,
            405 => Self::MethodNotAllowed,
            408 => Self::Timeout,
            412 => Self::PreconditionFailed,
            413 => Self::TooLarge,
            414 | 431 => Self::HeadersTooLarge,
            415 => Self::UnsupportedMediaType,
            422 => Self::Invalid,
            428 => Self::PreconditionRequired,
            429 => Self::RateLimited,
            503 => Self::Unavailable,
            500.. => Self::Internal,
            _ => Self::Malformed,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn every_code_comes_back_from_its_word() {
        for &code in Code::ALL {
            assert_eq!(Code::parse(code.as_str()), Some(code));
        }
        assert_eq!(Code::parse("nothing"), None);
    }

    #[test]
    fn words_and_titles_are_distinct_and_need_no_escape_in_json() {
        let words: HashSet<_> = Code::ALL.iter().map(|code| code.as_str()).collect();
        let titles: HashSet<_> = Code::ALL.iter().map(|code| code.title()).collect();
        assert_eq!((words.len(), titles.len()), (Code::ALL.len(), Code::ALL.len()));
        for text in words {
            assert!(text.bytes().all(|byte| byte.is_ascii_lowercase() || byte == b'_'), "{text}");
        }
        for text in titles {
            assert!(text.is_ascii() && !text.contains(['"', '\\']), "{text}");
        }
    }

    #[test]
    fn every_page_says_what_the_table_says() {
        for &code in Code::ALL {
            let (word, status, title) = (code.as_str(), code.status(), code.title());
            let again = if code.retryable() { "Retryable" } else { "Not retryable" };
            let page = code.page();
            assert!(page.starts_with(&format!("# `{word}`\n\n{status} ")), "{word}");
            assert!(page.contains(&format!(". {title} {again}.\n")), "{word}");
        }
    }

    #[test]
    fn a_bare_status_gets_a_code_of_its_own_class() {
        for status in 400..600 {
            let code = Code::of_status(status);
            assert_eq!(code.status() >= 500, status >= 500 || status == 408, "{status}");
        }
    }
}
