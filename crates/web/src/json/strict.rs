//! JSON text to a tree, refusing what RFC 8259 leaves to the reader.

use std::collections::HashSet;
use std::fmt;

use serde::de::{self, DeserializeSeed, Deserializer, MapAccess, SeqAccess, Visitor};

/// Deepest nesting of arrays and objects; below the parser's own limit of 128, so it cannot
/// overflow the stack on the way here.
pub(super) const DEPTH_MAX: usize = 64;

/// A JSON value with whole numbers apart, and members in the order of the text.
#[derive(Debug, PartialEq)]
pub(super) enum Node {
    Null,
    Bool(bool),
    /// An integer literal that fits `i64` or `u64`.
    Integer(i128),
    /// Any other number: with a fraction, an exponent, or more than 64 bits.
    Number(f64),
    String(String),
    Array(Vec<Node>),
    Object(Vec<(String, Node)>),
}

/// Reads a whole JSON text; a refusal is a sentence for the sender.
pub(super) fn parse(text: &[u8]) -> Result<Node, String> {
    let mut deserializer = serde_json::Deserializer::from_slice(text);
    Level { depth: 0 }
        .deserialize(&mut deserializer)
        .and_then(|node| deserializer.end().map(|()| node))
        .map_err(|error| match error.classify() {
            serde_json::error::Category::Data => error.to_string(),
            _ => format!("The body is not JSON: {error}."),
        })
}

/// Reads one value at this depth.
#[derive(Clone, Copy)]
struct Level {
    depth: usize,
}

impl Level {
    fn deeper<E: de::Error>(self) -> Result<Self, E> {
        if self.depth == DEPTH_MAX {
            return Err(E::custom(format_args!("The body nests deeper than {DEPTH_MAX} levels")));
        }
        Ok(Self { depth: self.depth + 1 })
    }
}

impl<'de> DeserializeSeed<'de> for Level {
    type Value = Node;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Node, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Level {
    type Value = Node;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a JSON value")
    }

    fn visit_unit<E>(self) -> Result<Node, E> {
        Ok(Node::Null)
    }

    fn visit_bool<E>(self, value: bool) -> Result<Node, E> {
        Ok(Node::Bool(value))
    }

    fn visit_i64<E>(self, value: i64) -> Result<Node, E> {
        Ok(Node::Integer(value.into()))
    }

    fn visit_u64<E>(self, value: u64) -> Result<Node, E> {
        Ok(Node::Integer(value.into()))
    }

    fn visit_f64<E>(self, value: f64) -> Result<Node, E> {
        Ok(Node::Number(value))
    }

    fn visit_str<E>(self, value: &str) -> Result<Node, E> {
        Ok(Node::String(value.to_owned()))
    }

    fn visit_string<E>(self, value: String) -> Result<Node, E> {
        Ok(Node::String(value))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Node, A::Error> {
        let level = self.deeper()?;
        let mut nodes = Vec::new();
        while let Some(node) = items.next_element_seed(level)? {
            nodes.push(node);
        }
        Ok(Node::Array(nodes))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut members: A) -> Result<Node, A::Error> {
        let level = self.deeper()?;
        let mut seen = HashSet::new();
        let mut nodes = Vec::new();
        while let Some(name) = members.next_key::<String>()? {
            if !seen.insert(name.clone()) {
                let twice = format_args!("The body has the member {name:?} twice");
                return Err(de::Error::custom(twice));
            }
            nodes.push((name, members.next_value_seed(level)?));
        }
        Ok(Node::Object(nodes))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_whole_when_they_fit_64_bits() {
        for (text, node) in [
            ("0", Node::Integer(0)),
            ("-9223372036854775808", Node::Integer(i64::MIN.into())),
            ("18446744073709551615", Node::Integer(u64::MAX.into())),
            ("18446744073709551616", Node::Number(18_446_744_073_709_551_616.0)),
            ("1.5", Node::Number(1.5)),
            ("1e3", Node::Number(1000.0)),
        ] {
            assert_eq!(parse(text.as_bytes()), Ok(node), "{text}");
        }
    }

    #[test]
    fn the_depth_is_bounded() {
        let nested = |depth: usize| format!("{}{}", "[".repeat(depth), "]".repeat(depth));
        assert!(parse(nested(DEPTH_MAX).as_bytes()).is_ok());
        for depth in [DEPTH_MAX + 1, 127, 128, 30_000] {
            let refusal = parse(nested(depth).as_bytes()).unwrap_err();
            assert!(refusal.contains("nests deeper than 64"), "{depth}: {refusal}");
        }
    }

    #[test]
    fn what_is_not_json_is_refused() {
        for text in [
            &b""[..],
            b" ",
            b"{",
            b"{}{}",
            b"{} x",
            b"nul",
            b"01",
            b"+1",
            b"1.",
            b"NaN",
            b"'a'",
            b"{a:1}",
            b"[1,]",
            b"{\"a\":1,}",
            b"\"\\ud800\"",
            b"\"\xff\"",
            b"\"\n\"",
            b"\xef\xbb\xbf{}",
            b"/**/{}",
        ] {
            assert!(parse(text).is_err(), "{}", String::from_utf8_lossy(text));
        }
    }

    #[test]
    fn a_repeated_member_is_named_wherever_it_is() {
        for text in [r#"{"a":1,"a":1}"#, r#"[{"b":{"a":1,"\u0061":2}}]"#] {
            let refusal = parse(text.as_bytes()).unwrap_err();
            assert!(refusal.contains(r#"the member "a" twice"#), "{refusal}");
        }
    }
}
