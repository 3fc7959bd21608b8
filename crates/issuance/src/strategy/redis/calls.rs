//! What is said to Redis of one event, and what it answers.

use std::sync::LazyLock;
use std::time::Duration;

use firstcome_cache::redis::{Cmd, Script, ScriptCall, cmd};
use firstcome_core::{EventId, Quantity, Sequence, Timestamp, UserId};
use firstcome_ledger::{EventRecord, Winner, Won};

use super::terms::{Terms, read_validity};

static CLAIM: LazyLock<Script> = LazyLock::new(|| Script::for_each(include_str!("claim.lua")));
static CONFIRM: LazyLock<Script> = LazyLock::new(|| Script::for_each(include_str!("confirm.lua")));
static CHECK: LazyLock<Script> = LazyLock::new(|| Script::for_each(include_str!("check.lua")));
static PENDING: LazyLock<Script> = LazyLock::new(|| Script::new(include_str!("pending.lua")));
static LOAD: LazyLock<Script> = LazyLock::new(|| Script::new(include_str!("load.lua")));
static CHANGE: LazyLock<Script> = LazyLock::new(|| Script::new(include_str!("change.lua")));

/// The keys of an event: all have its id as their hash tag, so that a cluster keeps them together.
#[derive(Debug, Clone)]
pub(super) struct Keys([String; 3]);

impl Keys {
    pub(super) fn of(event: EventId) -> Self {
        Self(["meta", "winners", "pending"].map(|name| format!("firstcome:ev:{{{event}}}:{name}")))
    }

    /// Claims of these users, each with the pseudonym they would have where that matters; for how
    /// long what they win is valid, in [one word](super::terms::word_of), where the ledger does not
    /// tell.
    pub(super) fn claim<'a>(
        &self,
        users: impl Iterator<Item = (&'a UserId, Option<UserId>)>,
        both: bool,
        validity: &str,
    ) -> ScriptCall {
        let mut call = CLAIM.call(&self.0).arg(if both { "both" } else { "raw" }).arg(validity);
        for (user, pseudonym) in users {
            call.push(user.as_str());
            if let Some(pseudonym) = pseudonym {
                call.push(pseudonym.as_str());
            }
        }
        call
    }

    /// All wins of the batches of these moments are durable.
    pub(super) fn confirm(
        &self,
        epoch: u64,
        moments: impl Iterator<Item = Timestamp>,
    ) -> ScriptCall {
        let mut call = CONFIRM.call(&self.0).arg(epoch);
        for moment in moments {
            call.push(moment.as_micros());
        }
        call
    }

    /// Nobody is decided from now on, and nobody else who rebuilds goes on.
    pub(super) fn take(&self, token: &str) -> ScriptCall {
        LOAD.call(&self.0).arg("take").arg(token)
    }

    /// No rebuilding is gone on with that has begun to copy winners.
    pub(super) fn drop_copy(&self) -> Cmd {
        let mut drop = cmd("HDEL");
        drop.arg(&self.0[0]).arg("loaded");
        drop
    }

    pub(super) fn begin(&self, token: &str, epoch: u64) -> ScriptCall {
        LOAD.call(&self.0).arg("begin").arg(token).arg(epoch)
    }

    pub(super) fn add(&self, token: &str, epoch: u64, winners: &[Winner]) -> ScriptCall {
        let mut call = LOAD.call(&self.0).arg("add").arg(token).arg(epoch);
        for Winner { user_id, sequence } in winners {
            call.push(user_id.as_str());
            call.push(sequence.get());
        }
        call
    }

    /// All winners are added: so many, the last with this sequence.
    pub(super) fn finish(
        &self,
        token: &str,
        event: &EventRecord,
        winners: u32,
        last: u32,
    ) -> ScriptCall {
        let call = LOAD.call(&self.0).arg("finish").arg(token).arg(event.epoch);
        let mut call = call.arg(winners).arg(last + 1).arg(event.version);
        push_rule(&mut call, event);
        call
    }

