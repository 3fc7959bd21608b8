//! No dead links in the documents: every file and every heading that a page points at exists.

use super::markdown::Page;
use super::tree::{Finding, Tree};

/// Finds links to files and headings that do not exist. Other sites are not asked.
pub(crate) fn check(tree: &Tree) -> Vec<Finding> {
    let mut found = Vec::new();
    for file in tree.ending(".md") {
        for (line, link) in Page::parse(&file.text).links {
            if let Err(message) = follow(tree, &file.path, &link) {
                found.push(Finding { rule: "dead-link", path: file.path.clone(), line, message });
            }
        }
    }
    found
}

fn follow(tree: &Tree, from: &str, link: &str) -> Result<(), String> {
    if link.contains("://") || link.starts_with("mailto:") {
        return Ok(());
    }
    let (path, anchor) = link.split_once('#').unwrap_or((link, ""));
    let target = if path.is_empty() { from.to_owned() } else { resolve(from, path) };
    if !target.is_empty() && !tree.paths.contains(&target) {
        return Err(format!("`{link}`: there is no `{target}`"));
    }
    // Anchors of other files, such as line numbers, are not ours to know.
    let page = tree.file(&target).filter(|_| target.ends_with(".md") && !anchor.is_empty());
    match page.map(|file| Page::parse(&file.text)) {
        Some(page) if !page.anchors.iter().any(|known| known == anchor) => {
            Err(format!("`{link}`: `{target}` has no heading `#{anchor}`"))
        }
        _ => Ok(()),
    }
}

/// The path that a link of a page means, relative to the root.
fn resolve(from: &str, path: &str) -> String {
    let mut parts: Vec<&str> = Vec::new();
    if !path.starts_with('/') {
        parts.extend(from.split('/'));
        parts.pop();
    }
    for part in path.split('/') {
        match part {
            "" | "." => {}
            ".." => {
                parts.pop();
            }
            _ => parts.push(part),
        }
    }
    parts.join("/")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn dead(text: &str) -> Vec<String> {
        let tree = Tree::of(&[
            ("docs/api.md", text),
            ("docs/errors/closed.md", "# closed\n\n## What to do\n"),
            ("README.md", "# Firstcome\n"),
            ("crates/core/src/lib.rs", ""),
        ]);
        check(&tree).into_iter().map(|finding| finding.message).collect()
    }

    #[test]
    fn links_that_live_are_followed() {
        let alive = "# Calls\n[a](errors/closed.md) [b](errors/closed.md#what-to-do) [c](#calls)\n\
                     [d](../README.md) [e](/README.md#firstcome) [f](https://example.com/x#y)\n\
                     [g](errors) [h](../crates/core/src/lib.rs#L10) [i](mailto:a@example.com)\n";
        assert_eq!(dead(alive), [""; 0]);
    }

    #[test]
    fn a_dead_file_is_found() {
        let found = dead("[a](errors/gone.md)");
        assert_eq!(found, ["`errors/gone.md`: there is no `docs/errors/gone.md`"]);
        assert_eq!(dead("![a](../picture.svg)").len(), 1);
    }

    #[test]
    fn a_dead_heading_is_found() {
        let found = dead("[a](errors/closed.md#gone)");
        assert_eq!(
            found,
            ["`errors/closed.md#gone`: `docs/errors/closed.md` has no heading `#gone`"]
        );
        assert_eq!(dead("[a](#gone)").len(), 1);
    }
}
