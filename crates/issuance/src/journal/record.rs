//! What one won claim is in the journal.
//!
//! A record is `FCW`, a byte with the version, and in version 1, every number big-endian: the event
//! (16 bytes), the epoch (8), the sequence (4), the moment in microseconds (8), the length of the
//! user id (1), the user id. What else an issued coupon has follows from these.

use firstcome_core::{EventId, Sequence, Timestamp, UserId};
use uuid::Uuid;

/// Every record begins so.
const MAGIC: &[u8; 3] = b"FCW";
/// The version that is written, and the only one that can be read.
const VERSION: u8 = 1;
/// A record without its user id.
const HEAD: usize = 3 + 1 + 16 + 8 + 4 + 8 + 1;

/// A won claim.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Record {
    /// The event.
    pub event_id: EventId,
    /// The epoch of the event in which it was won.
    pub epoch: u64,
    /// Its place in line.
    pub sequence: Sequence,
    /// Who won.
    pub user_id: UserId,
    /// When.
    pub issued_at: Timestamp,
}

/// A record that cannot be read, whole. Whoever reads it must stop: to skip it may lose a coupon
/// that somebody was promised.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{why} ({} bytes)", .raw.len())]
pub struct Unreadable {
    /// What is wrong with it.
    pub why: Why,
    /// The record as it is in the journal.
    pub raw: Vec<u8>,
}

/// What is wrong with a record.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Why {
    /// A later Firstcome wrote it: this one must be replaced before it can go on.
    #[error("a record of version {0}, which this version of Firstcome cannot read")]
    Newer(u8),
    /// It was not written by Firstcome.
    #[error("a record of another program")]
    Foreign,
    /// It was, and has changed since.
    #[error("a damaged record: {0}")]
    Damaged(&'static str),
}

impl Record {
    /// The bytes that are written.
    pub(super) fn encode(&self) -> Vec<u8> {
        let user = self.user_id.as_str().as_bytes();
        let length = u8::try_from(user.len()).expect("a user id has at most 128 bytes");
        let mut bytes = Vec::with_capacity(HEAD + user.len());
        bytes.extend_from_slice(MAGIC);
        bytes.push(VERSION);
        bytes.extend_from_slice(self.event_id.as_uuid().as_bytes());
        bytes.extend_from_slice(&self.epoch.to_be_bytes());
        bytes.extend_from_slice(&self.sequence.get().to_be_bytes());
        bytes.extend_from_slice(&self.issued_at.as_micros().to_be_bytes());
        bytes.push(length);
        bytes.extend_from_slice(user);
        bytes
    }

    /// Reads what was written.
    pub(super) fn decode(raw: &[u8]) -> Result<Self, Unreadable> {
        Self::parse(raw).map_err(|why| Unreadable { why, raw: raw.to_vec() })
    }

    fn parse(raw: &[u8]) -> Result<Self, Why> {
        let rest = raw.strip_prefix(MAGIC).ok_or(Why::Foreign)?;
        let (&version, mut rest) = rest.split_first().ok_or(Why::Damaged("it ends too early"))?;
        match version {
            VERSION => {}
            0 => return Err(Why::Damaged("its version is 0")),
            newer => return Err(Why::Newer(newer)),
        }
        let event_id = EventId::from_uuid(Uuid::from_bytes(take(&mut rest)?));
        let epoch = u64::from_be_bytes(take(&mut rest)?);
        let sequence = Sequence::parse(u32::from_be_bytes(take(&mut rest)?).into())
            .map_err(|_| Why::Damaged("its sequence is out of range"))?;
        let micros = i64::from_be_bytes(take(&mut rest)?);
        let issued_at = Timestamp::from_micros(micros);
        if issued_at.as_micros() != micros {
            return Err(Why::Damaged("its time is out of range"));
        }
        let [length] = take(&mut rest)?;
        if rest.len() != usize::from(length) {
            return Err(Why::Damaged("its length is another than it says"));
        }
        let user_id = std::str::from_utf8(rest).ok().and_then(|text| UserId::parse(text).ok());
        let user_id = user_id.ok_or(Why::Damaged("its user id is none"))?;
        Ok(Self { event_id, epoch, sequence, user_id, issued_at })
    }
}

