//! The Helm chart, rendered by Helm: Kubernetes' schemas take what comes out, and the gateway runs with the configuration
//! in it.

#![allow(clippy::unwrap_used, reason = "helpers of tests stop the test where something is not as it must be")]

mod support;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_yaml::Value;
use support::cli::Outcome;
use support::gateway::Plan;
use support::http1::{Client, Request};
use support::postgres::Postgres;
use support::python;
use support::upstream::Upstream;

/// Everything that can be asked for.
const ALL: &[&str] = &[
    "--set=postgres=true,replicas=3,metrics=true,tlsSecret=gateway-tls,storage.storageClass=fast",
    "--set=service.type=LoadBalancer,service.annotations.a=b,nodeSelector.disk=ssd,imagePullSecrets[0].name=registry",
    "--set=managementHosts[0]=keys.example,tolerations[0].operator=Exists",
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
    let outcome = helm(&[&["template", "gw"], settings].concat());
    assert_eq!(outcome.code, 0, "{outcome:?}");
    outcome.stdout
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

/// The configuration in what was rendered, with the places of a container in `folder` instead.
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
    let outcome = helm(&["lint", "--strict"]);
    assert_eq!(outcome.code, 0, "{outcome:?}");
    let folder = tempfile::tempdir().unwrap();
    for (name, settings) in [("one.yaml", &[][..]), ("all.yaml", ALL)] {
        let file = folder.path().join(name);
        fs::write(&file, render(settings)).unwrap();
        let outcome: Outcome =
            python::program("kubernetes-validate").arg("--strict").arg(&file).output().unwrap().into();
        assert_eq!(outcome.code, 0, "{outcome:?}");
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

        let config = of_kind(&rendered, "ConfigMap", "gw-portcullis");
        let config: Value =
            serde_yaml::from_str(config["data"]["portcullis.yaml"].as_str().unwrap()).unwrap();
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
        }
        let user = pod["securityContext"]["runAsUser"].as_u64().unwrap();
        let image = fs::read_to_string(chart().join("../../packages/image.py")).unwrap();
        let dockerfile = fs::read_to_string(chart().join("../../Dockerfile")).unwrap();
        assert!(dockerfile.contains(&format!("USER {user}:{user}")) && image.contains(&user.to_string()));
    }
    let budget = of_kind(&render(ALL), "PodDisruptionBudget", "gw-portcullis");
    assert_eq!(budget["spec"]["maxUnavailable"], 1);
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
        ("config.store.sqlite=x", "store"),
        ("secret=", "secret"),
        ("service.type=Cluster", "type"),
    ] {
        let outcome = helm(&["template", "gw", "--set", setting]);
        assert!(outcome.code == 1 && outcome.stderr.contains(why), "{setting}: {outcome:?}");
    }
}
