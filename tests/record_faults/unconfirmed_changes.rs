//! Rights are taken away while an unreachable gateway may still accept them. The answer says so, whatever way the change
//! is made, and later reads say the same until the gateway has confirmed.

use std::thread::{Scope, ScopedJoinHandle};

use serde_json::{Value, json};

use crate::cluster::{Cluster, Node, SOON, names};
use crate::support::api::Api;
use crate::support::cli::{Cli, Key, Outcome};
use crate::support::gateway::{Gateway, Plan};
use crate::support::http1::Request;
use crate::support::{PATIENCE, marker, wait_for};
use crate::visitor::{Visitor, text_of};

/// A lease that outlasts every receipt of a test.
const LEASE: &str = "60s";

/// One more gateway, whose lease outlasts the test.
fn node(cluster: &Cluster, name: &str) -> Node {
    let relay = cluster.server.relay();
    let plan = Plan::new(&cluster.upstream).postgres(&relay.url(&cluster.database), name, LEASE);
    Node { gateway: plan.join(&cluster.operator_site).start(), relay }
}

/// Runs a command as the admin on another machine, who has a gateway's address only.
fn remote(gateway: &Gateway, arguments: &[&str]) -> Outcome {
    let asking = format!("{}:{}", gateway.admin.access_key, gateway.admin.secret);
    let mut program = Cli::program();
    program.args(arguments).args(["--url", &format!("http://{}", gateway.management())]);
    program.env("PORTCULLIS_KEY", asking).output().expect("the program can be started").into()
}

/// What one way of changing things works on: nothing of it is another way's.
struct Things {
    account: String,
    member: String,
    other_member: String,
    old_account: String,
    environment: String,
    old_environment: String,
    closing_environment: String,
    key: Key,
    edited_key: Key,
    old_key: Key,
}

impl Things {
    #[track_caller]
    fn make(api: &Api<'_>, way: &str) -> Self {
        let account = |name: &str| {
            let made = api.create("/v2-beta/accounts", &json!({ "name": format!("{name}-{way}") }));
            made["id"].as_str().expect("an id").to_owned()
        };
        let environment = |name: &str| {
            let id = format!("{name}-{way}");
            api.create("/v2-beta/projects", &json!({ "id": id }));
            id
        };
        let things = Self {
            account: account("stopping"),
            member: account("member"),
            other_member: account("leaving"),
            old_account: account("old"),
            environment: environment("e"),
            old_environment: environment("old"),
            closing_environment: environment("closing"),
            key: api.create_key("/v2-beta/projects/e1/apikeys", &json!({})),
            edited_key: api.create_key("/v2-beta/projects/e1/apikeys", &json!({})),
            old_key: api.create_key("/v2-beta/projects/e1/apikeys", &json!({})),
        };
        let (here, there) = (&things.environment, &things.closing_environment);
        for (environment, account) in
            [(here, &things.member), (here, &things.other_member), (there, &things.member)]
        {
            let members = format!("/v2-beta/projects/{environment}/projectmembers");
            api.create(&members, &json!({ "externalId": account, "role": "member" }));
        }
        for old in [
            format!("/v2-beta/accounts/{}", things.old_account),
            format!("/v2-beta/projects/{}", things.old_environment),
            format!("/v2-beta/apikeys/{}", things.old_key.id),
        ] {
            assert_eq!(api.act(&old, "deactivate").status, 200, "{old}");
        }
        things
    }

    /// The commands that take something away.
    fn commands(&self) -> Vec<Vec<String>> {
        let member = |verb: &str, account: &str| {
            format!("environment member {verb} --environment {} --account {account}", self.environment)
        };
        [
            format!("{} --role readonly", member("add", &self.member)),
            member("remove", &self.other_member),
            format!("key deactivate {}", self.key.id),
            format!("key edit {} --read-only", self.edited_key.id),
            format!("key delete {}", self.old_key.id),
            format!("account deactivate {}", self.account),
            format!("account delete {}", self.old_account),
            format!("environment deactivate {}", self.closing_environment),
            format!("environment delete {}", self.old_environment),
        ]
        .iter()
        .map(|command| command.split(' ').map(str::to_owned).collect())
        .collect()
    }

