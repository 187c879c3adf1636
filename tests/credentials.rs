//! Attacks with credentials, cases 1 to 20: `Authorization` has one canonical reading, every key that does not work
//! gets the same answer, and no secret is left anywhere.

mod support;

use std::io::{Read as _, Seek as _, SeekFrom};
use std::sync::OnceLock;
use std::sync::mpsc;
use std::time::{Duration, Instant};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use support::cli::{Key, basic, basic_raw, minted_secret};
use support::gateway::Gateway;
use support::http1::{Client, Request, Response};
use support::stage::Stage;
use support::upstream::Answer;
use support::{PATIENCE, contains, find, marker, wait_for};

fn stage() -> &'static Stage {
    static STAGE: OnceLock<Stage> = OnceLock::new();
    STAGE.get_or_init(Stage::start)
}

const PATH: &str = "/v1/projects/e1/x";

fn get(authorization: impl AsRef<[u8]>) -> Request {
    Request::get(PATH).header("Authorization", authorization)
}

/// `user:password` of a key.
fn pair(key: &Key) -> String {
    format!("{}:{}", key.access_key, key.secret)
}

#[test]
fn case_01_no_credentials() {
    stage().refuses(Request::get(PATH), &[401]);
    stage().refuses(Request::new("POST", PATH), &[401]);
    stage().refuses(Request::get("/v1"), &[401]);
}

#[test]
fn case_02_two_authorization_headers() {
    let (a, e1) = (stage().gateway.admin.authorization(), stage().e1.authorization());
    for (first, second) in [(&a, &e1), (&e1, &a), (&a, &a)] {
        stage().refuses(get(first).header("Authorization", second), &[400]);
        stage().refuses(get(first).header("authorization", second), &[400]);
        stage().refuses(get("").header("Authorization", second), &[400]);
    }
}

#[test]
fn case_03_two_credentials_in_one_header() {
    let good = stage().e1.authorization();
    for value in [format!("{good}, {good}"), format!("{good},{good}"), format!("{good}, Bearer x")] {
        stage().refuses(get(value), &[400]);
    }
    stage().refuses(get(format!("Bearer x, {good}")), &[401]);
}

#[test]
fn case_04_the_scheme() {
    let good = stage().e1.authorization();
    let token = good.trim_start_matches("Basic ");
    for scheme in ["bAsIc", "basic", "BASIC"] {
        stage().passes(get(format!("{scheme} {token}")));
    }
    for value in [
        format!("Bearer Basic {token}"),
        format!("xBasic {token}"),
        format!("Basicx {token}"),
        format!("Basic{token}"),
        format!("Basic\t{token}"),
        format!("Basic: {token}"),
        format!("\"Basic\" {token}"),
        format!("Bearer {token}"),
        format!("Basic realm=\"x\" {token}"),
        token.to_owned(),
        "Basic".to_owned(),
        String::new(),
    ] {
        stage().refuses(get(value), &[401]);
    }
}

#[test]
fn case_05_proxy_authorization_is_no_credential() {
    let good = stage().e1.authorization();
    stage().refuses(Request::get(PATH).header("Proxy-Authorization", &good), &[401]);
    let seen = stage().passes(get(&good).header("Proxy-Authorization", &good));
    assert!(!contains(&seen.raw, good.as_bytes()), "a credential went on: {seen:?}");
    let seen = stage()
        .passes(Request::get("/healthz").header("Proxy-Authorization", &good).header("Authorization", &good));
    assert!(!contains(&seen.raw, good.as_bytes()), "a credential went on: {seen:?}");
}

#[test]
fn case_06_the_first_colon_splits() {
    let good = pair(&stage().e1);
    stage().passes(get(basic_raw(good.as_bytes())));
    for junk in [":junk", ":", "::"] {
        stage().refuses(get(basic_raw(format!("{good}{junk}").as_bytes())), &[401]);
    }
    stage().refuses(get(basic(format!("{}:", stage().e1.access_key), &stage().e1.secret)), &[401]);
}

