//! The documents a visitor looks for are there, and the two languages of the README say the same.

use super::markdown::Page;
use super::tree::{Finding, Tree};

const REQUIRED: [&str; 9] = [
    "README.md",
    "README.ko.md",
    "ARCHITECTURE.md",
    "CONTRIBUTING.md",
    "CHANGELOG.md",
    "LICENSE-MIT",
    "LICENSE-APACHE",
    "docs/api.md",
    "docs/benchmarks.md",
];

/// The first two things to type: start it, test it.
const COMMANDS: [&str; 2] = ["cargo run --release -- serve", "cargo xtask test"];

/// Finds missing documents and READMEs that say different things.
pub(crate) fn check(tree: &Tree) -> Vec<Finding> {
    let finding =
        |path: &str, message| Finding { rule: "documents", path: path.into(), line: 0, message };
    let missing = REQUIRED.iter().filter(|path| tree.file(path).is_none());
    let mut found: Vec<Finding> =
        missing.map(|path| finding(path, "is missing".to_owned())).collect();
    let (Some(english), Some(korean)) = (tree.file("README.md"), tree.file("README.ko.md")) else {
        return found;
    };
    let (english_page, korean_page) = (Page::parse(&english.text), Page::parse(&korean.text));
    for (file, page) in [(english, &english_page), (korean, &korean_page)] {
        for command in COMMANDS {
            if !page.code_blocks.iter().any(|block| block.contains(command)) {
                found.push(finding(&file.path, format!("no code block has `{command}`")));
            }
        }
    }
    let counts = [
        ("headings", english_page.anchors.len(), korean_page.anchors.len()),
        ("code blocks", english_page.code_blocks.len(), korean_page.code_blocks.len()),
    ];
    for (what, in_english, in_korean) in counts {
        if in_english != in_korean {
            let message = format!("has {in_korean} {what}, README.md has {in_english}");
            found.push(finding("README.ko.md", message));
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    const README: &str = "# X\n```sh\ncargo run --release -- serve\n```\n\
                          ## Test\n```sh\ncargo xtask test\n```\n";

    fn found(english: &str, korean: &str) -> Vec<String> {
        let mut files: Vec<(&str, &str)> = REQUIRED.iter().map(|path| (*path, "")).collect();
        files[0].1 = english;
        files[1].1 = korean;
        check(&Tree::of(&files)).iter().map(ToString::to_string).collect()
    }

    #[test]
    fn two_readmes_that_say_the_same_pass() {
        assert_eq!(found(README, README), [""; 0]);
    }

    #[test]
    fn a_missing_document_is_found() {
        let found = check(&Tree::of(&[("README.md", README), ("README.ko.md", README)]));
        assert_eq!(found.len(), REQUIRED.len() - 2);
        assert_eq!(found[0].to_string(), "ARCHITECTURE.md: is missing [documents]");
    }

    #[test]
    fn a_missing_command_is_found() {
        let without = README.replace("cargo xtask test", "cargo test");
        let expected = "README.md: no code block has `cargo xtask test` [documents]";
        assert_eq!(found(&without, README), [expected]);
    }

    #[test]
    fn different_readmes_are_found() {
        let longer = format!("{README}## More\n");
        let expected = "README.ko.md: has 3 headings, README.md has 2 [documents]";
        assert_eq!(found(README, &longer), [expected]);
        let longer = format!("{README}```\nx\n```\n");
        let expected = "README.ko.md: has 2 code blocks, README.md has 3 [documents]";
        assert_eq!(found(&longer, README), [expected]);
    }
}
