//! The Helm chart, rendered by Helm: Kubernetes' schemas take what comes out, and the gateway runs with the configuration
//! in it.

#![allow(clippy::unwrap_used, reason = "helpers of tests stop the test where something is not as it must be")]

mod support;

use std::fs;
use std::io::Write as _;
use std::net::TcpStream;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_yaml::Value;
use support::cli::{self, Outcome};
use support::gateway::{Plan, Site};
use support::http1::{Client, Request};
use support::postgres::Postgres;
use support::python;
use support::upstream::Upstream;
use support::{marker, tls};

/// What has no default: where the API is.
const API: &str = "--set-json=config={\"upstreams\":{\"api\":{\"endpoints\":[\"http://api.default.svc:80\"]}},\
                   \"routes\":[{\"path\":\"/v1\",\"upstream\":\"api\",\"environment\":\"/v1/projects/{environment}\"}]}";

/// Everything that can be asked for.
const ALL: &[&str] = &[
    "--set=postgres=true,replicas=3,metrics=true,tlsSecret=gateway-tls,storage.storageClass=fast",
    "--set=service.type=LoadBalancer,service.annotations.a=b,nodeSelector.disk=ssd,imagePullSecrets[0].name=registry",
    "--set=managementHosts[0]=keys.example,tolerations[0].operator=Exists,proxyProtocol.from[0]=192.0.2.0/24",
    "--set=preStopSeconds=9",
];

fn chart() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("deploy/helm/portcullis")
}

fn helm(arguments: &[&str]) -> Outcome {
    python::program("helm").args(arguments).arg(chart()).output().expect("Helm can be started").into()
}

/// What Helm makes of the chart with these settings.
#[track_caller]
fn render(settings: &[&str]) -> String {
    render_as("gw", settings)
}

/// The same for a release with this name.
#[track_caller]
fn render_as(release: &str, settings: &[&str]) -> String {
    let outcome = helm(&[&["template", release, API], settings].concat());
    assert_eq!(outcome.code, 0, "{outcome:?}");
    outcome.stdout
}

#[track_caller]
fn assert_kubernetes_takes(rendered: &str) {
    let mut file = tempfile::NamedTempFile::with_suffix(".yaml").unwrap();
    file.write_all(rendered.as_bytes()).unwrap();
    let outcome: Outcome =
        python::program("kubernetes-validate").arg("--strict").arg(file.path()).output().unwrap().into();
    assert_eq!(outcome.code, 0, "{outcome:?}");
}

/// The only document of a kind, or the one of this name.
#[track_caller]
fn of_kind(rendered: &str, kind: &str, name: &str) -> Value {
    let documents =
        rendered.split("\n---\n").map(|document| serde_yaml::from_str::<Value>(document).unwrap());
    let found =
        { documents }.find(|document| document["kind"] == kind && document["metadata"]["name"] == name);
    found.unwrap_or_else(|| panic!("no {kind} {name} in {rendered}"))
}

fn items(list: &Value) -> &[Value] {
    list.as_sequence().unwrap_or_else(|| panic!("no list: {list:?}"))
}

/// The configuration in what was rendered.
#[track_caller]
fn generated(rendered: &str) -> Value {
    let map = of_kind(rendered, "ConfigMap", "gw-portcullis");
    serde_yaml::from_str(map["data"]["portcullis.yaml"].as_str().unwrap()).unwrap()
}

/// A store with an admin's key, and the configuration that these settings make.
#[track_caller]
fn site(upstream: &Upstream, settings: &[&str]) -> Site {
    let site = Plan::new(upstream).prepare();
    let endpoint = format!("--set=config.upstreams.api.endpoints[0]=http://{}", upstream.address());
    let rendered = render(&[settings, &[&endpoint]].concat());
    fs::write(site.config(), config(&rendered, site.directory())).unwrap();
    site
}

