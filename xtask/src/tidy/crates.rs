//! Who may know whom: the table of `ARCHITECTURE.md`, kept over `cargo metadata`.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use anyhow::Context as _;
use cargo_metadata::{DependencyKind, Metadata, MetadataCommand};

use super::tree::{Finding, Tree};

const RULE: &str = "who-knows-whom";

const CORE: &str = "firstcome-core";
const TASKS: &str = "firstcome-tasks";
const LEDGER: &str = "firstcome-ledger";
const CACHE: &str = "firstcome-cache";
const WEB: &str = "firstcome-web";
const IDENTITY: &str = "firstcome-identity";
const CATALOG: &str = "firstcome-catalog";
const ISSUANCE: &str = "firstcome-issuance";
const WALLET: &str = "firstcome-wallet";
const SERVER: &str = "firstcome";
const TESTKIT: &str = "firstcome-testkit";
const XTASK: &str = "xtask";
const BENCH: &str = "bench";

/// Each crate of the workspace, and which others it may know. Nobody may know the server.
const MAY_KNOW: &[(&str, &[&str])] = &[
    (CORE, &[]),
    (TASKS, &[]),
    (LEDGER, &[CORE, TASKS]),
    (CACHE, &[CORE, TASKS]),
    (WEB, &[CORE]),
    (IDENTITY, &[CORE, TASKS, LEDGER, WEB]),
    (CATALOG, &[CORE, LEDGER, CACHE, WEB]),
    (ISSUANCE, &[CORE, TASKS, LEDGER, CACHE, WEB]),
    (WALLET, &[CORE, LEDGER, WEB]),
    (SERVER, &[CORE, TASKS, LEDGER, CACHE, WEB, IDENTITY, CATALOG, ISSUANCE, WALLET]),
    (TESTKIT, &[CORE]),
    (XTASK, &[]),
    (BENCH, &[]),
];

const HTTP: &[&str] = &[WEB, IDENTITY, CATALOG, ISSUANCE, WALLET, SERVER, BENCH];

/// Each technology, and the crates that own it.
const OWNED: &[(&str, &[&str])] = &[
    ("sea-orm", &[LEDGER]),
    ("sea-orm-migration", &[LEDGER]),
    ("sqlx", &[LEDGER, TESTKIT]),
    ("rusqlite", &[LEDGER]),
    ("redis", &[CACHE, ISSUANCE]),
    ("moka", &[CACHE]),
    ("rdkafka", &[ISSUANCE]),
    ("axum", HTTP),
    ("axum-server", &[WEB]),
    ("opentelemetry", &[WEB, SERVER]),
    ("opentelemetry-otlp", &[SERVER]),
    ("opentelemetry_sdk", &[SERVER]),
    ("rand", &[LEDGER, WEB, IDENTITY, CATALOG, ISSUANCE, WALLET, SERVER, TESTKIT]),
    ("anyhow", &[SERVER, XTASK, BENCH, TESTKIT]),
];

/// What the rules must not reach by any way: input and output, and what drives them.
const IMPURE: &[&str] = &[
    "tokio", "mio", "sqlx", "axum", "hyper", "redis", "sea-orm", "rusqlite", "tracing", "metrics",
];

/// A crate of the workspace with its direct dependencies.
#[derive(Debug)]
pub(crate) struct Member {
    pub(crate) name: String,
    /// Its manifest, relative to the root.
    pub(crate) manifest: String,
    /// Of the crate itself and of its build script.
    pub(crate) normal: BTreeSet<String>,
    /// Of its tests only.
    pub(crate) dev: BTreeSet<String>,
}

/// The crates of the workspace.
#[derive(Debug)]
pub(crate) struct Workspace {
    pub(crate) members: Vec<Member>,
    /// What `core` depends on, directly or not, tests aside.
    pub(crate) reached_by_core: BTreeSet<String>,
}

impl Workspace {
    /// Asks cargo.
    ///
    /// # Errors
    /// When `cargo metadata` fails.
    pub(crate) fn read(root: &Path) -> anyhow::Result<Self> {
        let metadata = MetadataCommand::new()
            .manifest_path(root.join("Cargo.toml"))
            .other_options(["--locked".to_owned()])
            .exec()
            .context("cargo metadata")?;
        let member = |package: &cargo_metadata::Package| {
            let of_kind = |dev: bool| {
                let dependencies = package.dependencies.iter();
                let wanted = dependencies.filter(move |dependency| {
                    (dependency.kind == DependencyKind::Development) == dev
                });
                wanted.map(|dependency| dependency.name.clone()).collect()
            };
            let manifest = package.manifest_path.as_std_path();
            let manifest = manifest.strip_prefix(root).unwrap_or(manifest);
            Member {
                name: package.name.to_string(),
                manifest: manifest.to_string_lossy().into_owned(),
                normal: of_kind(false),
                dev: of_kind(true),
            }
        };
        let members = metadata.workspace_packages().into_iter().map(member).collect();
        Ok(Self { members, reached_by_core: reached(&metadata, CORE)? })
    }
}

