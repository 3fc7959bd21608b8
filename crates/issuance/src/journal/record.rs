//! What one record is in the journal.
//!
//! A record is `FCW`, a byte with the version, and in version 1, every number big-endian: the kind
//! (1 byte: 1 for a win, 2 for a fence), the event (16), the epoch (8). A win goes on with the
//! sequence (4), three moments in microseconds (8 each: issued at, valid from, expires at), the
//! length of the user id (1), the user id.

use firstcome_core::{EventId, Sequence, Timestamp, UserId};
use firstcome_ledger::{JournalRecord, JournalWin};
use uuid::Uuid;

/// Every record begins so.
const MAGIC: &[u8; 3] = b"FCW";
/// The version that is written, and the only one that can be read.
const VERSION: u8 = 1;
/// The kind of a win.
const WIN: u8 = 1;
/// The kind of a fence.
const FENCE: u8 = 2;
/// The last epoch that a ledger can keep.
const EPOCH_MAX: u64 = i64::MAX.cast_unsigned();
/// A fence, and what every win begins with.
const HEAD: usize = 3 + 1 + 1 + 16 + 8;
/// What a win has behind its head, without its user id.
const REST_OF_WIN: usize = 4 + 3 * 8 + 1;

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

/// The bytes that are written.
#[must_use]
pub fn encode(record: &JournalRecord) -> Vec<u8> {
    match record {
        JournalRecord::Fence { event_id, epoch } => head(FENCE, *event_id, *epoch),
        JournalRecord::Win(win) => {
            let mut bytes = head(WIN, win.event_id, win.epoch);
            let user = win.user_id.as_str().as_bytes();
            let length = u8::try_from(user.len()).expect("a user id has at most 128 bytes");
            bytes.reserve_exact(REST_OF_WIN + user.len());
            bytes.extend_from_slice(&win.sequence.get().to_be_bytes());
            for moment in [win.issued_at, win.valid_from, win.expires_at] {
                bytes.extend_from_slice(&moment.as_micros().to_be_bytes());
            }
            bytes.push(length);
            bytes.extend_from_slice(user);
            bytes
        }
    }
}

fn head(kind: u8, event_id: EventId, epoch: u64) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(HEAD);
    bytes.extend_from_slice(MAGIC);
    bytes.extend_from_slice(&[VERSION, kind]);
    bytes.extend_from_slice(event_id.as_uuid().as_bytes());
    bytes.extend_from_slice(&epoch.to_be_bytes());
    bytes
}

/// Reads what was written.
///
/// # Errors
/// Why it is no record that this version writes.
pub fn decode(raw: &[u8]) -> Result<JournalRecord, Unreadable> {
    parse(raw).map_err(|why| Unreadable { why, raw: raw.to_vec() })
}

fn parse(raw: &[u8]) -> Result<JournalRecord, Why> {
    let mut rest = raw.strip_prefix(MAGIC).ok_or(Why::Foreign)?;
    match take(&mut rest)? {
        [VERSION] => {}
        [0] => return Err(Why::Damaged("its version is 0")),
        [newer] => return Err(Why::Newer(newer)),
    }
    let [kind] = take(&mut rest)?;
    let event_id = EventId::from_uuid(Uuid::from_bytes(take(&mut rest)?));
    let epoch = u64::from_be_bytes(take(&mut rest)?);
    if epoch > EPOCH_MAX {
        return Err(Why::Damaged("its epoch is out of range"));
    }
    match kind {
        FENCE if rest.is_empty() => Ok(JournalRecord::Fence { event_id, epoch }),
        FENCE => Err(Why::Damaged("it is longer than a fence")),
        WIN => parse_win(event_id, epoch, rest).map(JournalRecord::Win),
        _ => Err(Why::Damaged("its kind is unknown")),
    }
}

fn parse_win(event_id: EventId, epoch: u64, mut rest: &[u8]) -> Result<JournalWin, Why> {
    let sequence = Sequence::parse(u32::from_be_bytes(take(&mut rest)?).into())
        .map_err(|_| Why::Damaged("its sequence is out of range"))?;
    let issued_at = moment(&mut rest)?;
    let valid_from = moment(&mut rest)?;
    let expires_at = moment(&mut rest)?;
    let [length] = take(&mut rest)?;
    if rest.len() != usize::from(length) {
        return Err(Why::Damaged("its length is another than it says"));
    }
    let user_id = std::str::from_utf8(rest).ok().and_then(|text| UserId::parse(text).ok());
    let user_id = user_id.ok_or(Why::Damaged("its user id is none"))?;
    Ok(JournalWin { event_id, epoch, user_id, sequence, issued_at, valid_from, expires_at })
}

