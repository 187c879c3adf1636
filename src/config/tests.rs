//! The loader as a whole: the example, what is refused and why.

mod messages;

use std::fmt::Write as _;
use std::path::Path;

use super::reader::{Files, Reader};
use super::*;

const EXAMPLE: &str = include_str!("../../config.example.yaml");

/// A configuration that says only what has no default.
const LEAST: &str = "\
listeners: [{ address: 127.0.0.1:0 }]
store: { sqlite: a.db }
pepper_file: a.pepper
upstreams: { api: { endpoints: [\"http://127.0.0.1:3000\"] } }
routes: [{ path: /v1, upstream: api }]
";

fn no_variables(_: &str) -> Option<String> {
    None
}

fn read(text: &str) -> Result<Config, ConfigErrors> {
    parse(text, Path::new("etc/p.yaml"), &no_variables)
}

#[track_caller]
fn good(text: &str) -> Config {
    read(text).unwrap_or_else(|errors| panic!("{errors}\n--- in\n{text}"))
}

/// Every mistake as `line:column path: message`.
#[track_caller]
fn mistakes(text: &str) -> String {
    let Err(errors) = read(text) else { panic!("nothing was found wrong in\n{text}") };
    assert!(!errors.0.is_empty(), "refused without a reason:\n{text}");
    errors.0.iter().fold(String::new(), |mut all, e| {
        let _ = writeln!(all, "{}:{} {}: {}", e.line, e.column, e.path, e.message);
        all
    })
}

/// One mistake, at the position marked with `»`, with this text.
#[track_caller]
fn one_mistake(text: &str, message: &str) {
    let (text, position) = marked(text);
    let text = text.as_str();
    let found = mistakes(text);
    assert!(
        found.starts_with(&format!("{position} ")) && found.lines().count() == 1 && found.contains(message),
        "expected {position} {message}\nfound    {found}--- in\n{text}"
    );
}

/// Takes the mark `»` out of a text, and tells where it was.
#[track_caller]
fn marked(text: &str) -> (String, String) {
    let (before, after) = text.split_once('»').expect("a mark");
    let line = before.split('\n').count();
    let column = before.split('\n').next_back().unwrap_or_default().chars().count() + 1;
    (format!("{before}{after}"), format!("{line}:{column}"))
}

/// [`LEAST`] with the line that starts with `key` replaced.
fn with(key: &str, line: &str) -> String {
    let mut lines: Vec<_> = LEAST.lines().filter(|l| !l.starts_with(key)).collect();
    lines.push(line);
    lines.join("\n")
}

/// The example with every `#~` key switched on that can stand beside the others.
fn example_in_full() -> String {
    EXAMPLE
        .lines()
        .filter(|line| !line.contains("#~ postgres:") && !line.contains("#~ access: {"))
        .map(|line| line.replacen("#~ ", "", 1))
        .collect::<Vec<_>>()
        .join("\n")
        .replace("http://127.0.0.1:3000", "https://127.0.0.1:3000")
}

#[test]
fn the_example_is_a_configuration_and_its_values_are_the_defaults() {
    let example = good(EXAMPLE);
    let least = good(LEAST);
    assert_eq!(example.workers, least.workers);
    assert_eq!(example.access_control, least.access_control);
    assert_eq!(example.max_staleness, least.max_staleness);
    assert_eq!(example.allow_missing_pepper, least.allow_missing_pepper);
    assert_eq!(example.key_prefix, least.key_prefix);
    assert_eq!(example.authentication, least.authentication);
    assert_eq!(example.argon2, least.argon2);
    assert_eq!(example.cache, least.cache);
    assert_eq!(example.throttle, least.throttle);
    assert_eq!(example.upstreams, least.upstreams);
    assert_eq!(example.limits, least.limits);
    assert_eq!(example.timeouts, least.timeouts);
    assert_eq!(example.trusted_proxies, least.trusted_proxies);
    assert_eq!(example.strip_headers, least.strip_headers);
    assert_eq!(example.log, least.log);
    assert_eq!(example.routes[0].encoded_slash, least.routes[0].encoded_slash);

    let full = good(&example_in_full());
    let cors = full.routes[0].cors.as_ref().unwrap();
    let short = "{ path: /v1, upstream: api, cors: { origins: ['https://console.example.com'] } }";
    let default = good(&with("routes", &format!("routes: [{short}]")));
    assert_eq!(Some(cors), default.routes[0].cors.as_ref());

    for (origins, allow_credentials) in [
        (
            "'http://localhost:3000', 'http://127.0.0.1', 'https://[::1]:8443', 'https://xn--4ca.example.'",
            true,
        ),
        ("'*'", false),
        ("'https://a.example', '*'", false),
    ] {
        let route = format!("routes: [{{ path: /v1, upstream: api, cors: {{ origins: [{origins}] }} }}]");
        let cors = good(&with("routes", &route)).routes.remove(0).cors.unwrap();
        assert_eq!(cors.allow_credentials, allow_credentials, "{origins}");
    }
}

#[test]
fn the_example_holds_every_key() {
    let full = example_in_full();
    let env = no_variables;
    let mut reader = Reader::new(Path::new("p.yaml"), &env, Files::Leave);
    load::read_with(&mut reader, &full);
    assert!(reader.errors.is_empty(), "{:?}", reader.errors);
    assert!(reader.sections.len() > 20, "only {} sections were read", reader.sections.len());
    for (section, keys) in &reader.sections {
        for key in *keys {
            let present = EXAMPLE.lines().any(|line| {
                let line = line.trim_start_matches([' ', '#', '~', '-', '{']);
                line.strip_prefix(key).is_some_and(|rest| rest.starts_with(':'))
                    || line.contains(&format!("{{ {key}: "))
                    || line.contains(&format!(", {key}: "))
            });
            assert!(present, "'{key}' of '{section}' is not in config.example.yaml");
        }
    }
}

#[test]
fn an_upstream_that_wrote_out_its_defaults_is_the_one_that_did_not() {
    let settings = ":3000\"], max_connections: auto, max_waiting: 1024, idle_connections: auto }";
    let text = LEAST.replace(":3000\"] }", settings);
    assert_ne!(text, LEAST);
    assert_eq!(good(&text).upstreams, good(LEAST).upstreams);
    assert_eq!(good(LEAST).timeouts.drain.as_secs(), 30);
}

#[test]
fn variables_fill_numbers_words_and_texts_but_never_structure() {
    let env = |name: &str| match name {
        "WORKERS" => Some("3".to_owned()),
        "AC" => Some("disabled".to_owned()),
        "SIZE" => Some("1MiB".to_owned()),
        "EVIL" => Some("a.db, max_staleness: 1s }\nworkers: 99".to_owned()),
        _ => None,
    };
    let text = with(
        "store",
        "store: { sqlite: \"${EVIL}\" }\nworkers: ${WORKERS}\naccess_control: ${AC}\nlimits: { uri_bytes: \"${SIZE}\", header_count: \"${NONE:-7}\" }\n",
    );
    let config = parse(&text, Path::new("p.yaml"), &env).unwrap();
    assert_eq!(config.workers, 3);
    assert_eq!(config.access_control, AccessControl::Disabled);
    assert_eq!(config.limits.uri_bytes, 1 << 20);
    assert_eq!(config.limits.header_count, 7);
    assert_eq!(config.max_staleness, DEFAULT_MAX_STALENESS);
    assert!(config.store.path().to_str().unwrap().contains("workers: 99"));
}

#[test]
fn a_switch_is_true_or_false_written_or_substituted() {
    let env = |_: &str| Some("true".to_owned());
    for text in ["true", "${YES}", "\"true\""] {
        let text = format!("{LEAST}allow_missing_pepper: {text}\n");
        assert!(parse(&text, Path::new("p.yaml"), &env).unwrap().allow_missing_pepper, "{text}");
    }
    one_mistake(&format!("{LEAST}allow_missing_pepper: »yes\n"), "expected 'true' or 'false', found 'yes'");
    one_mistake(&format!("{LEAST}allow_missing_pepper: »1\n"), "found the number 1");
}

#[test]
fn an_unset_variable_is_one_mistake_at_its_position() {
    one_mistake(&format!("{LEAST}workers: »${{NONE}}\n"), "NONE is not set");
}

#[test]
fn relative_paths_are_relative_to_the_file() {
    assert_eq!(good(LEAST).store.path(), Path::new("etc/a.db"));
    assert_eq!(good(&with("store", "store: { sqlite: /x/a.db }")).store.path(), Path::new("/x/a.db"));
}

#[test]
fn a_record_in_postgresql_has_a_replica_and_prints_no_password() {
    let config = good(&with(
        "store",
        "store: { postgres: { url: 'postgres://u:hunter2@h/d', replica: r.db }, gateway: a }",
    ));
    assert_eq!(config.store.path(), Path::new("etc/r.db"));
    assert_eq!(config.gateway.as_deref(), Some("a"));
    assert!(!format!("{config:?}").contains("hunter2"), "{config:?}");
    one_mistake(
        &with("store", "store: { sqlite: a.db, »postgres: { url: 'postgres://u@h/d', replica: r.db } }"),
        "the record is one",
    );
    one_mistake(&with("store", "store: { »postgres: { url: 'postgres://u@h/d' } }"), "'replica' is missing");
    assert!(
        !mistakes(&with("store", "store: { postgres: { url: 'x:hunter2', replica: r } }"))
            .contains("hunter2")
    );
}

#[test]
fn endpoints_may_be_unix_sockets() {
    let endpoints =
        |list: &str| with("upstreams", &format!("upstreams: {{ api: {{ endpoints: [{list}] }} }}"));
    let config = good(&endpoints("\"unix:/run/api.sock\", \"unix:own/api.sock\", \"http://127.0.0.1:80\""));
    let shown: Vec<_> = config.upstreams[0].endpoints.iter().map(ToString::to_string).collect();
    assert_eq!(shown, ["unix:/run/api.sock", "unix:etc/own/api.sock", "http://127.0.0.1:80"]);
    for wrong in ["unix:", "unix://run/api.sock", "unix:/run/"] {
        let found = mistakes(&endpoints(&format!("\"{wrong}\"")));
        assert!(found.contains("expected the path of a Unix socket, such as unix:/run/api.sock"), "{found}");
    }
    let (fits, long) = ("x".repeat(107 - "/run/".len()), "x".repeat(108 - "/run/".len()));
    good(&endpoints(&format!("\"unix:/run/{fits}\"")));
    let found = mistakes(&endpoints(&format!("\"unix:/run/{long}\"")));
    assert!(found.contains("at most 107 bytes as the path of a Unix socket, this one has 108"), "{found}");
    let found = mistakes(&endpoints("\"unix:/run/api.sock\", \"https://127.0.0.1:80\""));
    assert!(found.contains("expected all https:// endpoints in an upstream, or none"), "{found}");
}

#[test]
fn load_balancers_are_named_for_the_proxy_protocol() {
    let listeners = |from: &str| {
        with(
            "listeners",
            &format!("listeners: [{{ address: 127.0.0.1:0, proxy_protocol: {{ from: {from} }} }}]"),
        )
    };
    let config = good(&listeners("[10.0.0.0/8, 192.0.2.7]"));
    let from = &config.listeners[0].proxy_protocol_from;
    assert_eq!(from.described(), ["10.0.0.0/8", "192.0.2.7/32"]);
    assert!(good(LEAST).listeners[0].proxy_protocol_from.is_empty());
    let found = mistakes(&listeners("[]"));
    assert!(found.contains("expected the addresses or networks of your load balancers"), "{found}");
    assert!(mistakes(&listeners("[10.0.0.1/8]")).contains("expected '10.0.0.0/8' with this prefix length"));
    assert!(mistakes(&listeners("10.0.0.1")).contains("expected a list of networks"));
    let found = mistakes(&with("listeners", "listeners: [{ address: 127.0.0.1:0, proxy_protocol: {} }]"));
    assert!(found.contains("listeners[0].proxy_protocol: the setting 'from' is missing"), "{found}");
}

#[test]
fn listeners_may_be_unix_sockets() {
    let listeners = |list: &str| with("listeners", &format!("listeners: [{list}]"));
    let config = good(&listeners(
        "{ address: 'unix:/run/a.sock' }, { address: 'unix:b.sock', proxy_protocol: { from: [unix] } }",
    ));
    let shown: Vec<_> = config.listeners.iter().map(|listener| listener.address.to_string()).collect();
    assert_eq!(shown, ["unix:/run/a.sock", "unix:etc/b.sock"]);
    assert_eq!(config.listeners[1].proxy_protocol_from.described(), ["unix"]);
    // only this machine reaches it
    good(&with("listeners", "access_control: disabled\nlisteners: [{ address: 'unix:/run/a.sock' }]"));
    let found = mistakes(&listeners("{ address: 'unix:/a' }, { address: 'unix:/a' }"));
    assert!(found.contains("another listener has the address unix:/a"), "{found}");
    assert!(mistakes(&listeners("{ address: 'unix:' }")).contains("expected the path of a Unix socket"));
    for from in ["[127.0.0.1]", "[127.0.0.1, unix]", "[]"] {
        let found =
            mistakes(&listeners(&format!("{{ address: 'unix:/a', proxy_protocol: {{ from: {from} }} }}")));
        assert!(found.contains("expected [unix]"), "{found}");
    }
    for from in ["[unix]", "[127.0.0.1, unix]"] {
        let found = mistakes(&listeners(&format!(
            "{{ address: '127.0.0.1:0', proxy_protocol: {{ from: {from} }} }}"
        )));
        assert!(found.contains("expected the addresses or networks"), "{found}");
    }
    assert_eq!(good(&format!("{LEAST}trusted_proxies: [unix]\n")).trusted_proxies.described(), ["unix"]);
}

#[test]
fn a_listener_beyond_loopback_says_itself_that_it_is_open() {
    let open =
        |listener: &str| with("listeners", &format!("access_control: disabled\nlisteners: [{listener}]"));
    one_mistake(&open("{ address: »0.0.0.0:80 }"), "must say");
    one_mistake(&open("{ address: »'[::]:80' }"), "must say");
    for listener in [
        "{ address: 127.0.0.1:80 }",
        "{ address: '[::1]:80' }",
        "{ address: 0.0.0.0:80, access_control: enabled }",
        "{ address: 0.0.0.0:80, access_control: disabled }",
    ] {
        good(&open(listener));
    }
}

#[test]
fn addresses_are_used_once() {
    let two = with("listeners", "listeners: [{ address: 127.0.0.1:80 }, { »address: 127.0.0.1:80 }]");
    one_mistake(&two, "another listener has the address");
    let text =
        with("listeners", "listeners: [{ address: 127.0.0.1:80 }]\nmanagement: { address: »127.0.0.1:80 }");
    one_mistake(&text, "is a listener's address");
    good(&with("listeners", "listeners: [{ address: 127.0.0.1:0 }, { address: 127.0.0.1:0 }]"));
}

#[test]
fn argon2_fits_its_memory() {
    one_mistake(
        &format!("{LEAST}argon2: {{ threads: »8, memory: 64MiB }}"),
        "8 threads of 64MiB each need 512MiB, expected at most 'memory_limit', which is 256MiB",
    );
    one_mistake(&format!("{LEAST}argon2: {{ memory: »1KiB }}"), "a size from 1MiB to 4GiB");
    assert_eq!(good(&format!("{LEAST}argon2: {{ memory: 200MiB }}")).argon2.threads, 1);
}

#[test]
fn routes_are_judged() {
    let route = |rest: &str| with("routes", &format!("routes: [{{ path: /v1, upstream: api, {rest} }}]"));
    for (rest, message) in [
        ("environment: »/v1/x", "exactly once"),
        ("environment: ['/v1/{environment}', »'/v2/{environment}']", "under the route's path"),
        ("environment: ['/v1/{environment}', »'/v1/{environment}']", "given twice"),
        ("shared: [»/v1/a/]", "must not end with '/'"),
        ("shared: [»'/v1/*']", "'**' at the end of a pattern"),
        (
            "environment: '/v1/p/{environment}', owner_only: [»'/v1/q/{environment}/x']",
            "lies in no environment",
        ),
        ("account: »yes", "expected 'allow' or 'deny'"),
        ("access: public, »shared: [/v1]", "no meaning on a public route"),
        ("»methods: [GET]", "no meaning where keys are needed"),
        ("access: public, methods: [»get]", "a method in upper case"),
        ("access: public, methods: [»CONNECT]", "neither CONNECT nor TRACE"),
        ("access: public, »methods: []", "found an empty list"),
        ("selectors: { headers: [»'X Y'] }", "the name of a header"),
        ("selectors: { query: [»'a=b'] }", "not the name of a query parameter"),
        ("»method_override: {}", "the setting 'query' is missing"),
        ("cors: { origins: [»'https://a.example/'] }", "an origin as browsers send it"),
        ("cors: { origins: [»'https://a.example:443'] }", "an origin as browsers send it"),
        ("cors: { origins: [»'https://*.example.com'] }", "matches no origin"),
        ("cors: { origins: [»'*.example.com'] }", "matches no origin"),
        ("cors: { origins: [»'https://a.example:*'] }", "matches no origin"),
        ("cors: { origins: [»'**'] }", "matches no origin"),
        ("cors: { origins: [»'https://A.example'] }", "an origin as browsers send it"),
        ("cors: { origins: [»'https://ä.example'] }", "an origin as browsers send it"),
        ("cors: { origins: [»'https://u@a.example'] }", "an origin as browsers send it"),
        ("cors: { origins: [»'https://a.example:'] }", "an origin as browsers send it"),
        ("cors: { origins: [»'https://a.example:08443'] }", "an origin as browsers send it"),
        ("cors: { origins: [»'https://a.example:65536'] }", "an origin as browsers send it"),
        ("cors: { origins: [»'https://a..example'] }", "an origin as browsers send it"),
        ("cors: { origins: [»'http://127.1'] }", "an origin as browsers send it"),
        ("cors: { origins: [»'http://[0:0::1]'] }", "an origin as browsers send it"),
        ("cors: { origins: [»'http://[::1'] }", "an origin as browsers send it"),
        ("cors: { origins: [»'ftp://a.example'] }", "an origin as browsers send it"),
        ("cors: { origins: [»a.example] }", "an origin as browsers send it"),
        ("cors: { origins: [»'null'] }", "an origin as browsers send it"),
        ("cors: { origins: ['*'], allow_credentials: »true }", "no meaning beside the origin '*'"),
        (
            "cors: { origins: ['https://a.example', '*'], allow_credentials: »true }",
            "no meaning beside the origin '*'",
        ),
        ("cors: { origins: ['https://a.example'], allow_credentials: »yes }", "expected 'true' or 'false'"),
        ("cors: { origins: ['https://a.example'], expose_headers: [»'*'] }", "list the names"),
        ("cors: { origins: ['https://a.example'], headers: [»'*'] }", "list the names"),
        ("cors: { origins: ['https://a.example'], expose_headers: [ETag, »etag] }", "given twice"),
        ("encoded_slash: »true", "expected 'refuse' or 'allow', found 'true'"),
        ("body_bytes: »-1", "found the number -1"),
        ("»colour: red", "unknown setting 'colour'"),
    ] {
        one_mistake(&route(rest), message);
    }
    one_mistake(
        &with("routes", "routes: [{ path: /v1, upstream: api }, { path: »/v1, upstream: api }]"),
        "given twice, first in line 5",
    );
}

#[test]
fn a_route_without_its_path_is_judged_all_the_same() {
    let found =
        mistakes(&with("routes", "routes: [{ path: v1, upstream: api, account: yes, shared: ['/a//b'] }]"));
    for mistake in ["'v1' must start with '/'", "expected 'allow' or 'deny'", "'/a//b' has an empty segment"]
    {
        assert!(found.contains(mistake), "{mistake} is not in\n{found}");
    }
    assert_eq!(found.lines().count(), 3, "{found}");
}

#[test]
fn upstreams_are_judged() {
    for (rest, message) in [
        ("»endpoints: []", "found an empty list"),
        ("endpoints: [»'ftp://a']", "http:// or https://"),
        ("endpoints: [»'http://a/b']", "without user, path or query"),
        ("endpoints: [»'http://u@a']", "without user, path or query"),
        ("endpoints: [»'http://a:']", "http:// or https://"),
        ("endpoints: [»'http://a:0']", "http:// or https://"),
        ("endpoints: [»'http://a:99999']", "http:// or https://"),
        ("endpoints: ['http://a', »'https://a']", "all https://"),
        ("endpoints: ['http://a'], »tls: { ca: x }", "'tls' has no meaning here"),
        ("endpoints: ['http://a'], credential: { username: »'a:b', password_file: x }", "without a colon"),
        ("endpoints: ['http://a'], host: »'a/b'", "expected a host"),
        ("endpoints: ['http://a'], balance: »random", "expected 'least' or 'turn'"),
        ("endpoints: ['http://a'], ejection: »never", "expected 'off' or a mapping"),
        ("endpoints: ['http://a'], ejection: { consecutive: »0 }", "from 1 to 10000"),
        ("endpoints: ['http://a'], ejection: { for: »30 }", "a duration with its unit"),
        ("endpoints: ['http://a'], ejection: { at_most: »50 }", "a share from 1% to 100%"),
        ("endpoints: ['http://a'], ejection: { at_most: »0% }", "a share from 1% to 100%"),
        ("endpoints: ['http://a'], »health: { interval: 3s }", "the setting 'path' is missing"),
        ("endpoints: ['http://a'], health: { path: »x }", "a path such as /healthz"),
        ("endpoints: ['http://a'], health: { path: »'/a#b' }", "a path such as /healthz"),
        ("endpoints: ['http://a'], health: { path: /, timeout: »4s }", "expected at most 'interval'"),
        (
            "endpoints: ['http://a'], authorization: pass, »credential: { username: a, password_file: x }",
            "expected one of them",
        ),
    ] {
        one_mistake(&with("upstreams", &format!("upstreams: {{ api: {{ {rest} }} }}")), message);
    }
    let password =
        "upstreams: { api: { endpoints: ['http://a'], credential: { username: a, password: x } } }";
    assert!(mistakes(&with("upstreams", password)).contains("did you mean 'password_file'?"));
    let ejection = |value: &str| {
        let text = format!("upstreams: {{ api: {{ endpoints: ['http://a'], ejection: {value} }} }}");
        good(&with("upstreams", &text)).upstreams.remove(0).ejection
    };
    assert_eq!(ejection("off"), None);
    assert_eq!(ejection("{ at_most: 100% }").map(|it| (it.consecutive, it.at_most_percent)), Some((5, 100)));
    let text = with("upstreams", "upstreams: { api: { endpoints: ['https://[::1]:444', 'https://b'] } }");
    let endpoints: Vec<_> = good(&text).upstreams[0].endpoints.iter().map(ToString::to_string).collect();
    assert_eq!(endpoints, ["https://[::1]:444", "https://b:443"]);
}

#[test]
fn networks_and_headers_are_judged() {
    let text = format!("{LEAST}trusted_proxies: [10.0.0.0/8, 192.0.2.7, 10.0.0.1/8, x]\n");
    let found = mistakes(&text);
    assert!(found.contains("6:42 trusted_proxies[2]: expected '10.0.0.0/8'"), "{found}");
    assert!(found.contains("6:54 trusted_proxies[3]: expected an address or a network"), "{found}");
    let config = good(&format!(
        "{LEAST}trusted_proxies: [192.0.2.7, '2001:db8::/32']\nstrip_headers: [X_Secret.Thing]\n"
    ));
    assert_eq!(config.trusted_proxies.described(), ["192.0.2.7/32", "2001:db8::/32"]);
    assert_eq!(config.strip_headers, ["x-secret-thing"]);
    one_mistake(&format!("{LEAST}strip_headers: [»Transfer_Encoding]"), "cannot be stripped");
}

#[test]
fn the_path_of_the_store_is_found_whatever_else_is_wrong() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("portcullis.yaml");
    let found = |text: &str| {
        std::fs::write(&file, text).unwrap();
        load_store_path(&file).map(|path| path.strip_prefix(folder.path()).unwrap().to_owned())
    };
    for text in [
        LEAST,
        "store: { sqlite: a.db }\nlisteners: ${UNSET_VARIABLE}\nother: 1\n",
        "bad: [\nstore:\n  # a comment\n\n  sqlite: a.db\nroutes: {\n",
        "store:\r\n  sqlite: ${UNSET_VARIABLE:-a.db}\r\nbad: \"\r\n",
        "stores: 1\nstore:\n  postgres: { url: \"${UNSET_VARIABLE}\", replica: a.db }\n",
    ] {
        assert_eq!(found(text).unwrap(), Path::new("a.db"), "{text}");
    }
    for (text, expected) in [
        ("listeners: [", "is never closed"),
        ("store: [\nsqlite: a.db\n", "is never closed"),
        ("listeners: []\n", "'store.sqlite' or 'store.postgres.replica' is missing"),
        ("store:\n  sqlite: ${UNSET_VARIABLE}\n", "UNSET_VARIABLE is not set"),
    ] {
        let why = found(text).unwrap_err().to_string();
        assert!(why.contains(expected), "{text}: {why}");
    }
}

/// [`LEAST`] with a piece of the documentation in the place where it belongs.
fn with_piece(piece: &str) -> String {
    let piece = match piece.trim_start().split(':').next().unwrap_or_default() {
        "- path" => format!("routes:\n{piece}"),
        "credential" => format!("upstreams:\n  api:\n    endpoints: [\"http://a\"]\n{piece}"),
        _ if piece.starts_with(' ') => format!("routes:\n  - path: /v1\n    upstream: api\n{piece}"),
        _ => piece.to_owned(),
    };
    let key = |line: &str| line.split(':').next().unwrap_or_default().to_owned();
    let said: Vec<_> = piece.lines().filter(|line| !line.starts_with(' ')).map(key).collect();
    let mut lines: Vec<_> = LEAST.lines().filter(|line| !said.contains(&key(line))).collect();
    lines.push(&piece);
    lines.join("\n")
}

#[test]
fn every_piece_of_the_documentation_is_a_configuration() {
    let pieces: Vec<_> = include_str!("../../docs/configuration.md")
        .split("```yaml\n")
        .skip(1)
        .filter_map(|rest| rest.split("```").next())
        .collect();
    assert!(pieces.len() > 10, "only {} pieces were found", pieces.len());
    for piece in pieces {
        good(&with_piece(piece));
    }
}

#[test]
fn bounds_that_bound_nothing_are_mistakes() {
    for (key, text, position) in [
        ("management", "{ address: 127.0.0.1:1, connections: 0 }", "management.connections:"),
        (
            "management",
            "{ address: 127.0.0.1:1, connections: 4, connections_per_source: 5 }",
            "management.connections_per_source: expected a whole number from 1 to 4,",
        ),
        ("throttle", "{ key_failures: 0 }", "throttle.key_failures:"),
        ("argon2", "{ queue: 10001 }", "argon2.queue:"),
        ("authentication", "{ verification_timeout: 10 }", "authentication.verification_timeout:"),
        ("authentication", "{ verification_timeout: 1ms }", "authentication.verification_timeout:"),
    ] {
        let found = mistakes(&with(key, &format!("{key}: {text}")));
        assert!(found.contains(position), "{text}: {found}");
    }
    let few = good(&with("management", "management: { address: 127.0.0.1:1, connections: 4 }"));
    assert_eq!(few.management.unwrap().connections_per_source, 4);
}
