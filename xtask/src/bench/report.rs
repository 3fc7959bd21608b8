//! `docs/benchmarks.md`: each scenario writes the section between its own two marks.

use std::path::Path;

use anyhow::Context as _;

const PAGE: &str = "docs/benchmarks.md";

/// Replaces the section of a scenario, and prints it.
///
/// # Errors
/// When the page is missing or lacks the marks of the section.
pub(crate) fn write(root: &Path, section: &str, text: &str) -> anyhow::Result<()> {
    let path = root.join(PAGE);
    let page = std::fs::read_to_string(&path).with_context(|| format!("cannot read {PAGE}"))?;
    std::fs::write(&path, replaced(&page, section, text)?)?;
    println!("\n{text}\nwritten to {PAGE}");
    Ok(())
}

fn replaced(page: &str, section: &str, text: &str) -> anyhow::Result<String> {
    let marks = [format!("<!-- begin: {section} -->"), format!("<!-- end: {section} -->")];
    let lacks = |mark: &str| format!("{PAGE} lacks the mark `{mark}`");
    let (before, rest) = page.split_once(&marks[0]).with_context(|| lacks(&marks[0]))?;
    let (_, after) = rest.split_once(&marks[1]).with_context(|| lacks(&marks[1]))?;
    Ok(format!("{before}{}\n\n{}\n\n{}{after}", marks[0], text.trim(), marks[1]))
}

/// A table of Markdown.
pub(crate) fn table(header: &[&str], rows: &[Vec<String>]) -> String {
    let line = |cells: &[String]| format!("| {} |\n", cells.join(" | "));
    let header: Vec<String> = header.iter().map(ToString::to_string).collect();
    let rule = vec!["---".to_owned(); header.len()];
    let rows = rows.iter().map(|row| line(row)).collect::<String>();
    format!("{}{}{rows}", line(&header), line(&rule))
}

/// What a database tells of the settings that a rate depends on, as an item of a list.
pub(crate) fn settings(database: &str, settings: &[String]) -> String {
    format!("- The settings of {database}: `{}`.\n", settings.join("`, `"))
}

/// The middle of the values; of an even number, the lower of the two in the middle.
///
/// # Panics
/// When there are none.
pub(crate) fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values[(values.len() - 1) / 2]
}

/// A whole number with its thousands set apart.
pub(crate) fn thousands(value: f64) -> String {
    let digits = format!("{value:.0}");
    let mut grouped = String::new();
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index) % 3 == 0 {
            grouped.push(',');
        }
        grouped.push(digit);
    }
    grouped
}

/// A figure against its bar: whether it is reached stands beside it.
pub(crate) fn against(reached: bool, bar: &str) -> String {
    format!("{bar} {}", if reached { "(reached)" } else { "(**not reached**)" })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_section_is_replaced() {
        let page = "# A\n<!-- begin: x -->\nold\n<!-- end: x -->\nrest\n";
        let expected = "# A\n<!-- begin: x -->\n\nnew\n\n<!-- end: x -->\nrest\n";
        assert_eq!(replaced(page, "x", "new\n").unwrap(), expected);
        assert_eq!(replaced(expected, "x", "new\n").unwrap(), expected, "twice is once");
        assert!(replaced(page, "y", "new").is_err());
    }

    #[test]
    fn figures_are_shown_for_people() {
        assert_eq!(thousands(999.6), "1,000");
        assert_eq!(thousands(142_000.0), "142,000");
        assert_eq!(thousands(12.0), "12");
        assert!((median(vec![3.0, 1.0, 2.0]) - 2.0).abs() < 1e-9);
        assert_eq!(against(true, "≥ 0.65"), "≥ 0.65 (reached)");
        let rows = [vec!["1".to_owned(), "2".to_owned()]];
        assert_eq!(table(&["a", "b"], &rows), "| a | b |\n| --- | --- |\n| 1 | 2 |\n");
    }
}
