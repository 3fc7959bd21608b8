//! What is said to Redis of one event, and what it answers.

use std::sync::LazyLock;

use firstcome_cache::redis::{Cmd, Script, ScriptCall, cmd};
use firstcome_core::{EventId, Sequence, Timestamp, UserId};
use firstcome_ledger::{EventRecord, Winner, Won};

static CLAIM: LazyLock<Script> = LazyLock::new(|| Script::new(include_str!("claim.lua")));
static CONFIRM: LazyLock<Script> = LazyLock::new(|| Script::new(include_str!("confirm.lua")));
static LOAD: LazyLock<Script> = LazyLock::new(|| Script::new(include_str!("load.lua")));
static CHANGE: LazyLock<Script> = LazyLock::new(|| Script::new(include_str!("change.lua")));

/// The keys of an event: all have its id as their hash tag, so that a cluster keeps them together.
#[derive(Debug, Clone)]
pub(super) struct Keys([String; 3]);

impl Keys {
    pub(super) fn of(event: EventId) -> Self {
        Self(["meta", "winners", "pending"].map(|name| format!("firstcome:ev:{{{event}}}:{name}")))
    }

    /// Claims of these users, each with the pseudonym they would have where that matters.
    pub(super) fn claim<'a>(
        &self,
        users: impl Iterator<Item = (&'a UserId, Option<UserId>)>,
        both: bool,
    ) -> ScriptCall {
        let mut call = CLAIM.call(&self.0).arg(if both { "both" } else { "raw" });
        for (user, pseudonym) in users {
            call.push(user.as_str());
            if let Some(pseudonym) = pseudonym {
                call.push(pseudonym.as_str());
            }
        }
        call
    }

    pub(super) fn confirm<'a>(
        &self,
        epoch: u64,
        wins: impl Iterator<Item = (&'a UserId, Sequence)>,
    ) -> ScriptCall {
        let mut call = CONFIRM.call(&self.0).arg(epoch);
        for (user, sequence) in wins {
            call.push(user.as_str());
            call.push(sequence.get());
        }
        call
    }

    pub(super) fn begin(&self, epoch: u64) -> ScriptCall {
        LOAD.call(&self.0).arg("begin").arg(epoch)
    }

    pub(super) fn add(&self, epoch: u64, winners: &[Winner]) -> ScriptCall {
        let mut call = LOAD.call(&self.0).arg("add").arg(epoch);
        for Winner { user_id, sequence } in winners {
            call.push(user_id.as_str());
            call.push(sequence.get());
        }
        call
    }

    /// All winners are added: so many, the last with this sequence.
    pub(super) fn finish(&self, event: &EventRecord, winners: u32, last: u32) -> ScriptCall {
        let mut call = LOAD.call(&self.0).arg("finish").arg(event.epoch).arg(winners).arg(last + 1);
        call.push("version");
        call.push(event.version);
        push_rule(&mut call, event);
        call
    }

    /// Answers nobody new for so long, at most.
    pub(super) fn freeze(&self, micros: i64) -> ScriptCall {
        CHANGE.call(&self.0).arg("freeze").arg(micros)
    }

    pub(super) fn follow(&self, event: &EventRecord) -> ScriptCall {
        let mut call = CHANGE.call(&self.0).arg("follow").arg(event.epoch).arg(event.version);
        push_rule(&mut call, event);
        call
    }

    /// Some wins that are not known to be durable, about so many.
    pub(super) fn pending(&self, about: usize) -> Cmd {
        let mut scan = cmd("HSCAN");
        scan.arg(&self.0[2]).arg(0).arg("COUNT").arg(about);
        scan
    }

    pub(super) fn count_pending(&self) -> Cmd {
        let mut count = cmd("HLEN");
        count.arg(&self.0[2]);
        count
    }

    /// By whose word what is pending was decided.
    pub(super) fn epoch(&self) -> Cmd {
        let mut get = cmd("HGET");
        get.arg(&self.0[0]).arg("epoch");
        get
    }

    /// Each of the keys ends in so many seconds.
    pub(super) fn expire(&self, seconds: u32) -> [Cmd; 3] {
        self.0.each_ref().map(|key| {
            let mut expire = cmd("EXPIRE");
            expire.arg(key).arg(seconds);
            expire
        })
    }
}

/// What decides claims, as names and values.
fn push_rule(call: &mut ScriptCall, event: &EventRecord) {
    let EventRecord { rule, has_erased, .. } = event;
    let flag = |flag: bool| i64::from(flag);
    let values = [
        ("quantity", i64::from(rule.quantity.get())),
        ("opens_at", rule.window.opens_at().as_micros()),
        ("closes_at", rule.window.closes_at().as_micros()),
        ("opened_early", flag(rule.opened_early)),
        ("paused", flag(rule.paused)),
        ("closed", flag(rule.closed)),
        ("erased", flag(*has_erased)),
    ];
    for (name, value) in values {
        call.push(name);
        call.push(value);
    }
}

