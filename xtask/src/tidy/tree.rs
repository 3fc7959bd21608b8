//! The files of the workspace, read once, and what a check says of them.

use std::collections::BTreeSet;
use std::fmt;
use std::path::Path;

use anyhow::Context as _;

/// Directories that are not the project's own: built, downloaded or written at run time.
const NOT_OURS: [&str; 4] = [".git", "target", "data", "node_modules"];

/// One text file; its path is relative to the root, with `/`.
#[derive(Debug)]
pub(crate) struct File {
    pub(crate) path: String,
    pub(crate) text: String,
}

/// Every text file of the workspace, and the path of everything else.
#[derive(Debug, Default)]
pub(crate) struct Tree {
    pub(crate) files: Vec<File>,
    /// All files and directories, binary ones too: what a link may point at.
    pub(crate) paths: BTreeSet<String>,
}

impl Tree {
    /// Reads the workspace below `root`.
    ///
    /// # Errors
    /// When a file or directory cannot be read.
    pub(crate) fn read(root: &Path) -> anyhow::Result<Self> {
        let mut tree = Self::default();
        tree.read_below(root, "")?;
        tree.files.sort_by(|left, right| left.path.cmp(&right.path));
        Ok(tree)
    }

    fn read_below(&mut self, directory: &Path, prefix: &str) -> anyhow::Result<()> {
        let shown = || format!("cannot read {}", directory.display());
        for entry in std::fs::read_dir(directory).with_context(shown)? {
            let entry = entry.with_context(shown)?;
            let name = entry.file_name().to_string_lossy().into_owned();
            if NOT_OURS.contains(&name.as_str()) {
                continue;
            }
            let path = format!("{prefix}{name}");
            self.paths.insert(path.clone());
            if entry.file_type().with_context(shown)?.is_dir() {
                self.read_below(&entry.path(), &format!("{path}/"))?;
            } else if let Ok(text) = String::from_utf8(std::fs::read(entry.path())?) {
                self.files.push(File { path, text });
            }
        }
        Ok(())
    }

    /// The files whose path ends so.
    pub(crate) fn ending<'a>(&'a self, end: &'a str) -> impl Iterator<Item = &'a File> {
        self.files.iter().filter(move |file| file.path.ends_with(end))
    }

    /// The file of that path.
    pub(crate) fn file(&self, path: &str) -> Option<&File> {
        self.files.iter().find(|file| file.path == path)
    }

    /// A tree of these files, for the tests of the checks.
    #[cfg(test)]
    pub(crate) fn of(files: &[(&str, &str)]) -> Self {
        let mut tree = Self::default();
        for (path, text) in files {
            tree.paths.insert((*path).to_owned());
            for (at, _) in path.match_indices('/') {
                tree.paths.insert(path[..at].to_owned());
            }
            tree.files.push(File { path: (*path).to_owned(), text: (*text).to_owned() });
        }
        tree
    }
}

/// A rule that is broken somewhere.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Finding {
    /// The rule's name, as the exceptions use it.
    pub(crate) rule: &'static str,
    pub(crate) path: String,
    /// From 1; 0 stands for the whole file.
    pub(crate) line: usize,
    /// What is wrong, and what to do where that is not plain.
    pub(crate) message: String,
}

impl fmt::Display for Finding {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { rule, path, line, message } = self;
        match line {
            0 => write!(out, "{path}: {message} [{rule}]"),
            _ => write!(out, "{path}:{line}: {message} [{rule}]"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_what_is_ours_and_nothing_that_is_built() {
        let root = tempfile::tempdir().unwrap();
        for (path, bytes) in [
            ("a/b.rs", &b"fn b() {}"[..]),
            ("a/picture.png", &[0xff, 0xfe]),
            ("target/x.rs", b""),
            (".ci/run", b"#!"),
        ] {
            let path = root.path().join(path);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, bytes).unwrap();
        }
        let tree = Tree::read(root.path()).unwrap();
        let texts: Vec<&str> = tree.files.iter().map(|file| file.path.as_str()).collect();
        assert_eq!(texts, [".ci/run", "a/b.rs"]);
        assert!(tree.paths.contains("a/picture.png"));
        assert!(tree.paths.contains("a"));
        assert!(!tree.paths.contains("target"));
    }
}