/// The names of the packages that one reaches by dependencies that are not of tests.
fn reached(metadata: &Metadata, from: &str) -> anyhow::Result<BTreeSet<String>> {
    let graph = metadata.resolve.as_ref().context("cargo metadata resolved nothing")?;
    let nodes: BTreeMap<_, _> = graph.nodes.iter().map(|node| (&node.id, node)).collect();
    let start = metadata.workspace_packages().into_iter().find(|package| package.name == from);
    let mut open = vec![&start.with_context(|| format!("no crate {from}"))?.id];
    let mut seen = BTreeSet::new();
    while let Some(id) = open.pop() {
        for dependency in &nodes[id].deps {
            let kinds = &dependency.dep_kinds;
            let linked = kinds.iter().any(|kind| kind.kind == DependencyKind::Normal);
            if linked && seen.insert(&dependency.pkg) {
                open.push(&dependency.pkg);
            }
        }
    }
    Ok(seen.into_iter().map(|id| metadata[id].name.to_string()).collect())
}

/// Finds dependencies that the architecture forbids.
pub(crate) fn check(workspace: &Workspace) -> Vec<Finding> {
    let mut found: Vec<Finding> = workspace.members.iter().flat_map(check_member).collect();
    for impure in IMPURE.iter().filter(|name| workspace.reached_by_core.contains(**name)) {
        let manifest = workspace.members.iter().find(|member| member.name == CORE);
        let path = manifest.map_or_else(String::new, |member| member.manifest.clone());
        let message = format!("the rules are pure, yet `{CORE}` reaches `{impure}`");
        found.push(Finding { rule: RULE, path, line: 0, message });
    }
    found
}

fn check_member(member: &Member) -> Vec<Finding> {
    let name = member.name.as_str();
    let finding = |message| Finding { rule: RULE, path: member.manifest.clone(), line: 0, message };
    let Some((_, may_know)) = MAY_KNOW.iter().find(|(known, _)| *known == name) else {
        let message = format!("`{name}` is not in the table of who may know whom: give it a line");
        return vec![finding(message)];
    };
    let is_ours = |other: &str| MAY_KNOW.iter().any(|(ours, _)| *ours == other);
    let mut found = Vec::new();
    for other in member.normal.iter().filter(|other| is_ours(other)) {
        if !may_know.contains(&other.as_str()) {
            let why = if other == TESTKIT { " outside of tests" } else { "" };
            found.push(finding(format!("`{name}` must not know `{other}`{why}")));
        }
    }
    for other in member.dev.iter().filter(|other| is_ours(other) && *other != TESTKIT) {
        if !may_know.contains(&other.as_str()) {
            found.push(finding(format!("`{name}` must not know `{other}`, its tests neither")));
        }
    }
    for (technology, owners) in OWNED {
        if member.normal.contains(*technology) && !owners.contains(&name) {
            let owners = owners.join(", ");
            found.push(finding(format!("`{technology}` belongs to {owners}, not to `{name}`")));
        }
    }
    found
}

/// Finds manifests with a version of their own, or without the lints of the workspace.
pub(crate) fn check_manifests(tree: &Tree) -> Vec<Finding> {
    let manifests = tree.ending("/Cargo.toml");
    manifests.flat_map(|file| check_manifest(&file.path, &file.text)).collect()
}

fn check_manifest(path: &str, text: &str) -> Vec<Finding> {
    let rule = "manifest";
    let finding = |message| Finding { rule, path: path.to_owned(), line: 0, message };
    let manifest: toml::Table = match text.parse() {
        Ok(manifest) => manifest,
        Err(error) => return vec![finding(format!("does not parse: {error}"))],
    };
    let from_workspace = |value: &toml::Value| value.get("workspace") == Some(&true.into());
    let mut found = Vec::new();
    for (name, dependency) in dependencies(&manifest) {
        if !from_workspace(dependency) {
            let message = format!("`{name}`: versions live in the root, write `.workspace = true`");
            found.push(finding(message));
        }
    }
    if !manifest.get("lints").is_some_and(from_workspace) {
        found.push(finding("takes no lints of the workspace: `[lints] workspace = true`".into()));
    }
    found
}