    /// The requests that do the same over the API.
    fn requests(&self) -> Vec<(&'static str, String, Value)> {
        let member = |account: &str| format!("/v2-beta/projectmembers/{}:{account}", self.environment);
        let act = |kind: &str, id: &str, action: &str| format!("/v2-beta/{kind}/{id}/?action={action}");
        let role = |account: &str| json!({ "projectId": self.environment, "externalId": account, "role": "restricted" });
        let owned_by_admin = json!({ "members": [{ "externalId": "1a1", "role": "owner" }] });
        vec![
            ("POST", "/v2-beta/projectmembers".to_owned(), role(&self.member)),
            ("PUT", member(&self.member), json!({ "role": "readonly" })),
            ("DELETE", member(&self.other_member), json!({})),
            ("POST", act("projects", &self.closing_environment, "setmembers"), owned_by_admin),
            ("POST", act("apikeys", &self.key.id, "deactivate"), json!({})),
            (
                "PUT",
                format!("/v2-beta/apikeys/{}", self.edited_key.id),
                json!({ "scope": { "read_only": true } }),
            ),
            ("DELETE", format!("/v2-beta/apikeys/{}", self.old_key.id), json!({})),
            ("POST", act("accounts", &self.account, "deactivate"), json!({})),
            ("DELETE", format!("/v2-beta/accounts/{}", self.old_account), json!({})),
            ("POST", act("projects", &self.closing_environment, "deactivate"), json!({})),
            ("DELETE", format!("/v2-beta/projects/{}", self.old_environment), json!({})),
        ]
    }

    /// The forms of the page that do the same.
    fn forms(&self) -> Vec<(String, Vec<(&'static str, &str)>)> {
        let members = format!("/environments/{}/members", self.environment);
        vec![
            (format!("{members}/add"), vec![("externalId", &self.member), ("role", "restricted")]),
            (format!("{members}/{}/role", self.member), vec![("role", "readonly")]),
            (format!("{members}/{}/remove", self.other_member), vec![]),
            (format!("/keys/{}/deactivate", self.key.id), vec![]),
            (format!("/keys/{}/delete", self.old_key.id), vec![]),
            (format!("/accounts/{}/deactivate", self.account), vec![]),
            (format!("/accounts/{}/delete", self.old_account), vec![]),
            (format!("/environments/{}/deactivate", self.closing_environment), vec![]),
            (format!("/environments/{}/delete", self.old_environment), vec![]),
        ]
    }
}

/// Runs a command as often as there are, all at once: each waits for its receipt, none for another's.
fn each<'scope, 'env, T: Send + 'scope, R: Send + 'scope>(
    scope: &'scope Scope<'scope, 'env>,
    all: Vec<T>,
    run: impl Fn(&T) -> R + Send + Copy + 'scope,
) -> Vec<ScopedJoinHandle<'scope, (T, R)>> {
    all.into_iter()
        .map(|one| {
            scope.spawn(move || {
                let done = run(&one);
                (one, done)
            })
        })
        .collect()
}

fn all<T, R>(running: Vec<ScopedJoinHandle<'_, (T, R)>>) -> Vec<(T, R)> {
    running.into_iter().map(|one| one.join().expect("it ends")).collect()
}