#[test]
fn case_06_a_secret_may_hold_colons() {
    let stage = Stage::start();
    let key = stage.gateway.import_environment_key("e1", "chosen", "sec:ret");
    stage.passes(get(key.authorization()));
    for password in ["sec", "sec:", "sec:ret:junk", "sec:ret:", "ret", ":sec:ret", "sec:ret ", "SEC:RET"] {
        stage.refuses(get(basic("chosen", password)), &[401]);
    }
    stage.refuses(get(basic("chosen:sec", "ret!")), &[401]);
    stage.passes(get(key.authorization()));
}

#[test]
fn case_07_nothing_is_trimmed() {
    let Key { access_key, secret, .. } = &stage().e1;
    let (front, back) = access_key.split_at(9);
    for credential in [
        format!("{access_key}:{secret} "),
        format!("{access_key}: {secret}"),
        format!("{access_key} :{secret}"),
        format!(" {access_key}:{secret}"),
        format!("{front} {back}:{secret}"),
        format!("{access_key}:{secret}\t"),
        format!("{front}\t{back}:{secret}"),
        format!("{access_key}:{secret}\n"),
        format!("{access_key}:{secret}\r\n"),
        format!("{access_key}:{secret}\u{a0}"),
        format!("\u{feff}{access_key}:{secret}"),
        format!("{}:{secret}", access_key.to_uppercase()),
    ] {
        stage().refuses(get(basic_raw(credential.as_bytes())), &[401]);
    }
}

#[test]
fn case_08_empty_halves() {
    let Key { access_key, secret, .. } = &stage().e1;
    for credential in
        [format!("{access_key}:"), format!(":{secret}"), ":".to_owned(), access_key.clone(), String::new()]
    {
        stage().refuses(get(basic_raw(credential.as_bytes())), &[401]);
    }
    for value in ["Basic ", "Basic =", "Basic ===="] {
        stage().refuses(get(value), &[401]);
    }
}

#[test]
fn case_08_the_store_cannot_hold_an_empty_secret() {
    let store =
        rusqlite::Connection::open(stage().gateway.directory().join("portcullis.db")).expect("the store");
    let emptied = store.execute("UPDATE keys SET phc = '' WHERE access_key = ?1", [&stage().e1.access_key]);
    assert!(emptied.is_err(), "the store took an empty verifier: {emptied:?}");
    stage().passes(get(stage().e1.authorization()));
}

#[test]
fn case_09_one_canonical_base64() {
    // with this prefix a pair has 77 bytes, so that its base64 ends in one `=` and two bits that must be zero
    let stage = Stage::with(|plan| plan.top("key_prefix: pcx"));
    let good = STANDARD.encode(pair(&stage.e1));
    assert!(good.ends_with('=') && !good.ends_with("=="), "{good}");
    let request = |token: &str| get(format!("Basic {token}"));
    stage.passes(request(&good));
    let unpadded = good.trim_end_matches('=');
    let (front, back) = good.split_at(8);
    let last = unpadded.as_bytes()[unpadded.len() - 1];
    let alphabet = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let at = alphabet.iter().position(|&digit| digit == last).expect("a digit");
    let bits =
        (1..4).map(|bits| format!("{}{}=", &unpadded[..unpadded.len() - 1], char::from(alphabet[at | bits])));
    let mut tokens = vec![
        unpadded.to_owned(),
        format!("{good}="),
        format!("{good}=="),
        format!("{good}A"),
        format!("{good}AAAA"),
        format!("={good}"),
        format!("{front} {back}"),
        format!("{front}\t{back}"),
        format!("{front}={back}"),
        format!("{front}-{back}"),
        format!("{front}_{back}"),
        format!("{good};"),
        format!("{good} x"),
        format!("\"{good}\""),
        good.replace('=', "%3D"),
        unpadded[..unpadded.len() - 1].to_owned(),
    ];
    tokens.extend(bits);
    for token in tokens {
        stage.refuses(request(&token), &[401]);
    }
    for folded in [format!("{front}\r\n {back}"), format!("{front}\n{back}"), format!("{front}\r{back}")] {
        stage.refuses(request(&folded), &[400]);
    }
}

