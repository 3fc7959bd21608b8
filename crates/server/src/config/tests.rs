use std::ffi::OsString;

use super::*;

/// Loads a file (none when empty), variables and flags.
fn load(
    file: &str,
    variables: &[(&str, &str)],
    flags: &[(&'static str, &'static str, &str)],
) -> Result<Configuration, ConfigError> {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("firstcome.toml");
    std::fs::write(&path, file).unwrap();
    let variables = variables.iter().map(|(name, text)| (OsString::from(name), text.into()));
    let flags = flags.iter().map(|(flag, key, text)| FlagValue { flag, key, text: (*text).into() });
    let file = (!file.is_empty()).then_some(path.as_path());
    Configuration::load(file, variables, flags.collect())
}

/// What `load` complains of, without the directory of the file.
fn complaints(
    file: &str,
    variables: &[(&str, &str)],
    flags: &[(&'static str, &'static str, &str)],
) -> Vec<String> {
    let ConfigError(faults) = load(file, variables, flags).err().expect("a complaint");
    let bare = |fault: String| match fault.rsplit_once("/firstcome.toml:") {
        Some((_, rest)) => format!("firstcome.toml:{rest}"),
        None => fault,
    };
    faults.into_iter().map(bare).collect()
}

fn origin(configuration: &Configuration, key: &str) -> String {
    let origin = configuration.layers.origin(key).to_string();
    origin.rsplit_once('/').map_or(origin.clone(), |(_, name)| name.to_owned())
}

#[test]
fn the_defaults_alone_are_a_configuration() {
    let configuration = load("", &[], &[]).unwrap();
    assert_eq!(configuration.settings.server.listen, "127.0.0.1:8080");
    assert_eq!(configuration.settings.server.roles(), Role::SERVED);
    let options = configuration.settings.server.serve_options();
    assert_eq!(options.connections_max, firstcome_web::ServeOptions::default().connections_max);
    assert_eq!(configuration.settings.issuance, firstcome_issuance::IssuanceConfig::default());
    assert_eq!(configuration.settings.limits, firstcome_web::LimitsConfig::default());
    let kafka = firstcome_issuance::journal::KafkaConfig::default();
    assert_eq!(configuration.settings.kafka, kafka);
    assert!(configuration.layers.in_order().iter().all(|(_, it)| it.origin == Origin::Default));
}

#[test]
fn every_default_has_a_comment_above_it() {
    let mut explained = false;
    for line in DEFAULTS.lines() {
        if line.contains(" = ") && !line.starts_with('#') {
            assert!(explained, "nothing explains {line}");
        }
        explained = line.starts_with('#');
    }
}

#[test]
fn the_last_layer_wins_and_is_named() {
    let file =
        "[server]\nlisten = \"a:1\"\ndata_dir = \"from-file\"\n\n[ledger]\nreaders_max = 2\n";
    let variables = [("FIRSTCOME_LISTEN", "b:2"), ("FIRSTCOME_DATA_DIR", ""), ("PATH", "/bin")];
    let in_file = load(file, &[], &[]).unwrap();
    assert_eq!(in_file.settings.server.listen, "a:1");
    assert_eq!(origin(&in_file, "server.listen"), "firstcome.toml:2");
    assert_eq!(origin(&in_file, "ledger.readers_max"), "firstcome.toml:6");

    let in_environment = load(file, &variables, &[]).unwrap();
    assert_eq!(in_environment.settings.server.listen, "b:2");
    assert_eq!(origin(&in_environment, "server.listen"), "environment FIRSTCOME_LISTEN");
    assert_eq!(in_environment.settings.server.data_dir, Path::new("from-file"));

    let by_flag = load(file, &variables, &[("--listen", "server.listen", "c:3")]).unwrap();
    assert_eq!(by_flag.settings.server.listen, "c:3");
    assert_eq!(origin(&by_flag, "server.listen"), "flag --listen");
    assert_eq!(origin(&by_flag, "telemetry.log_level"), "default");
}

