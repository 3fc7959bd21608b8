//! A strict tree to a value, naming by JSON pointer what does not fit.
//!
//! Written here because no deserializer of a library tells an unknown member (400) from a wrong one
//! (422) except in the words of its message, and because a member that a type does not know is
//! refused here even where the type forgot `deny_unknown_fields`.

use std::fmt;

use serde::de::value::StringDeserializer;
use serde::de::{
    self, DeserializeOwned, DeserializeSeed, Deserializer, Expected, MapAccess, SeqAccess,
    Unexpected, Visitor,
};
use serde::{Deserialize, forward_to_deserialize_any};

use super::checks::{Checks, FieldError};
use super::strict::Node;
use crate::problem::{Code, Problem};

/// Makes a `T` of the tree.
///
/// # Errors
/// 400 `malformed` for an unknown member, 422 `invalid` for a missing one or one of a wrong type.
pub(super) fn decode<T: DeserializeOwned>(node: Node) -> Result<T, Problem> {
    T::deserialize(node).map_err(Refused::into_problem)
}

/// An integer literal of JSON that fits 64 bits, signed or not; the rule of its member decides on
/// its range. A number with a fraction or an exponent is none.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Integer(pub i128);

impl<'de> Deserialize<'de> for Integer {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Whole;

        impl Visitor<'_> for Whole {
            type Value = Integer;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an integer")
            }

            fn visit_i64<E>(self, value: i64) -> Result<Integer, E> {
                Ok(Integer(value.into()))
            }

            fn visit_u64<E>(self, value: u64) -> Result<Integer, E> {
                Ok(Integer(value.into()))
            }
        }

        deserializer.deserialize_any(Whole)
    }
}

/// Reads a member that may be absent but not `null`: for
/// `#[serde(default, deserialize_with = "firstcome_web::present")]` on an `Option`.
///
/// # Errors
/// When the member is there and is not a `T`.
pub fn present<'de, D, T>(deserializer: D) -> Result<Option<T>, D::Error>
where
    D: Deserializer<'de>,
    T: Deserialize<'de>,
{
    T::deserialize(deserializer).map(Some)
}

/// Why the tree does not fit, and where.
#[derive(Debug)]
pub(super) struct Refused {
    pointer: String,
    why: Why,
}

#[derive(Debug)]
pub(super) enum Why {
    Unknown,
    Wrong(String),
}

impl Refused {
    fn new(why: Why) -> Self {
        Self { pointer: String::new(), why }
    }

    /// The same refusal, seen from one level above.
    fn below(mut self, step: &str) -> Self {
        let step = step.replace('~', "~0").replace('/', "~1");
        self.pointer.insert_str(0, &format!("/{step}"));
        self
    }

    fn into_problem(self) -> Problem {
        match self.why {
            Why::Unknown => {
                let detail = format!("The member {:?} is not known here.", self.pointer);
                Problem::new(Code::Malformed, detail)
                    .errors([FieldError::new(self.pointer, "is not known here")])
            }
            Why::Wrong(detail) => {
                let mut checks = Checks::new();
                checks.refuse(self.pointer, detail);
                checks.into_problem()
            }
        }
    }
}

impl fmt::Display for Refused {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.why {
            Why::Unknown => write!(f, "{}: is not known here", self.pointer),
            Why::Wrong(detail) => write!(f, "{}: {detail}", self.pointer),
        }
    }
}

impl std::error::Error for Refused {}

impl de::Error for Refused {
    fn custom<T: fmt::Display>(message: T) -> Self {
        Self::new(Why::Wrong(message.to_string()))
    }

    fn invalid_type(_: Unexpected<'_>, expected: &dyn Expected) -> Self {
        let expected = expected.to_string();
        let shape = match expected.as_str() {
            "a sequence" => "an array",
            // A tagged type expects itself by name: the sender shall not read our names.
            ours if ours.starts_with("internally tagged") || ours == "a map" => "an object",
            shape => shape,
        };
        Self::new(Why::Wrong(format!("must be {shape}")))
    }

    fn invalid_value(_: Unexpected<'_>, expected: &dyn Expected) -> Self {
        Self::new(Why::Wrong(format!("must be {expected}")))
    }

