//! The code of an issued coupon: 12 characters of Crockford base32 as `XXXX-XXXX-XXXX`.
//!
//! A code is the (event number, sequence) of its coupon, 60 bits, sent through a permutation of
//! the 60-bit numbers that only the holder of the key can compute: an alternating Feistel network
//! (Luby and Rackoff, 1988) whose round function is AES-128, the construction of FF1 in NIST
//! SP 800-38G, at the fixed width of two halves of 30 bits. So two coupons never share a code,
//! a code needs no index to be found, and guessing one is guessing a random 60-bit number.

use std::fmt;

use aes::Aes128;
use aes::cipher::{Block, BlockCipherEncrypt, KeyInit};
use serde::{Serialize, Serializer};

use crate::{EventNo, Sequence, limits};

/// Crockford's alphabet: no I, L, O, U.
const ALPHABET: &[u8; 32] = b"0123456789ABCDEFGHJKMNPQRSTVWXYZ";
const HALF_BITS: u32 = 30;
const HALF_MASK: u32 = (1 << HALF_BITS) - 1;
/// FF1 has ten rounds.
const ROUNDS: u8 = 10;
const CHARS: usize = 12;
const GROUP_CHARS: usize = 4;

/// The code of an issued coupon.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Code(u64);

impl Code {
    /// Reads a code as people type it: in either case, with or without hyphens, with `O` for zero
    /// and `I` or `L` for one. None for anything else.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let mut number = 0_u64;
        let mut chars = 0_usize;
        for byte in text.bytes().filter(|byte| *byte != b'-') {
            let plain = match byte.to_ascii_uppercase() {
                b'O' => b'0',
                b'I' | b'L' => b'1',
                other => other,
            };
            let digit = ALPHABET.iter().position(|letter| *letter == plain)?;
            chars += 1;
            if chars > CHARS {
                return None;
            }
            number = number << 5 | digit as u64;
        }
        (chars == CHARS).then_some(Self(number))
    }
}

impl fmt::Display for Code {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut text = [b'-'; CHARS + CHARS / GROUP_CHARS - 1];
        for place in 0..CHARS {
            let digit = self.0 >> (5 * (CHARS - 1 - place)) & 31;
            text[place + place / GROUP_CHARS] = ALPHABET[digit as usize];
        }
        f.write_str(std::str::from_utf8(&text).expect("the alphabet is ASCII"))
    }
}

/// A code opens a purse: it is not for logs.
impl fmt::Debug for Code {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Code(hidden)")
    }
}

impl Serialize for Code {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

/// The deployment's secret that turns a coupon's place into its code and back.
#[derive(Clone)]
pub struct CodeKey(Aes128);

impl CodeKey {
    /// The key with these 16 secret bytes.
    #[must_use]
    pub fn new(secret: [u8; 16]) -> Self {
        Self(Aes128::new(&secret.into()))
    }

    /// The code of the coupon at this place.
    #[must_use]
    pub fn code(&self, event: EventNo, sequence: Sequence) -> Code {
        let place = event.get() << limits::SEQUENCE_BITS | u64::from(sequence.get());
        let (mut left, mut right) = halves(place);
        for round in 0..ROUNDS {
            (left, right) = (right, left ^ self.round(round, right));
        }
        Code(u64::from(left) << HALF_BITS | u64::from(right))
    }

    /// The place of the coupon with this code, if it has a sequence at all; whether a coupon was
    /// issued there, the ledger knows.
    #[must_use]
    pub fn place(&self, code: Code) -> Option<(EventNo, Sequence)> {
        let (mut left, mut right) = halves(code.0);
        for round in (0..ROUNDS).rev() {
            (left, right) = (right ^ self.round(round, left), left);
        }
        let place = u64::from(left) << HALF_BITS | u64::from(right);
        let event = EventNo::new(place >> limits::SEQUENCE_BITS)?;
        let sequence = Sequence::parse(i128::from(place & ((1 << limits::SEQUENCE_BITS) - 1)));
        Some((event, sequence.ok()?))
    }

    /// 30 bits of the AES encryption of the round's number and one half.
    fn round(&self, round: u8, half: u32) -> u32 {
        let mut block = Block::<Aes128>::default();
        block[0] = round;
        block[1..5].copy_from_slice(&half.to_be_bytes());
        self.0.encrypt_block(&mut block);
        u32::from_be_bytes([block[0], block[1], block[2], block[3]]) & HALF_MASK
    }
}

impl fmt::Debug for CodeKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("CodeKey(hidden)")
    }
}

/// The upper and the lower 30 bits of a 60-bit number.
fn halves(number: u64) -> (u32, u32) {
    let low = u64::from(HALF_MASK);
    let half = |bits: u64| u32::try_from(bits & low).expect("30 bits");
    (half(number >> HALF_BITS), half(number))
}
