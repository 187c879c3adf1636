//! Certificates whose files change are taken over by the running gateway, with no reload and nobody noticing.

#![allow(clippy::unwrap_used, reason = "helpers of tests stop the test where something is not as it must be")]

mod support;

use std::fs;
use std::net::SocketAddr;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread;
use std::time::Duration;

use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject as _;
use support::certificates::{Authority, Files};
use support::gateway::{Gateway, Plan};
use support::http1::{Client, Request};
use support::tls::{believing, handshake};
use support::upstream::Upstream;
use support::{PATIENCE, stays, wait_for};
use tempfile::TempDir;

/// A gateway whose listeners show certificates of files that the tests change.
struct Stage {
    // first, so that the gateway ends before its upstream
    gateway: Gateway,
    _upstream: Upstream,
    authority: Authority,
    folder: TempDir,
}

impl Stage {
    /// With `one.pem` for `one.test`, and `two.pem` for `two.test`; `one.pem` is the management listener's too.
    fn start() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let authority = Authority::new(folder.path());
        let (one, two) = (in_folder(folder.path(), "one"), in_folder(folder.path(), "two"));
        copy(&authority.sign(&["one.test"]), &one);
        copy(&authority.sign(&["two.test"]), &two);
        let listeners = format!(
            "  - address: 127.0.0.1:0\n  - address: 127.0.0.1:0\n    tls: {{ certificates: [ {}, {} ] }}\n",
            one.entry(),
            two.entry()
        );
        let upstream = Upstream::start();
        let management = format!("  tls: {{ certificates: [ {} ] }}", one.entry());
        let plan = Plan::new(&upstream).listeners(&listeners).management(&management);
        Self { gateway: plan.prepare().start(), _upstream: upstream, authority, folder }
    }

    fn files(&self, stem: &str) -> Files {
        in_folder(self.folder.path(), stem)
    }

    /// A new certificate for `name`, in files that no listener uses.
    fn renewed(&self, name: &str) -> Files {
        // the authority writes to the same files each time
        let signed = self.authority.sign(&[name]);
        let files = self.files(&format!("renewed-{name}"));
        copy(&signed, &files);
        files
    }

    fn metric(&self, name: &str, label: &str) -> Vec<u64> {
        let mut client = support::tls::connect(self.gateway.management());
        client.send(Request::get("/metrics").key(&self.gateway.admin).end());
        let text = client.read().text();
        let lines = text.lines().filter(|line| line.starts_with(name) && line.contains(label));
        lines.map(|line| line.rsplit(' ').next().unwrap().parse().unwrap()).collect()
    }

    /// Whether what `stem`'s files hold is in use, as the metrics say.
    fn is_current(&self, stem: &str) -> bool {
        let found = self.metric("portcullis_certificate_last_reload_successful", &format!("/{stem}.pem"));
        assert_eq!(found.len(), 1, "one for each file, however many listeners show it");
        found == [1]
    }

    fn said(&self, words: &str) -> usize {
        self.gateway.log().lines().filter(|line| line.contains(words)).count()
    }
}

fn in_folder(folder: &Path, stem: &str) -> Files {
    Files { certificate: folder.join(format!("{stem}.pem")), key: folder.join(format!("{stem}.key")) }
}

fn copy(from: &Files, to: &Files) {
    fs::copy(&from.certificate, &to.certificate).unwrap();
    fs::copy(&from.key, &to.key).unwrap();
}

fn certificate(files: &Files) -> CertificateDer<'static> {
    CertificateDer::from_pem_file(&files.certificate).unwrap()
}

#[track_caller]
fn wait_until_shown(address: SocketAddr, name: &str, files: &Files) {
    let expected = certificate(files);
    wait_for(PATIENCE, "the new certificate is shown", || shown(address, name) == expected);
}

#[track_caller]
fn shown(address: SocketAddr, name: &str) -> CertificateDer<'static> {
    let stream = handshake(address, name, believing(&[])).expect("a handshake");
    stream.conn.peer_certificates().unwrap()[0].clone().into_owned()
}