fn moment(rest: &mut &[u8]) -> Result<Timestamp, Why> {
    let micros = i64::from_be_bytes(take(rest)?);
    let moment = Timestamp::from_micros(micros);
    if moment.as_micros() == micros {
        Ok(moment)
    } else {
        Err(Why::Damaged("its time is out of range"))
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

    fn records() -> impl Strategy<Value = JournalRecord> {
        let moment = || (0_i64..=253_402_300_799_999_999).prop_map(Timestamp::from_micros);
        let sequence = 1..=limits::SEQUENCE_MAX;
        let moments = (moment(), moment(), moment());
        let parts =
            (any::<u128>(), 0..=EPOCH_MAX, sequence, "[!-~]{1,128}", moments, any::<bool>());
        parts.prop_map(|(event, epoch, sequence, user, moments, is_fence)| {
            let event_id = EventId::from_uuid(Uuid::from_u128(event));
            if is_fence {
                return JournalRecord::Fence { event_id, epoch };
            }
            let (issued_at, valid_from, expires_at) = moments;
            JournalRecord::Win(JournalWin {
                event_id,
                epoch,
                user_id: UserId::parse(&user).unwrap(),
                sequence: Sequence::parse(sequence.into()).unwrap(),
                issued_at,
                valid_from,
                expires_at,
            })
        })
    }

    const EVENT: u128 = 0x0102_0304;

    fn sample() -> JournalRecord {
        JournalRecord::Win(JournalWin {
            event_id: EventId::from_uuid(Uuid::from_u128(EVENT)),
            epoch: 5,
            user_id: UserId::parse("user-7").unwrap(),
            sequence: Sequence::parse(6).unwrap(),
            issued_at: Timestamp::from_micros(8),
            valid_from: Timestamp::from_micros(9),
            expires_at: Timestamp::from_micros(10),
        })
    }

    fn why(raw: &[u8]) -> Why {
        let unreadable = decode(raw).unwrap_err();
        assert_eq!(unreadable.raw, raw, "the bytes are kept");
        unreadable.why
    }

    proptest! {
        #[test]
        fn what_is_written_is_read(record in records()) {
            prop_assert_eq!(decode(&encode(&record)), Ok(record));
        }

        #[test]
        fn a_record_that_was_cut_or_grew_is_none(record in records(), cut in 0..200_usize) {
            let mut raw = encode(&record);
            let cut = cut % raw.len();
            prop_assert!(decode(&raw[..cut]).is_err());
            raw.push(b'x');
            prop_assert!(decode(&raw).is_err());
        }

        #[test]
        fn no_bytes_make_it_panic(raw in proptest::collection::vec(any::<u8>(), 0..300)) {
            let _ = decode(&raw);
            let _ = decode(&[b"FCW\x01".as_slice(), &raw].concat());
        }
    }

    #[test]
    fn the_bytes_of_version_1_stay_as_they_are() {
        let win = b"FCW\x01\x01\
            \0\0\0\0\0\0\0\0\0\0\0\0\x01\x02\x03\x04\
            \0\0\0\0\0\0\0\x05\0\0\0\x06\
            \0\0\0\0\0\0\0\x08\0\0\0\0\0\0\0\x09\0\0\0\0\0\0\0\x0a\x06user-7";
        assert_eq!(encode(&sample()), win);
        let event_id = EventId::from_uuid(Uuid::from_u128(EVENT));
        let fence = b"FCW\x01\x02\
            \0\0\0\0\0\0\0\0\0\0\0\0\x01\x02\x03\x04\
            \0\0\0\0\0\0\0\x05";
        assert_eq!(encode(&JournalRecord::Fence { event_id, epoch: 5 }), fence);
    }

    #[test]
    fn what_cannot_be_read_says_why_and_keeps_its_bytes() {
        let mut raw = encode(&sample());
        assert_eq!(why(b""), Why::Foreign);
        assert_eq!(why(b"{\"user\": 1}"), Why::Foreign);
        assert_eq!(why(&raw[..10]), Why::Damaged("it ends too early"));
        raw[3] = 2;
        assert_eq!(why(&raw), Why::Newer(2));
        raw[3] = 0;
        assert_eq!(why(&raw), Why::Damaged("its version is 0"));
        raw[3] = 1;
        for kind in [0, 3] {
            raw[4] = kind;
            assert_eq!(why(&raw), Why::Damaged("its kind is unknown"));
        }
        raw[4] = 2;
        assert_eq!(why(&raw), Why::Damaged("it is longer than a fence"));
        raw[4] = 1;
        for kind in [1, 2] {
            raw[4] = kind;
            raw[21] = 0x80;
            assert_eq!(why(&raw), Why::Damaged("its epoch is out of range"));
        }
        raw[4] = 1;
        raw[21] = 0;
        raw[29..33].fill(0);
        assert_eq!(why(&raw), Why::Damaged("its sequence is out of range"));
        raw[32] = 1;
        for moment in [33, 41, 49] {
            raw[moment] = 0x80;
            assert_eq!(why(&raw), Why::Damaged("its time is out of range"));
            raw[moment] = 0;
        }
        raw[58] = b' ';
        assert_eq!(why(&raw), Why::Damaged("its user id is none"));
    }
}
