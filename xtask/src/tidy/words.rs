//! Words that do not belong in sources: silenced lints, unfinished code, ignored tests, modules
//! without a subject, paths of somebody's machine.
//!
//! Rust is read as tokens, so that strings and comments may speak of what code may not do.

use std::str::FromStr as _;

use proc_macro2::{Delimiter, Group, TokenStream, TokenTree};

use super::tree::{File, Finding, Tree};

const UNFINISHED: [&str; 3] = ["todo", "unimplemented", "dbg"];

/// Names that say nothing of what a module is for.
const WITHOUT_SUBJECT: [&str; 7] =
    ["utils", "util", "helpers", "helper", "manager", "managers", "common"];

/// Beginnings of paths that exist on one machine only.
const OF_A_MACHINE: [&str; 3] =
    [concat!("/", "home/"), concat!("/", "root/"), concat!("/", "work/")];

/// Finds words that do not belong.
pub(crate) fn check(tree: &Tree) -> Vec<Finding> {
    let rust = tree.ending(".rs").flat_map(check_rust);
    rust.chain(tree.files.iter().flat_map(machine_paths)).collect()
}

fn check_rust(file: &File) -> Vec<Finding> {
    let mut found = Vec::new();
    let parts = file.path.trim_end_matches(".rs").split('/');
    for part in parts.filter(|part| WITHOUT_SUBJECT.contains(part)) {
        let message = format!("`{part}` says nothing of what the module is for");
        found.push((0, "module-name", message));
    }
    match TokenStream::from_str(&file.text) {
        Ok(tokens) => read_tokens(tokens, &mut found),
        Err(error) => found.push((0, "tokens", format!("does not parse: {error}"))),
    }
    let path = &file.path;
    let finding = |(line, rule, message)| Finding { rule, path: path.clone(), line, message };
    found.into_iter().map(finding).collect()
}

