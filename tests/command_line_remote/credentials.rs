//! Which gateway is asked, with which key, and whether its certificate is trusted.

use std::fs;

use serde_json::Value;

use crate::remote_machine::{RemoteMachine, text, url};
use crate::support::certificates::Authority;
use crate::support::cli::{Cli, Key};
use crate::support::gateway::Plan;
use crate::support::stage::Stage;
use crate::support::upstream::Upstream;
use crate::support::{PATIENCE, wait_for};

#[test]
fn a_key_that_does_not_work_is_told_by_where_it_comes_from_and_never_shown() {
    let stage = Stage::start();
    let (url, wrong) = (url(&stage.gateway), stage.gateway.admin.with_wrong_secret());
    let pair = format!("{}:{}", wrong.access_key, wrong.secret);
    let entry = format!("default login {} password {}", wrong.access_key, wrong.secret);
    for (cli, source) in [
        (RemoteMachine::new(&*url).options(&["--key", &pair]), "the key given with --key"),
        (RemoteMachine::new(&*url).variable("PORTCULLIS_KEY", &*pair), "the key in PORTCULLIS_KEY"),
        (RemoteMachine::new(&*url).netrc(&entry, 0o600), "/.netrc"),
    ] {
        let refused = cli.refused(&["key", "list"]);
        assert!(refused.contains(source) && refused.contains("(401)"), "{refused}");
        assert!(!refused.contains(&wrong.secret), "{refused}");
    }
    // who fails too often is told to wait; with seconds to go the command does not
    let cli = RemoteMachine::with_key(&*url, &wrong);
    wait_for(PATIENCE, "the throttle closes", || cli.refused(&["key", "list"]).contains("(429)"));
    let refused = cli.refused(&["key", "list"]);
    assert!(refused.contains("try again in"), "{refused}");
}

#[test]
fn the_nearest_key_counts() {
    let stage = Stage::start();
    let url = url(&stage.gateway);
    let Key { access_key, secret, .. } = &stage.gateway.admin;
    let (pair, nobody) = (format!("{access_key}:{secret}"), "pca_nobody:nothing");
    let entry = format!("machine 127.0.0.1 login {access_key} password {secret}");
    let wrong = "machine 127.0.0.1 login pca_nobody password nothing";
    let works = |cli: RemoteMachine| cli.succeed(&["account", "list"]);
    works(
        RemoteMachine::new(&*url)
            .options(&["--key", &pair])
            .variable("PORTCULLIS_KEY", nobody)
            .netrc(wrong, 0o600),
    );
    works(RemoteMachine::new(&*url).variable("PORTCULLIS_KEY", &*pair).netrc(wrong, 0o600));
    works(RemoteMachine::new(&*url).variable("PORTCULLIS_KEY", "").netrc(&entry, 0o600));

    // the access key alone: the secret of the entry with that login, or the one in the environment
    let several = format!("{wrong}\n{entry}\n");
    works(RemoteMachine::new(&*url).options(&["--key", access_key]).netrc(&several, 0o600));
    works(
        RemoteMachine::new(&*url)
            .variable("PORTCULLIS_KEY", access_key)
            .variable("PORTCULLIS_SECRET", secret),
    );
    let refused = RemoteMachine::new(&*url)
        .options(&["--key", access_key])
        .netrc(wrong, 0o600)
        .refused(&["key", "list"]);
    assert!(refused.contains("has no secret") && refused.contains("127.0.0.1"), "{refused}");

    // a file that others can read is used, and complained of
    let open = works(RemoteMachine::new(&*url).netrc(&entry, 0o644));
    assert!(open.stderr.contains("can be read by others: chmod 600"), "{open:?}");
    // NETRC names another file, which must be there
    let cli = RemoteMachine::new(&*url).netrc(wrong, 0o600);
    let other = cli.home_file("other");
    fs::write(&other, &entry).expect("written");
    let other = other.to_str().expect("a path").to_owned();
    works(cli.variable("NETRC", &*other));
    let refused = RemoteMachine::new(&*url).variable("NETRC", "/nonexistent/netrc").refused(&["key", "list"]);
    assert!(refused.contains("cannot read /nonexistent/netrc"), "{refused}");
    let refused =
        RemoteMachine::new(&*url).netrc("machine a\nlogin \"pcs_secret", 0o600).refused(&["key", "list"]);
    assert!(
        refused.contains("line 2: a quote is not closed") && !refused.contains("pcs_secret"),
        "{refused}"
    );

    let refused = RemoteMachine::new(&*url).refused(&["key", "list"]);
    assert!(
        refused.contains("no key for http://127.0.0.1") && refused.contains("PORTCULLIS_KEY="),
        "{refused}"
    );
}