#[test]
fn case_10_credentials_that_are_no_text() {
    let Key { access_key, secret, .. } = &stage().e1;
    for user in [
        &b"\xff\xfe"[..],
        b"id\0",
        b"\x1b[31mred\x1b[0m",
        b"id\x07",
        b"id\x7f",
        b"\xc3\x28",
        "id\u{85}".as_bytes(),
    ] {
        stage().refuses(get(basic(user, secret)), &[401]);
        stage().refuses(get(basic([access_key.as_bytes(), user].concat(), secret)), &[401]);
        stage().refuses(get(basic(access_key, [secret.as_bytes(), user].concat())), &[401]);
    }
    stage().refuses(get("\x1b[31m"), &[400]);
    stage().refuses(get("Basic \u{fffd}\u{202e}"), &[401]);
    for output in [stage().gateway.log(), stage().gateway.stdout()] {
        assert!(!output.contains(['\x1b', '\0', '\x07', '\u{202e}']), "unescaped: {output:?}");
    }
}

#[test]
fn case_11_huge_credentials_are_never_hashed() {
    let stage = Stage::start();
    let access_key = &stage.e1.access_key;
    let before = stage.gateway.authentication_count("argon2_runs");
    for length in [1024, 2 * 1024, 16 * 1024] {
        stage.refuses(get(basic(access_key, "x".repeat(length))), &[401]);
        stage.refuses(get(basic("x".repeat(length), "y")), &[401]);
    }
    stage.refuses(get(basic(access_key, "x".repeat(64 * 1024))), &[401, 431]);
    assert_eq!(stage.gateway.authentication_count("argon2_runs"), before);
}

#[test]
fn case_12_a_wrong_checksum_costs_nothing() {
    let stage = Stage::start();
    let figures = || {
        ["store_reads", "argon2_runs", "fingerprint_mismatches"]
            .map(|name| stage.gateway.authentication_count(name))
    };
    let (before, refused_before) = (figures(), stage.gateway.authentication_count("checksum_refusals"));
    let secret = &stage.e1.secret;
    for at in [4, 20, 45, 49] {
        // one character of the secret is another
        let mut typo = secret.clone().into_bytes();
        typo[at] = if typo[at] == b'a' { b'b' } else { b'a' };
        stage.refuses(get(basic(&stage.e1.access_key, &typo)), &[401]);
        stage.refuses(get(basic("pce_00000000000000000000", &typo)), &[401]);
    }
    assert_eq!(figures(), before, "store reads, argon2 runs, fingerprints compared");
    assert_eq!(stage.gateway.authentication_count("checksum_refusals"), refused_before + 8);
}

/// The time from the last byte of a request to the whole answer, on a connection and from a source of its own.
fn time_of(gateway: &Gateway, request: &[u8]) -> (Duration, Response) {
    let mut client = gateway.connect();
    let start = Instant::now();
    client.send(request);
    let answer = client.read();
    (start.elapsed(), answer)
}

/// The two-sample Kolmogorov-Smirnov statistic.
fn distance(a: &mut [Duration], b: &mut [Duration]) -> f64 {
    a.sort_unstable();
    b.sort_unstable();
    let share = |sample: &[Duration], limit: Duration| {
        let below = sample.partition_point(|&time| time <= limit);
        f64::from(u32::try_from(below).expect("small"))
            / f64::from(u32::try_from(sample.len()).expect("small"))
    };
    a.iter().chain(b.iter()).map(|&limit| (share(a, limit) - share(b, limit)).abs()).fold(0.0, f64::max)
}