type Found = Vec<(usize, &'static str, String)>;

fn read_tokens(tokens: TokenStream, found: &mut Found) {
    let tokens: Vec<TokenTree> = tokens.into_iter().collect();
    for (index, token) in tokens.iter().enumerate() {
        let after = &tokens[index + 1..];
        match token {
            TokenTree::Punct(punct) if punct.as_char() == '#' => {
                if let Some(attribute) = attribute(after) {
                    read_attribute(attribute, found);
                }
            }
            TokenTree::Ident(ident) => read_ident(&ident.to_string(), after, token, found),
            TokenTree::Group(group) => read_tokens(group.stream(), found),
            _ => {}
        }
    }
}

/// The brackets after a `#` or `#!`.
fn attribute(after: &[TokenTree]) -> Option<&Group> {
    let group = match after {
        [TokenTree::Punct(bang), TokenTree::Group(group), ..] if bang.as_char() == '!' => group,
        [TokenTree::Group(group), ..] => group,
        _ => return None,
    };
    (group.delimiter() == Delimiter::Bracket).then_some(group)
}

/// `#[allow(…)]` and `#[ignore]`, also when a `cfg_attr` holds them.
fn read_attribute(attribute: &Group, found: &mut Found) {
    let line = attribute.span_open().start().line;
    let words: Vec<String> =
        attribute.stream().into_iter().map(|token| token.to_string()).collect();
    let Some(name) = words.first().map(String::as_str) else {
        return;
    };
    let held = || flattened(attribute.stream());
    let holds = |word: &str| name == word || name == "cfg_attr" && held().iter().any(|w| w == word);
    if holds("allow") {
        let message = "a bare `allow`: write `#[expect(…, reason = \"…\")]`".to_owned();
        found.push((line, "allow", message));
    }
    if holds("ignore") {
        found.push((line, "ignore", "an ignored test proves nothing: run or remove it".to_owned()));
    }
}

/// The identifiers of a stream, those inside of its groups too.
fn flattened(tokens: TokenStream) -> Vec<String> {
    let words = tokens.into_iter().flat_map(|token| match token {
        TokenTree::Group(group) => flattened(group.stream()),
        TokenTree::Ident(ident) => vec![ident.to_string()],
        _ => Vec::new(),
    });
    words.collect()
}

/// Unfinished macros and inline modules without a subject.
fn read_ident(word: &str, after: &[TokenTree], token: &TokenTree, found: &mut Found) {
    let line = token.span().start().line;
    match after {
        [TokenTree::Punct(bang), TokenTree::Group(_), ..]
            if bang.as_char() == '!' && UNFINISHED.contains(&word) =>
        {
            found.push((line, "unfinished", format!("`{word}!` is left in the code")));
        }
        [TokenTree::Ident(name), TokenTree::Group(_), ..]
            if word == "mod" && WITHOUT_SUBJECT.contains(&name.to_string().as_str()) =>
        {
            let message = format!("`{name}` says nothing of what the module is for");
            found.push((line, "module-name", message));
        }
        _ => {}
    }
}

fn machine_paths(file: &File) -> Vec<Finding> {
    let mut found = Vec::new();
    for (index, line) in file.text.lines().enumerate() {
        for beginning in OF_A_MACHINE {
            if starts_a_path(line, beginning) {
                found.push(Finding {
                    rule: "machine-path",
                    path: file.path.clone(),
                    line: index + 1,
                    message: format!("`{beginning}…` exists on one machine only"),
                });
            }
        }
    }
    found
}

/// Whether the line has a path that begins so, not merely a longer path that contains it.
fn starts_a_path(line: &str, beginning: &str) -> bool {
    line.match_indices(beginning).any(|(at, _)| {
        let before = line[..at].chars().next_back();
        !before.is_some_and(|sign| sign.is_alphanumeric() || "._-~}/*".contains(sign))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rules(path: &str, text: &str) -> Vec<(&'static str, usize)> {
        let found = check(&Tree::of(&[(path, text)]));
        found.iter().map(|finding| (finding.rule, finding.line)).collect()
    }

    fn in_rust(text: &str) -> Vec<(&'static str, usize)> {
        rules("crates/core/src/claim.rs", text)
    }

    #[test]
    fn a_bare_allow_is_found_wherever_it_hides() {
        assert_eq!(in_rust("\n#[allow(dead_code)]\nfn f() {}"), [("allow", 2)]);
        assert_eq!(in_rust("#![allow(dead_code)]"), [("allow", 1)]);
        assert_eq!(in_rust("#[cfg_attr(test, allow(dead_code))]\nfn f() {}"), [("allow", 1)]);
        assert_eq!(in_rust("macro_rules! m { () => { #[allow(x)] fn f() {} } }"), [("allow", 1)]);
        assert_eq!(in_rust("#[expect(dead_code, reason = \"later\")]\nfn f() {}"), []);
        assert_eq!(in_rust("// #[allow(dead_code)]\nconst S: &str = \"#[allow(x)]\";"), []);
        assert_eq!(in_rust("#[expect(clippy::x, reason = \"we allow it\")]\nfn allow() {}"), []);
    }

    #[test]
    fn unfinished_code_is_found() {
        assert_eq!(in_rust("fn f() {\n    todo!()\n}"), [("unfinished", 2)]);
        assert_eq!(in_rust("fn f() { unimplemented!(\"x\") }"), [("unfinished", 1)]);
        assert_eq!(in_rust("fn f() { g(dbg!(1)) }"), [("unfinished", 1)]);
        assert_eq!(in_rust("/// Never todo!() here.\nfn todo() -> bool { todo != dbg }"), []);
    }

    #[test]
    fn an_ignored_test_is_found() {
        assert_eq!(in_rust("#[test]\n#[ignore]\nfn f() {}"), [("ignore", 2)]);
        assert_eq!(in_rust("#[ignore = \"slow\"]\nfn f() {}"), [("ignore", 1)]);
        assert_eq!(in_rust("#[cfg_attr(windows, ignore)]\nfn f() {}"), [("ignore", 1)]);
        assert_eq!(in_rust("#[test]\nfn ignore() {}"), []);
    }

    #[test]
    fn a_module_needs_a_subject() {
        assert_eq!(rules("crates/web/src/utils.rs", ""), [("module-name", 0)]);
        assert_eq!(rules("crates/web/src/helpers/text.rs", ""), [("module-name", 0)]);
        assert_eq!(in_rust("mod common {}"), [("module-name", 1)]);
        assert_eq!(in_rust("fn common() {} struct Manager;"), []);
    }

    #[test]
    fn a_path_of_a_machine_is_found_in_any_text() {
        let home = concat!("/", "home/me/x");
        assert_eq!(rules("docs/a.md", &format!("see\n`{home}`")), [("machine-path", 2)]);
        assert_eq!(in_rust(&format!("const P: &str = \"{home}\";")), [("machine-path", 1)]);
        assert_eq!(rules(".ci/run", concat!("cd /", "work/x")), [("machine-path", 1)]);
        assert_eq!(rules("docs/a.md", &format!("https://example.com{home} and docs{home}")), []);
    }
}
