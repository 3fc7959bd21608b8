//! The breakers: one for a server, and one for each node of a cluster. A node that is silent costs
//! calls on its own keys an answer, and nobody else's.

use std::collections::HashMap;
use std::mem;
use std::ops::RangeInclusive;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use ::redis::cluster_routing::Slot;
use ::redis::{Arg, Cmd, Value, from_redis_value};
use metrics::Gauge;
use tokio::time::Instant;

use super::RedisConfig;
use crate::breaker::Breaker;

/// Commands that name no key.
const KEYLESS: [&[u8]; 6] = [b"CONFIG", b"INFO", b"PING", b"PUBLISH", b"PUBSUB", b"TIME"];
/// How often a cluster is asked at most which node has which keys.
const ASK_EVERY: Duration = Duration::from_secs(1);

/// The breakers of all servers that calls go to.
pub(super) struct Breakers {
    failures_max: u32,
    open: Duration,
    /// Of one server; of a cluster for calls of which it is not known which node they go to.
    one: Arc<Node>,
    nodes: Mutex<Nodes>,
}

/// A server and its breaker.
pub(super) struct Node {
    /// What its cluster calls it; nothing where there is one.
    pub(super) name: String,
    pub(super) breaker: Breaker,
}

/// Who has which keys, as a cluster has told. It may be out of date: then calls on some keys count
/// for a node that they do not go to, until it is asked again.
#[derive(Default)]
struct Nodes {
    all: Vec<Arc<Node>>,
    by_slot: HashMap<Slot, Arc<Node>>,
    asked_at: Option<Instant>,
    is_known: bool,
}

impl Breakers {
    pub(super) fn new(config: &RedisConfig) -> Self {
        let (failures_max, open) = (config.breaker_failures, config.breaker_open());
        let one = Node { name: String::new(), breaker: Breaker::new(failures_max, open) };
        Self { failures_max, open, one: Arc::new(one), nodes: Mutex::default() }
    }

    /// Where calls on this key go.
    pub(super) fn of(&self, key: Option<&[u8]>) -> Arc<Node> {
        let nodes = self.nodes();
        let key = key.filter(|_| !nodes.by_slot.is_empty());
        let node = key.and_then(|key| nodes.by_slot.get(&Slot::for_key(key)));
        Arc::clone(node.unwrap_or(&self.one))
    }

    /// Whether calls on some keys fail at once.
    pub(super) fn is_any_open(&self) -> bool {
        self.is_any_open_of(&self.nodes())
    }

    /// Shows the same. Who comes last shows the last, also where a node has left meanwhile.
    pub(super) fn show(&self, gauge: &Gauge) {
        let nodes = self.nodes();
        gauge.set(u8::from(self.is_any_open_of(&nodes)));
    }

    fn is_any_open_of(&self, nodes: &Nodes) -> bool {
        nodes.all.iter().chain([&self.one]).any(|node| node.breaker.is_open())
    }

    /// Whether the cluster is to be asked now who has which keys; who is told so asks.
    pub(super) fn is_to_be_asked(&self) -> bool {
        let mut nodes = self.nodes();
        let is_due = nodes.asked_at.is_none_or(|at| at.elapsed() >= ASK_EVERY);
        let asks = !nodes.is_known && is_due;
        if asks {
            nodes.asked_at = Some(Instant::now());
        }
        asks
    }

    /// Somebody else may have the keys of a node by now.
    pub(super) fn doubt(&self) {
        self.nodes().is_known = false;
    }

    /// Takes the answer to `CLUSTER SLOTS`. Who was known before keeps their breaker; what cannot
    /// be read changes nothing.
    pub(super) fn learn(&self, answer: Value) {
        let Some(ranges) = read_slots(answer) else { return };
        let mut nodes = self.nodes();
        let before = mem::take(&mut nodes.all);
        nodes.by_slot.clear();
        for (slots, name) in ranges {
            let known = nodes.all.iter().chain(&before).find(|node| node.name == name);
            let node = known.cloned().unwrap_or_else(|| {
                Arc::new(Node { name, breaker: Breaker::new(self.failures_max, self.open) })
            });
            if !nodes.all.iter().any(|known| Arc::ptr_eq(known, &node)) {
                nodes.all.push(Arc::clone(&node));
            }
            let slots = slots.filter_map(Slot::new).map(|slot| (slot, Arc::clone(&node)));
            nodes.by_slot.extend(slots);
        }
        nodes.is_known = true;
    }

