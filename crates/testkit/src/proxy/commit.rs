//! What a `COMMIT` and its reply look like on the wire.

/// PostgreSQL's simple query: its letter, its length with these four bytes, the text, a zero.
const POSTGRES_COMMIT: &[u8] = b"Q\0\0\0\x0bCOMMIT\0";
/// The end of one that does more and then commits.
const POSTGRES_AND_COMMIT: &[u8] = b"; COMMIT\0";
/// MySQL's packet: three bytes of length and one of sequence, the letter of `COM_QUERY`, the text.
const MYSQL_COMMIT: &[u8] = b"\x07\0\0\0\x03COMMIT";
/// PostgreSQL's `ReadyForQuery`, before the state of the transaction in one more byte.
const POSTGRES_READY: &[u8] = b"Z\0\0\0\x05";

/// The reply to a `COMMIT`, as far as it has come.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Reply {
    /// The last bytes that came, as many as tell its end.
    Postgres(Vec<u8>),
    /// One packet.
    MySql,
}

impl Reply {
    /// The reply that these bytes of a client ask for, if they are or hold a `COMMIT`.
    ///
    /// A client of PostgreSQL may send messages before it in the same breath, and no text can hold
    /// the zeros of a message. A client of MySQL sends one command at a time.
    pub(super) fn asked_by(chunk: &[u8]) -> Option<Self> {
        let is_script = chunk.first() == Some(&b'Q') && chunk.ends_with(POSTGRES_AND_COMMIT);
        if is_script || chunk.windows(POSTGRES_COMMIT.len()).any(|part| part == POSTGRES_COMMIT) {
            return Some(Self::Postgres(Vec::new()));
        }
        (chunk == MYSQL_COMMIT).then_some(Self::MySql)
    }

    /// Whether it is whole, with these bytes too.
    pub(super) fn is_whole_with(&mut self, chunk: &[u8]) -> bool {
        match self {
            Self::Postgres(last) => {
                last.extend_from_slice(chunk);
                last.drain(..last.len().saturating_sub(POSTGRES_READY.len() + 1));
                last.starts_with(POSTGRES_READY)
            }
            Self::MySql => true,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_commit_of_its_own_is_one() {
        let postgres = Some(Reply::Postgres(Vec::new()));
        assert_eq!(Reply::asked_by(b"Q\0\0\0\x0bCOMMIT\0"), postgres);
        assert_eq!(Reply::asked_by(b"S\0\0\0\x04Q\0\0\0\x0bCOMMIT\0"), postgres);
        assert_eq!(Reply::asked_by(b"Q\0\0\0\x16EXECUTE x; COMMIT\0"), postgres);
        assert_eq!(Reply::asked_by(b"\x07\0\0\0\x03COMMIT"), Some(Reply::MySql));
        let others: [&[u8]; 6] = [
            b"Q\0\0\0\x18COMMIT PREPARED 'x'\0",
            b"Q\0\0\0\x14SELECT 'COMMIT'\0",
            b"B\0\0\0\x16\0s\0\0\0\0\x01\0\0\0\x06COMMIT\0\0",
            b"\x0b\0\0\0\x03COMMIT WORK",
            b"\x10\0\0\0\x03SELECT 'COMMIT'",
            b"\x13\0\0\0\x17\x01\0\0\0\0\x01\0\0\0\0\x01\xfd\0\x06COMMIT",
        ];
        for other in others {
            assert_eq!(Reply::asked_by(other), None, "{:?}", String::from_utf8_lossy(other));
        }
    }

    #[test]
    fn a_reply_of_postgresql_ends_with_its_state() {
        let mut reply = Reply::Postgres(Vec::new());
        assert!(!reply.is_whole_with(b"N\0\0\0\x09hello"));
        assert!(!reply.is_whole_with(b"C\0\0\0\x0bCOMMIT\0Z\0\0"));
        assert!(reply.is_whole_with(b"\0\x05I"));
        assert!(Reply::Postgres(Vec::new()).is_whole_with(b"C\0\0\0\x0bCOMMIT\0Z\0\0\0\x05I"));
        assert!(Reply::MySql.is_whole_with(b"\x07\0\0\x01\0\0\0\x02\0\0\0"));
    }
}