#[test]
fn the_gateway_can_be_named_in_the_environment_and_overruled() {
    let stage = Stage::start();
    let run = |url: &str, arguments: &[&str]| {
        let output = Cli::program()
            .args(arguments)
            .arg("--config")
            .arg(stage.gateway.config())
            .env("PORTCULLIS_URL", url)
            .env(
                "PORTCULLIS_KEY",
                format!("{}:{}", stage.gateway.admin.access_key, stage.gateway.admin.secret),
            )
            .output()
            .expect("it runs");
        assert!(output.status.success(), "{output:?}");
        let document: Value = serde_json::from_slice(&output.stdout).expect("JSON");
        document["links"]["self"].is_string()
    };
    let show = ["environment", "show", "e1", "--output", "json"];
    assert!(run(&url(&stage.gateway), &show), "from the gateway");
    assert!(!run("", &show), "from the store");
    assert!(!run(&url(&stage.gateway), &[&show[..], &["--url", ""]].concat()), "from the store");
}

#[test]
fn wrong_usage_is_status_2() {
    for (url, options) in [
        ("", &["--key", "pca_x:hush"][..]),
        ("", &["--cacert", "ca.pem"]),
        ("127.0.0.1:8081", &[]),
        ("http://pca_x:hush@127.0.0.1:8081", &[]),
        ("http://127.0.0.1:8081/v1", &[]),
        ("ftp://127.0.0.1", &[]),
    ] {
        let outcome = RemoteMachine::new(url).options(options).run(&["key", "list"]);
        assert_eq!((outcome.code, outcome.stdout.as_str()), (2, ""), "{url}: {outcome:?}");
        assert!(!outcome.stderr.contains("hush"), "{outcome:?}");
    }
}

#[test]
fn a_certificate_must_be_trusted() {
    let authority_folder = tempfile::tempdir().expect("a folder");
    let authority = Authority::new(authority_folder.path());
    let signed = authority.sign(&["localhost", "127.0.0.1"]);
    let ca = authority.file().to_str().expect("a path").to_owned();
    let upstream = Upstream::start();
    let tls = |entry: &str| format!("  tls: {{ certificates: [ {entry} ] }}");
    let gateway = Plan::new(&upstream).management(&tls(&signed.entry())).start();
    let https = format!("https://{}", gateway.management());
    let remote = |url: &str, options: &[&str]| RemoteMachine::with_key(url, &gateway.admin).options(options);

    let listed = remote(&https, &["--cacert", &ca]).json(&["account", "list"]);
    assert!(text(&listed["links"], "self").starts_with("https://"), "{listed}");
    remote(&format!("https://localhost:{}", gateway.management().port()), &["--cacert", &ca])
        .succeed(&["account", "list"]);

    let refused = remote(&https, &[]).refused(&["account", "list"]);
    assert!(
        refused.contains("is not signed by anyone whom this machine trusts") && refused.contains("--cacert"),
        "{refused}"
    );
    let development = gateway.directory().join("certs/gateway.pem");
    let development = development.to_str().expect("a path");
    let refused = remote(&https, &["--cacert", development]).refused(&["account", "list"]);
    assert!(refused.contains("gateway.pem names"), "{refused}");
    let other = format!("https://127.0.0.2:{}", gateway.management().port());
    let cli = remote(&other, &["--cacert", &ca]);
    assert!(cli.refused(&["account", "list"]).contains("cannot connect"), "nothing listens there");
    let plain = format!("http://{}", gateway.management());
    let refused = remote(&plain, &[]).refused(&["account", "list"]);
    assert!(refused.contains("https://"), "{refused}");
    for (file, complaint) in [("/nonexistent.pem", "/nonexistent.pem"), ("/dev/null", "holds no certificate")]
    {
        let refused = remote(&https, &["--cacert", file]).refused(&["account", "list"]);
        assert!(refused.contains(complaint), "{refused}");
    }

    // the certificate that `init` makes is its own authority
    let site = Plan::new(&upstream)
        .management(&tls("{ certificate: certs/gateway.pem, key: certs/gateway.key }"))
        .start();
    let https = format!("https://{}", site.management());
    let own = site.directory().join("certs/gateway.pem");
    let own = ["--cacert", own.to_str().expect("a path")];
    RemoteMachine::with_key(&*https, &site.admin).options(&own).succeed(&["account", "list"]);
    let refused = RemoteMachine::with_key(&*https, &site.admin).refused(&["account", "list"]);
    assert!(refused.contains("--cacert"), "{refused}");
    // a certificate for another name
    let named = authority.sign(&["elsewhere.test"]);
    let site = Plan::new(&upstream).management(&tls(&named.entry())).start();
    let cli = RemoteMachine::with_key(format!("https://{}", site.management()), &site.admin)
        .options(&["--cacert", &ca]);
    let refused = cli.refused(&["account", "list"]);
    assert!(refused.contains("cannot be accepted") && refused.contains("elsewhere.test"), "{refused}");
    // no TLS where TLS is expected
    let plain = Plan::new(&upstream).start();
    let cli = RemoteMachine::with_key(format!("https://{}", plain.management()), &plain.admin)
        .options(&["--cacert", &ca]);
    assert!(cli.refused(&["account", "list"]).contains("say http://"));
}
