//! The metrics that the code records and describes.

use std::collections::{BTreeMap, BTreeSet};
use std::str::FromStr as _;

use proc_macro2::{TokenStream, TokenTree};

use super::super::tree::{File, Finding};
use super::{Place, Recorded};

const KINDS: [&str; 3] = ["counter", "gauge", "histogram"];
const DESCRIBE: &str = "describe_";

/// What was read of all files.
#[derive(Debug, Default)]
pub(super) struct Code {
    pub(super) recorded: Vec<(String, Recorded)>,
    /// The metrics with a help text, each with its kind.
    pub(super) described: Vec<(String, (Place, String))>,
    pub(super) found: Vec<Finding>,
}

impl Code {
    /// Reads one file.
    pub(super) fn read(&mut self, file: &File) {
        // A file that does not parse is another check's finding.
        let Ok(tokens) = TokenStream::from_str(&file.text) else { return };
        let mut texts = BTreeMap::new();
        collect_texts(tokens.clone(), &mut texts);
        self.read_tokens(tokens, file, &texts);
    }

    fn read_tokens(&mut self, tokens: TokenStream, file: &File, texts: &BTreeMap<String, String>) {
        let tokens: Vec<TokenTree> = tokens.into_iter().collect();
        for (index, token) in tokens.iter().enumerate() {
            let TokenTree::Group(group) = token else { continue };
            let called = match index.checked_sub(2).map(|at| &tokens[at..index]) {
                Some([TokenTree::Ident(name), TokenTree::Punct(bang)]) if bang.as_char() == '!' => {
                    name.to_string()
                }
                _ => String::new(),
            };
            let kind = called.strip_prefix(DESCRIBE).unwrap_or(&called);
            if !KINDS.contains(&kind) {
                self.read_tokens(group.stream(), file, texts);
                continue;
            }
            let place = Place { path: file.path.clone(), line: group.span_open().start().line };
            let arguments: Vec<TokenTree> = group.stream().into_iter().collect();
            let Some(name) = name(&arguments, texts) else {
                let message = "name the metric by a string, or by a `const` of this file";
                self.found.push(place.finding(message.to_owned()));
                continue;
            };
            let kind = kind.to_owned();
            if called.starts_with(DESCRIBE) {
                self.described.push((name, (place, kind)));
            } else {
                let labels = labels(&arguments);
                self.recorded.push((name, Recorded { place, kind, labels }));
            }
        }
    }
}

/// The constants of a file that are one string: `const NAME: &str = "text";`.
fn collect_texts(tokens: TokenStream, texts: &mut BTreeMap<String, String>) {
    let tokens: Vec<TokenTree> = tokens.into_iter().collect();
    for window in tokens.windows(7) {
        if let [TokenTree::Ident(word), TokenTree::Ident(name), .., TokenTree::Literal(text)] =
            window
            && word == "const"
        {
            texts.insert(name.to_string(), unquoted(&text.to_string()));
        }
    }
    for token in tokens {
        if let TokenTree::Group(group) = token {
            collect_texts(group.stream(), texts);
        }
    }
}

/// The first argument: a string, or a constant of the file.
fn name(arguments: &[TokenTree], texts: &BTreeMap<String, String>) -> Option<String> {
    let is_whole = match arguments.get(1) {
        None => true,
        Some(TokenTree::Punct(punct)) => punct.as_char() == ',',
        Some(_) => false,
    };
    match arguments.first().filter(|_| is_whole)? {
        TokenTree::Literal(text) => Some(unquoted(&text.to_string())),
        TokenTree::Ident(name) => texts.get(&name.to_string()).cloned(),
        _ => None,
    }
}

/// The strings before a `=>`.
fn labels(arguments: &[TokenTree]) -> BTreeSet<String> {
    let labels = arguments.windows(3).filter_map(|three| match three {
        [TokenTree::Literal(label), TokenTree::Punct(equals), TokenTree::Punct(greater)]
            if equals.as_char() == '=' && greater.as_char() == '>' =>
        {
            Some(unquoted(&label.to_string()))
        }
        _ => None,
    });
    labels.collect()
}

fn unquoted(literal: &str) -> String {
    literal.trim_matches('"').to_owned()
}