/// The same with the places of a container in `folder` instead.
fn config(rendered: &str, folder: &Path) -> String {
    let map = of_kind(rendered, "ConfigMap", "gw-portcullis");
    let folder = folder.display().to_string();
    let places = [
        ("/etc/portcullis/secrets/pepper", format!("{folder}/portcullis.pepper")),
        ("/etc/portcullis/secrets", folder.clone()),
        ("/etc/portcullis/tls/tls.crt", format!("{folder}/certs/gateway.pem")),
        ("/etc/portcullis/tls/tls.key", format!("{folder}/certs/gateway.key")),
        ("/var/lib/portcullis", folder),
        ("0.0.0.0:8080", "127.0.0.1:0".to_owned()),
        ("0.0.0.0:8081", "127.0.0.1:0".to_owned()),
        ("0.0.0.0:8443", "127.0.0.1:0".to_owned()),
    ];
    let whole = map["data"]["portcullis.yaml"].as_str().unwrap().to_owned();
    places.iter().fold(whole, |text, (inside, here)| text.replace(inside, here))
}

#[test]
fn kubernetes_takes_what_the_chart_makes() {
    let outcome = helm(&["lint", "--strict", API]);
    assert_eq!(outcome.code, 0, "{outcome:?}");
    for settings in [&[][..], ALL] {
        assert_kubernetes_takes(&render(settings));
    }
}

#[test]
fn texts_stay_texts() {
    // YAML reads many a word as something else, and `e1` is none of them
    for release in ["yes", "null", "on", "n", "e1"] {
        assert_kubernetes_takes(&render_as(release, ALL));
    }
    let settings = [
        "--set-string=image.repository=a\" #b,image.tag=1\"e3,storage.storageClass=yes,storage.size=2Gi }}",
        "--set-string=secret=x\" },tlsSecret=no,service.annotations.a=b: c\nd: e,nodeSelector.disk=on",
        "--set-string=imagePullSecrets[0].name=null,managementHosts[0]=- x: {,config.log.filter=a\n---\nb: c",
    ];
    let rendered = render(&settings);
    assert_kubernetes_takes(&rendered);
    let set = of_kind(&rendered, "StatefulSet", "gw-portcullis");
    let pod = &set["spec"]["template"]["spec"];
    assert_eq!(pod["containers"][0]["image"], "a\" #b:1\"e3");
    let claim = &set["spec"]["volumeClaimTemplates"][0]["spec"];
    assert_eq!(claim["storageClassName"], "yes");
    assert_eq!(claim["resources"]["requests"]["storage"], "2Gi }}");
    assert_eq!(pod["volumes"][1]["secret"]["secretName"], "x\" }");
    let service = of_kind(&rendered, "Service", "gw-portcullis");
    assert_eq!(service["metadata"]["annotations"]["a"], "b: c\nd: e");
    let config = generated(&rendered);
    assert_eq!(config["management"]["hosts"][3], "- x: {");
    assert_eq!(config["log"]["filter"], "a\n---\nb: c");
}

#[test]
fn clients_keep_their_addresses() {
    let policy = |settings: &[&str]| {
        of_kind(&render(settings), "Service", "gw-portcullis")["spec"]["externalTrafficPolicy"].clone()
    };
    // Kubernetes refuses the field where nothing comes from outside
    assert_eq!(policy(&[]), Value::Null);
    for kind in ["LoadBalancer", "NodePort"] {
        assert_eq!(policy(&[&format!("--set=service.type={kind}")]), "Local");
        let settings = format!("--set=service.type={kind},service.externalTrafficPolicy=Cluster");
        assert_eq!(policy(&[&settings]), "Cluster");
    }
    assert!(items(&generated(&render(ALL))["listeners"]).iter().all(|listener| {
        listener["proxy_protocol"]["from"] == Value::Sequence(vec!["192.0.2.0/24".into()])
    }));

    let upstream = Upstream::start();
    let gateway = site(&upstream, &["--set=tlsSecret=x,proxyProtocol.from[0]=127.0.0.1"]).start();
    for (address, is_tls) in [(gateway.http(), false), (gateway.https(), true)] {
        let mut connection = TcpStream::connect(address).unwrap();
        connection.write_all(b"PROXY TCP4 192.0.2.7 198.51.100.1 1 2\r\n").unwrap();
        let mut client = if is_tls { tls::over(connection) } else { Client::over(connection) };
        let mark = marker();
        client.send(Request::new("GET", "/v1/x").key(&gateway.admin).mark(&mark).end());
        assert_eq!(client.read().status, 200);
        assert_eq!(upstream.only(&mark).header("X-Forwarded-For").as_deref(), Some("192.0.2.7"));
    }
    // the kubelet sends no such header, whatever its address is
    let mut kubelet = Client::connect(gateway.management());
    kubelet.send(Request::get("/readyz").end());
    assert_ne!(kubelet.read().status, 400);
}

