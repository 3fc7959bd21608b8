//! What stands in the place of a user who was erased.

use std::fmt;

use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;

use crate::UserId;

/// What every pseudonym begins with.
const PREFIX: &str = "erased-";
/// Bytes of the digest that a pseudonym shows.
const BYTES: usize = 16;

/// The deployment's secret that turns a user id into its pseudonym, which nobody turns back.
#[derive(Clone)]
pub struct PseudonymKey(Hmac<Sha256>);

impl PseudonymKey {
    /// The key with these 16 secret bytes.
    ///
    /// # Panics
    /// Never: HMAC takes a key of any length.
    #[must_use]
    pub fn new(secret: &[u8; 16]) -> Self {
        Self(Hmac::new_from_slice(secret).expect("HMAC takes a key of any length"))
    }

    /// The pseudonym of this user: always the same, and of nobody else. 128 bits of the
    /// HMAC-SHA256 (RFC 2104) of the user id.
    ///
    /// # Panics
    /// Never: a pseudonym is a user id.
    #[must_use]
    pub fn of(&self, user: &UserId) -> UserId {
        let digest = self.0.clone().chain_update(user.as_str()).finalize().into_bytes();
        let mut text = String::from(PREFIX);
        for byte in &digest[..BYTES] {
            text += &format!("{byte:02x}");
        }
        UserId::parse(&text).expect("letters, digits and a hyphen")
    }
}

/// Whether this is some user's pseudonym, as far as its form tells.
#[must_use]
pub fn is_pseudonym(user: &UserId) -> bool {
    let digits = user.as_str().strip_prefix(PREFIX);
    digits.is_some_and(|digits| {
        digits.len() == 2 * BYTES
            && digits.bytes().all(|digit| b"0123456789abcdef".contains(&digit))
    })
}

impl fmt::Debug for PseudonymKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("PseudonymKey(hidden)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn user(text: &str) -> UserId {
        UserId::parse(text).expect("a user id")
    }

    #[test]
    fn a_pseudonym_is_of_one_user_and_one_deployment() {
        let (one, other) = (PseudonymKey::new(&[1; 16]), PseudonymKey::new(&[2; 16]));
        let pseudonym = one.of(&user("kim"));
        assert_eq!(pseudonym, one.of(&user("kim")));
        assert_ne!(pseudonym, one.of(&user("Kim")));
        assert_ne!(pseudonym, other.of(&user("kim")));
        assert_eq!(pseudonym.as_str().len(), PREFIX.len() + 2 * BYTES);
        assert!(is_pseudonym(&pseudonym));
        for other in ["kim", "erased-", "erased-8bb35bf92808f4910db29d10d6f4192", "erased-kim"] {
            assert!(!is_pseudonym(&user(other)), "{other}");
        }
        assert_eq!(format!("{one:?}"), "PseudonymKey(hidden)");
    }

    /// The digest by another program:
    /// `printf kim | openssl dgst -sha256 -mac HMAC -macopt hexkey:0101…01`.
    #[test]
    fn a_pseudonym_is_the_beginning_of_the_hmac() {
        let pseudonym = PseudonymKey::new(&[1; 16]).of(&user("kim"));
        assert_eq!(pseudonym.as_str(), "erased-8bb35bf92808f4910db29d10d6f41924");
    }
}
