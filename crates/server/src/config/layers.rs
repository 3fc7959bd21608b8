//! Layers of configuration: the defaults, then a file, the environment, the flags. The last one
//! that gives a key wins, and every value remembers who gave it.
//!
//! The defaults name every key there is: a key that they lack is unknown, and a value of another
//! type than the default's is refused.

use std::collections::BTreeMap;
use std::fmt;
use std::path::{Path, PathBuf};

use toml::de::{DeTable, DeValue};
use toml::{Table, Value};

/// Below this likeness (0 to 1, Jaro-Winkler) no key is offered for an unknown one.
const LIKENESS_MIN: f64 = 0.8;

/// Who gave a value.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Origin {
    /// `config/default.toml`, embedded in the binary.
    Default,
    /// A line of the file given by `--config`.
    File { path: PathBuf, line: usize },
    /// An environment variable.
    Environment(&'static str),
    /// A flag of the command line.
    Flag(&'static str),
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Default => f.write_str("default"),
            Self::File { path, line } => write!(f, "{}:{line}", path.display()),
            Self::Environment(name) => write!(f, "environment {name}"),
            Self::Flag(name) => write!(f, "flag {name}"),
        }
    }
}

/// A value in force, and who gave it.
#[derive(Clone)]
pub(crate) struct Entry {
    pub(crate) value: Value,
    pub(crate) origin: Origin,
    /// The place of the key in the defaults, for printing in their order.
    place: usize,
}

/// The values in force, by dotted key.
#[derive(Clone)]
pub(crate) struct Layers {
    entries: BTreeMap<String, Entry>,
}

impl Layers {
    /// The lowest layer.
    pub(crate) fn from_defaults(text: &str) -> Result<Self, String> {
        let entries = leaves(text).map_err(|error| format!("the defaults: {error}"))?;
        let entry = |leaf: Leaf| {
            (leaf.key, Entry { value: leaf.value, origin: Origin::Default, place: leaf.line })
        };
        Ok(Self { entries: entries.into_iter().map(entry).collect() })
    }

    /// Lays a file over what there is; answers what is wrong with it, by line.
    pub(crate) fn add_file(&mut self, path: &Path, text: &str) -> Vec<String> {
        match leaves(text) {
            Err(error) => vec![format!("{}: {error}", path.display())],
            Ok(leaves) => leaves
                .into_iter()
                .filter_map(|leaf| {
                    let origin = Origin::File { path: path.to_owned(), line: leaf.line };
                    self.set(&leaf.key, leaf.value, origin).err()
                })
                .collect(),
        }
    }

    /// Gives a key a value.
    pub(crate) fn set(&mut self, key: &str, value: Value, origin: Origin) -> Result<(), String> {
        let Some(entry) = self.entries.get_mut(key) else {
            return Err(format!("{origin}: {}", self.unknown(key)));
        };
        // A whole number is a number, too.
        let value = match (&entry.value, value) {
            (Value::Float(_), Value::Integer(whole @ (0 | 1))) => {
                Value::Float(f64::from(whole == 1))
            }
            (_, value) => value,
        };
        if !entry.value.same_type(&value) {
            let (expected, found) = (entry.value.type_str(), value.type_str());
            return Err(format!("{origin}: {key} must be {}, not {}", a(expected), a(found)));
        }
        entry.value = value;
        entry.origin = origin;
        Ok(())
    }

    /// Gives a key a value that came as text, as in an environment variable: a list has commas.
    pub(crate) fn set_text(&mut self, key: &str, text: &str, origin: Origin) -> Result<(), String> {
        let is_list = self.entries.get(key).is_some_and(|entry| entry.value.is_array());
        let value = if is_list {
            let items = text.split(',').map(|item| Value::String(item.trim().to_owned()));
            Value::Array(items.collect())
        } else {
            Value::String(text.to_owned())
        };
        self.set(key, value, origin)
    }

    /// Who gave the value of `key`.
    pub(crate) fn origin(&self, key: &str) -> &Origin {
        self.entries.get(key).map_or(&Origin::Default, |entry| &entry.origin)
    }

    /// Every key with its value, in the order of the defaults.
    pub(crate) fn in_order(&self) -> Vec<(&str, &Entry)> {
        let mut entries: Vec<_> =
            self.entries.iter().map(|(key, entry)| (key.as_str(), entry)).collect();
        entries.sort_by_key(|(_, entry)| entry.place);
        entries
    }

    /// The values as one table with a table for each section.
    pub(crate) fn to_table(&self) -> Table {
        let mut sections = Table::new();
        for (key, entry) in &self.entries {
            let (section, name) = key.split_once('.').unwrap_or(("", key));
            let table = sections
                .entry(section)
                .or_insert_with(|| Value::Table(Table::new()))
                .as_table_mut()
                .expect("a section is a table: it was made one above");
            table.insert(name.to_owned(), entry.value.clone());
        }
        sections
    }

    fn unknown(&self, key: &str) -> String {
        let prefix = format!("{key}.");
        if self.entries.keys().any(|known| known.starts_with(&prefix)) {
            return format!("{key} is a section: write [{key}] and its keys below");
        }
        let nearest = self
            .entries
            .keys()
            .map(|known| (strsim::jaro_winkler(key, known), known))
            .filter(|(likeness, _)| *likeness >= LIKENESS_MIN)
            .max_by(|(left, _), (right, _)| left.total_cmp(right));
        match nearest {
            Some((_, known)) => format!("unknown key {key}; is {known} meant?"),
            None => format!("unknown key {key}; `firstcome config check` lists those there are"),
        }
    }
}

/// A type's name with its article.
fn a(type_name: &str) -> String {
    match type_name {
        "integer" | "array" => format!("an {type_name}"),
        _ => format!("a {type_name}"),
    }
}

struct Leaf {
    key: String,
    value: Value,
    line: usize,
}

/// The keys of a document that hold values, dotted, by line.
fn leaves(text: &str) -> Result<Vec<Leaf>, String> {
    let message = |error: toml::de::Error| {
        let line = error.span().map_or(1, |span| line_at(text, span.start));
        format!("line {line}: {}", error.message())
    };
    let places = DeTable::parse(text).map_err(message)?;
    let values: Table = text.parse().map_err(message)?;
    let mut found = Vec::new();
    collect(text, "", places.get_ref(), &values, &mut found);
    found.sort_by_key(|leaf| leaf.line);
    Ok(found)
}

fn collect(text: &str, prefix: &str, places: &DeTable<'_>, values: &Table, found: &mut Vec<Leaf>) {
    for (name, place) in places {
        let Some(value) = values.get(name.get_ref().as_ref()) else { continue };
        let key = format!("{prefix}{}", name.get_ref());
        match (place.get_ref(), value) {
            (DeValue::Table(inner), Value::Table(table)) if !table.is_empty() => {
                collect(text, &format!("{key}."), inner, table, found);
            }
            _ => found.push(Leaf {
                key,
                value: value.clone(),
                line: line_at(text, name.span().start),
            }),
        }
    }
}

/// The line, from 1, of a byte of a text.
fn line_at(text: &str, byte: usize) -> usize {
    1 + text.bytes().take(byte).filter(|byte| *byte == b'\n').count()
}