#[test]
fn all_files_of_the_secret_are_there_for_the_configuration() {
    let set = of_kind(&render(ALL), "StatefulSet", "gw-portcullis");
    let pod = &set["spec"]["template"]["spec"];
    assert_eq!(pod["volumes"][1]["secret"]["secretName"], "portcullis");
    assert_eq!(pod["volumes"][1]["secret"]["items"], Value::Null, "only some files");
    // relative paths start at the folder of the configuration
    let places: Vec<_> = items(&pod["containers"][0]["volumeMounts"])
        .iter()
        .map(|mount| mount["mountPath"].as_str().unwrap())
        .collect();
    assert!(
        places.starts_with(&["/etc/portcullis/portcullis.yaml", "/etc/portcullis/secrets"]),
        "{places:?}"
    );

    let upstream = Upstream::start();
    let site = site(
        &upstream,
        &[
            "--set=config.pepper_file[0]=secrets/pepper-2,config.pepper_file[1]=secrets/pepper",
            "--set=config.upstreams.api.credential.username=gw",
            "--set=config.upstreams.api.credential.password_file=secrets/api-password",
        ],
    );
    let secrets = site.directory().join("secrets");
    fs::create_dir(&secrets).unwrap();
    portcullis::auth::Peppers::create(&secrets.join("pepper-2")).unwrap();
    fs::copy(site.directory().join("portcullis.pepper"), secrets.join("pepper")).unwrap();
    fs::write(secrets.join("api-password"), "hunter2\n").unwrap();
    fs::set_permissions(secrets.join("api-password"), fs::Permissions::from_mode(0o440)).unwrap();
    let gateway = site.start();
    let mark = marker();
    let request = Request::new("GET", "/v1/x").key(&gateway.admin).mark(&mark);
    assert_eq!(gateway.exchange(request.end()).status, 200);
    assert_eq!(upstream.only(&mark).header("Authorization"), Some(cli::basic("gw", "hunter2")));
}

#[test]
fn probes_ask_management_as_it_listens() {
    let upstream = Upstream::start();
    let pair = "config.management.tls.certificates[0]";
    let settings = format!(
        "--set={pair}.certificate=/etc/portcullis/tls/tls.crt,{pair}.key=/etc/portcullis/tls/tls.key"
    );
    for (settings, scheme) in [(&[][..], "HTTP"), (&["--set=tlsSecret=x", &settings], "HTTPS")] {
        let rendered = render(settings);
        let set = of_kind(&rendered, "StatefulSet", "gw-portcullis");
        let container = &set["spec"]["template"]["spec"]["containers"][0];
        let gateway = site(&upstream, settings).start();
        for probe in ["startupProbe", "livenessProbe", "readinessProbe"] {
            let probe = &container[probe]["httpGet"];
            assert_eq!((&probe["scheme"], &probe["port"]), (&scheme.into(), &"management".into()));
            let mut client = match probe["scheme"].as_str() {
                Some("HTTPS") => tls::connect(gateway.management()),
                _ => Client::connect(gateway.management()),
            };
            let request = Request::without_host("GET", probe["path"].as_str().unwrap());
            // the kubelet calls the pod by its address
            client.send(request.header("Host", "10.1.2.3:8081").end());
            assert_eq!(client.read().status, 200, "{probe:?}");
        }
    }
}