#[test]
fn case_13_unknown_key_and_wrong_secret_look_alike() {
    const EACH: usize = 300;
    let stage = stage();
    let wrong = get(stage.e1.with_wrong_secret().authorization()).end();
    let unknown = get(basic("pce_zzzzzzzzzzzzzzzzzzzz", minted_secret(0))).end();
    let (_, first) = time_of(&stage.gateway, &wrong);
    first.assert_refused(401);
    let expected = first.without_id_and_date();
    let (mut wrong_times, mut unknown_times) = (Vec::new(), Vec::new());
    for _ in 0..EACH {
        for (request, times) in [(&wrong, &mut wrong_times), (&unknown, &mut unknown_times)] {
            let (time, answer) = time_of(&stage.gateway, request);
            assert_eq!(answer.without_id_and_date(), expected);
            times.push(time);
        }
    }
    let distance = distance(&mut wrong_times, &mut unknown_times);
    // the bound that equal distributions pass but once in a million runs: sqrt(-ln(1e-6 / 2) / 2) * sqrt(2 / EACH)
    let bound = (-(0.5e-6_f64).ln() / 2.0).sqrt() * (2.0 / 300.0_f64).sqrt();
    let medians = (wrong_times[EACH / 2], unknown_times[EACH / 2]);
    assert!(distance < bound, "distance {distance:.3}, bound {bound:.3}, medians {medians:?}");
}

#[test]
fn case_13_a_first_failure_costs_the_same_for_known_and_unknown_keys() {
    let stage = Stage::start();
    let figures = || {
        ["store_reads", "fingerprint_mismatches", "argon2_runs", "memory_mismatches", "unauthorized"]
            .map(|event| stage.gateway.authentication_count(event))
    };
    let cost = |access_key: &str| {
        let before = figures();
        stage.refuses(get(basic(access_key, minted_secret(13))), &[401]);
        let after = figures();
        [0, 1, 2, 3, 4].map(|at| after[at] - before[at])
    };
    // the first reading of the figures brings the admin's own key into memory
    figures();
    let inactive = stage.gateway.create_environment_key("e1");
    // Nothing may be under way that drops what first failures leave behind. Changes are applied in order, and a key
    // that has been in memory since before them stops working when its own is.
    stage.passes(Request::get("/v1/projects/e2/x").key(&stage.e2));
    stage.gateway.succeed(&["key", "deactivate", &inactive.access_key]);
    stage.gateway.succeed(&["key", "deactivate", &stage.e2.access_key]);
    wait_for(PATIENCE, "the changes are applied", || {
        stage.gateway.exchange(get(stage.e2.authorization()).end()).status == 401
    });
    let one_read_one_mac = [1, 1, 0, 0, 1];
    assert_eq!(cost("pce_zzzzzzzzzzzzzzzzzzzz"), one_read_one_mac, "unknown");
    assert_eq!(cost(&stage.e1.access_key), one_read_one_mac, "known");
    assert_eq!(cost(&inactive.access_key), one_read_one_mac, "inactive");
    let one_mac = [0, 1, 0, 0, 1];
    assert_eq!(cost("pce_zzzzzzzzzzzzzzzzzzzz"), one_mac, "unknown, again");
    assert_eq!(cost(&stage.e1.access_key), one_mac, "known, again");
    assert_eq!(cost(&inactive.access_key), one_mac, "inactive, again");
}