    /// Answers nobody new for so long, at most; or until the same hand follows.
    pub(super) fn freeze(&self, hand: &str, micros: i64) -> ScriptCall {
        CHANGE.call(&self.0).arg("freeze").arg(hand).arg(micros)
    }

    /// No more than these are won from now on, where no more are won already, and [nobody
    /// new](Self::freeze) for so long; until the same hand follows, nobody else allows more.
    pub(super) fn lower(&self, quantity: Quantity, hand: &str, micros: i64) -> ScriptCall {
        CHANGE.call(&self.0).arg("lower").arg(quantity.get()).arg(hand).arg(micros)
    }

    /// The event is so in the ledger; the hand is of whoever has made ready for it, or nobody's.
    pub(super) fn follow(&self, hand: &str, event: &EventRecord) -> ScriptCall {
        let call = CHANGE.call(&self.0).arg("follow").arg(hand);
        let mut call = call.arg(event.epoch).arg(event.version);
        push_rule(&mut call, event);
        call
    }

    /// Some batches whose wins are not known to be durable, about so many, by the word of this
    /// epoch.
    pub(super) fn pending(&self, epoch: Option<u64>, cursor: u64, about: usize) -> ScriptCall {
        let epoch = epoch.map_or_else(String::new, |epoch| epoch.to_string());
        PENDING.call(&self.0).arg(epoch).arg(cursor).arg(about)
    }

    /// Whether what is known is to be trusted.
    pub(super) fn check(&self) -> ScriptCall {
        CHECK.call(&self.0)
    }

    /// What the [`Look`] tells.
    pub(super) fn look(&self) -> Cmd {
        let mut get = cmd("HMGET");
        get.arg(&self.0[0]).arg(&["epoch", "pending", "lowered_at", "loading", "version"]);
        get
    }

    /// How many batches are pending, whatever else is known.
    pub(super) fn count_pending(&self) -> Cmd {
        let mut count = cmd("HLEN");
        count.arg(&self.0[2]);
        count
    }

    /// Some of these batches, about so many, from this place of a scan on.
    pub(super) fn scan_pending(&self, cursor: u64, about: usize) -> Cmd {
        let mut scan = cmd("HSCAN");
        scan.arg(&self.0[2]).arg(cursor).arg("COUNT").arg(about);
        scan
    }

    /// How many winners are known.
    pub(super) fn count(&self) -> Cmd {
        let mut count = cmd("HLEN");
        count.arg(&self.0[1]);
        count
    }

    /// All that is known ends after this time, unless it does anyway, or something is pending.
    pub(super) fn expire(&self, after: Duration) -> ScriptCall {
        CHANGE.call(&self.0).arg("expire").arg(after.as_secs())
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

/// By whose word, when, and what of each user, in their order.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Decided {
    pub(super) epoch: u64,
    pub(super) version: u64,
    pub(super) opens_at: Timestamp,
    /// When it was decided; no other batch of the event has the same.
    pub(super) moment: Timestamp,
    pub(super) terms: Terms,
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
    Confirmed {
        sequence: Sequence,
        /// None where the ledger had the win when the event was loaded.
        issued_at: Option<Timestamp>,
    },
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
            [word, epoch, version, opens_at, moment, first, terms, said @ ..]
                if word == "decided" =>
            {
                let moment = moment_of(moment)?;
                Some(Self::Decided(Decided {
                    epoch: epoch.parse().ok()?,
                    version: version.parse().ok()?,
                    opens_at: moment_of(opens_at)?,
                    moment,
                    terms: Terms::read(terms)?,
                    claims: read_claims(said, moment, first.parse().ok()?, users)?,
                }))
            }
            _ => None,
        }
    }
}

