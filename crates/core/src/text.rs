//! Texts that people and programs send.

use std::fmt;

use serde::{Serialize, Serializer};

use crate::{Invalid, limits};

macro_rules! texts {
    ($($(#[$doc:meta])* $name:ident)+) => {$(
        $(#[$doc])*
        #[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name(String);

        impl $name {
            /// The text.
            #[must_use]
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }

        impl Serialize for $name {
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.serialize_str(&self.0)
            }
        }
    )+};
}

texts! {
    /// The name of a coupon or event: 1 to 100 characters, trimmed, no control characters.
    Name
    /// An e-mail address, in lower case: two spellings of one address are one account.
    Email
    /// The shop's own id of an order: 1 to 64 visible ASCII characters.
    OrderId
    /// A product id, a category id or a reason: 1 to 200 characters, no control characters.
    Label
    /// An ISO 4217 currency code.
    Currency
}

impl Name {
    /// Reads a name; blanks around it are dropped.
    ///
    /// # Errors
    /// When nothing is left, it is too long, or it has a control character.
    pub fn parse(text: &str) -> Result<Self, Invalid> {
        line(text, limits::NAME_CHARS_MAX).map(Self)
    }
}

impl Label {
    /// Reads a label; blanks around it are dropped.
    ///
    /// # Errors
    /// When nothing is left, it is too long, or it has a control character.
    pub fn parse(text: &str) -> Result<Self, Invalid> {
        line(text, limits::LABEL_CHARS_MAX).map(Self)
    }
}

/// One line of text, trimmed, of 1 to `chars_max` characters.
fn line(text: &str, chars_max: usize) -> Result<String, Invalid> {
    if text.chars().any(char::is_control) {
        return Err(Invalid::new("must have no control characters"));
    }
    let trimmed = text.trim();
    if (1..=chars_max).contains(&trimmed.chars().count()) {
        Ok(trimmed.to_owned())
    } else {
        Err(Invalid::new(format!("must be 1 to {chars_max} characters")))
    }
}

impl Email {
    /// Reads an address: something before and after one `@`, without blanks or control
    /// characters. Whether mail arrives there is for the mail to tell.
    ///
    /// # Errors
    /// When it has another shape or is too long.
    pub fn parse(text: &str) -> Result<Self, Invalid> {
        // First, since a letter can have more characters in lower case.
        let text = text.to_lowercase();
        if text.chars().count() > limits::EMAIL_CHARS_MAX {
            let max = limits::EMAIL_CHARS_MAX;
            return Err(Invalid::new(format!("must be at most {max} characters")));
        }
        let foul = |c: char| c.is_whitespace() || c.is_control();
        let whole = text.split_once('@').is_some_and(|(local, domain)| {
            let labels = !domain.split('.').any(str::is_empty);
            !local.is_empty() && labels && !domain.contains('@')
        });
        if whole && !text.contains(foul) {
            Ok(Self(text))
        } else {
            Err(Invalid::new("must be an e-mail address, as name@example.com"))
        }
    }
}

impl OrderId {
    /// Reads an order id.
    ///
    /// # Errors
    /// When it is empty, too long, or has a character outside visible ASCII.
    pub fn parse(text: &str) -> Result<Self, Invalid> {
        let length = 1..=limits::ORDER_ID_BYTES_MAX;
        if length.contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_graphic()) {
            Ok(Self(text.to_owned()))
        } else {
            Err(Invalid::new("must be 1 to 64 visible ASCII characters"))
        }
    }
}

impl Currency {
    /// The currency of a coupon or an order that names none.
    #[must_use]
    pub fn krw() -> Self {
        Self("KRW".to_owned())
    }

    /// Reads a currency code in upper case.
    ///
    /// # Errors
    /// When ISO 4217 has no such currency.
    pub fn parse(text: &str) -> Result<Self, Invalid> {
        iso_currency::Currency::from_code(text)
            .map(|currency| Self(currency.code().to_owned()))
            .ok_or_else(|| Invalid::new("must be an ISO 4217 currency code, as KRW"))
    }
}

/// A password as it was sent: 8 to 128 characters, taken as it is. It is never shown.
#[derive(Clone)]
pub struct Password(String);

impl Password {
    /// Reads a password.
    ///
    /// # Errors
    /// When it is too short or too long.
    pub fn parse(text: &str) -> Result<Self, Invalid> {
        let length = limits::PASSWORD_CHARS_MIN..=limits::PASSWORD_CHARS_MAX;
        if length.contains(&text.chars().count()) {
            Ok(Self(text.to_owned()))
        } else {
            Err(Invalid::new("must be 8 to 128 characters"))
        }
    }

    /// The password itself, for hashing.
    #[must_use]
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Password {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Password(hidden)")
    }
}