#[test]
fn case_13_chosen_pairs_leave_at_a_fixed_time() {
    const FIXED: Duration = Duration::from_millis(250);
    let stage = Stage::start();
    let [known, warm, inactive] = ["known", "warm", "inactive"]
        .map(|name| stage.gateway.import_environment_key("e1", name, "a chosen secret"));
    stage.gateway.succeed(&["key", "deactivate", &inactive.access_key]);
    stage.passes(get(warm.authorization()));
    let wrong = |user: &str| get(basic(user, "another chosen secret")).end();
    let cases = [
        ("known", wrong(&known.access_key)),
        ("known and in memory", wrong(&warm.access_key)),
        ("inactive", wrong(&inactive.access_key)),
        ("inactive with its right secret", get(inactive.authorization()).end()),
        ("unknown", wrong("unknown")),
    ];
    let mut times: Vec<Vec<Duration>> = vec![Vec::new(); cases.len()];
    let (_, first) = time_of(&stage.gateway, &cases[0].1);
    for _ in 0..6 {
        for ((name, request), times) in cases.iter().zip(&mut times) {
            let (time, answer) = time_of(&stage.gateway, request);
            assert_eq!(answer.without_id_and_date(), first.without_id_and_date(), "{name}");
            assert!(time >= FIXED, "{name} was refused after {time:?}");
            times.push(time);
        }
    }
    // none hashes for longer than the others wait: the quickest of each leave together
    let quickest: Vec<Duration> = times.iter().filter_map(|times| times.iter().min().copied()).collect();
    let spread =
        quickest.iter().max().zip(quickest.iter().min()).map(|(most, least)| most.saturating_sub(*least));
    assert!(spread < Some(FIXED / 5), "{quickest:?}");
}

#[test]
fn case_14_every_key_that_does_not_work_gets_one_answer() {
    let stage = Stage::start();
    let cli = &stage.gateway.cli;
    let user = cli.create_account("u1", "user");
    let of_inactive_account = cli.create_account_key(&user);
    let [inactive, deleted] = [(); 2].map(|()| cli.create_environment_key("e1"));
    cli.create_environment("e3");
    let of_inactive_environment = cli.create_environment_key("e3");
    cli.succeed(&["key", "deactivate", &inactive.access_key]);
    cli.succeed(&["key", "deactivate", &deleted.access_key]);
    cli.succeed(&["key", "delete", &deleted.access_key]);
    cli.succeed(&["account", "deactivate", &user]);
    cli.succeed(&["environment", "deactivate", "e3"]);
    let wrong = stage.refuses(get(stage.e1.with_wrong_secret().authorization()), &[401]);
    for (why, key) in [
        ("inactive", &inactive),
        ("deleted", &deleted),
        ("of an inactive account", &of_inactive_account),
        ("of an inactive environment", &of_inactive_environment),
    ] {
        let request = || get(key.authorization()).end();
        wait_for(PATIENCE, why, || stage.gateway.exchange(request()).status == 401);
        let answer = stage.refuses(get(key.authorization()), &[401]);
        assert_eq!(answer.without_id_and_date(), wrong.without_id_and_date(), "{why}");
    }
}

#[test]
fn case_15_another_request_in_flight_lends_nothing() {
    let (release, wait) = mpsc::channel::<()>();
    let wait = std::sync::Mutex::new(wait);
    let path = format!("/v1/projects/e1/{}", marker());
    stage().upstream.answer(
        &path,
        Answer::after_body(move |_, conversation| {
            let held = wait.lock().is_ok_and(|wait| wait.recv_timeout(PATIENCE).is_ok());
            held && conversation.send("HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n").is_ok()
        }),
    );
    let store =
        rusqlite::Connection::open(stage().gateway.directory().join("portcullis.db")).expect("the store");
    let hash: String = store
        .query_row("SELECT phc FROM keys WHERE access_key = ?1", [&stage().e1.access_key], |row| row.get(0))
        .expect("the key is stored");
    let mut valid = stage().gateway.connect();
    valid.send(Request::get(&path).key(&stage().e1).mark(&path).end());
    stage().upstream.wait_for(&path);
    let Key { access_key, secret, .. } = &stage().e1;
    for (user, password) in [
        (access_key.as_str(), format!("{secret}{hash}")),
        (access_key.as_str(), hash.clone()),
        ("nobody", format!("{secret}{hash}")),
        ("nobody", secret.clone()),
        ("pce_zzzzzzzzzzzzzzzzzzzz", secret.clone()),
        ("pce_zzzzzzzzzzzzzzzzzzzz", format!("{secret}{hash}")),
    ] {
        stage().refuses(get(basic(user, password)), &[401]);
    }
    release.send(()).expect("the upstream still waits");
    assert_eq!(valid.read().status, 200);
}

