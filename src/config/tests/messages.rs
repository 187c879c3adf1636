//! What is said of mistakes: where they are, in plain words, with what to write instead.

use super::*;

#[test]
fn all_mistakes_come_at_once_in_the_order_of_their_positions() {
    let text = "\
# a comment
listeners:
  - adress: 127.0.0.1:8080
  - address: localhost:8080
store: { sqlite: a.db }
pepper_file: a.pepper
upstreams:
  api: { endpoints: [\"http://user:hunter2@127.0.0.1:3000\"], protocol: http3 }
routes:
  - path: /v1/
    upstream: api
  - { path: /v2, upstream: apo, environment: '/v1/{environment}', access: pubic }
limits:
  header_count: 0
  header_bytes: lots
timeouts: { idle: 75 }
drain_time: 3s
";
    let found = mistakes(text);
    let expected = [
        "3:5 listeners[0].adress: unknown setting 'adress': did you mean 'address'?",
        "3:5 listeners[0]: the setting 'address' is missing",
        "4:14 listeners[1].address: expected an IP address and a port, such as 127.0.0.1:8080 (0.0.0.0 where other machines are to reach it), found 'localhost:8080'",
        "8:22 upstreams.api.endpoints[0]: expected http:// or https://",
        "8:71 upstreams.api.protocol: expected 'http1' or 'http2', found 'http3'",
        "10:11 routes[0].path: '/v1/': only a public path may end with '/'",
        "12:28 routes[1].upstream: expected a name defined below 'upstreams:', 'api' (did you mean 'api'?), found 'apo'",
        "12:46 routes[1].environment: '/v1/{environment}' must lie under the route's path '/v2'",
        "12:75 routes[1].access: expected 'public' or 'keys', found 'pubic'",
        "14:17 limits.header_count: expected a whole number from 1 to 10000, found the number 0",
        "15:17 limits.header_bytes: expected a size from 256B to 16MiB, such as 64KiB, found 'lots'",
        "16:19 timeouts.idle: expected a duration with its unit from 1ms to 7days, such as 10s or 500ms, found the number 75",
        "17:1 drain_time: unknown setting 'drain_time': did you mean 'drain_timeout'?",
    ];
    let lines: Vec<_> = found.lines().collect();
    assert_eq!(lines.len(), expected.len(), "{found}");
    for expected in expected {
        assert!(lines.iter().any(|line| line.starts_with(expected)), "{expected}\nis not in\n{found}");
    }
    let positions: Vec<_> = read(text).unwrap_err().0.iter().map(|e| (e.line, e.column)).collect();
    assert!(positions.is_sorted(), "{positions:?}");
    assert!(!found.contains("hunter2"), "{found}");
}

#[test]
fn a_mistake_prints_file_line_and_column() {
    let errors = read("listeners: 5").unwrap_err();
    let first = errors.to_string().lines().next().unwrap().to_owned();
    assert!(first.starts_with("etc/p.yaml:1:1: "), "{first}");
    assert!(errors.to_string().contains(
        "etc/p.yaml:1:12: listeners: expected a list of listeners, written [A, B] or with '- ' before each"
    ));
}

/// What new users write: each message says what to write instead.
#[test]
fn what_stands_in_the_wrong_place_is_told_where_it_belongs() {
    for (text, message) in [
        (
            format!("{LEAST}»selectors: {{ query: [p] }}\n"),
            "it belongs to a route: write it below the route's 'path:'",
        ),
        (format!("{LEAST}»endpoints: ['http://h']\n"), "it belongs to an upstream: indent it below"),
        (
            format!("{LEAST}»web: {{ endpoints: ['http://h'] }}\n"),
            "an upstream is indented below 'upstreams:'",
        ),
        (with("routes", "»routes: { path: /v1, upstream: api }"), "a list of routes, each begun with '- '"),
        (with("routes", "routes:\n  - path: /v1\n    upstream: api\n  »path: /v2"), "begin it with '- '"),
        (with("routes", "routes: [{ path: »'/v1/*', upstream: api }]"), "write '/v1'"),
        (
            with("routes", "routes: [{ path: /v1, upstream: api, environment: »'/v1/{project}' }]"),
            "the placeholder is called {environment}",
        ),
        (
            with("routes", "routes: [{ path: /v1, upstream: api, environment: /v1/»{environment} }]"),
            "needs quotation marks",
        ),
        (
            with("routes", "routes:\n  - path: /v1\n    upstream: api\n    environment: {environment}»/v1"),
            "text after the end of a value",
        ),
        (LEAST.replace("a.db }", "a.db } »x"), "text after the end of a value"),
        (with("listeners", "listeners: [{ address: »28380 }]"), "such as 127.0.0.1:28380 (0.0.0.0 where"),
        (with("listeners", "listeners: [{ address: »':28380' }]"), "such as 127.0.0.1:28380"),
        (with("listeners", "listeners: [{ address: »'::1' }]"), "such as [::1]:8080"),
        (
            with("upstreams", "upstreams: { api: { endpoints: [»'localhost:3000'] } }"),
            "the scheme is missing: write http://localhost:3000,",
        ),
        (
            with("upstreams", "upstreams: { api: { endpoints: [»'u:hunter2@h:3000'] } }"),
            "without user, path or query",
        ),
        (
            with("routes", "routes: [{ path: /v1, upstream: »apis }]"),
            "a name defined below 'upstreams:', 'api' (did you mean 'api'?), found 'apis'",
        ),
        (
            with("routes", "routes: [{ path: /v1, upstream: »'http://h' }]"),
            "'api' (a URL stands in its 'endpoints'), found 'http://h'",
        ),
        (
            with("upstreams", "upstreams: { api: »'http://u:hunter2@h' }"),
            "'endpoints', 'protocol' or 'tls', each on a line of its own below, indented, as in 'endpoints: …', found a URL with a user",
        ),
        (with("upstreams", "upstreams: »apis"), "such as 'api: { endpoints: [\"http://127.0.0.1:3000\"] }'"),
        (format!("{LEAST}»public: true\n"), "has 'access: public' below its 'path:'"),
        (
            with("routes", "routes: [{ path: /v1, upstream: api, »public: true }]"),
            "has 'access: public' below its 'path:'",
        ),
        (
            with("routes", "routes: [{ path: /v1, upstream: api, »access: [public] }]"),
            "'public' or 'keys', one of them and without brackets",
        ),
        (format!("{LEAST}»upstream: api\n"), "did you mean 'upstreams'? If not, it belongs to a route"),
    ] {
        one_mistake(&text, message);
    }
}

#[test]
fn repeated_keys_are_mistakes() {
    let found =
        mistakes(&format!("{LEAST}log: {{ format: json, format: text }}\nstore: {{ sqlite: b.db }}\n"));
    assert!(found.contains("6:22 log.format: the setting is given twice, first in line 6"), "{found}");
    assert!(found.contains("7:1 store: the setting is given twice, first in line 2"), "{found}");
}

#[test]
fn what_came_from_the_environment_is_not_printed() {
    let env = |_: &str| Some("hunter2".to_owned());
    let text =
        format!("{LEAST}workers: ${{SECRET}}\naccess_control: ${{SECRET}}\ndrain_timeout: ${{SECRET}}\n");
    let errors = parse(&text, Path::new("p.yaml"), &env).unwrap_err();
    assert_eq!(errors.0.len(), 3, "{errors}");
    assert!(!errors.to_string().contains("hunter2"), "{errors}");
    assert!(errors.to_string().contains("found another text once the environment variable is put in"));
}

#[test]
fn a_name_to_choose_from_is_named_once() {
    let twice = "upstreams: { api: { endpoints: ['http://h'] }, b: { endpoints: ['http://h'] }, api: { endpoints: ['http://h'] } }";
    let found = mistakes(&with("upstreams", twice).replace("upstream: api", "upstream: x"));
    assert!(found.contains("'upstreams:', 'api' or 'b', found 'x'"), "{found}");
}

#[test]
fn odd_documents_are_refused() {
    for (text, message) in [
        ("", "found nothing"),
        ("# nothing\n", "found nothing"),
        ("5", "expected a mapping"),
        ("[]", "expected a mapping"),
        ("~", "expected a mapping"),
        ("listeners: !x 5", "tag"),
        ("a: 1\n---\nb: 1\n", "more than one document"),
        ("? [a]\n: b\n", "expected text as a key"),
    ] {
        let found = mistakes(text);
        assert!(found.contains(message), "{text:?}: {found}");
    }
    assert!(mistakes(&format!("{LEAST}limits:\n")).contains("limits: expected a mapping"));
}

#[test]
fn a_missing_file_is_named() {
    let errors = load(Path::new("/nowhere/portcullis.yaml")).unwrap_err();
    let said = errors.to_string();
    assert!(said.starts_with("/nowhere/portcullis.yaml: there is no configuration here"), "{said}");
    assert!(said.contains("'portcullis init'") && said.contains("'--config FILE'"), "{said}");
    let errors = load(Path::new("/")).unwrap_err().to_string();
    assert!(errors.starts_with("/: cannot read the configuration: "), "{errors}");
}

#[test]
fn where_there_is_a_package_its_configuration_is_named() {
    let folder = tempfile::tempdir().unwrap();
    let packaged = folder.path().join("p.yaml");
    assert!(load::no_configuration(&packaged).contains("'portcullis init'"));
    std::fs::write(&packaged, "").unwrap();
    assert!(load::no_configuration(&packaged).contains(&format!("'--config {}'", packaged.display())));
}

#[test]
fn mistakes_of_yaml_are_told_in_plain_words() {
    let written = "listeners:\n  - address: 127.0.0.1:0\nroutes:\n  - path: /v1\n    upstream: api\n";
    for (change, message) in [
        ("\n  - path", "\n\t- path", "a tab indents this line"),
        ("\n    upstream: api", "\n   upstream: api", "indented differently"),
        ("\n    upstream: api", "\n     upstream: api", "look at the indentation"),
        ("upstream: api", "upstream:api", "no ': ' between its name and its value"),
        ("upstream: api", "upstream: a: pi", "a ': ' where no entry can begin"),
        ("upstream: api", "upstream: \"api", "5:15 : the quotation mark here is never closed"),
        ("upstream: api\n", "upstream: api\n    shared: [", "6:13 : the '[' here is never closed: write ']'"),
        ("upstream: api\n", "upstream: api\n    shared: [/v1/a,\n      [b],\n", "6:13 : the '[' here"),
        (
            "upstream: api\n",
            "upstream: api\n    shared: [/v1/a\n",
            "6:13 : the '[' here is never closed: write ']'",
        ),
        ("- path: /v1\n", "- { path: /v1\n", "4:5 : the '{' here is never closed: write '}'"),
        ("127.0.0.1:0", "{ a: [127.0.0.1:0 }", "a bracket is not closed here"),
    ]
    .map(|(from, to, message)| (written.replacen(from, to, 1), message))
    {
        let found = mistakes(&change);
        assert!(found.contains(message), "{change}: {found}");
    }
}

#[test]
fn a_private_key_with_a_passphrase_is_called_encrypted() {
    let folder = tempfile::tempdir().unwrap();
    for text in [
        "-----BEGIN ENCRYPTED PRIVATE KEY-----\nMIIB\n-----END ENCRYPTED PRIVATE KEY-----\n",
        "-----BEGIN RSA PRIVATE KEY-----\nProc-Type: 4,ENCRYPTED\nDEK-Info: AES-128-CBC,00\n\nMIIB\n-----END RSA PRIVATE KEY-----\n",
    ] {
        std::fs::write(folder.path().join("a.key"), text).unwrap();
        std::fs::write(folder.path().join("a.pem"), "").unwrap();
        let tls = "listeners:\n  - address: 127.0.0.1:1\n    tls: { certificates: [ { certificate: a.pem, key: a.key } ] }";
        let yaml = LEAST.lines().filter(|line| !line.starts_with("listeners"));
        let config = folder.path().join("portcullis.yaml");
        std::fs::write(&config, format!("{tls}\n{}", yaml.collect::<Vec<_>>().join("\n"))).unwrap();
        let said = load_to_serve(&config).unwrap_err().to_string();
        assert!(said.contains("is encrypted") && said.contains("openssl pkey"), "{said}");
    }
}
