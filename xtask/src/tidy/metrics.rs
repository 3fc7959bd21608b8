//! Every metric is explained: a name that the code records stands in `docs/metrics.md`.

use std::str::FromStr as _;

use proc_macro2::{TokenStream, TokenTree};

use super::tree::{File, Finding, Tree};

const PAGE: &str = "docs/metrics.md";
const MACROS: [&str; 6] =
    ["counter", "gauge", "histogram", "describe_counter", "describe_gauge", "describe_histogram"];

/// Finds metrics that the page does not explain. A project without the page explains none.
pub(crate) fn check(tree: &Tree) -> Vec<Finding> {
    let Some(page) = tree.file(PAGE) else {
        return Vec::new();
    };
    let sources = tree.ending(".rs").filter(|file| file.path.starts_with("crates/"));
    sources.flat_map(|file| unexplained(file, &page.text)).collect()
}

fn unexplained(file: &File, page: &str) -> Vec<Finding> {
    let mut names = Vec::new();
    if let Ok(tokens) = TokenStream::from_str(&file.text) {
        collect_names(tokens, &mut names);
    }
    names.retain(|(_, name)| !page.contains(&format!("`{name}`")));
    let finding = |(line, name)| Finding {
        rule: "metrics",
        path: file.path.clone(),
        line,
        message: format!("`{name}` is not in {PAGE}"),
    };
    names.into_iter().map(finding).collect()
}

/// The names that stand as a string in a call of a metric's macro, each with its line.
fn collect_names(tokens: TokenStream, names: &mut Vec<(usize, String)>) {
    let tokens: Vec<TokenTree> = tokens.into_iter().collect();
    for (index, token) in tokens.iter().enumerate() {
        if let TokenTree::Group(group) = token {
            collect_names(group.stream(), names);
            let called = index.checked_sub(2).map(|at| tokens[at].to_string());
            if called.is_some_and(|name| MACROS.contains(&name.as_str()))
                && let Some(TokenTree::Literal(name)) = group.stream().into_iter().next()
            {
                let line = name.span().start().line;
                names.push((line, name.to_string().trim_matches('"').to_owned()));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(source: &str, page: &str) -> Vec<String> {
        let tree = Tree::of(&[("crates/web/src/metrics.rs", source), (PAGE, page)]);
        check(&tree).into_iter().map(|finding| finding.message).collect()
    }

    #[test]
    fn an_unexplained_metric_is_found() {
        let source =
            "fn f() { metrics::counter!(\"claims_total\", \"verdict\" => v).increment(1); }";
        assert_eq!(found(source, "| `claims_total` | claims |"), [""; 0]);
        assert_eq!(found(source, "nothing"), ["`claims_total` is not in docs/metrics.md"]);
        assert_eq!(found("fn counter() { counter(\"x\") }", "nothing"), [""; 0]);
    }
}