#[test]
fn case_15_a_verification_in_flight_lends_nothing() {
    let stage = Stage::start();
    let key = stage.gateway.import_environment_key("e1", "chosen", "a chosen secret");
    let hash: String = rusqlite::Connection::open(stage.gateway.directory().join("portcullis.db"))
        .and_then(|store| {
            store.query_row("SELECT phc FROM keys WHERE access_key = 'chosen'", [], |row| row.get(0))
        })
        .expect("the key is stored");
    let password = format!("{}{hash}", key.secret);
    // all at once, while argon2 has never seen the key: who is right passes, and lends it to nobody
    let attempts = [
        (key.authorization(), 200),
        (basic("chosen", &password), 401),
        (basic("nobody", &password), 401),
        (basic("nobody", &key.secret), 401),
        (basic(format!("chosen{}", key.secret), &hash), 401),
        (key.authorization(), 200),
    ];
    let mut waiting: Vec<_> = attempts
        .iter()
        .map(|(authorization, status)| {
            let mut client = stage.gateway.connect();
            client.send(get(authorization).end());
            (client, *status)
        })
        .collect();
    for (client, status) in &mut waiting {
        let answer = client.read();
        assert_eq!(answer.status, *status, "{answer:?}");
    }
}

#[test]
fn case_16_the_border_between_user_and_password_counts() {
    let Key { access_key, secret, .. } = &stage().e1;
    stage().passes(get(stage().e1.authorization()));
    let whole = format!("{access_key}{secret}");
    for border in (1..whole.len()).filter(|&border| border != access_key.len()) {
        let (user, password) = whole.split_at(border);
        // without waiting for each: 401s of this kind take their fixed time
        if border % 7 == 0 || border.abs_diff(access_key.len()) <= 2 {
            stage().refuses(get(basic(user, password)), &[401]);
        }
    }
}

#[test]
fn case_17_floods_of_bad_credentials_evict_nothing() {
    let stage = Stage::start();
    let good = get(stage.e1.authorization()).end();
    assert_eq!(stage.gateway.exchange(&good).status, 200);
    let flood = |from: u32, until: u32| {
        for number in from..until {
            let mut client = stage.gateway.connect();
            for kind in 0..3 {
                // unknown keys, a known one with a wrong secret
                let user = if kind == 2 {
                    stage.e1.access_key.clone()
                } else {
                    format!("pce_{:020}", number * 3 + kind)
                };
                client.send(get(basic(user, minted_secret(u64::from(number)))).end());
                assert_eq!(client.read().status, 401);
            }
        }
    };
    flood(0, 150);
    let (resident, hits, reads) = (
        stage.gateway.resident_bytes(),
        stage.gateway.authentication_count("memory_hits"),
        stage.gateway.authentication_count("store_reads"),
    );
    let mut good_answers = 0;
    for part in 1..8 {
        flood(part * 150, part * 150 + 150);
        assert_eq!(stage.gateway.exchange(&good).status, 200);
        good_answers += 1;
    }
    // reading the metrics takes a key, too, from its own account
    let grown = stage.gateway.resident_bytes().saturating_sub(resident);
    assert!(
        stage.gateway.authentication_count("memory_hits") >= hits + good_answers,
        "good keys left the memory"
    );
    assert!(stage.gateway.authentication_count("store_reads") >= reads, "a counter fell");
    assert!(grown < 32 << 20, "3,150 bad credentials took {grown} bytes");
}