/// Reads what is said of so many claims; the first of them that has won has this sequence.
fn read_claims(said: &[String], moment: Timestamp, first: u32, users: usize) -> Option<Vec<Said>> {
    let mut claims = Vec::with_capacity(users);
    let mut next = first;
    for word in said {
        let (verdict, rest) = word.split_at_checked(1)?;
        let of_all = match verdict {
            "P" | "C" => {
                claims.push(Said::held(verdict, rest)?);
                continue;
            }
            "W" => None,
            "S" => Some(Said::SoldOut),
            "N" => Some(Said::NotOpen),
            "U" => Some(Said::Paused),
            "X" => Some(Said::Closed),
            "F" => Some(Said::Frozen),
            _ => return None,
        };
        let (alike, left) = (rest.parse().ok()?, users.checked_sub(claims.len())?);
        if !(1..=left).contains(&alike) {
            return None;
        }
        for _ in 0..alike {
            claims.push(match of_all {
                Some(said) => said,
                None => {
                    let sequence = Sequence::parse(next.into()).ok()?;
                    next += 1;
                    Said::Won { sequence, issued_at: moment }
                }
            });
        }
    }
    (claims.len() == users).then_some(claims)
}

impl Said {
    /// Whether it is that somebody wins nothing, by the event as Redis knows it.
    pub(super) const fn is_final(&self) -> bool {
        matches!(self, Self::SoldOut | Self::NotOpen | Self::Paused | Self::Closed)
    }

    /// Reads what is said of a claim of somebody who has won before.
    fn held(verdict: &str, place: &str) -> Option<Self> {
        let (sequence, moment) = match place.split_once(':') {
            Some((sequence, moment)) => (sequence, Some(moment_of(moment)?)),
            None => (place, None),
        };
        let sequence = sequence_of(sequence)?;
        match (verdict, moment) {
            ("P", Some(issued_at)) => Some(Self::Pending { sequence, issued_at }),
            ("C", issued_at) => Some(Self::Confirmed { sequence, issued_at }),
            _ => None,
        }
    }
}

/// What can be told of an event at once: by whose word it is decided, how many batches are pending,
/// when its quantity began to be lowered, whether it is being rebuilt, and its version. None of it
/// where nothing is known.
pub(super) type Look = (Option<u64>, Option<u64>, Option<i64>, Option<String>, Option<u64>);

/// A part of what is pending: where a scan would go on; moments, each with a batch; the [`Terms`].
/// None where another epoch has begun.
pub(super) type Pending = Option<(u64, Vec<(String, String)>, String)>;

/// The wins of a batch, which are not known to be durable.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct PendingBatch {
    /// When it was decided, and the name that it goes by.
    pub(super) moment: Timestamp,
    pub(super) wins: Vec<Won>,
}

impl PendingBatch {
    /// Reads an entry, its validity by these terms where it has none of its own; none for what the
    /// script never writes.
    pub(super) fn read(moment: &str, batch: &str, terms: &Terms) -> Option<Self> {
        let moment = moment_of(moment)?;
        let (validity, batch) = match batch.strip_prefix('=') {
            Some(batch) => {
                let (validity, batch) = batch.split_once(' ')?;
                (Some(read_validity(validity)?), batch)
            }
            None => (terms.of(moment), batch),
        };
        let mut words = batch.split(' ');
        let mut next: u32 = words.next()?.parse().ok()?;
        let wins = words.map(|user| {
            let sequence = Sequence::parse(next.into()).ok()?;
            next += 1;
            let user_id = UserId::parse(user).ok()?;
            Some(Won { user_id, sequence, issued_at: moment, validity })
        });
        let wins: Vec<Won> = wins.collect::<Option<_>>()?;
        (!wins.is_empty()).then_some(Self { moment, wins })
    }
}

fn moment_of(digits: &str) -> Option<Timestamp> {
    digits.parse().ok().map(Timestamp::from_micros)
}

fn sequence_of(digits: &str) -> Option<Sequence> {
    Sequence::parse(digits.parse().ok()?).ok()
}