#[test]
fn a_list_has_commas_where_it_comes_as_text() {
    let configuration = load("", &[("FIRSTCOME_ROLES", "wallet, catalog")], &[]).unwrap();
    assert_eq!(configuration.settings.server.roles(), [Role::Catalog, Role::Wallet]);
}

#[test]
fn a_file_is_also_named_by_the_environment() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("named.toml");
    std::fs::write(&path, "server.listen = \"d:4\"").unwrap();
    let configuration = load("", &[("FIRSTCOME_CONFIG", path.to_str().unwrap())], &[]).unwrap();
    assert_eq!(origin(&configuration, "server.listen"), "named.toml:1");
}

#[test]
fn mistakes_are_named_all_at_once() {
    let file = "[server]\nlisten = 8080\nlissten = \"x\"\n[nothing]\nlike = \"it\"\n";
    assert_eq!(
        complaints(file, &[("FIRSTCOME_LISTENS", "x")], &[]),
        [
            "unknown environment variable FIRSTCOME_LISTENS; there are FIRSTCOME_CONFIG, \
             FIRSTCOME_LISTEN, FIRSTCOME_DATA_DIR, FIRSTCOME_ROLES, FIRSTCOME_LEDGER_URL, \
             FIRSTCOME_STRATEGY, FIRSTCOME_COMMIT, FIRSTCOME_REDIS_URL, FIRSTCOME_KAFKA_BROKERS, \
             FIRSTCOME_ADMIN_EMAIL, FIRSTCOME_ADMIN_PASSWORD, OTEL_EXPORTER_OTLP_ENDPOINT, \
             FIRSTCOME_OTLP_ENDPOINT",
            "firstcome.toml:2: server.listen must be a string, not an integer",
            "firstcome.toml:3: unknown key server.lissten; is server.listen meant?",
            "firstcome.toml:5: unknown key nothing.like; `firstcome config check` lists those \
             there are",
        ]
    );
}

#[test]
fn our_name_of_the_collector_wins_over_the_usual_one() {
    let usual = ("OTEL_EXPORTER_OTLP_ENDPOINT", "http://usual:4318/");
    let ours = ("FIRSTCOME_OTLP_ENDPOINT", "http://ours:4318");
    for variables in [[usual, ours], [ours, usual]] {
        let both = load("", &variables, &[]).unwrap();
        assert_eq!(both.settings.telemetry.otlp_endpoint(), Some("http://ours:4318"));
    }
    let one = load("", &[usual, ("OTEL_SOMETHING_ELSE", "x")], &[]).unwrap();
    assert_eq!(one.settings.telemetry.otlp_endpoint(), Some("http://usual:4318"));
    assert_eq!(origin(&one, "telemetry.otlp_endpoint"), "environment OTEL_EXPORTER_OTLP_ENDPOINT");
    assert_eq!(load("", &[], &[]).unwrap().settings.telemetry.otlp_endpoint(), None);
}

#[test]
fn a_collector_has_an_address_without_a_password() {
    for wrong in ["collector:4318", "grpc://h:4317", "http://", "/v1/traces", "http://h?x=1", "쿠"]
    {
        let complaints = complaints("", &[("FIRSTCOME_OTLP_ENDPOINT", wrong)], &[]);
        assert!(complaints[0].contains("telemetry.otlp_endpoint must be"), "{complaints:?}");
    }
    let secret = complaints("", &[("FIRSTCOME_OTLP_ENDPOINT", "http://u:canary@h:4318")], &[]);
    assert!(secret[0].contains("OTEL_EXPORTER_OTLP_HEADERS"), "{secret:?}");
    assert!(!secret[0].contains("canary"), "{secret:?}");
}

#[test]
fn a_ratio_is_from_none_to_all() {
    for (text, ratio) in [("0", 0.0), ("0.25", 0.25), ("1", 1.0), ("1.0", 1.0)] {
        let loaded = load(&format!("telemetry.trace_ratio = {text}"), &[], &[]).unwrap();
        assert_eq!(loaded.settings.telemetry.trace_ratio.to_bits(), f64::to_bits(ratio));
    }
    for text in ["-0.1", "1.1", "nan", "2", "\"1\""] {
        let complaints = complaints(&format!("telemetry.trace_ratio = {text}"), &[], &[]);
        assert!(complaints[0].contains("telemetry.trace_ratio must be"), "{complaints:?}");
    }
}