    fn unknown_variant(_: &str, expected: &'static [&'static str]) -> Self {
        Self::new(Why::Wrong(format!("must be one of {}", expected.join(", "))))
    }

    fn unknown_field(field: &str, _: &'static [&'static str]) -> Self {
        Self::new(Why::Unknown).below(field)
    }

    fn missing_field(field: &'static str) -> Self {
        Self::new(Why::Wrong("is required".to_owned())).below(field)
    }
}

impl<'de> Deserializer<'de> for Node {
    type Error = Refused;

    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Refused> {
        match self {
            Self::Null => visitor.visit_unit(),
            Self::Bool(value) => visitor.visit_bool(value),
            Self::Integer(value) => match (u64::try_from(value), i64::try_from(value)) {
                (Ok(value), _) => visitor.visit_u64(value),
                (_, Ok(value)) => visitor.visit_i64(value),
                _ => unreachable!("an integer node fits 64 bits"),
            },
            Self::Number(value) => visitor.visit_f64(value),
            Self::String(value) => visitor.visit_string(value),
            Self::Array(nodes) => visitor.visit_seq(Items(nodes.into_iter().enumerate())),
            Self::Object(members) => {
                visitor.visit_map(Members { rest: members.into_iter(), value: None })
            }
        }
    }

    fn deserialize_option<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Refused> {
        match self {
            Self::Null => visitor.visit_none(),
            some => visitor.visit_some(some),
        }
    }

    fn deserialize_newtype_struct<V: Visitor<'de>>(
        self,
        _: &'static str,
        visitor: V,
    ) -> Result<V::Value, Refused> {
        visitor.visit_newtype_struct(self)
    }

    /// A derived type would read an array as its members in order; JSON has objects for that.
    fn deserialize_struct<V: Visitor<'de>>(
        self,
        _: &'static str,
        _: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Refused> {
        match self {
            object @ Self::Object(_) => object.deserialize_any(visitor),
            _ => Err(Refused::new(Why::Wrong("must be an object".to_owned()))),
        }
    }

    fn deserialize_enum<V: Visitor<'de>>(
        self,
        _: &'static str,
        _: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Refused> {
        match self {
            Self::String(word) => visitor.visit_enum(StringDeserializer::new(word)),
            _ => Err(Refused::new(Why::Wrong("must be a string".to_owned()))),
        }
    }

    /// Only a member that nothing reads is ignored, so this is where unknown ones are found.
    fn deserialize_ignored_any<V: Visitor<'de>>(self, _: V) -> Result<V::Value, Refused> {
        Err(Refused::new(Why::Unknown))
    }

    forward_to_deserialize_any! {
        bool i8 i16 i32 i64 i128 u8 u16 u32 u64 u128 f32 f64 char str string bytes byte_buf unit
        unit_struct seq tuple tuple_struct map identifier
    }
}

/// The elements of an array.
struct Items(std::iter::Enumerate<std::vec::IntoIter<Node>>);

impl<'de> SeqAccess<'de> for Items {
    type Error = Refused;

    fn next_element_seed<T: DeserializeSeed<'de>>(
        &mut self,
        seed: T,
    ) -> Result<Option<T::Value>, Refused> {
        let Some((index, node)) = self.0.next() else {
            return Ok(None);
        };
        seed.deserialize(node).map(Some).map_err(|refused| refused.below(&index.to_string()))
    }
}

/// The members of an object.
struct Members {
    rest: std::vec::IntoIter<(String, Node)>,
    /// The member whose name was read last.
    value: Option<(String, Node)>,
}

impl<'de> MapAccess<'de> for Members {
    type Error = Refused;

