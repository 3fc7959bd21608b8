//! Nothing longer than a reader can hold: files, functions and lines of Rust.

use syn::spanned::Spanned as _;
use syn::visit::Visit;

use super::tree::{File, Finding, Tree};

const FILE_LINES_MAX: usize = 600;
const FUNCTION_LINES_MAX: usize = 70;
const LINE_COLUMNS_MAX: usize = 100;

/// Finds files, functions and lines over their bounds.
pub(crate) fn check(tree: &Tree) -> Vec<Finding> {
    tree.ending(".rs").flat_map(check_file).collect()
}

fn check_file(file: &File) -> Vec<Finding> {
    let finding = |line, rule, message| Finding { rule, path: file.path.clone(), line, message };
    let mut found = Vec::new();
    let lines = file.text.lines().count();
    if lines > FILE_LINES_MAX {
        let message = format!("{lines} lines, more than {FILE_LINES_MAX}");
        found.push(finding(0, "file-length", message));
    }
    for (index, line) in file.text.lines().enumerate() {
        let columns = line.chars().count();
        if columns > LINE_COLUMNS_MAX {
            let message = format!("{columns} columns, more than {LINE_COLUMNS_MAX}");
            found.push(finding(index + 1, "line-length", message));
        }
    }
    match syn::parse_file(&file.text) {
        Ok(parsed) => {
            let mut functions = LongFunctions::default();
            functions.visit_file(&parsed);
            for (line, name, lines) in functions.0 {
                let message = format!("`{name}` has {lines} lines, more than {FUNCTION_LINES_MAX}");
                found.push(finding(line, "function-length", message));
            }
        }
        Err(error) => {
            let line = error.span().start().line;
            found.push(finding(line, "function-length", format!("does not parse: {error}")));
        }
    }
    found
}

/// The functions over the bound: where they begin, their name, and their lines from `fn` to `}`.
#[derive(Default)]
struct LongFunctions(Vec<(usize, String, usize)>);

impl LongFunctions {
    fn measure(&mut self, signature: &syn::Signature, body: &syn::Block) {
        let first = signature.fn_token.span().start().line;
        let last = body.brace_token.span.close().end().line;
        let lines = last - first + 1;
        if lines > FUNCTION_LINES_MAX {
            self.0.push((first, signature.ident.to_string(), lines));
        }
    }
}

impl<'ast> Visit<'ast> for LongFunctions {
    fn visit_item_fn(&mut self, function: &'ast syn::ItemFn) {
        self.measure(&function.sig, &function.block);
        syn::visit::visit_item_fn(self, function);
    }

    fn visit_impl_item_fn(&mut self, function: &'ast syn::ImplItemFn) {
        self.measure(&function.sig, &function.block);
        syn::visit::visit_impl_item_fn(self, function);
    }

    fn visit_trait_item_fn(&mut self, function: &'ast syn::TraitItemFn) {
        if let Some(body) = &function.default {
            self.measure(&function.sig, body);
        }
        syn::visit::visit_trait_item_fn(self, function);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rules(text: &str) -> Vec<(&'static str, usize)> {
        let found = check(&Tree::of(&[("crates/core/src/lib.rs", text)]));
        found.iter().map(|finding| (finding.rule, finding.line)).collect()
    }

    fn function_of(lines: usize) -> String {
        format!("fn f() {{\n{}}}\n", "    g();\n".repeat(lines - 2))
    }

    #[test]
    fn a_file_may_have_600_lines_and_no_more() {
        assert_eq!(rules(&"// x\n".repeat(600)), []);
        assert_eq!(rules(&"// x\n".repeat(601)), [("file-length", 0)]);
    }

    #[test]
    fn a_function_may_have_70_lines_and_no_more() {
        assert_eq!(rules(&function_of(70)), []);
        assert_eq!(rules(&format!("\n{}", function_of(71))), [("function-length", 2)]);
        let method = format!("impl X {{\n{}}}\n", function_of(71));
        assert_eq!(rules(&method), [("function-length", 2)]);
        let default = format!("trait X {{\n{}}}\n", function_of(71));
        assert_eq!(rules(&default), [("function-length", 2)]);
        let inner = format!("mod a {{ fn outer() {{\n{}}} }}\n", function_of(71));
        assert_eq!(rules(&inner), [("function-length", 1), ("function-length", 2)]);
    }

    #[test]
    fn attributes_and_comments_before_a_function_do_not_count() {
        assert_eq!(rules(&format!("/// Docs.\n#[inline]\n{}", function_of(70))), []);
    }

    #[test]
    fn a_line_may_have_100_columns_and_no_more() {
        let hangul = format!("// {}\n", "가".repeat(97));
        assert_eq!(rules(&hangul), []);
        assert_eq!(rules(&format!("\n// {}\n", "x".repeat(98))), [("line-length", 2)]);
    }

    #[test]
    fn only_rust_is_measured() {
        assert_eq!(check(&Tree::of(&[("docs/api.md", &"x".repeat(500))])), []);
    }
}