/// Takes the next bytes.
fn take<const N: usize>(rest: &mut &[u8]) -> Result<[u8; N], Why> {
    let (taken, left) = rest.split_first_chunk().ok_or(Why::Damaged("it ends too early"))?;
    *rest = left;
    Ok(*taken)
}

#[cfg(test)]
mod tests {
    use firstcome_core::limits;
    use proptest::prelude::*;

    use super::*;

    fn records() -> impl Strategy<Value = Record> {
        let micros = 0_i64..=253_402_300_799_999_999;
        let parts = (any::<u128>(), any::<u64>(), 1..=limits::QUANTITY_MAX, "[!-~]{1,128}", micros);
        parts.prop_map(|(event, epoch, sequence, user, micros)| Record {
            event_id: EventId::from_uuid(Uuid::from_u128(event)),
            epoch,
            sequence: Sequence::parse(sequence.into()).unwrap(),
            user_id: UserId::parse(&user).unwrap(),
            issued_at: Timestamp::from_micros(micros),
        })
    }

    fn sample() -> Record {
        Record {
            event_id: EventId::from_uuid(Uuid::from_u128(0x0102_0304)),
            epoch: 5,
            sequence: Sequence::parse(6).unwrap(),
            user_id: UserId::parse("user-7").unwrap(),
            issued_at: Timestamp::from_micros(8),
        }
    }

    fn why(raw: &[u8]) -> Why {
        let unreadable = Record::decode(raw).unwrap_err();
        assert_eq!(unreadable.raw, raw, "the bytes are kept");
        unreadable.why
    }

    proptest! {
        #[test]
        fn what_is_written_is_read(record in records()) {
            prop_assert_eq!(Record::decode(&record.encode()), Ok(record));
        }

        #[test]
        fn a_record_that_was_cut_or_grew_is_none(record in records(), cut in 0..200_usize) {
            let mut raw = record.encode();
            let cut = cut % raw.len();
            prop_assert!(Record::decode(&raw[..cut]).is_err());
            raw.push(b'x');
            prop_assert!(Record::decode(&raw).is_err());
        }

        #[test]
        fn no_bytes_make_it_panic(raw in proptest::collection::vec(any::<u8>(), 0..300)) {
            let _ = Record::decode(&raw);
            let _ = Record::decode(&[b"FCW\x01".as_slice(), &raw].concat());
        }
    }

    #[test]
    fn the_bytes_of_version_1_stay_as_they_are() {
        let expected = b"FCW\x01\
            \0\0\0\0\0\0\0\0\0\0\0\0\x01\x02\x03\x04\
            \0\0\0\0\0\0\0\x05\0\0\0\x06\0\0\0\0\0\0\0\x08\x06user-7";
        assert_eq!(sample().encode(), expected);
    }

    #[test]
    fn what_cannot_be_read_says_why_and_keeps_its_bytes() {
        let mut raw = sample().encode();
        assert_eq!(why(b""), Why::Foreign);
        assert_eq!(why(b"{\"user\": 1}"), Why::Foreign);
        assert_eq!(why(&raw[..10]), Why::Damaged("it ends too early"));
        raw[3] = 2;
        assert_eq!(why(&raw), Why::Newer(2));
        raw[3] = 0;
        assert_eq!(why(&raw), Why::Damaged("its version is 0"));
        raw[3] = 1;
        raw[28..32].fill(0);
        assert_eq!(why(&raw), Why::Damaged("its sequence is out of range"));
        raw[31] = 1;
        raw[32] = 0x80;
        assert_eq!(why(&raw), Why::Damaged("its time is out of range"));
        raw[32] = 0;
        raw[41] = b' ';
        assert_eq!(why(&raw), Why::Damaged("its user id is none"));
    }
}
