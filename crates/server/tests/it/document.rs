//! The document where it is served, and its page, which takes nothing from anywhere else.

use crate::shop::Shop;

/// The values of an attribute in a page.
fn attributes<'a>(page: &'a str, name: &str) -> Vec<&'a str> {
    let opening = format!("{name}=\"");
    let starts = page.match_indices(&opening).map(|(at, _)| at + opening.len());
    starts.map(|start| page[start..].split('"').next().expect("a value")).collect()
}

#[tokio::test]
async fn what_is_served_is_what_is_printed() {
    let shop = Shop::open().await;
    let served = shop.api.get("/openapi.json").await.expect(200);
    assert_eq!(served.header("content-type"), "application/json");
    let printed = firstcome_testkit::Launch::new(crate::shop::BINARY, &["openapi"]).run().await;
    assert_eq!(printed.code, Some(0), "{}", printed.stderr);
    assert_eq!(served.text(), printed.stdout);
}

#[tokio::test]
async fn the_page_fetches_its_own_files_only() {
    let shop = Shop::open().await;
    let page = shop.api.get("/docs").await.expect(200).text();
    assert_eq!(attributes(&page, "base href"), ["/docs/"]);
    let (scripts, links) = (attributes(&page, "src"), attributes(&page, "href"));
    assert!(scripts.len() >= 3 && links.len() >= 3, "{page}");
    for address in scripts.into_iter().chain(links).filter(|address| *address != "/docs/") {
        let name = address.strip_prefix("./").unwrap_or(address);
        assert!(!name.contains(':') && !name.starts_with('/'), "{address} is not our own");
        let file = shop.api.get(&format!("/docs/{name}")).await.expect(200).text();
        if name.ends_with(".css") {
            check_style(name, &file);
        }
    }
}

/// That a style sheet refers to nothing that is not within it.
#[track_caller]
fn check_style(name: &str, style: &str) {
    assert!(!style.contains("@import"), "{name}");
    for (at, opening) in style.match_indices("url(") {
        let address = style[at + opening.len()..].trim_start_matches(['"', '\'']);
        let shown: String = address.chars().take(40).collect();
        assert!(address.starts_with("data:") || address.starts_with('#'), "{name}: {shown}");
    }
}