#[test]
fn case_18_secrets_belong_to_one_key() {
    let (e1, e2, admin) = (&stage().e1, &stage().e2, &stage().gateway.admin);
    for (one, other) in [(e1, admin), (admin, e1), (e1, e2), (e2, e1)] {
        stage().passes(Request::get("/v1/projects/e1/x").key(e1));
        stage().refuses(get(basic(&one.access_key, &other.secret)), &[401]);
    }
    // another gateway's keys are nothing here
    let elsewhere = Stage::start();
    for key in [&elsewhere.gateway.admin, &elsewhere.e1] {
        elsewhere.passes(get(key.authorization()));
        stage().refuses(get(key.authorization()), &[401]);
    }
}

#[test]
fn case_19_credentials_elsewhere_than_in_authorization() {
    let Key { access_key, secret, .. } = &stage().e1;
    let mark = marker();
    let target = format!("/v1/projects/e1/{mark}?access_key={access_key}&secret={secret}");
    stage().refuses(Request::get(&target), &[401]);
    let userinfo = format!("http://{access_key}:{secret}@gw.test/v1/projects/e1/{mark}");
    stage().refuses(Request::get(&userinfo), &[400]);
    for header in ["Cookie", "X-API-Key", "X-Api-Secret", "token"] {
        stage().refuses(Request::get(PATH).header(header, secret), &[401]);
    }
    // in a query they are the upstream's business, where another credential opens the way
    let seen = stage().passes(Request::get(&target).key(&stage().e1));
    assert_eq!(seen.path(), target);
    wait_for(PATIENCE, "the access log tells of the requests", || {
        (stage().gateway.stdout() + &stage().gateway.log()).matches(&mark).count() >= 2
    });
    for output in [stage().gateway.log(), stage().gateway.stdout()] {
        assert!(!output.contains(secret.as_str()), "a secret was logged:\n{output}");
    }
}

#[test]
fn case_19_no_credential_is_logged() {
    let stage = Stage::with(|plan| plan.top("log: { filter: trace, access: stdout }"));
    let secrets = [stage.gateway.admin.secret.clone(), stage.e1.secret.clone(), minted_secret(19)];
    let mark = marker();
    let path = format!("/v1/projects/e1/{mark}");
    for authorization in [
        stage.gateway.admin.authorization(),
        stage.e1.authorization(),
        basic(&stage.e1.access_key, minted_secret(19)),
        format!("{}, x", stage.e1.authorization()),
        format!("Bearer {}", stage.e1.secret),
    ] {
        stage.gateway.exchange(Request::get(&path).header("Authorization", authorization).end());
    }
    wait_for(PATIENCE, "the access log tells of the requests", || {
        stage.gateway.stdout().matches(&mark).count() >= 5
    });
    for output in [stage.gateway.log(), stage.gateway.stdout()] {
        for secret in &secrets {
            assert!(!output.contains(secret.as_str()), "a secret was logged:\n{output}");
        }
        for key in [&stage.gateway.admin, &stage.e1] {
            let token = STANDARD.encode(pair(key));
            assert!(!output.contains(&token), "a credential was logged:\n{output}");
        }
    }
}

/// Whether the writable memory of a process holds any of these texts; returns what was found.
fn memory_holding<'a>(pid: u32, texts: &[&'a [u8]]) -> Vec<&'a [u8]> {
    let maps = std::fs::read_to_string(format!("/proc/{pid}/maps")).expect("our child's memory map");
    let mut memory = std::fs::File::open(format!("/proc/{pid}/mem")).expect("our child's memory");
    let mut found = Vec::new();
    for line in
        maps.lines().filter(|line| line.split(' ').nth(1).is_some_and(|rights| rights.starts_with("rw")))
    {
        let (start, end) = line.split(' ').next().and_then(|range| range.split_once('-')).expect("a range");
        let number = |text| u64::from_str_radix(text, 16).expect("an address");
        let (start, end) = (number(start), number(end));
        let mut bytes = Vec::new();
        if memory.seek(SeekFrom::Start(start)).is_err() {
            continue;
        }
        // parts that were never touched, or went meanwhile, cannot be read
        (&memory).take(end - start).read_to_end(&mut bytes).ok();
        found.extend(texts.iter().filter(|text| find(&bytes, text).is_some()));
    }
    found
}

