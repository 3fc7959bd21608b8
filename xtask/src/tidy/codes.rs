//! Every error code has its page, and every page its code.
//!
//! The codes are those of the table `codes!` in `crates/web/src`. Each has `docs/errors/<code>.md`
//! and is set as code somewhere in `docs/status-codes.md`; no page stands for a code that is gone.

use std::collections::BTreeMap;
use std::str::FromStr as _;

use proc_macro2::{Literal, TokenStream, TokenTree};

use super::markdown::Page;
use super::tree::{Finding, Tree};

const RULE: &str = "error-pages";
const SOURCES: &str = "crates/web/src/";
const TABLE_MACRO: &str = "codes";
const PAGES: &str = "docs/errors/";
const TABLE: &str = "docs/status-codes.md";

/// Finds codes without a page and pages without a code.
pub(crate) fn check(tree: &Tree) -> Vec<Finding> {
    let finding =
        |path: &str, line, message| Finding { rule: RULE, path: path.into(), line, message };
    let codes = codes(tree);
    if codes.is_empty() {
        return vec![finding(SOURCES, 0, "there is no table `codes!`".to_owned())];
    }
    let Some(table) = tree.file(TABLE) else {
        return vec![finding(TABLE, 0, "the table of the status codes is missing".to_owned())];
    };
    let table = Page::parse(&table.text);
    let mut found = Vec::new();
    for (code, (path, line)) in &codes {
        if tree.file(&format!("{PAGES}{code}.md")).is_none() {
            found.push(finding(path, *line, format!("`{code}` has no page {PAGES}{code}.md")));
        }
        if !table.code_words.contains(code) {
            found.push(finding(path, *line, format!("`{code}` is not in {TABLE}")));
        }
    }
    for file in tree.ending(".md") {
        let page = file.path.strip_prefix(PAGES).map(|name| name.trim_end_matches(".md"));
        if page.is_some_and(|code| code != "README" && !codes.contains_key(code)) {
            found.push(finding(&file.path, 0, "no code has this page".to_owned()));
        }
    }
    for (line, link) in &table.links {
        let code = link.strip_prefix("errors/").and_then(|name| name.strip_suffix(".md"));
        if let Some(code) = code.filter(|code| *code != "README" && !codes.contains_key(*code)) {
            found.push(finding(TABLE, *line, format!("there is no code `{code}`")));
        }
    }
    found
}

/// The words of the table `codes! { … }`, each with the file and line of its row.
fn codes(tree: &Tree) -> BTreeMap<String, (String, usize)> {
    let mut codes = BTreeMap::new();
    for file in tree.ending(".rs").filter(|file| file.path.starts_with(SOURCES)) {
        let tokens = TokenStream::from_str(&file.text).unwrap_or_default();
        for (word, line) in table(tokens) {
            codes.insert(word, (file.path.clone(), line));
        }
    }
    codes
}

/// The rows of the table, where a file has it: `Name "word" status …`.
fn table(tokens: TokenStream) -> Vec<(String, usize)> {
    let tokens: Vec<TokenTree> = tokens.into_iter().collect();
    let call = tokens.windows(3).find_map(|three| match three {
        [TokenTree::Ident(name), TokenTree::Punct(bang), TokenTree::Group(rows)] => {
            (name == TABLE_MACRO && bang.as_char() == '!').then_some(rows)
        }
        _ => None,
    });
    let Some(rows) = call else { return Vec::new() };
    let rows: Vec<TokenTree> = rows.stream().into_iter().collect();
    let words = rows.windows(2).filter_map(|two| match two {
        [TokenTree::Ident(_), TokenTree::Literal(word)] => unquoted(word),
        _ => None,
    });
    words.collect()
}

/// The content of a string that is one word: titles are sentences, and no code is one.
fn unquoted(literal: &Literal) -> Option<(String, usize)> {
    let text = literal.to_string();
    let word = text.strip_prefix('"')?.strip_suffix('"')?;
    let is_word = word.bytes().all(|byte| byte.is_ascii_lowercase() || byte == b'_');
    is_word.then(|| (word.to_owned(), literal.span().start().line))
}

#[cfg(test)]
mod tests {
    use super::*;

    const SOURCE: &str = "macro_rules! codes { ($($name:ident $word:literal)+) => {} }\n\
                          codes! {\n    NotFound \"not_found\" 404 final \"Nothing here.\"\n    \
                          SoldOut \"gone\" 409 final \"Gone.\"\n}\n";

    fn messages(files: &[(&str, &str)]) -> Vec<String> {
        check(&Tree::of(files)).into_iter().map(|finding| finding.message).collect()
    }

    const COMPLETE: [(&str, &str); 4] = [
        ("crates/web/src/problem/code.rs", SOURCE),
        ("docs/status-codes.md", "| [`not_found`](errors/not_found.md) | 404 |\n\n`gone`"),
        ("docs/errors/not_found.md", ""),
        ("docs/errors/gone.md", ""),
    ];

    #[test]
    fn codes_with_their_pages_pass() {
        assert_eq!(messages(&COMPLETE), [""; 0]);
    }

    #[test]
    fn a_finding_points_at_the_row() {
        let found = check(&Tree::of(&COMPLETE[..3]));
        assert_eq!((found[0].path.as_str(), found[0].line), (COMPLETE[0].0, 4));
    }

    #[test]
    fn a_code_without_a_page_is_found() {
        assert_eq!(messages(&COMPLETE[..3]), ["`gone` has no page docs/errors/gone.md"]);
    }

    #[test]
    fn a_code_that_the_table_lacks_is_found() {
        let mut files = COMPLETE;
        files[1].1 = "`not_found`";
        assert_eq!(messages(&files), ["`gone` is not in docs/status-codes.md"]);
    }

    #[test]
    fn a_page_without_a_code_is_found() {
        let mut files = COMPLETE.to_vec();
        files.push(("docs/errors/old.md", ""));
        assert_eq!(messages(&files), ["no code has this page"]);
    }

    #[test]
    fn a_line_of_the_table_without_a_code_is_found() {
        let mut files = COMPLETE;
        files[1].1 = "`not_found` `gone` [`old`](errors/old.md)";
        assert_eq!(messages(&files), ["there is no code `old`"]);
    }

    #[test]
    fn sources_and_table_must_be_there() {
        assert_eq!(messages(&[]), ["there is no table `codes!`"]);
        assert_eq!(messages(&COMPLETE[..1]), ["the table of the status codes is missing"]);
    }
}