#[test]
fn the_parts_of_the_chart_agree() {
    for settings in [&[][..], ALL] {
        let rendered = render(settings);
        let set = of_kind(&rendered, "StatefulSet", "gw-portcullis");
        let pod = &set["spec"]["template"]["spec"];
        let container = &pod["containers"][0];
        let selector = set["spec"]["selector"]["matchLabels"].as_mapping().unwrap();
        let labels = &set["spec"]["template"]["metadata"]["labels"];
        assert!(selector.iter().all(|(name, value)| labels[name] == *value), "{labels:?}");
        let ports: Vec<_> = items(&container["ports"]).iter().map(|port| &port["name"]).collect();
        for service in ["gw-portcullis", "gw-portcullis-management", "gw-portcullis-gateways"] {
            let service = of_kind(&rendered, "Service", service);
            assert_eq!(service["spec"]["selector"].as_mapping(), Some(selector));
            for port in items(&service["spec"]["ports"]) {
                assert!(ports.contains(&&port["targetPort"]), "{port:?}");
            }
        }
        assert_eq!(set["spec"]["serviceName"], "gw-portcullis-gateways");

        let config = generated(&rendered);
        assert_eq!(config["management"]["hosts"][0], "gw-portcullis-management");
        // a stop takes the pause and then what requests are given
        let pause = container["lifecycle"]["preStop"]["sleep"]["seconds"].as_u64().unwrap();
        let drain = config["drain_timeout"].as_str().unwrap().trim_end_matches('s').parse::<u64>().unwrap();
        assert!(pod["terminationGracePeriodSeconds"].as_u64().unwrap() > pause + drain);

        // every volume that is mounted is there, in both containers
        let claims =
            items(&set["spec"]["volumeClaimTemplates"]).iter().map(|claim| &claim["metadata"]["name"]);
        let volumes: Vec<_> =
            items(&pod["volumes"]).iter().map(|volume| &volume["name"]).chain(claims).collect();
        for container in [container, &pod["initContainers"][0]] {
            let mounts = items(&container["volumeMounts"]);
            assert!(mounts.iter().all(|mount| volumes.contains(&&mount["name"])), "{mounts:?}");
            assert_eq!(mounts.len(), volumes.len());
            assert_eq!(container["securityContext"]["readOnlyRootFilesystem"], true);
            // a ResourceQuota refuses a pod with a container that names none
            assert_eq!(container["resources"]["requests"]["memory"], "512Mi");
        }
        let user = pod["securityContext"]["runAsUser"].as_u64().unwrap();
        let image = fs::read_to_string(chart().join("../../packages/image.py")).unwrap();
        let dockerfile = fs::read_to_string(chart().join("../../Dockerfile")).unwrap();
        assert!(dockerfile.contains(&format!("USER {user}:{user}")) && image.contains(&user.to_string()));
    }
    let set = of_kind(&render(ALL), "StatefulSet", "gw-portcullis");
    let stop = &set["spec"]["template"]["spec"]["containers"][0]["lifecycle"]["preStop"];
    assert_eq!(stop["sleep"]["seconds"], 9);
    let budget = of_kind(&render(ALL), "PodDisruptionBudget", "gw-portcullis");
    assert_eq!(budget["spec"]["maxUnavailable"], 1);
    assert_eq!(budget["spec"]["unhealthyPodEvictionPolicy"], "AlwaysAllow");
    let chart: Value =
        serde_yaml::from_str(&fs::read_to_string(chart().join("Chart.yaml")).unwrap()).unwrap();
    for version in ["version", "appVersion"] {
        assert_eq!(chart[version], env!("CARGO_PKG_VERSION"), "{version}");
    }
}