#[test]
fn the_variables_of_the_tests_are_let_through() {
    let url = "postgres://u:canary@h/db";
    let configuration = load("", &[("FIRSTCOME_TEST_POSTGRES_URL", url)], &[]).unwrap();
    assert!(!configuration.explain().contains("TEST"));
    assert_eq!(complaints("", &[("FIRSTCOME_TESTS", url)], &[]).len(), 1);
}

#[test]
fn a_mistake_is_named_with_its_place() {
    let cases = [
        ("server = 3", "firstcome.toml:1: server is a section: write [server] and its keys below"),
        ("a b", "firstcome.toml: line 1: key with no value, expected `=`"),
        (
            "\n[server]\nconnections_max = -1",
            "firstcome.toml:3: server.connections_max: invalid value: integer `-1`, expected usize",
        ),
        (
            "server.connections_max = 0",
            "firstcome.toml:1: server.connections_max must be from 1 to 1000000",
        ),
        (
            "limits.sign_up_address_burst = 1000001",
            "firstcome.toml:1: limits.sign_up_address_burst is 1000001; it must be from 0 to \
             1000000",
        ),
        (
            "limits.trusted_proxies = [\"10.0.0.1/8\"]",
            "firstcome.toml:1: limits.trusted_proxies has \"10.0.0.1/8\"; it must be an address or \
             a network, as 10.0.0.0/8, whose bits beyond the prefix are zero",
        ),
        (
            "server.listen = \"8080\"",
            "firstcome.toml:1: server.listen must be HOST:PORT, as 127.0.0.1:8080, not \"8080\"",
        ),
        (
            "telemetry.log_format = \"xml\"",
            "firstcome.toml:1: telemetry.log_format: unknown variant `xml`, expected `text` or \
             `json`",
        ),
    ];
    for (file, expected) in cases {
        assert_eq!(complaints(file, &[], &[]), [expected], "{file}");
    }
}

#[test]
fn what_this_version_lacks_is_refused_not_ignored() {
    let cases = [
        (
            "--redis-url",
            "redis.url",
            "http://u:canary@h",
            "must begin with redis://, redis+sentinel:// or redis+cluster://, or with rediss for \
             TLS",
        ),
        (
            "--role",
            "server.roles",
            "wallet,gateway",
            "must be some of identity, catalog, issuance, wallet and worker: this version has no \
             other role",
        ),
        (
            "--ledger-url",
            "ledger.url",
            "oracle://u:canary@h/db",
            "cannot be used: the ledger URL \"oracle://***@h/db\" is not supported: it must \
             begin with sqlite: (as sqlite:./data/ledger.db), postgres:// or mysql:// (as \
             postgres://user:password@host:5432/firstcome)",
        ),
    ];
    for (flag, key, text, sentence) in cases {
        let expected = format!("flag {flag}: {key} {sentence}");
        assert_eq!(complaints("", &[], &[(flag, key, text)]), [expected]);
    }
}

#[test]
fn who_mistypes_a_role_is_told_those_that_there_are() {
    let unknown = complaints("", &[("FIRSTCOME_ROLES", "walet")], &[]);
    let expected = "environment FIRSTCOME_ROLES: server.roles[0]: unknown variant `walet`, \
                    expected one of `identity`, `catalog`, `issuance`, `wallet`, `worker`";
    assert_eq!(unknown, [expected]);
    for role in ["notify", "console", "gateway"] {
        let lacking = complaints("", &[("FIRSTCOME_ROLES", role)], &[]);
        let [sentence] = lacking.as_slice() else { panic!("one: {lacking:?}") };
        assert!(sentence.ends_with("this version has no other role"), "{sentence}");
    }
}