    fn nodes(&self) -> MutexGuard<'_, Nodes> {
        self.nodes.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The key that a command is about.
pub(super) fn key_of(command: &Cmd) -> Option<&[u8]> {
    let mut words = command.args_iter().map(|word| match word {
        Arg::Simple(bytes) => Some(bytes),
        _ => None,
    });
    let name = words.next()??;
    let key = words.next()??;
    let is_keyless = KEYLESS.iter().any(|keyless| keyless.eq_ignore_ascii_case(name));
    (!is_keyless).then_some(key)
}

/// Slots, and the id of the master that has them.
type Range = (RangeInclusive<u16>, String);

/// Reads the answer to [`CLUSTER SLOTS`](https://redis.io/docs/latest/commands/cluster-slots/):
/// of each range the first slot, the last, the master, and its replicas; of a server its address,
/// port and id.
fn read_slots(answer: Value) -> Option<Vec<Range>> {
    let ranges: Vec<Vec<Value>> = from_redis_value(answer).ok()?;
    let range = |range: Vec<Value>| {
        let mut words = range.into_iter();
        let first: u16 = from_redis_value(words.next()?).ok()?;
        let last = from_redis_value(words.next()?).ok()?;
        let master: Vec<Value> = from_redis_value(words.next()?).ok()?;
        let id = from_redis_value(master.into_iter().nth(2)?).ok()?;
        Some((first..=last, id))
    };
    let ranges: Vec<Range> = ranges.into_iter().map(range).collect::<Option<_>>()?;
    (!ranges.is_empty()).then_some(ranges)
}

#[cfg(test)]
mod tests {
    use ::redis::cmd;

    use super::*;

    fn breakers() -> Breakers {
        Breakers::new(&RedisConfig { breaker_failures: 1, ..RedisConfig::default() })
    }

    fn slots(ranges: &[(i64, i64, &str)]) -> Value {
        let word = |word: &str| Value::BulkString(word.as_bytes().to_vec());
        let range = |(first, last, id): &(i64, i64, &str)| {
            let server = vec![word("127.0.0.1"), Value::Int(6379), word(id), Value::Array(vec![])];
            let replica = server.clone();
            let [first, last] = [*first, *last].map(Value::Int);
            Value::Array(vec![first, last, Value::Array(server), Value::Array(replica)])
        };
        Value::Array(ranges.iter().map(range).collect())
    }

    #[test]
    fn each_node_has_a_breaker_that_it_keeps() {
        let breakers = breakers();
        let of = |key: &str| breakers.of(Some(key.as_bytes())).name.clone();
        assert_eq!(of("a"), "", "nobody was asked");
        // `CLUSTER KEYSLOT`: a 15495, b 3300.
        breakers.learn(slots(&[
            (0, 8_191, "one"),
            (8_192, 16_000, "two"),
            (16_001, 16_383, "one"),
        ]));
        assert_eq!(["a", "b", "x{a}"].map(of), ["two", "one", "two"]);
        assert_eq!(breakers.of(None).name, "");
        let pass = breakers.of(Some(b"b")).breaker.pass().map(|pass| pass.ended(true));
        assert!(pass.is_some());
        assert!(breakers.is_any_open() && breakers.of(Some(b"a")).breaker.pass().is_some());
        breakers.learn(slots(&[(0, 8_191, "two"), (8_192, 16_383, "one")]));
        assert!(breakers.of(Some(b"a")).breaker.is_open(), "it has other keys now");
        assert!(!breakers.of(Some(b"b")).breaker.is_open());
        breakers.learn(slots(&[(0, 16_383, "two")]));
        assert!(!breakers.is_any_open(), "it has left");
    }

    #[test]
    fn what_is_no_answer_is_not_taken() {
        let breakers = breakers();
        breakers.learn(slots(&[(0, 16_383, "one")]));
        for answer in [Value::Nil, Value::Array(vec![Value::Array(vec![Value::Int(1)])])] {
            breakers.learn(answer);
            assert_eq!(breakers.of(Some(b"a")).name, "one");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_cluster_is_asked_until_it_has_answered_and_when_in_doubt() {
        let breakers = breakers();
        let ask = || breakers.is_to_be_asked();
        assert_eq!([ask(), ask()], [true, false]);
        tokio::time::advance(ASK_EVERY).await;
        assert_eq!([ask(), ask()], [true, false]);
        breakers.learn(slots(&[(0, 16_383, "one")]));
        tokio::time::advance(ASK_EVERY).await;
        assert!(!ask());
        breakers.doubt();
        assert_eq!([ask(), ask()], [true, false]);
    }

    #[test]
    fn commands_are_about_their_first_word_or_no_key() {
        let key = |name: &str, word: &str| key_of(cmd(name).arg(word)).map(<[u8]>::to_vec);
        assert_eq!(key("HGET", "x"), Some(b"x".to_vec()));
        assert_eq!(key("publish", "x"), None);
        assert_eq!(key_of(&cmd("TIME")), None);
    }
}