    fn next_key_seed<K: DeserializeSeed<'de>>(
        &mut self,
        seed: K,
    ) -> Result<Option<K::Value>, Refused> {
        let Some((name, node)) = self.rest.next() else {
            return Ok(None);
        };
        let key = seed.deserialize(Node::String(name.clone()))?;
        self.value = Some((name, node));
        Ok(Some(key))
    }

    fn next_value_seed<V: DeserializeSeed<'de>>(&mut self, seed: V) -> Result<V::Value, Refused> {
        let (name, node) = self.value.take().expect("serde reads a name before its value");
        seed.deserialize(node).map_err(|refused| refused.below(&name))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::json::strict;

    #[derive(Debug, Deserialize)]
    #[expect(dead_code, reason = "only whether the members decode matters here")]
    struct Order {
        id: String,
        amount: Integer,
        #[serde(default, deserialize_with = "present")]
        note: Option<String>,
        max: Option<Integer>,
        #[serde(default)]
        items: Vec<Item>,
        kind: Option<Kind>,
    }

    #[derive(Debug, Deserialize)]
    #[expect(dead_code, reason = "only whether the members decode matters here")]
    struct Item {
        ids: Vec<String>,
    }

    #[derive(Debug, Deserialize)]
    #[serde(rename_all = "snake_case")]
    enum Kind {
        Small,
        Large,
    }

    fn read(text: &str) -> Result<Order, Problem> {
        decode(strict::parse(text.as_bytes()).expect("the text is strict JSON"))
    }

    #[test]
    fn members_decode() {
        read(r#"{"id":"a","amount":-5,"max":null,"kind":"small","items":[{"ids":["x"]}]}"#)
            .expect("everything fits");
        assert_eq!(decode::<Integer>(Node::Integer(u64::MAX.into())).unwrap().0, u64::MAX.into());
        assert!(matches!(
            read(r#"{"id":"a","amount":5,"kind":"large"}"#),
            Ok(Order { kind: Some(Kind::Large), max: None, note: None, .. })
        ));
    }

    #[test]
    fn what_does_not_fit_is_named_by_pointer() {
        for (text, status, pointer, detail) in [
            (r#"{"amount":5}"#, 422, "/id", "is required"),
            (r#"{"id":5,"amount":5}"#, 422, "/id", "must be a string"),
            (r#"{"id":null,"amount":5}"#, 422, "/id", "must be a string"),
            (r#"{"id":"a","amount":1.5}"#, 422, "/amount", "must be an integer"),
            (r#"{"id":"a","amount":"5"}"#, 422, "/amount", "must be an integer"),
            (r#"{"id":"a","amount":null}"#, 422, "/amount", "must be an integer"),
            (r#"{"id":"a","amount":36893488147419103232}"#, 422, "/amount", "must be an integer"),
            (r#"{"id":"a","amount":5,"note":null}"#, 422, "/note", "must be a string"),
            (r#"{"id":"a","amount":5,"items":{}}"#, 422, "/items", "must be an array"),
            (r#"{"id":"a","amount":5,"items":[1]}"#, 422, "/items/0", "must be an object"),
            (r#"{"id":"a","amount":5,"items":[{}]}"#, 422, "/items/0/ids", "is required"),
            (
                r#"{"id":"a","amount":5,"items":[{"ids":["",1]}]}"#,
                422,
                "/items/0/ids/1",
                "must be a string",
            ),
            (
                r#"{"id":"a","amount":5,"items":[{"ids":[],"a/b~":1}]}"#,
                400,
                "/items/0/a~1b~0",
                "is not known here",
            ),
            (r#"{"id":"a","amount":5,"kind":"odd"}"#, 422, "/kind", "must be one of small, large"),
            (r#"{"id":"a","amount":5,"kind":5}"#, 422, "/kind", "must be a string"),
            (r#"{"id":"a","amount":5,"more":{"id":1}}"#, 400, "/more", "is not known here"),
            (r#"["a",5]"#, 422, "", "must be an object"),
            (r#"{"id":"a","amount":5,"items":[[["x"]]]}"#, 422, "/items/0", "must be an object"),
            ("null", 422, "", "must be an object"),
            ("5", 422, "", "must be an object"),
        ] {
            let problem = read(text).expect_err(text);
            assert_eq!(problem.code().status(), status, "{text}: {problem}");
            let body: serde_json::Value = serde_json::from_slice(&problem.render("")).unwrap();
            assert_eq!(body["errors"][0]["pointer"], pointer, "{text}: {problem}");
            assert_eq!(body["errors"][0]["detail"], detail, "{text}: {problem}");
        }
    }
}