#[test]
fn who_decides_and_what_holds_a_win_need_what_they_use() {
    const LEDGER: &str = "ledger.url = \"postgres://h/d\"\n";
    const REDIS: &str = "redis.url = \"redis://h\"\n";
    const KAFKA: &str = "kafka.brokers = [\"h:9092\"]\n";
    let redis = "needs Redis: set redis.url";
    let server = "needs a ledger on PostgreSQL, MySQL or MariaDB: set ledger.url";
    let kafka = "needs Kafka: set kafka.brokers";
    // What is there, the key, its word, and what is missing.
    let cases: [(&[&str], _, _, &[&str]); 11] = [
        (&[], "strategy", "redis_lock", &[redis]),
        (&[REDIS], "strategy", "redis_lock", &[]),
        (&[], "strategy", "redis", &[redis, server]),
        (&[REDIS, LEDGER], "strategy", "redis", &[]),
        (&[], "commit", "kafka", &[kafka, redis, server]),
        (&[REDIS, LEDGER], "commit", "kafka", &[kafka]),
        (&[KAFKA, LEDGER], "commit", "kafka", &[redis]),
        (&[KAFKA, REDIS], "commit", "kafka", &[server]),
        (&[KAFKA, REDIS, LEDGER], "commit", "kafka", &[]),
        (&[KAFKA], "commit", "redis_stream", &[redis, server]),
        (&[REDIS, LEDGER], "commit", "redis_stream", &[]),
    ];
    for (there, key, word, missing) in cases {
        let key = format!("claims.{key}");
        let file = format!("{}{key} = \"{word}\"", there.concat());
        let line = there.len() + 1;
        let expected: Vec<_> = missing
            .iter()
            .map(|what| format!("firstcome.toml:{line}: {key} is {word}, which {what}"))
            .collect();
        match load(&file, &[], &[]) {
            Ok(_) => assert!(expected.is_empty(), "{file}"),
            Err(ConfigError(_)) => assert_eq!(complaints(&file, &[], &[]), expected, "{file}"),
        }
    }
    let expected = format!("firstcome.toml:1: kafka.brokers is set, and what is in Kafka {server}");
    assert_eq!(complaints(KAFKA, &[], &[]), [expected]);
    let unknown = complaints("", &[("FIRSTCOME_COMMIT", "kaffka")], &[]);
    let expected = "environment FIRSTCOME_COMMIT: claims.commit: unknown variant `kaffka`, \
                    expected one of `ledger`, `kafka`, `redis_stream`";
    assert_eq!(unknown, [expected]);
}

/// Who lacks it is not ready; who may write to it looks at its topic first.
#[test]
fn who_needs_kafka_and_who_writes_to_it_goes_by_role() {
    let has = |roles, commit| {
        let roles = [("FIRSTCOME_ROLES", roles)];
        let text = format!(
            "claims.strategy = \"redis\"\nclaims.commit = \"{commit}\"\n\
             redis.url = \"redis://host\"\nledger.url = \"postgres://u@host/firstcome\"\n\
             kafka.brokers = [\"host:9092\"]\nidentity.keys_url = \"http://host/keys\"\n"
        );
        let settings = load(&text, &roles, &[]).unwrap().settings;
        (settings.needs_kafka(), settings.writes_to_kafka())
    };
    for (roles, with_kafka, with_ledger) in [
        ("issuance", (true, true), (false, true)),
        ("worker", (true, true), (true, true)),
        ("identity", (false, true), (false, true)),
        ("wallet,catalog", (false, false), (false, false)),
    ] {
        assert_eq!(has(roles, "kafka"), with_kafka, "{roles}");
        assert_eq!(has(roles, "ledger"), with_ledger, "{roles}");
    }
}

