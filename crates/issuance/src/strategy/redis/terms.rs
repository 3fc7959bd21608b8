//! For how long coupons are valid that Redis decides on ahead of the ledger.
//!
//! A coupon may change while events give it, and every process has read it at another moment. So
//! Redis keeps, for each event, which validity goes by which moment on: a batch brings what its
//! process has read, and the newest version that any process has brought goes for all who win from
//! then on. What somebody has won is then told alike by every process, and written so.

use firstcome_core::{Days, Timestamp, Validity};

/// A coupon's validity and the version of the coupon that says so, as the script is told.
pub(super) fn word_of(validity: Validity, version: u64) -> String {
    match validity {
        Validity::Period { from, until } => {
            format!("{version} p{}:{}", from.as_micros(), until.as_micros())
        }
        Validity::Days(days) => format!("{version} d{days}"),
    }
}

/// Validities of an event's coupons, each from the moment on when its first batch was decided; the
/// newest first.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(super) struct Terms(Vec<(Timestamp, Validity)>);

impl Terms {
    /// Reads what the script keeps; none for what it never writes.
    pub(super) fn read(text: &str) -> Option<Self> {
        let entries = text.split_terminator(';').map(|entry| {
            let mut words = entry.split(' ');
            let _version: u64 = words.next()?.parse().ok()?;
            let validity = read_validity(words.next()?)?;
            let since = words.next()?.parse().ok().map(Timestamp::from_micros)?;
            words.next().is_none().then_some((since, validity))
        });
        entries.collect::<Option<_>>().map(Self)
    }

    /// What goes for a batch of this moment, if that is known.
    pub(super) fn of(&self, moment: Timestamp) -> Option<Validity> {
        let (_, validity) = self.0.iter().find(|(since, _)| *since <= moment)?;
        Some(*validity)
    }
}

/// Reads a validity as the script is told it, without its version.
pub(super) fn read_validity(word: &str) -> Option<Validity> {
    match word.split_at_checked(1)? {
        ("d", days) => Some(Validity::Days(Days::parse(days.parse().ok()?).ok()?)),
        ("p", period) => {
            let (from, until) = period.split_once(':')?;
            let moment = |micros: &str| micros.parse().ok().map(Timestamp::from_micros);
            Validity::period(moment(from)?, moment(until)?).ok()
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_goes_is_what_the_last_batch_before_has_brought() {
        let days = Validity::Days(Days::parse(30).expect("days"));
        let [from, until] = [1, 2].map(Timestamp::from_micros);
        let period = Validity::period(from, until).expect("a period");
        let text = format!("{} 20;{} 10", word_of(period, 9), word_of(days, 2));
        assert_eq!(text, "9 p1:2 20;2 d30 10");
        let terms = Terms::read(&text).expect("terms");
        let of = |moment| terms.of(Timestamp::from_micros(moment));
        assert_eq!([9, 10, 19].map(of), [None, Some(days), Some(days)]);
        assert_eq!([20, 21].map(of), [Some(period), Some(period)]);
        assert_eq!(Terms::read(""), Some(Terms::default()));
    }

    #[test]
    fn what_no_script_writes_is_not_read() {
        for text in [
            " ",
            ";",
            "1",
            "1 d30",
            "x d30 5",
            "1 d0 5",
            "1 d 5",
            "1 30 5",
            "1 p2:1 5",
            "1 p2 5",
            "1 p:2 5",
            "1 d30 5 6",
            "1 d30 x",
            "1  d30 5",
            "1 쿠폰 5",
            "1 d30 5;;2 d30 6",
        ] {
            assert_eq!(Terms::read(text), None, "{text:?}");
        }
    }
}