#[test]
fn files_that_are_replaced_or_written_anew_are_taken_over_and_connections_go_on() {
    let stage = Stage::start();
    let (https, management) = (stage.gateway.https(), stage.gateway.management());
    let mut kept = Client::over(handshake(https, "one.test", believing(&["http/1.1"])).unwrap());
    let mut ask_kept = || {
        kept.send(Request::get("/healthz").end());
        kept.read().status
    };
    assert_eq!(ask_kept(), 200);

    // another file takes its place
    let renewed = stage.renewed("one.test");
    let expected = certificate(&renewed);
    fs::rename(&renewed.certificate, stage.files("one").certificate).unwrap();
    fs::rename(&renewed.key, stage.files("one").key).unwrap();
    for address in [https, management] {
        wait_for(PATIENCE, "the new certificate is shown", || shown(address, "one.test") == expected);
    }
    assert_eq!(shown(https, "two.test"), certificate(&stage.files("two")), "the other one stays");

    // written in place
    let renewed = stage.renewed("two.test");
    copy(&renewed, &stage.files("two"));
    wait_until_shown(https, "two.test", &renewed);
    assert_eq!(ask_kept(), 200);
    assert!(!stage.gateway.log().contains("cannot be used"), "{}", stage.gateway.log());
}

#[test]
fn a_secret_of_kubernetes_is_taken_over() {
    let folder = tempfile::tempdir().unwrap();
    let authority = Authority::new(folder.path());
    let volume = folder.path().join("volume");
    fs::create_dir(&volume).unwrap();
    // as the kubelet does it: folders by version, and one link that moves
    let put = |version: &str| {
        let signed = authority.sign(&["api.test"]);
        let versioned = volume.join(format!("..{version}"));
        fs::create_dir(&versioned).unwrap();
        fs::copy(&signed.certificate, versioned.join("tls.crt")).unwrap();
        fs::copy(&signed.key, versioned.join("tls.key")).unwrap();
        symlink(format!("..{version}"), volume.join("..data_tmp")).unwrap();
        fs::rename(volume.join("..data_tmp"), volume.join("..data")).unwrap();
        certificate(&signed)
    };
    let first = put("2026_11_30_1");
    let link = |name: &str| -> PathBuf {
        symlink(format!("..data/{name}"), volume.join(name)).unwrap();
        volume.join(name)
    };
    let files = Files { certificate: link("tls.crt"), key: link("tls.key") };
    let upstream = Upstream::start();
    let listeners = format!("  - address: 127.0.0.1:0\n    tls: {{ certificates: [ {} ] }}\n", files.entry());
    let gateway = Plan::new(&upstream).listeners(&listeners).prepare().start();
    assert_eq!(shown(gateway.https(), "api.test"), first);
    let second = put("2026_11_30_2");
    fs::remove_dir_all(volume.join("..2026_11_30_1")).unwrap();
    wait_for(PATIENCE, "the new certificate is shown", || shown(gateway.https(), "api.test") == second);
}

/// Damages a file, and what is said of it.
type Break<'a> = (&'a str, Box<dyn Fn() + 'a>);

