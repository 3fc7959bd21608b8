//! Every error code has its page, and every page its code.
//!
//! The codes are those of `enum Code` in `crates/web/src`. Each has `docs/errors/<code>.md` and is
//! set as code somewhere in `docs/status-codes.md`; no page stands for a code that is gone.

use std::collections::BTreeMap;

use syn::visit::Visit;

use super::markdown::Page;
use super::tree::{Finding, Tree};

const RULE: &str = "error-pages";
const SOURCES: &str = "crates/web/src/";
const PAGES: &str = "docs/errors/";
const TABLE: &str = "docs/status-codes.md";

/// Finds codes without a page and pages without a code.
pub(crate) fn check(tree: &Tree) -> Vec<Finding> {
    let finding = |path: &str, line, message| Finding {
        rule: RULE,
        path: path.into(),
        line,
        message,
    };
    let codes = codes(tree);
    if codes.is_empty() {
        return vec![finding(SOURCES, 0, "there is no `enum Code`".to_owned())];
    }
    let Some(table) = tree.file(TABLE) else {
        return vec![finding(
            TABLE,
            0,
            "the table of the status codes is missing".to_owned(),
        )];
    };
    let table = Page::parse(&table.text);
    let mut found = Vec::new();
    for (code, (path, line)) in &codes {
        if tree.file(&format!("{PAGES}{code}.md")).is_none() {
            found.push(finding(
                path,
                *line,
                format!("`{code}` has no page {PAGES}{code}.md"),
            ));
        }
        if !table.code_words.contains(code) {
            found.push(finding(path, *line, format!("`{code}` is not in {TABLE}")));
        }
    }
    for file in tree.ending(".md") {
        let page = file
            .path
            .strip_prefix(PAGES)
            .map(|name| name.trim_end_matches(".md"));
        if page.is_some_and(|code| code != "README" && !codes.contains_key(code)) {
            found.push(finding(&file.path, 0, "no code has this page".to_owned()));
        }
    }
    for (line, link) in &table.links {
        let code = link
            .strip_prefix("errors/")
            .and_then(|name| name.strip_suffix(".md"));
        if let Some(code) = code.filter(|code| *code != "README" && !codes.contains_key(*code)) {
            found.push(finding(TABLE, *line, format!("there is no code `{code}`")));
        }
    }
    found
}

/// The words of `enum Code`, each with the file and line of its variant.
fn codes(tree: &Tree) -> BTreeMap<String, (String, usize)> {
    let sources = tree
        .ending(".rs")
        .filter(|file| file.path.starts_with(SOURCES));
    let mut read = CodeEnum::default();
    for file in sources {
        if let Ok(parsed) = syn::parse_file(&file.text) {
            read.path.clone_from(&file.path);
            read.visit_file(&parsed);
        }
    }
    let CodeEnum {
        variants, words, ..
    } = read;
    let word = |variant: String| {
        words
            .get(&variant)
            .cloned()
            .unwrap_or_else(|| snake_case(&variant))
    };
    variants
        .into_iter()
        .map(|(variant, place)| (word(variant), place))
        .collect()
}

/// What the sources say of `Code`: its variants, and the words that its `as_str` gives them.
#[derive(Default)]
struct CodeEnum {
    path: String,
    variants: BTreeMap<String, (String, usize)>,
    words: BTreeMap<String, String>,
}

impl<'ast> Visit<'ast> for CodeEnum {
    fn visit_item_enum(&mut self, item: &'ast syn::ItemEnum) {
        if item.ident == "Code" {
            for variant in &item.variants {
                let line = variant.ident.span().start().line;
                self.variants
                    .insert(variant.ident.to_string(), (self.path.clone(), line));
            }
        }
    }

    fn visit_item_impl(&mut self, item: &'ast syn::ItemImpl) {
        let of_code = matches!(&*item.self_ty, syn::Type::Path(ty) if ty.path.is_ident("Code"));
        let functions = item.items.iter().filter_map(|item| match item {
            syn::ImplItem::Fn(function) if function.sig.ident == "as_str" => Some(function),
            _ => None,
        });
        for function in functions.filter(|_| of_code) {
            self.visit_impl_item_fn(function);
        }
    }

    fn visit_arm(&mut self, arm: &'ast syn::Arm) {
        let syn::Pat::Path(pattern) = &arm.pat else {
            return;
        };
        let syn::Expr::Lit(body) = &*arm.body else {
            return;
        };
        if let (Some(variant), syn::Lit::Str(word)) = (pattern.path.segments.last(), &body.lit) {
            self.words.insert(variant.ident.to_string(), word.value());
        }
    }
}

fn snake_case(name: &str) -> String {
    let mut snake = String::new();
    for (index, sign) in name.chars().enumerate() {
        if sign.is_uppercase() && index > 0 {
            snake.push('_');
        }
        snake.extend(sign.to_lowercase());
    }
    snake
}

#[cfg(test)]
mod tests {
    use super::*;

    const SOURCE: &str = "pub enum Code { NotFound, SoldOut }\nimpl Code { pub fn as_str(self) -> \
                          &'static str { match self { Self::SoldOut => \"gone\", _ => \"\" } } }";

    fn messages(files: &[(&str, &str)]) -> Vec<String> {
        check(&Tree::of(files))
            .into_iter()
            .map(|finding| finding.message)
            .collect()
    }

    const COMPLETE: [(&str, &str); 4] = [
        ("crates/web/src/problem/code.rs", SOURCE),
        (
            "docs/status-codes.md",
            "| [`not_found`](errors/not_found.md) | 404 |\n\n`gone`",
        ),
        ("docs/errors/not_found.md", ""),
        ("docs/errors/gone.md", ""),
    ];

    #[test]
    fn codes_with_their_pages_pass() {
        assert_eq!(messages(&COMPLETE), [""; 0]);
    }

    #[test]
    fn a_code_without_a_page_is_found() {
        assert_eq!(
            messages(&COMPLETE[..3]),
            ["`gone` has no page docs/errors/gone.md"]
        );
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
        assert_eq!(messages(&[]), ["there is no `enum Code`"]);
        assert_eq!(
            messages(&COMPLETE[..1]),
            ["the table of the status codes is missing"]
        );
    }
}
