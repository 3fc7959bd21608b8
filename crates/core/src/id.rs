//! Identifiers.

use std::borrow::Borrow;
use std::fmt;
use std::sync::Arc;

use serde::{Serialize, Serializer};
use uuid::Uuid;

use crate::{Invalid, limits};

macro_rules! uuid_ids {
    ($($(#[$doc:meta])* $name:ident)+) => {$(
        $(#[$doc])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name(Uuid);

        impl $name {
            /// The id with this UUID.
            #[must_use]
            pub const fn from_uuid(uuid: Uuid) -> Self {
                Self(uuid)
            }

            /// The UUID beneath.
            #[must_use]
            pub const fn as_uuid(self) -> Uuid {
                self.0
            }

            /// Reads the canonical form, 36 characters with hyphens; none for any other.
            #[must_use]
            pub fn parse(text: &str) -> Option<Self> {
                (text.len() == 36).then(|| Uuid::parse_str(text).ok()).flatten().map(Self)
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::Display::fmt(&self.0, f)
            }
        }

        impl Serialize for $name {
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                self.0.serialize(serializer)
            }
        }
    )+};
}

uuid_ids! {
    /// A coupon: the benefit.
    CouponId
    /// An event: one drop of a coupon.
    EventId
    /// An issued coupon: what a won claim leaves.
    IssuedCouponId
    /// A redemption of an issued coupon.
    RedemptionId
    /// An account that signed up here; its text is the `sub` of the account's tokens.
    AccountId
    /// A client that an admin made, as a checkout service; its text is the `sub` of its tokens.
    ClientId
}

impl IssuedCouponId {
    /// The one id of this user's issued coupon of this event: the UUIDv5 (RFC 9562, section 5.5)
    /// of the user id in the name space of the event id. Every decider computes the same.
    #[must_use]
    pub fn derive(event_id: EventId, user_id: &UserId) -> Self {
        Self(Uuid::new_v5(&event_id.0, user_id.as_str().as_bytes()))
    }
}

/// The ledger's own small number of an event: 1, 2, 3, … A [`crate::Code`] carries it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct EventNo(u64);

impl EventNo {
    /// The event number; none when it has more than [`limits::EVENT_NO_BITS`] bits.
    #[must_use]
    pub const fn new(number: u64) -> Option<Self> {
        if number < 1 << limits::EVENT_NO_BITS { Some(Self(number)) } else { None }
    }

    /// The number.
    #[must_use]
    pub const fn get(self) -> u64 {
        self.0
    }
}

/// Who claims: the `sub` of a token, 1 to 128 visible ASCII characters. Cheap to clone.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct UserId(Arc<str>);

impl UserId {
    /// Reads a user id.
    ///
    /// # Errors
    /// When it is empty, longer than [`limits::USER_ID_BYTES_MAX`], or has a character outside
    /// visible ASCII.
    pub fn parse(text: &str) -> Result<Self, Invalid> {
        let length = 1..=limits::USER_ID_BYTES_MAX;
        if length.contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_graphic()) {
            Ok(Self(Arc::from(text)))
        } else {
            Err(Invalid::new("must be 1 to 128 visible ASCII characters"))
        }
    }

    /// The text of the id.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl From<AccountId> for UserId {
    fn from(account: AccountId) -> Self {
        Self(Arc::from(account.to_string()))
    }
}

impl From<ClientId> for UserId {
    fn from(client: ClientId) -> Self {
        Self(Arc::from(client.to_string()))
    }
}

impl Borrow<str> for UserId {
    fn borrow(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for UserId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for UserId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&self.0, f)
    }
}

impl Serialize for UserId {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.0)
    }
}
