//! Where a rule does not hold, and why. An exception that no finding needs any more is one itself.

use super::tree::Finding;

/// One place that may break one rule.
pub(crate) struct Exception {
    /// The rule's name, as findings show it in brackets.
    pub(crate) rule: &'static str,
    /// The file.
    pub(crate) path: &'static str,
    /// What the rule would make worse there.
    pub(crate) reason: &'static str,
}

/// Every exception of the project.
pub(crate) const EXCEPTIONS: &[Exception] = &[];

/// Takes out what is excepted, and adds the exceptions that nothing needs.
pub(crate) fn apply(mut findings: Vec<Finding>, exceptions: &[Exception]) -> Vec<Finding> {
    for exception in exceptions {
        let Exception { rule, path, reason } = exception;
        let before = findings.len();
        findings.retain(|finding| finding.rule != *rule || finding.path != *path);
        if findings.len() == before {
            let path = (*path).to_owned();
            let message = format!("no longer breaks `{rule}`: remove the exception ({reason})");
            findings.push(Finding { rule: "exceptions", path, line: 0, message });
        }
    }
    findings
}

#[cfg(test)]
mod tests {
    use super::*;

    const TABLE: Exception =
        Exception { rule: "file-length", path: "a.rs", reason: "one long table" };

    fn finding(rule: &'static str, path: &str) -> Finding {
        Finding { rule, path: path.to_owned(), line: 0, message: String::new() }
    }

    #[test]
    fn an_exception_covers_its_rule_in_its_file_only() {
        let all = [("file-length", "a.rs"), ("file-length", "b.rs"), ("allow", "a.rs")];
        let findings = all.map(|(rule, path)| finding(rule, path)).to_vec();
        let left = apply(findings.clone(), &[TABLE]);
        assert_eq!(left, findings[1..]);
    }

    #[test]
    fn an_exception_that_nothing_needs_is_found() {
        let left = apply(Vec::new(), &[TABLE]);
        assert_eq!(left.len(), 1);
        assert_eq!(left[0].rule, "exceptions");
    }
}
