//! What the checks need to know of a page: its headings, links, code blocks and code words.

use pulldown_cmark::{Event, Options, Parser, Tag, TagEnd};

/// A page, read.
#[derive(Debug, Default)]
pub(crate) struct Page {
    /// The anchors of its headings, in order.
    pub(crate) anchors: Vec<String>,
    /// Where its links and images point, each with its line.
    pub(crate) links: Vec<(usize, String)>,
    /// The words set as code inside of the text.
    pub(crate) code_words: Vec<String>,
    /// The contents of its code blocks.
    pub(crate) code_blocks: Vec<String>,
}

impl Page {
    /// Reads a page.
    pub(crate) fn parse(text: &str) -> Self {
        let options = Options::ENABLE_TABLES | Options::ENABLE_FOOTNOTES;
        let mut page = Self::default();
        let mut heading: Option<String> = None;
        let mut in_code_block = false;
        for (event, range) in Parser::new_ext(text, options).into_offset_iter() {
            let line = 1 + text[..range.start].matches('\n').count();
            match event {
                Event::Start(Tag::Heading { .. }) => heading = Some(String::new()),
                Event::End(TagEnd::Heading(_)) => {
                    let title = heading.take().unwrap_or_default();
                    page.push_anchor(&title);
                }
                Event::Start(Tag::Link { dest_url, .. } | Tag::Image { dest_url, .. }) => {
                    page.links.push((line, dest_url.into_string()));
                }
                Event::Start(Tag::CodeBlock(_)) => {
                    page.code_blocks.push(String::new());
                    in_code_block = true;
                }
                Event::End(TagEnd::CodeBlock) => in_code_block = false,
                Event::Text(words) if in_code_block => {
                    let block = page.code_blocks.last_mut();
                    block.expect("a block was started").push_str(&words);
                }
                Event::Text(words) => push_to(&mut heading, &words),
                Event::Code(words) => {
                    push_to(&mut heading, &words);
                    page.code_words.push(words.into_string());
                }
                _ => {}
            }
        }
        page
    }

    /// The anchor that GitHub gives a heading: lower case, words joined by hyphens, a number
    /// behind the second of the same name.
    fn push_anchor(&mut self, title: &str) {
        let kept = title.trim().chars().filter_map(|sign| match sign {
            ' ' => Some('-'),
            '-' | '_' => Some(sign),
            _ => sign.is_alphanumeric().then_some(sign),
        });
        let base: String = kept.collect::<String>().to_lowercase();
        let mut anchor = base.clone();
        let mut number = 0;
        while self.anchors.contains(&anchor) {
            number += 1;
            anchor = format!("{base}-{number}");
        }
        self.anchors.push(anchor);
    }
}

fn push_to(heading: &mut Option<String>, words: &str) {
    if let Some(title) = heading {
        title.push_str(words);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn anchors_are_those_of_the_rendered_page() {
        let page = Page::parse("# A claim's `way`\n\n## 보장 하는 것\n\n## Same\n\n## Same\n");
        assert_eq!(page.anchors, ["a-claims-way", "보장-하는-것", "same", "same-1"]);
    }

    #[test]
    fn links_in_code_are_not_links() {
        let page = Page::parse("\n[a](b.md)\n\n```\n[c](d.md)\n```\n`[e](f.md)` ![g](h.svg)\n");
        assert_eq!(page.links, [(2, "b.md".to_owned()), (7, "h.svg".to_owned())]);
        assert_eq!(page.code_blocks, ["[c](d.md)\n"]);
        assert_eq!(page.code_words, ["[e](f.md)"]);
    }
}