#[test]
fn one_gateway_runs_as_the_chart_starts_it() {
    let upstream = Upstream::start();
    let site = Plan::new(&upstream).write_alone();
    let endpoint = format!("--set=config.upstreams.api.endpoints[0]=http://{}", upstream.address());
    fs::write(site.config(), config(&render(&[&endpoint]), site.directory())).unwrap();
    // the container is started again and again: neither of the two starts loses anything
    site.cli.succeed(&["init", "--unattended"]);
    site.cli.succeed(&["init", "--unattended"]);
    site.cli.create_environment("e1");
    let key = site.cli.create_environment_key("e1");
    let gateway = site.start();
    let request = Request::new("GET", "/v1/projects/e1/x").header("Authorization", key.authorization());
    assert_eq!(gateway.exchange(request.end()).status, 200);
    for path in ["/healthz", "/readyz"] {
        let mut client = Client::connect(gateway.management());
        client.send(Request::without_host("GET", path).header("Host", "10.1.2.3:8081").end());
        assert_eq!(client.read().status, 200, "{path}");
    }
    for namespace in ["", ".default", ".default.svc"] {
        let mut client = Client::connect(gateway.management());
        let host = format!("gw-portcullis-management{namespace}:8081");
        client.send(Request::without_host("GET", "/").header("Host", &host).end());
        assert_ne!(client.read().status, 421, "{host}");
    }
}

#[test]
fn several_gateways_run_as_the_chart_starts_them() {
    let server = Postgres::start();
    let url = server.url(&server.create_database());
    let upstream = Upstream::start();
    let first = Plan::new(&upstream).postgres(&url, "first", "60s").prepare();
    let folder = first.directory().join("chart");
    fs::create_dir(&folder).unwrap();
    for file in ["portcullis.pepper", "metrics-token"] {
        fs::copy(first.directory().join("portcullis.pepper"), folder.join(file)).unwrap();
    }
    fs::create_dir(folder.join("certs")).unwrap();
    for file in ["certs/gateway.pem", "certs/gateway.key"] {
        fs::copy(first.directory().join(file), folder.join(file)).unwrap();
    }
    fs::write(folder.join("portcullis.yaml"), config(&render(ALL), &folder)).unwrap();
    let checked: Outcome = Command::new(env!("CARGO_BIN_EXE_portcullis"))
        .args(["check", "--config"])
        .arg(folder.join("portcullis.yaml"))
        .env("DATABASE_URL", &url)
        .output()
        .unwrap()
        .into();
    assert_eq!(checked.code, 0, "{checked:?}");
}

#[test]
fn settings_that_cannot_work_are_refused_and_said_why() {
    for (setting, why) in [
        ("replicas=2", "several gateways share a record in PostgreSQL"),
        ("replica=2", "replica"),
        ("config.store.sqlite=x", "config.store: Additional property sqlite"),
        ("config.listeners[0].address=127.0.0.1:1", "`proxyProtocol.from` names load balancers"),
        ("config.management.address=127.0.0.1:1", "the probes and the services ask port 8081"),
        ("secret=", "secret"),
        ("service.type=Cluster", "type"),
        ("service.annotations.a=true", "service.annotations.a: Invalid type"),
        ("nodeSelector.a=1", "nodeSelector.a: Invalid type"),
        ("config.drain_timeout=40s", "set `terminationGracePeriodSeconds` to at least 50"),
        ("config.drain_timeout=5m", "set `terminationGracePeriodSeconds` to at least 310"),
        ("preStopSeconds=30", "set `terminationGracePeriodSeconds` to at least 65"),
        ("terminationGracePeriodSeconds=39", "set `terminationGracePeriodSeconds` to at least 40"),
        ("config.drain_timeout=1h 5m", "config.drain_timeout: Does not match pattern"),
    ] {
        let outcome = helm(&["template", "gw", API, "--set", setting]);
        assert!(outcome.code == 1 && outcome.stderr.contains(why), "{setting}: {outcome:?}");
    }
    // an example that was a default would stay beside what the operator writes
    let outcome = helm(&["template", "gw"]);
    assert!(outcome.stderr.contains("config.upstreams: Must have at least 1 properties"), "{outcome:?}");
    for release in ["1e3", "a.b"] {
        let outcome = helm(&["template", release, API]);
        assert!(outcome.stderr.contains("choose a release name"), "{release}: {outcome:?}");
    }
    render(&["--set=config.drain_timeout=39s,preStopSeconds=1,config.store.max_staleness=30s"]);
}