#[test]
fn what_does_not_fit_leaves_the_former_and_is_told_once_until_it_is_repaired() {
    let stage = Stage::start();
    let https = stage.gateway.https();
    let (first, files) = (certificate(&stage.files("one")), stage.files("one"));
    let renewed = stage.renewed("one.test");
    assert!(stage.is_current("one"));
    let whole = fs::read(&renewed.certificate).unwrap();
    let key_of_another = fs::read(stage.files("two").key).unwrap();
    let breaks: [Break<'_>; 4] = [
        ("found another one in", Box::new(|| fs::write(&files.key, &key_of_another).unwrap())),
        ("found PEM that is broken", Box::new(|| fs::write(&files.certificate, &whole[..200]).unwrap())),
        ("found none", Box::new(|| fs::write(&files.certificate, "").unwrap())),
        ("cannot read", Box::new(|| fs::remove_file(&files.certificate).unwrap())),
    ];
    for (why, damage) in breaks {
        damage();
        // the listener's and the management listener's
        wait_for(PATIENCE, why, || stage.said(why) == 2);
        stays(Duration::from_millis(2500), "it is not told again", || stage.said(why) == 2);
        assert!(stage.gateway.log().contains("so what was there before stays in use"));
        assert_eq!(shown(https, "one.test"), first, "{why}");
        assert!(!stage.is_current("one") && stage.is_current("two"), "{why}");
    }
    assert!(!stage.gateway.log().contains("PRIVATE KEY"));
    copy(&renewed, &files);
    wait_until_shown(https, "one.test", &renewed);
    wait_for(PATIENCE, "the metric says so", || stage.is_current("one"));
}

#[test]
fn the_metrics_show_the_end_of_the_certificate_that_is_shown_and_one_that_has_ended_is_told() {
    let stage = Stage::start();
    let ends = || stage.metric("portcullis_certificate_expiry_timestamp_seconds", "/one.pem");
    let before = ends();
    assert_eq!(before.len(), 2, "of both listeners");
    let renewed = stage.renewed("one.test");
    let key = rcgen::KeyPair::from_pem(&fs::read_to_string(&renewed.key).unwrap()).unwrap();
    let mut params = rcgen::CertificateParams::new(vec!["one.test".to_owned()]).unwrap();
    params.not_before = rcgen::date_time_ymd(2020, 1, 1);
    params.not_after = rcgen::date_time_ymd(2021, 1, 1);
    fs::write(&renewed.certificate, params.self_signed(&key).unwrap().pem()).unwrap();
    copy(&renewed, &stage.files("one"));
    // what the files say is what is shown, as after a start
    wait_until_shown(stage.gateway.https(), "one.test", &renewed);
    wait_for(PATIENCE, "both listeners show it", || ends() == [1_609_459_200; 2]);
    assert!(stage.said("expired 2021-01-01T00:00:00Z: clients refuse it") >= 1, "{}", stage.gateway.log());
}

#[test]
fn case_70_no_handshake_fails_while_certificates_change_under_load() {
    let stage = Stage::start();
    let https = stage.gateway.https();
    let (stop, shakes) = (AtomicBool::new(false), AtomicUsize::new(0));
    thread::scope(|scope| {
        let clients: Vec<_> = (0..3)
            .map(|_| {
                scope.spawn(|| {
                    // trusts the authority, and only a chain that is whole
                    let config = std::sync::Arc::new(
                        stage
                            .authority
                            .client(&[&rustls::version::TLS13, &rustls::version::TLS12], &["http/1.1"]),
                    );
                    while !stop.load(Ordering::Relaxed) {
                        let mut client =
                            Client::over(handshake(https, "one.test", config.clone()).expect("a handshake"));
                        client.send(Request::get("/healthz").header("Connection", "close").end());
                        assert_eq!(client.read().status, 200);
                        shakes.fetch_add(1, Ordering::Relaxed);
                    }
                })
            })
            .collect();
        for round in 0..4 {
            let renewed = stage.renewed("one.test");
            let files = stage.files("one");
            if round % 2 == 0 {
                // the key long before the certificate
                fs::copy(&renewed.key, &files.key).unwrap();
                wait_for(PATIENCE, "the pair that does not fit was looked at", || {
                    stage.said("found another one") > round
                });
                fs::copy(&renewed.certificate, &files.certificate).unwrap();
            } else {
                copy(&renewed, &files);
            }
            wait_until_shown(https, "one.test", &renewed);
        }
        stop.store(true, Ordering::Relaxed);
        for client in clients {
            client.join().expect("no handshake fails");
        }
    });
    assert!(shakes.load(Ordering::Relaxed) > 50, "{shakes:?}");
}
