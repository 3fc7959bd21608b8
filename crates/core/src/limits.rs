//! Every bound that the product promises, in one place.

/// Characters (Unicode scalar values) of a coupon's or event's name.
pub const NAME_CHARS_MAX: usize = 100;
/// Characters of a sign-in e-mail address.
pub const EMAIL_CHARS_MAX: usize = 254;
/// Fewest characters of a password.
pub const PASSWORD_CHARS_MIN: usize = 8;
/// Most characters of a password; bounds the work of hashing it.
pub const PASSWORD_CHARS_MAX: usize = 128;
/// Bytes (visible ASCII) of a user id, the `sub` of a token.
pub const USER_ID_BYTES_MAX: usize = 128;
/// Bytes (visible ASCII) of an order id.
pub const ORDER_ID_BYTES_MAX: usize = 64;
/// Characters of a product or category id, and of a revocation's reason.
pub const LABEL_CHARS_MAX: usize = 200;
/// Most product ids, and most category ids, in a coupon's conditions or on one order item.
pub const LABELS_MAX: usize = 100;
/// Most items of one order.
pub const ORDER_ITEMS_MAX: usize = 200;
/// Largest amount of money, in the currency's minor unit.
pub const AMOUNT_MAX: u64 = 1_000_000_000_000;
/// Largest quantity of one event.
pub const QUANTITY_MAX: u32 = 10_000_000;
/// Longest validity after issue, in days.
pub const VALIDITY_DAYS_MAX: u32 = 3_650;
/// Most claims that are decided in one batch.
pub const CLAIM_BATCH_MAX: usize = 1_000;
/// Fewest items on a page of a list.
pub const PAGE_LIMIT_MIN: u32 = 1;
/// Most items on a page of a list.
pub const PAGE_LIMIT_MAX: u32 = 200;
/// Items on a page when the caller does not say.
pub const PAGE_LIMIT_DEFAULT: u32 = 50;
/// Bits of a sequence inside a [`crate::Code`].
pub const SEQUENCE_BITS: u32 = 24;
/// Highest sequence. It is above the largest quantity: places in line that were lost with what
/// Redis knew are given to nobody else.
pub const SEQUENCE_MAX: u32 = (1 << SEQUENCE_BITS) - 1;
/// Bits of an event number inside a [`crate::Code`].
pub const EVENT_NO_BITS: u32 = 36;

const _: () = assert!(QUANTITY_MAX < SEQUENCE_MAX, "places may be lost");
const _: () = assert!(SEQUENCE_BITS + EVENT_NO_BITS == 60, "a code has 12 characters of 5 bits");
const _: () = assert!(PAGE_LIMIT_DEFAULT <= PAGE_LIMIT_MAX && PAGE_LIMIT_MIN >= 1);
