//! A client that other people's tools make of the document compiles, and walks through README.md.

use std::path::Path;
use std::time::Duration;

use tempfile::TempDir;
use tokio::process::Command;
use tokio::time::timeout;

use crate::shop::Shop;

/// The packages, which `cargo xtask test` fetches, and what uses them.
const SOURCE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/client");
/// Longest that one tool may take.
const WAIT_MAX: Duration = Duration::from_secs(240);
const PASSWORD: &str = "correct horse battery";

/// Runs one of the packages' programs, or Node.js itself, to its good end; what it said.
async fn run(directory: &Path, program: &str, arguments: &[&str], url: &str) -> String {
    let path = std::env::var("PATH").unwrap_or_default();
    let mut command = Command::new(program);
    command.args(arguments).current_dir(directory).kill_on_drop(true);
    command.env("PATH", format!("{SOURCE}/node_modules/.bin:{path}"));
    command.env("FIRSTCOME_TEST_URL", url).env("FIRSTCOME_TEST_PASSWORD", PASSWORD);
    let ended = timeout(WAIT_MAX, command.output()).await;
    let output =
        ended.unwrap_or_else(|_| panic!("{program} does not end")).unwrap_or_else(|error| {
            panic!("cannot start {program}: {error}; `cargo xtask test` installs what it needs")
        });
    let said = String::from_utf8_lossy(&output.stdout);
    let complained = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{program} {arguments:?}:\n{said}\n{complained}");
    said.into_owned()
}

#[tokio::test]
async fn a_generated_client_compiles_and_walks_through_the_readme() {
    let shop = Shop::open_as(|it| it.environment("FIRSTCOME_ADMIN_PASSWORD", PASSWORD)).await;
    let url = format!("http://{}", shop.server.authority());
    let directory = TempDir::new().expect("a temporary directory");
    let place = directory.path();
    std::os::unix::fs::symlink(format!("{SOURCE}/node_modules"), place.join("node_modules"))
        .expect("a link");
    for file in ["package.json", "tsconfig.json", "walkthrough.ts"] {
        std::fs::copy(format!("{SOURCE}/{file}"), place.join(file)).expect("a copy");
    }
    let document = shop.api.get("/openapi.json").await.expect(200).text();
    std::fs::write(place.join("openapi.json"), document).expect("a file");
    run(place, "openapi-typescript", &["openapi.json", "--output", "document.d.ts"], &url).await;
    run(place, "tsc", &["--project", "tsconfig.json"], &url).await;
    let said = run(place, "node", &["out/walkthrough.js"], &url).await;
    assert_eq!(said, "the walk-through is done\n");
}