#[test]
fn case_123_every_way_to_take_a_right_away_says_that_it_is_unconfirmed() {
    let cluster = Cluster::start();
    let (one, two) = (node(&cluster, "one"), node(&cluster, "two"));
    let (gateway, api) = (&one.gateway, one.api());
    let [by_command, from_elsewhere, by_api, by_page] =
        ["command", "elsewhere", "api", "page"].map(|way| Things::make(&api, way));
    let alice = cluster.operator_site.create_account_key(&by_command.member);
    let own = cluster.operator_site.create_account_key("admin");
    let path = format!("/v1/projects/{}/{}", by_command.environment, marker());
    let write = |node: &Node| node.gateway.exchange(Request::new("POST", &path).key(&alice).end()).status;
    wait_for(PATIENCE, "all is well", || write(&one) == 200 && write(&two) == 200);
    two.relay.black_hole();

    let (commands, remote, requests, forms, stopped) = std::thread::scope(|scope| {
        let commands = each(scope, by_command.commands(), |command| {
            gateway.run(&command.iter().map(String::as_str).collect::<Vec<_>>())
        });
        let remote = each(scope, from_elsewhere.commands(), |command| {
            remote(gateway, &command.iter().map(String::as_str).collect::<Vec<_>>())
        });
        let requests =
            each(scope, by_api.requests(), |(method, target, body)| api.write(method, target, body));
        let forms = each(scope, by_page.forms(), |(target, fields)| {
            let visitor = Visitor::signed_in(gateway, &gateway.admin);
            let answer = visitor.post(target, &[&fields[..], &[("to", "/keys")]].concat());
            (answer.status, visitor.page("/keys"))
        });
        // the very key that the visitor has signed in with
        let stopped = scope.spawn(|| {
            let visitor = Visitor::signed_in(gateway, &own);
            let answer = visitor.post(&format!("/keys/{}/deactivate", own.id), &[("confirm", "self")]);
            visitor.page(&answer.header("Location").expect("to the sign-in page"))
        });
        (all(commands), all(remote), all(requests), all(forms), stopped.join().expect("it ends"))
    });
    for (command, outcome) in commands.iter().chain(&remote) {
        assert_eq!(outcome.code, 3, "{command:?}: {outcome:?}");
        assert!(outcome.stderr.contains("not yet confirmed by two; after "), "{command:?}: {outcome:?}");
    }
    for (request, answer) in &requests {
        assert_eq!(answer.status, 202, "{request:?}: {answer:?}");
        let receipt = &answer.json()["receipt"];
        assert_eq!(receipt["complete"], json!(false), "{request:?}: {receipt}");
        assert_eq!(names(&receipt["waiting"]), ["two"], "{request:?}: {receipt}");
    }
    for (form, (status, page)) in &forms {
        assert_eq!(*status, 303, "{form:?}");
        let notice = text_of(page, "notice");
        assert!(notice.contains("but not yet confirmed by two."), "{form:?}: {notice}");
    }
    assert!(stopped.contains("not yet confirmed by every gateway"), "{stopped}");

    // and so it is: the one that was cut off still lets through what the other one refuses
    let before = cluster.upstream.requests(&path).len();
    assert_eq!((write(&one), write(&two)), (403, 200));
    assert_eq!(
        cluster.upstream.requests(&path).len(),
        before + 1,
        "what was let through has reached the upstream"
    );
    two.relay.mend();
    wait_for(PATIENCE, "the other one has heard of it", || write(&two) == 403);
    two.soon(SOON, &by_api.key, 401);
    // without a change there is nothing that could be unconfirmed
    let again = by_command.commands().swap_remove(0);
    let again = gateway.run(&again.iter().map(String::as_str).collect::<Vec<_>>());
    assert_eq!(again.code, 0, "{again:?}");
    let receipt = api.put(&format!("/v2-beta/apikeys/{}", by_api.edited_key.id), &json!({ "name": "again" }));
    assert_eq!((receipt.status, &receipt.json()["receipt"]["complete"]), (200, &json!(true)), "{receipt:?}");
}

/// What API, page and command line say of a key's state: by its document, its row, and `key show`, over the API and on
/// the store, and the row of `key list`.
#[track_caller]
fn readings(node: &Node, key: &Key) -> [String; 5] {
    let gateway = &node.gateway;
    let document = node.api().document(&format!("/v2-beta/apikeys/{}", key.id));
    let is_on_its_way = document["state"].as_str().expect("a state").ends_with("ing");
    assert_eq!(document["transitioning"], if is_on_its_way { "yes" } else { "no" }, "{document}");
    let page = Visitor::signed_in(gateway, &gateway.admin).page(&format!("/keys/{}", key.id));
    let badge = page.split("class=\"state ").nth(1).unwrap_or_else(|| panic!("no state in\n{page}"));
    let shown = badge.split("</span>").next().expect("a badge");
    let shown = ["Deactivating", "Inactive", "Active"].into_iter().find(|word| shown.contains(word));
    let elsewhere = remote(gateway, &["key", "show", &key.id, "--output", "json"]);
    let elsewhere: Value = serde_json::from_str(&elsewhere.stdout).expect("a document");
    let here = gateway.json(&["key", "show", &key.id]);
    assert_eq!(here["transitioning"] == "yes", here["state"] == "deactivating", "{here}");
    let table = gateway.succeed(&["key", "list", "--environment", "e1"]).stdout;
    let row = table.lines().find(|row| row.contains(&key.access_key)).expect("it is listed");
    let word = ["deactivating", "inactive", "active"].into_iter().find(|word| row.contains(word));
    let text = |document: &Value| document["state"].as_str().expect("a state").to_owned();
    [
        text(&document),
        shown.expect("a state").to_lowercase(),
        text(&elsewhere),
        text(&here),
        word.expect("a state").to_owned(),
    ]
}

