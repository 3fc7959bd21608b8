//! Lists as PostgreSQL reads them in a statement's text.
//!
//! Two layers: within an array's text an element stands between double quotes, with a backslash
//! before a quote and a backslash (PostgreSQL's documentation, "Array Input and Output Syntax");
//! the whole stands between single quotes, where a single quote is written twice. That is right
//! while `standard_conforming_strings` is on, which every session of ours is set to.

use uuid::Uuid;

/// An element of an array.
pub(super) trait Element {
    /// Writes it as it stands in the array's text.
    fn write(&self, text: &mut String);
}

/// The literal of an array.
pub(super) fn array<E: Element>(elements: impl Iterator<Item = E>) -> String {
    let mut text = String::with_capacity(32 * elements.size_hint().0 + 4);
    text.push_str("'{");
    let empty = text.len();
    for element in elements {
        if text.len() > empty {
            text.push(',');
        }
        element.write(&mut text);
    }
    text.push_str("}'");
    text
}

impl Element for Uuid {
    fn write(&self, text: &mut String) {
        text.push_str(self.hyphenated().encode_lower(&mut Uuid::encode_buffer()));
    }
}

impl Element for bool {
    fn write(&self, text: &mut String) {
        text.push_str(if *self { "t" } else { "f" });
    }
}

impl Element for i64 {
    fn write(&self, text: &mut String) {
        text.push_str(&self.to_string());
    }
}

impl Element for &str {
    fn write(&self, text: &mut String) {
        assert!(!self.contains('\0'), "no text of ours holds what PostgreSQL cannot");
        text.push('"');
        for c in self.chars() {
            match c {
                '"' | '\\' => text.extend(['\\', c]),
                '\'' => text.push_str("''"),
                _ => text.push(c),
            }
        }
        text.push('"');
    }
}

#[cfg(test)]
mod tests {
    use super::array;

    #[test]
    fn lists_are_written_as_postgres_reads_them() {
        assert_eq!(array([""; 0].into_iter()), "'{}'");
        assert_eq!(
            array([uuid::Uuid::nil()].into_iter()),
            "'{00000000-0000-0000-0000-000000000000}'"
        );
    }

    #[test]
    fn nothing_in_a_text_ends_it() {
        let texts = ["kim", "", "a'b", "\"", "\\", "{,}", "NULL", "한"];
        let written = r#"'{"kim","","a''b","\"","\\","{,}","NULL","한"}'"#;
        assert_eq!(array(texts.into_iter()), written);
    }
}
