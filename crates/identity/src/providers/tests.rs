use super::*;

fn provider() -> ProviderConfig {
    ProviderConfig {
        issuer: "https://login.example.com".to_owned(),
        audience: "https://shop.example.com".to_owned(),
        jwks_url: "https://login.example.com/jwks".to_owned(),
        jwks_file: PathBuf::new(),
        allow_http: false,
        algorithms: default_algorithms(),
        types: default_types(),
        scope_claim: default_scope_claim(),
        scopes: ScopeWords { user: vec!["shop:claim".to_owned()], ..ScopeWords::default() },
        subject_prefix: String::new(),
        refresh_seconds: default_refresh_seconds(),
    }
}

fn refusal(providers: &[ProviderConfig]) -> String {
    check(providers, "firstcome").expect_err("a refusal").to_string()
}

#[test]
fn a_provider_needs_little() {
    assert_eq!(check(&[provider()], "firstcome"), Ok(()));
    for url in ["http://localhost:8080/jwks", "http://127.0.0.1/jwks", "http://[::1]:9/jwks"] {
        let near = ProviderConfig { jwks_url: url.to_owned(), ..provider() };
        assert_eq!(check(&[near], "firstcome"), Ok(()), "{url}");
    }
    let plain = "http://keycloak:8080/jwks".to_owned();
    let allowed = ProviderConfig { jwks_url: plain, allow_http: true, ..provider() };
    assert_eq!(check(&[allowed], "firstcome"), Ok(()));
}

#[test]
fn what_is_wrong_is_named() {
    let url = |text: &str| ProviderConfig { jwks_url: text.to_owned(), ..provider() };
    for (wrong, key) in [
        (ProviderConfig { issuer: String::new(), ..provider() }, "issuer"),
        (ProviderConfig { issuer: "firstcome".to_owned(), ..provider() }, "issuer"),
        (ProviderConfig { audience: "두 곳".to_owned(), ..provider() }, "audience"),
        (url(""), "jwks_url"),
        (url("login.example.com"), "jwks_url"),
        (url("http://login.example.com/jwks"), "jwks_url"),
        (url("ftp://login.example.com/jwks"), "jwks_url"),
        (url("https://user:password@login.example.com/jwks"), "jwks_url"),
        (ProviderConfig { jwks_file: "jwks.json".into(), ..provider() }, "jwks_url"),
        (ProviderConfig { algorithms: Vec::new(), ..provider() }, "algorithms"),
        (ProviderConfig { types: Vec::new(), ..provider() }, "types"),
        (ProviderConfig { scope_claim: String::new(), ..provider() }, "scope_claim"),
        (ProviderConfig { scopes: ScopeWords::default(), ..provider() }, "scopes"),
        (ProviderConfig { subject_prefix: "a b".to_owned(), ..provider() }, "subject_prefix"),
        (ProviderConfig { refresh_seconds: 0, ..provider() }, "refresh_seconds"),
    ] {
        let refusal = refusal(std::slice::from_ref(&wrong));
        let key = format!("identity.providers[0].{key} ");
        assert!(refusal.starts_with(&key), "{key}: {refusal}");
        assert!(!refusal.contains("password@"), "{refusal}");
    }
}

#[test]
fn several_providers_have_users_of_their_own() {
    let other = |prefix: &str| ProviderConfig {
        issuer: "https://other.example.com".to_owned(),
        subject_prefix: prefix.to_owned(),
        ..provider()
    };
    let first = |prefix: &str| ProviderConfig { subject_prefix: prefix.to_owned(), ..provider() };
    assert_eq!(check(&[first("a:"), other("b:")], "firstcome"), Ok(()));
    for (one, two) in [("", ""), ("a:", ""), ("", "b:"), ("a:", "a:"), ("a", "ab"), ("ab", "a")] {
        let refusal = refusal(&[first(one), other(two)]);
        assert!(refusal.starts_with("identity.providers[1].subject_prefix"), "{refusal}");
    }
    let twice = refusal(&[first("a:"), first("b:")]);
    assert_eq!(twice, "identity.providers[1].issuer is there twice");
}