#[test]
fn case_20_no_secret_stays_in_memory() {
    let stage = Stage::start();
    let token = STANDARD.encode(pair(&stage.e1));
    let secret = stage.e1.secret.as_bytes();
    let texts = [secret, token.as_bytes()];
    for _ in 0..20 {
        let mut client = stage.gateway.connect();
        for _ in 0..20 {
            client.send(get(stage.e1.authorization()).end());
            assert_eq!(client.read().status, 200);
        }
    }
    // the looking glass works: the access key is no secret, and is there
    let access_key = stage.e1.access_key.as_bytes();
    assert!(!memory_holding(stage.gateway.pid(), &[access_key]).is_empty(), "nothing could be read");
    let end = Instant::now() + Duration::from_secs(5);
    let mut found = memory_holding(stage.gateway.pid(), &texts);
    while !found.is_empty() && Instant::now() < end {
        // connections that just ended may still be on their way out
        std::thread::sleep(Duration::from_millis(100));
        found = memory_holding(stage.gateway.pid(), &texts);
    }
    let found: Vec<_> =
        found.iter().map(|text| if *text == secret { "the secret" } else { "its base64" }).collect();
    assert!(found.is_empty(), "after 400 requests the memory still holds {found:?}");
}

#[test]
fn credentials_are_the_requests_not_the_connections() {
    let mut client = stage().gateway.connect();
    for (key, status) in [
        (Some(&stage().e1), 200),
        (None, 401),
        (Some(&stage().e2), 403),
        (Some(&stage().e1.with_wrong_secret()), 401),
        (Some(&stage().gateway.admin), 200),
        (None, 401),
        (Some(&stage().e1), 200),
    ] {
        let mark = marker();
        let request = Request::get(PATH).mark(&mark);
        client.send(key.map_or(request.clone(), |key| request.key(key)).end());
        let answer = client.read();
        assert_eq!(answer.status, status, "{answer:?}");
        if let (200, Some(key)) = (status, key) {
            let told = stage().upstream.only(&mark).header("X-API-Key-Id");
            assert_eq!(told.as_ref(), Some(&key.access_key), "who acts is who asked");
        } else {
            stage().upstream.assert_unseen(&mark, "a refused request between others");
        }
    }
}

#[test]
fn an_http_2_client_needs_a_key_too() {
    let request = |authorization: Option<String>| {
        let mut builder = http::Request::get(format!("https://gw.test{PATH}"));
        if let Some(authorization) = authorization {
            builder = builder.header("authorization", authorization);
        }
        support::http2::exchange(stage().gateway.https(), builder.body(()).expect("a request"), b"")
            .expect("an answer")
    };
    let refused = request(None);
    assert_eq!(refused.status, 401);
    assert_eq!(refused.headers.get_all("www-authenticate").iter().count(), 1);
    assert_eq!(request(Some(stage().e1.with_wrong_secret().authorization())).status, 401);
    assert_eq!(request(Some(stage().e2.authorization())).status, 403);
    assert_eq!(request(Some(stage().e1.authorization())).status, 200);
}

#[test]
fn a_tls_client_needs_a_key_too() {
    let mut client: Client = support::tls::connect(stage().gateway.https());
    client.send(Request::get(PATH).end());
    client.read().assert_refused(401);
    client.send(Request::get(PATH).key(&stage().e1).end());
    let answer = client.read();
    assert_eq!(answer.status, 200);
    assert!(answer.text().contains("X-Forwarded-Proto: https"), "{answer:?}");
}