/// Every dependency of a manifest: of the crate, its tests, its build script, and of one platform.
fn dependencies(manifest: &toml::Table) -> Vec<(&String, &toml::Value)> {
    let platforms = manifest.get("target").and_then(toml::Value::as_table);
    let platforms = platforms.into_iter().flat_map(toml::Table::values);
    let tables = std::iter::once(manifest).chain(platforms.filter_map(toml::Value::as_table));
    let kinds = ["dependencies", "dev-dependencies", "build-dependencies"];
    let lists = tables.flat_map(|table| kinds.iter().filter_map(|kind| table.get(*kind)));
    lists.filter_map(toml::Value::as_table).flatten().collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn member(name: &str, normal: &[&str], dev: &[&str]) -> Member {
        let set = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect();
        let manifest = format!("crates/{name}/Cargo.toml");
        Member { name: name.to_owned(), manifest, normal: set(normal), dev: set(dev) }
    }

    fn messages(member: Member) -> Vec<String> {
        let workspace = Workspace { members: vec![member], reached_by_core: BTreeSet::new() };
        check(&workspace).into_iter().map(|finding| finding.message).collect()
    }

    #[test]
    fn services_know_the_ledger_but_not_each_other() {
        assert_eq!(messages(member(WALLET, &[CORE, LEDGER, WEB, "axum"], &[TESTKIT])), [""; 0]);
        let found = messages(member(WALLET, &[CORE, ISSUANCE], &[]));
        assert_eq!(found, ["`firstcome-wallet` must not know `firstcome-issuance`"]);
        let found = messages(member(WALLET, &[CORE], &[ISSUANCE]));
        assert_eq!(
            found,
            ["`firstcome-wallet` must not know `firstcome-issuance`, its tests neither"]
        );
    }

    #[test]
    fn nobody_knows_the_server() {
        for (name, _) in MAY_KNOW.iter().filter(|(name, _)| *name != SERVER) {
            let found = messages(member(name, &[SERVER], &[]));
            assert_eq!(found, [format!("`{name}` must not know `firstcome`")]);
        }
    }

    #[test]
    fn the_testkit_is_for_tests() {
        assert_eq!(messages(member(LEDGER, &[CORE], &[TESTKIT])), [""; 0]);
        let found = messages(member(LEDGER, &[CORE, TESTKIT], &[]));
        assert_eq!(
            found,
            ["`firstcome-ledger` must not know `firstcome-testkit` outside of tests"]
        );
    }

    #[test]
    fn a_technology_has_its_owners() {
        assert_eq!(messages(member(LEDGER, &["sqlx", "rusqlite", "sea-orm"], &[])), [""; 0]);
        assert_eq!(messages(member(SERVER, &["anyhow", "axum"], &[])), [""; 0]);
        let found = messages(member(ISSUANCE, &["sqlx"], &[]));
        assert_eq!(
            found,
            ["`sqlx` belongs to firstcome-ledger, firstcome-testkit, not to `firstcome-issuance`"]
        );
        assert_eq!(messages(member(LEDGER, &["axum"], &[])).len(), 1);
        assert_eq!(messages(member(CATALOG, &["anyhow"], &[])).len(), 1);
        assert_eq!(messages(member(CATALOG, &[], &["anyhow"])), [""; 0], "tests may");
    }

    #[test]
    fn the_rules_reach_nothing_impure() {
        let of = |reached: &[&str]| {
            let reached_by_core = reached.iter().map(|name| (*name).to_owned()).collect();
            check(&Workspace { members: vec![member(CORE, &["aes"], &[])], reached_by_core })
        };
        assert_eq!(of(&["aes", "jiff"]), []);
        let found = of(&["aes", "tokio"]);
        assert_eq!(found.len(), 1);
        assert_eq!(found[0].message, "the rules are pure, yet `firstcome-core` reaches `tokio`");
    }

    #[test]
    fn a_new_crate_needs_a_line_in_the_table() {
        assert_eq!(messages(member("firstcome-extra", &[], &[])).len(), 1);
    }

    #[test]
    fn versions_and_lints_live_in_the_root() {
        let good = "[lints]\nworkspace = true\n[dependencies]\na.workspace = true\n\
                    [dev-dependencies]\nb = { workspace = true, features = [\"x\"] }\n";
        let of = |text: &str| check_manifests(&Tree::of(&[("crates/a/Cargo.toml", text)])).len();
        assert_eq!(of(good), 0);
        assert_eq!(of(&good.replace("a.workspace = true", "a = \"1\"")), 1);
        assert_eq!(of(&good.replace("{ workspace = true,", "{ version = \"1\",")), 1);
        assert_eq!(of(&format!("{good}[target.'cfg(unix)'.dependencies]\nc = \"1\"\n")), 1);
        assert_eq!(of("[package]\nname = \"a\"\n"), 1);
        let root = Tree::of(&[("Cargo.toml", "[workspace.dependencies]\na = \"1\"\n")]);
        assert_eq!(check_manifests(&root), []);
    }
}