/// What is read of a key that was confirmed before, while nobody can be asked: a command begins with nothing, and calls
/// no key dead that may not be.
const ALONE_IN_DOUBT: [&str; 5] = ["inactive", "inactive", "inactive", "deactivating", "deactivating"];

/// What a deactivation that is asked for again is answered: over the API, and the command's exit status by both ways.
fn again(node: &Node, key: &Key) -> (u16, i32, i32) {
    let url = format!("/v2-beta/apikeys/{}", key.id);
    std::thread::scope(|scope| {
        let by_api = scope.spawn(|| node.api().act(&url, "deactivate"));
        let elsewhere = scope.spawn(|| remote(&node.gateway, &["key", "deactivate", &key.id]).code);
        let here = node.gateway.run(&["key", "deactivate", &key.id]).code;
        let by_api = by_api.join().expect("an answer");
        if by_api.status == 202 {
            let document = by_api.json();
            assert_eq!(document["state"], "deactivating", "{document}");
            assert_eq!(document["receipt"]["complete"], false, "{document}");
        }
        (by_api.status, elsewhere.join().expect("it ends"), here)
    })
}

#[test]
fn case_125_what_is_not_confirmed_reads_so_while_the_record_cannot_be_asked() {
    let cluster = Cluster::start();
    let (one, two) = (node(&cluster, "one"), node(&cluster, "two"));
    let (old, used) = (cluster.new_key(), cluster.new_key());
    assert_eq!(cluster.deactivate(&old).code, 0);
    // asked once, so that the gateway knows what is confirmed
    assert_eq!(readings(&one, &old), ["inactive"; 5]);
    two.relay.black_hole();
    let answer = one.api().act(&format!("/v2-beta/apikeys/{}", cluster.key.id), "deactivate");
    assert_eq!(answer.status, 202, "{answer:?}");
    assert_eq!(two.status(&cluster.key), 200, "or there is nothing to confirm");
    assert_eq!(readings(&one, &cluster.key), ["deactivating"; 5]);
    assert_eq!(again(&one, &cluster.key), (202, 3, 3));

    one.relay.cut();
    wait_for(PATIENCE, "the gateway knows that the record is away", || {
        one.api().get("/v2-beta/apikeys").header("Age").is_some()
    });
    assert_eq!(readings(&one, &cluster.key), ["deactivating"; 5]);
    assert_eq!(readings(&one, &old), ALONE_IN_DOUBT);
    assert_eq!(readings(&one, &used), ["active"; 5]);
    assert_eq!(again(&one, &cluster.key), (503, 1, 1));

    one.relay.mend();
    two.relay.mend();
    let confirmed = ["inactive"; 5];
    wait_for(PATIENCE, "the other gateway has confirmed", || readings(&one, &cluster.key) == confirmed);
    assert_eq!(two.status(&cluster.key), 401);
    assert_eq!(again(&one, &cluster.key), (422, 0, 0));
}

#[test]
fn case_125_what_is_not_confirmed_reads_so_while_unknown_gateways_may_act() {
    let cluster = Cluster::start();
    let one = node(&cluster, "one");
    let old = cluster.new_key();
    assert_eq!(cluster.deactivate(&old).code, 0);
    assert_eq!(readings(&one, &old), ["inactive"; 5]);
    // as a failover leaves it: gateways may have leases that the record has never heard of
    let doubt = |until: &str| {
        cluster
            .server
            .sql(&cluster.database, &format!("UPDATE portcullis.record SET unsure_until = {until}"));
    };
    doubt("clock_timestamp() + interval '1 hour'");
    let answer = one.api().act(&format!("/v2-beta/apikeys/{}", cluster.key.id), "deactivate");
    assert_eq!((answer.status, answer.json()["state"].clone()), (202, json!("deactivating")), "{answer:?}");
    assert_eq!(readings(&one, &cluster.key), ["deactivating"; 5]);
    assert_eq!(readings(&one, &old), ALONE_IN_DOUBT);
    assert_eq!(again(&one, &cluster.key), (202, 3, 3));
    doubt("clock_timestamp()");
    wait_for(PATIENCE, "nothing is doubted", || readings(&one, &cluster.key) == ["inactive"; 5]);
    assert_eq!(again(&one, &cluster.key), (422, 0, 0));
}