#[test]
fn brokers_have_commas_where_they_come_as_text() {
    let ledger = ("--ledger-url", "ledger.url", "mysql://h/d");
    let variables = [("FIRSTCOME_KAFKA_BROKERS", "a:1, b:2")];
    let configuration = load("", &variables, &[ledger]).unwrap();
    assert_eq!(configuration.settings.kafka.brokers, ["a:1", "b:2"]);
    let flag = ("--kafka-brokers", "kafka.brokers", "c:3,d:4");
    let configuration = load("", &variables, &[ledger, flag]).unwrap();
    assert_eq!(configuration.settings.kafka.brokers, ["c:3", "d:4"]);
    let flag = ("--kafka-brokers", "kafka.brokers", "kafka");
    assert_eq!(
        complaints("", &[], &[ledger, flag]),
        ["flag --kafka-brokers: kafka.brokers must be a list of HOST:PORT, as \
             [\"kafka-1:9092\"], not \"kafka\""]
    );
}

#[test]
fn secrets_are_never_shown() {
    let configuration = load(
        "[ledger]\nurl = \"sqlite://u:canary@h/db\"\n[kafka]\nsasl_mechanism = \"SCRAM-SHA-512\"\n\
         username = \"shop\"\npassword = \"canary of Kafka\"",
        &[("FIRSTCOME_ADMIN_PASSWORD", "canary canary")],
        &[],
    )
    .unwrap();
    let explained = configuration.explain();
    assert!(!explained.contains("canary"), "{explained}");
    for key in ["admin.password", "kafka.password"] {
        assert!(explained.contains(&format!("{key} = \"***\"")), "{explained}");
    }
    assert!(explained.contains("url = \"sqlite://***@h/db\""), "{explained}");
    let debugged = format!("{:?}", configuration.settings);
    for secret in ["canary canary", "canary of Kafka"] {
        assert!(!debugged.contains(secret), "{debugged}");
    }
}

#[test]
fn what_is_explained_is_a_configuration_again() {
    let explained = load("", &[("FIRSTCOME_LISTEN", "b:2")], &[]).unwrap().explain();
    let line = explained.lines().next().unwrap();
    assert!(line.starts_with("server.listen = \"b:2\" "), "{line}");
    assert!(line.ends_with("  # environment FIRSTCOME_LISTEN"), "{line}");
    let again = load(&explained, &[], &[]).unwrap();
    assert_eq!(again.settings.server.listen, "b:2");
}

#[test]
fn a_provider_is_read_and_its_mistakes_are_named() {
    let provider = |lines: &str| {
        format!(
            "[[identity.providers]]\nissuer = \"https://a.example\"\naudience = \"shop\"\n\
             jwks_url = \"https://a.example/jwks\"\nscopes = {{ user = [\"buy\"] }}\n{lines}"
        )
    };
    let settings = load(&provider(""), &[], &[]).unwrap().settings;
    let [found] = settings.identity.providers.as_slice() else { panic!("one provider") };
    assert_eq!((found.scope_claim.as_str(), found.refresh_seconds), ("scope", 300));
    for (lines, expected) in [
        ("jwks = 1", "identity.providers[0].jwks: unknown field `jwks`, expected one of"),
        ("algorithms = [\"none\"]", "identity.providers[0].algorithms[0]: unknown variant `none`"),
        ("algorithms = [\"HS256\"]", "identity.providers[0].algorithms[0]: unknown variant"),
        ("refresh_seconds = 0", "identity.providers[0].refresh_seconds is 0"),
    ] {
        let found = complaints(&provider(lines), &[], &[]).concat();
        assert!(found.starts_with(&format!("firstcome.toml:1: {expected}")), "{found}");
    }
    let found = complaints("[[identity.providers]]\nissuer = \"https://a.example\"", &[], &[]);
    assert!(found.concat().contains("identity.providers[0]: missing field"), "{found:?}");
}

#[test]
fn only_who_signs_has_the_secret() {
    let check = |file: &str| load(file, &[], &[]).unwrap().settings.check_secret();
    let apart = "server.roles = [\"issuance\"]\n";
    let refusal = check(apart).unwrap_err().to_string();
    for word in ["identity.algorithm", "RS256", "identity.share_secret"] {
        assert!(refusal.contains(word), "{refusal}");
    }
    for more in ["identity.share_secret = true", "identity.algorithm = \"ES256\""] {
        check(&format!("{apart}{more}")).unwrap();
    }
    check("server.roles = [\"identity\"]").unwrap();
}