/// What the script answers to a batch.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Answer {
    /// Nothing was decided: what is known of the event is not there, or not to be trusted.
    NotLoaded,
    /// Nothing was decided: it needs the pseudonyms too.
    NeedsPseudonyms,
    Decided(Decided),
}

/// By whose word, and what of each user, in their order.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Decided {
    pub(super) epoch: u64,
    pub(super) version: u64,
    pub(super) opens_at: Timestamp,
    pub(super) claims: Vec<Said>,
}

/// What it says of a claim.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Said {
    /// Won just now, and not durable.
    Won {
        sequence: Sequence,
        issued_at: Timestamp,
    },
    /// Won before, and not known to be durable.
    Pending {
        sequence: Sequence,
        issued_at: Timestamp,
    },
    /// Won before, and durable.
    Confirmed,
    SoldOut,
    NotOpen,
    Paused,
    Closed,
    Frozen,
}

impl Answer {
    /// Reads the answer to claims of so many users; none for what the script never says.
    pub(super) fn read(words: &[String], users: usize) -> Option<Self> {
        match words {
            [word] if word == "not_loaded" => Some(Self::NotLoaded),
            [word] if word == "both" => Some(Self::NeedsPseudonyms),
            [word, epoch, version, opens_at, claims @ ..]
                if word == "decided" && claims.len() == users =>
            {
                Some(Self::Decided(Decided {
                    epoch: epoch.parse().ok()?,
                    version: version.parse().ok()?,
                    opens_at: Timestamp::from_micros(opens_at.parse().ok()?),
                    claims: claims.iter().map(|claim| Said::read(claim)).collect::<Option<_>>()?,
                }))
            }
            _ => None,
        }
    }
}

impl Said {
    fn read(word: &str) -> Option<Self> {
        let (kind, rest) = word.split_at_checked(1)?;
        let place = || {
            let (sequence, issued_at) = rest.split_once(':')?;
            let issued_at = Timestamp::from_micros(issued_at.parse().ok()?);
            Some((sequence_of(sequence)?, issued_at))
        };
        Some(match kind {
            "W" => place().map(|(sequence, issued_at)| Self::Won { sequence, issued_at })?,
            "P" => place().map(|(sequence, issued_at)| Self::Pending { sequence, issued_at })?,
            "C" => sequence_of(rest).map(|_| Self::Confirmed)?,
            "S" => Self::SoldOut,
            "N" => Self::NotOpen,
            "U" => Self::Paused,
            "X" => Self::Closed,
            "F" => Self::Frozen,
            _ => return None,
        })
    }
}

/// A part of the pending wins: where a scan would go on; sequences, each with a moment and a user.
pub(super) type Pending = (u64, Vec<(String, String)>);

/// The win of an entry; none for what the script never writes.
pub(super) fn pending_win(sequence: &str, value: &str) -> Option<Won> {
    let (issued_at, user) = value.split_once(' ')?;
    Some(Won {
        user_id: UserId::parse(user).ok()?,
        sequence: sequence_of(sequence)?,
        issued_at: Timestamp::from_micros(issued_at.parse().ok()?),
    })
}

fn sequence_of(digits: &str) -> Option<Sequence> {
    Sequence::parse(digits.parse().ok()?).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(words: &[&str], users: usize) -> Option<Answer> {
        let words: Vec<String> = words.iter().copied().map(str::to_owned).collect();
        Answer::read(&words, users)
    }

    #[test]
    fn answers_are_read() {
        let sequence = |number| Sequence::parse(number).expect("a sequence");
        let (sequence, issued_at) = (sequence(7), Timestamp::from_micros(5));
        let said = |word| match read(&["decided", "3", "4", "9", word], 1) {
            Some(Answer::Decided(Decided { epoch: 3, version: 4, claims, .. })) => Some(claims[0]),
            _ => None,
        };
        assert_eq!(said("W7:5"), Some(Said::Won { sequence, issued_at }));
        assert_eq!(said("P7:5"), Some(Said::Pending { sequence, issued_at }));
        for (word, expected) in [
            ("C7", Said::Confirmed),
            ("S", Said::SoldOut),
            ("N", Said::NotOpen),
            ("U", Said::Paused),
            ("X", Said::Closed),
            ("F", Said::Frozen),
        ] {
            assert_eq!(said(word), Some(expected));
        }
        for word in ["", "W7", "W0:5", "P:", "C", "C-1", "Z", "쿠폰"] {
            assert_eq!(said(word), None, "{word:?}");
        }
        assert_eq!(read(&["not_loaded"], 1), Some(Answer::NotLoaded));
        assert_eq!(read(&["both"], 1), Some(Answer::NeedsPseudonyms));
        for words in [&["decided", "3", "4", "9", "S"][..], &["decided"], &[], &["x"]] {
            assert_eq!(read(words, 2), None, "{words:?}");
        }
    }
}