#[cfg(test)]
mod tests {
    use firstcome_core::{Days, Validity};

    use super::*;

    fn read(words: &[&str], users: usize) -> Option<Answer> {
        let words: Vec<String> = words.iter().copied().map(str::to_owned).collect();
        Answer::read(&words, users)
    }

    fn sequence(number: u32) -> Sequence {
        Sequence::parse(number.into()).expect("a sequence")
    }

    #[test]
    fn answers_are_read() {
        let (sequence, moment) = (sequence(7), Timestamp::from_micros(5));
        let said = |word| match read(&["decided", "3", "4", "9", "5", "7", "", word], 1) {
            Some(Answer::Decided(Decided { epoch: 3, version: 4, claims, .. })) => Some(claims[0]),
            _ => None,
        };
        for (word, expected) in [
            ("W1", Said::Won { sequence, issued_at: moment }),
            ("P7:5", Said::Pending { sequence, issued_at: moment }),
            ("C7:5", Said::Confirmed { sequence, issued_at: Some(moment) }),
            ("C7", Said::Confirmed { sequence, issued_at: None }),
            ("S1", Said::SoldOut),
            ("N1", Said::NotOpen),
            ("U1", Said::Paused),
            ("X1", Said::Closed),
            ("F1", Said::Frozen),
        ] {
            assert_eq!(said(word), Some(expected));
        }
        for word in
            ["", "P7", "P0:5", "P:", "C", "C-1", "C7:", "W", "S", "S0", "S2", "W-1", "Z1", "쿠폰"]
        {
            assert_eq!(said(word), None, "{word:?}");
        }
        assert_eq!(read(&["not_loaded"], 1), Some(Answer::NotLoaded));
        assert_eq!(read(&["both"], 1), Some(Answer::NeedsPseudonyms));
        let few = ["decided", "3", "4", "9", "5", "7", "", "S1"];
        let many = ["decided", "3", "4", "9", "5", "7", "", "S2", "W18446744073709551615"];
        for words in [&few[..], &many[..], &["decided"], &[], &["x"]] {
            assert_eq!(read(words, 2), None, "{words:?}");
        }
    }

    #[test]
    fn winners_of_a_batch_follow_one_another() {
        let words = ["decided", "3", "4", "9", "5", "7", "", "W2", "S1", "C5", "W1"];
        let Some(Answer::Decided(decided)) = read(&words, 5) else { panic!("not decided") };
        let won =
            |number| Said::Won { sequence: sequence(number), issued_at: Timestamp::from_micros(5) };
        let before = Said::Confirmed { sequence: sequence(5), issued_at: None };
        assert_eq!(decided.claims, [won(7), won(8), Said::SoldOut, before, won(9)]);
    }

    #[test]
    fn pending_batches_are_read() {
        let batch = PendingBatch::read("5", "7 kim lee:2", &Terms::default()).expect("a batch");
        let wins = batch.wins.iter().map(|win| (win.user_id.as_str(), win.sequence.get()));
        assert_eq!(wins.collect::<Vec<_>>(), [("kim", 7), ("lee:2", 8)]);
        assert!(batch.wins.iter().all(|win| win.issued_at == batch.moment));
        let batch = PendingBatch::read("5", "=d30 7 kim", &Terms::default()).expect("a batch");
        let days = Validity::Days(Days::parse(30).expect("days"));
        assert_eq!((batch.wins.len(), batch.wins[0].validity), (1, Some(days)));
        for (moment, batch) in [
            ("x", "7 kim"),
            ("5", ""),
            ("5", "7"),
            ("5", "0 kim"),
            ("5", "7  kim"),
            ("5", "=x 7 kim"),
        ] {
            assert_eq!(
                PendingBatch::read(moment, batch, &Terms::default()),
                None,
                "{moment} {batch:?}"
            );
        }
    }
}
