//! Numbers with a range. Each is read from any integer, so that a number out of range is refused
//! with the range, however large it is.

use std::fmt;

use serde::{Serialize, Serializer};

use crate::{Invalid, limits};

macro_rules! ranged {
    ($($(#[$doc:meta])* $name:ident($inner:ty), $min:expr, $max:expr;)+) => {$(
        $(#[$doc])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name($inner);

        impl $name {
            /// The smallest.
            pub const MIN: Self = Self($min);
            /// The largest.
            pub const MAX: Self = Self($max);

            /// Takes an integer of any size.
            ///
            /// # Errors
            /// When it is out of range; the sentence names the range.
            pub fn parse(number: i128) -> Result<Self, Invalid> {
                <$inner>::try_from(number)
                    .ok()
                    .filter(|inner| ($min..=$max).contains(inner))
                    .map(Self)
                    .ok_or_else(|| {
                        Invalid::new(format!("must be an integer from {} to {}", $min, $max))
                    })
            }

            /// The number.
            #[must_use]
            pub const fn get(self) -> $inner {
                self.0
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

ranged! {
    /// How many coupons an event has.
    Quantity(u32), 1, limits::QUANTITY_MAX;
    /// The place in line of an issued coupon in its event, from 1.
    Sequence(u32), 1, limits::SEQUENCE_MAX;
    /// Money in the currency's minor unit, at least 1.
    Amount(u64), 1, limits::AMOUNT_MAX;
    /// The order amount from which a coupon may be used, in the minor unit; 0 for any.
    MinOrderAmount(u64), 0, limits::AMOUNT_MAX;
    /// A discount in per cent of the order.
    Percent(u32), 1, 100;
    /// Days of 24 hours after issue.
    Days(u32), 1, limits::VALIDITY_DAYS_MAX;
}
