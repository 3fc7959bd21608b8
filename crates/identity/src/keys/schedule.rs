//! Which key signs, and which still check, at a moment: pure.
//!
//! A key is known before it signs: whoever checks tokens has until `signs_from` to learn of it. It
//! signs until the next one does, and checks until the last token that it can have signed has
//! expired.

use firstcome_web::auth::LEEWAY_SECONDS;

/// How much the clocks of two processes may differ.
const SKEW_SECONDS: i64 = 5;

/// What a schedule needs to know of a key.
#[derive(Debug, Clone, Copy)]
pub(super) struct Term {
    /// When it begins to sign, in seconds since the epoch.
    pub(super) signs_from: i64,
    /// The longest life of its tokens, in seconds.
    pub(super) token_seconds_max: u32,
}

/// What a key does now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum KeyState {
    /// It is known, and will sign from this second on.
    Coming {
        /// Since the epoch.
        signs_from: i64,
    },
    /// It signs.
    Signing,
    /// It signs no more, and checks until this second.
    Checking {
        /// Since the epoch.
        until: i64,
    },
    /// No token that it has signed is still good.
    Ended,
}

/// What each key does, in the order of their beginnings, in which they must be given.
pub(super) fn states(terms: &[Term], now_seconds: i64) -> Vec<KeyState> {
    // Where all are yet to come, as after a clock that was wrong, the first one signs.
    let begun = terms.iter().rposition(|term| term.signs_from <= now_seconds);
    let signing = begun.unwrap_or_default();
    let state = |(index, term): (usize, &Term)| {
        if index > signing {
            return KeyState::Coming { signs_from: term.signs_from };
        }
        let Some(next) = terms.get(index + 1).filter(|_| index < signing) else {
            return KeyState::Signing;
        };
        let last_exp = next.signs_from.saturating_add(i64::from(term.token_seconds_max));
        let until = last_exp.saturating_add(LEEWAY_SECONDS + SKEW_SECONDS);
        if now_seconds < until { KeyState::Checking { until } } else { KeyState::Ended }
    };
    terms.iter().enumerate().map(state).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const HOUR: u32 = 3_600;

    fn at(now_seconds: i64, beginnings: &[i64]) -> Vec<KeyState> {
        let term = |signs_from: &i64| Term { signs_from: *signs_from, token_seconds_max: HOUR };
        states(&beginnings.iter().map(term).collect::<Vec<_>>(), now_seconds)
    }

    #[test]
    fn a_new_key_is_known_before_it_signs() {
        let coming = KeyState::Coming { signs_from: 100 };
        assert_eq!(at(99, &[0, 100]), [KeyState::Signing, coming]);
        let until = 100 + i64::from(HOUR) + 65;
        let checking = KeyState::Checking { until };
        assert_eq!(at(100, &[0, 100]), [checking, KeyState::Signing]);
        assert_eq!(at(until - 1, &[0, 100]), [checking, KeyState::Signing]);
        assert_eq!(at(until, &[0, 100]), [KeyState::Ended, KeyState::Signing]);
    }

    #[test]
    fn there_is_always_one_that_signs() {
        assert_eq!(at(5, &[]), []);
        assert_eq!(at(5, &[10]), [KeyState::Signing]);
        let all = at(50, &[0, 10, 20, 60, 70]);
        assert_eq!(all.iter().filter(|state| **state == KeyState::Signing).count(), 1);
        assert_eq!(all[2], KeyState::Signing);
        // Its own end counts from its own successor.
        assert_eq!(all[0], KeyState::Checking { until: 10 + i64::from(HOUR) + 65 });
    }
}
