//! Clients that were not written for Portcullis: Rancher's own Python client, the recorded requests of Rancher's
//! command line, and a fuzzer that knows only the `OpenAPI` document.

mod support;

use serde_json::{Value, json};
use support::api::{Api, ids, target_of};
use support::http1::{Request, Response};
use support::python;
use support::stage::Stage;

/// What the script saw, by step.
fn run_whole_life_script(stage: &Stage, url: &str) -> Vec<Value> {
    let admin = &stage.gateway.admin;
    let wrong = admin.with_wrong_secret();
    let output = python::script("gdapi_life.py")
        .args([url, &admin.access_key, &admin.secret, &wrong.secret])
        .output()
        .expect("python can be started");
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{text}{}", String::from_utf8_lossy(&output.stderr));
    text.lines().map(|line| serde_json::from_str(line).expect("a JSON line")).collect()
}

#[test]
fn ranchers_python_client_leads_a_key_through_its_whole_life() {
    let stage = Stage::start();
    for (path, owner) in [("/v2-beta", "1a1"), ("/v2-beta/projects/e1/schemas", "e1")] {
        let seen = run_whole_life_script(&stage, &format!("http://{}{path}", stage.gateway.management()));
        let step = |name: &str| {
            let found = seen.iter().find(|step| step["step"] == name);
            found.unwrap_or_else(|| panic!("no step {name}: {seen:#?}"))
        };
        for failed in &seen {
            assert!(failed.get("failure").is_none() || failed["step"] == "deactivate again", "{failed}");
        }
        assert_eq!(step("connect")["creatable"], true);
        let created = &step("create")["key"];
        assert_eq!((&created["accountId"], &created["state"]), (&json!(owner), &json!("active")));
        assert!(created["secretValue"].as_str().is_some_and(|secret| secret.starts_with("pcs_")));
        assert_eq!(step("list")["keys"][0]["id"], created["id"]);
        assert_eq!(step("list none")["keys"], json!([]));
        assert_eq!(step("by id")["key"]["secretValue"], Value::Null);
        assert_eq!(step("update")["key"]["name"], "gdapi renamed");
        assert_eq!(step("update by id")["key"]["description"], "by id");
        assert_eq!(step("delete active")["error"]["status"], 405);
        assert_eq!(step("deactivate")["key"]["state"], "inactive");
        assert_eq!(step("activate")["key"]["state"], "active");
        assert_eq!(step("deactivate by name")["key"]["state"], "inactive");
        assert_eq!(step("account")["type"], if owner == "e1" { "project" } else { "account" });
        assert_eq!(step("delete")["key"]["state"], "removed");
        assert_eq!(step("by id afterwards")["key"]["state"], "removed");
        assert_eq!(step("by id unknown")["key"], Value::Null);
        assert_eq!(step("list afterwards")["keys"], json!([]));
        assert_eq!(step("wrong key")["error"]["status"], 401);
    }
}

/// The requests that Rancher's command line was seen to make, and what it needs of the answers.
#[test]
fn ranchers_command_line_finds_what_it_asks_for() {
    let stage = Stage::start();
    let api = Api::admin(&stage.gateway);
    let base = format!("http://{}", stage.gateway.management());

    // it connects: the address must be answered 200, and lead to the schemas
    let connected = api.get("/v2-beta");
    assert_eq!(connected.status, 200);
    let schemas = target_of(&json!(connected.header("x-api-schemas").unwrap()));
    let document = api.document(&schemas);
    assert_eq!(document["type"], "collection");
    for name in ["apiKey", "account", "project", "projectMember", "schema"] {
        let schema = document["data"].as_array().unwrap().iter().find(|schema| schema["id"] == name);
        let schema = schema.unwrap_or_else(|| panic!("no schema {name}"));
        assert!(
            schema["links"]["collection"].is_string() && schema["collectionMethods"].is_array(),
            "{schema}"
        );
        assert!(schema["resourceMethods"].is_array() && schema["pluralName"].is_string(), "{schema}");
    }
    // and asks for the schema called "schemas" on nearly every command
    assert_eq!(api.document("/v2-beta/projects/e1/schemas/schemas")["id"], "schema");
    assert_eq!(
        api.document("/v2-beta/projects/e1/schemas/schemas")["links"]["collection"],
        json!(format!("{base}/v2-beta/projects/e1/schemas"))
    );

    // env ls, env ls -a
    let listed = "limit=-2&removed_null=1&state_ne=inactive&state_ne=stopped&state_ne=removing&system=false";
    assert_eq!(api.ids(&format!("/v2-beta/projects?{listed}")), ["e1", "e2"]);
    assert_eq!(api.ids("/v2-beta/projects?all=true&limit=-2&system=false"), ["e1", "e2"]);
    // env create
    assert_eq!(api.get("/v2-beta/projecttemplates/Cattle").status, 404);
    let template = ids(&api.document("/v2-beta/projecttemplates?name=Cattle&removed_null=1")).remove(0);
    let made = api.create(
        "/v2-beta/projects",
        &json!({ "name": "staging", "projectTemplateId": template, "links": null }),
    );
    let id = made["id"].as_str().unwrap();
    assert!(id.starts_with("1e"), "it gets an id of its own: {made}");
    assert_eq!(made["orchestration"], "cattle", "env ls prints it");
    // env deactivate staging: by id, then by name
    assert_eq!(api.get("/v2-beta/projects/staging").status, 404);
    assert_eq!(api.ids("/v2-beta/projects?all=true&name=STAGING&removed_null=1"), [id]);
    let own = target_of(&made["links"]["self"]);
    let stopped = api.send(api.request("POST", &format!("{own}/?action=deactivate")).end());
    assert_eq!((stopped.status, &stopped.json()["state"]), (200, &json!("inactive")));
    // env rm
    assert_eq!(api.delete(&own).status, 200);

    // an environment's key, without the environment in the address
    let own = Api::new(&stage.gateway, &stage.e1);
    assert_eq!(own.ids("/v2-beta/projects"), ["e1"]);
    assert_eq!(own.get("/v2-beta/projects/e2/schemas/schemas").status, 404);
    let project = own.document("/v2-beta/schemas/project");
    assert_eq!(project["collectionMethods"], json!(["GET"]), "env create is refused by the client itself");
}

/// Rancher's Go client as its source has it: it takes addresses from what it was answered, sends what its structures
/// become as JSON, and takes an answer only where its structures can hold it.
struct GoRancher<'a> {
    api: &'a Api<'a>,
    schemas: Vec<Value>,
}

impl<'a> GoRancher<'a> {
    /// What it does first, at an address that it was given.
    fn connect(api: &'a Api<'a>, target: &str) -> Self {
        let mut answer = send_as_go(api, "GET", target, None);
        let schemas = target_of(&json!(answer.header("x-api-schemas").expect("where the schemas are")));
        if schemas != target {
            answer = send_as_go(api, "GET", &schemas, None);
        }
        assert_eq!(answer.status, 200, "{answer:?}");
        Self { api, schemas: answer.json()["data"].as_array().expect("the schemas").clone() }
    }

    /// The schema of a type, which allows the method on its collection or on one of its resources.
    fn schema(&self, kind: &str, methods: &str, method: &str) -> &Value {
        let schema = self.schemas.iter().find(|schema| schema["id"] == kind);
        let schema = schema.unwrap_or_else(|| panic!("unknown schema type {kind}"));
        assert!(
            schema[methods].as_array().expect("the methods").contains(&json!(method)),
            "{kind}: no {method}"
        );
        schema
    }

    fn collection(&self, kind: &str, method: &str) -> String {
        target_of(&self.schema(kind, "collectionMethods", method)["links"]["collection"])
    }

    fn list(&self, kind: &str, query: &str) -> Vec<Value> {
        let answer = send_as_go(self.api, "GET", &format!("{}{query}", self.collection(kind, "GET")), None);
        assert_eq!(answer.status, 200, "{answer:?}");
        answer.json()["data"].as_array().expect("a collection").clone()
    }

    /// A project; 404 is none.
    fn project(&self, id: &str) -> Option<Value> {
        self.schema("project", "resourceMethods", "GET");
        let answer =
            send_as_go(self.api, "GET", &format!("{}/{id}", self.collection("project", "GET")), None);
        (answer.status != 404).then(|| parsed_as_project(&answer))
    }

    fn create(&self, data: &Value) -> Value {
        parsed_as_project(&send_as_go(self.api, "POST", &self.collection("project", "POST"), Some(data)))
    }

    fn update(&self, project: &Value, data: &Value) -> Value {
        self.schema("project", "resourceMethods", "PUT");
        parsed_as_project(&send_as_go(self.api, "PUT", &target_of(&project["links"]["self"]), Some(data)))
    }

    fn set_members(&self, project: &Value, members: &[(&str, &str)]) -> Response {
        self.schema("project", "resourceMethods", "GET");
        let member = |(id, role): &(&str, &str)| json!({ "actions": null, "externalId": id, "externalIdType": "rancher_id", "links": null, "role": role });
        let members: Vec<_> = members.iter().map(member).collect();
        let input = json!({ "actions": null, "links": null, "members": members });
        send_as_go(self.api, "POST", &target_of(&project["actions"]["setmembers"]), Some(&input))
    }

    fn delete(&self, project: &Value) {
        self.schema("project", "resourceMethods", "DELETE");
        let answer = send_as_go(self.api, "DELETE", &target_of(&project["links"]["self"]), None);
        assert!(answer.status < 300, "{answer:?}");
    }
}

/// A request as Go's library and the client write it.
fn send_as_go(api: &Api<'_>, method: &str, target: &str, body: Option<&Value>) -> Response {
    let written = |request: Request| request.header("User-Agent", "Go-http-client/1.1");
    let request = written(api.request(method, target));
    api.send(match (method, body) {
        (_, Some(body)) => request.header("Content-Type", "application/json").body(body.to_string()),
        ("POST", None) => request.header("Content-Type", "application/json").body(""),
        _ => request.header("Accept-Encoding", "gzip").end(),
    })
}

/// The document of an answer, of which the client's structure can hold every field that it has.
fn parsed_as_project(answer: &Response) -> Value {
    assert!(answer.status < 300, "{answer:?}");
    let document = answer.json();
    for (name, value) in document.as_object().expect("an object") {
        let is_held = match name.as_str() {
            "links" | "actions" | "data" | "servicesPortRange" => value.is_object(),
            "members" | "projectLinks" => value.is_array(),
            "allowSystemRole" | "virtualMachine" => value.is_boolean(),
            "hostRemoveDelaySeconds" | "transitioningProgress" => value.is_i64(),
            "id"
            | "type"
            | "created"
            | "defaultNetworkId"
            | "description"
            | "healthState"
            | "kind"
            | "name"
            | "orchestration"
            | "projectTemplateId"
            | "removed"
            | "removeTime"
            | "state"
            | "transitioning"
            | "transitioningMessage"
            | "uuid"
            | "version" => value.is_string(),
            _ => true,
        };
        // Go leaves a field as it is where there is null
        assert!(is_held || value.is_null(), "{name}: {value}");
    }
    document
}

/// `rancher_environment` of Terraform's provider 1.5.0, from its plan to its end.
#[test]
fn case_128_terraform_makes_an_environment_keeps_it_and_destroys_it() {
    let stage = Stage::start();
    let api = Api::admin(&stage.gateway);
    let other = stage.gateway.create_account("other", "user");

    // create: the template of the wanted orchestration, then the environment
    let client = GoRancher::connect(&api, "/v2-beta");
    let template =
        |name: &str| client.list("projectTemplate", &format!("?isPublic=true&name={name}&sort=created"));
    for name in ["mesos", "kubernetes", "windows", "swarm"] {
        assert_eq!(template(name), Vec::<Value>::new(), "{name}: it would be made of what it is not");
    }
    let template = template("cattle")[0]["id"].clone();
    let plan = json!({ "description": "made by Terraform", "name": "foo", "projectTemplateId": template });
    let id = client.create(&plan)["id"].as_str().unwrap().to_owned();
    assert_eq!(client.project(&id).unwrap()["state"], "active", "it waits for this");

    // its members
    let environment = client.project(&id).unwrap();
    let inside =
        || GoRancher::connect(&api, &format!("{}/schemas", target_of(&environment["links"]["self"])));
    let set = inside().set_members(&environment, &[("1a1", "owner"), (&other, "member")]);
    assert!(set.status < 300 && set.json()["type"] == "project", "{set:?}");

    // read: whatever differs from the plan would have it made anew
    let read = client.project(&id).unwrap();
    let field = |name: &str| read[name].clone();
    assert_eq!((field("name"), field("description")), (plan["name"].clone(), plan["description"].clone()));
    assert_eq!(field("orchestration"), "cattle");
    assert_eq!(field("projectTemplateId"), template);
    assert_eq!(field("healthState"), "healthy");
    let members = inside().list("projectMember", "");
    let mut roles: Vec<_> =
        members.iter().map(|member| (member["externalId"].clone(), member["role"].clone())).collect();
    roles.sort_by_key(|(account, _)| account.to_string());
    assert_eq!(roles, [(json!("1a1"), json!("owner")), (json!(other), json!("member"))]);
    assert!(members.iter().all(|member| member["externalIdType"] == "rancher_id"), "{members:?}");
    let link = target_of(&read["links"]["projectMembers"]);
    assert_eq!(api.document(&link)["data"].as_array().map(Vec::len), Some(2));

    // update
    let edited = client.update(&read, &json!({ "description": "", "name": "foo2" }));
    assert_eq!((&edited["name"], &edited["description"]), (&json!("foo2"), &Value::Null));

    // a key of it works at the upstream until it is destroyed, active as it is
    let key = stage.gateway.create_environment_key(&id);
    let reading = || Request::get(format!("/v1/projects/{id}/x")).key(&key);
    stage.passes(reading());
    client.delete(&client.project(&id).unwrap());
    stage.refuses(reading(), &[401]);
    let gone = client.project(&id).unwrap();
    assert_eq!((&gone["state"], &gone["transitioning"]), (&json!("removed"), &json!("no")));
    assert!(gone["removed"].is_string(), "{gone}");
    assert!(!client.list("project", "").iter().any(|project| project["id"] == *id));
    let log = api.document(&format!("/v2-beta/auditlogs?resourceType=project&resourceId={id}"));
    let actions: Vec<_> = log["data"].as_array().unwrap().iter().map(|row| row["action"].clone()).collect();
    assert_eq!(actions, ["create", "edit", "deactivate", "remove"]);
    // once more is 405, as for everything that is gone
    assert_eq!(api.delete(&target_of(&gone["links"]["self"])).status, 405);
}

/// `rancher env rm production`, of an environment that nobody has deactivated.
#[test]
fn case_128_ranchers_command_line_removes_an_active_environment() {
    let stage = Stage::start();
    let api = Api::admin(&stage.gateway);
    api.put("/v2-beta/projects/e2", &json!({ "name": "production" }));
    stage.gateway.create_account("bob", "user");
    stage.gateway.add_member("e2", "bob", "member");
    let bob = stage.gateway.create_account_key("bob");
    let inside = |key| Request::get("/v1/projects/e2/x").key(key);
    stage.passes(inside(&stage.e2));
    stage.passes(inside(&bob));

    let client = GoRancher::connect(&api, "/v2-beta/projects/e1/schemas/schemas");
    assert_eq!(client.project("production"), None);
    let found = client.list("project", "?all=true&name=production&removed_null=1");
    assert_eq!(found.len(), 1, "{found:?}");
    client.delete(&found[0]);
    stage.refuses(inside(&stage.e2), &[401]);
    stage.refuses(inside(&bob), &[403]);
    // the action is another thing: it is offered once the environment is inactive, as in Rancher
    let refused = api.act("/v2-beta/projects/e1", "remove").json();
    assert_eq!((&refused["status"], &refused["code"]), (&json!(422), &json!("ActionNotAvailable")));
    stage.passes(Request::get("/v1/projects/e1/x").key(&stage.e1));
}

/// What a project is made with, and what `setmembers` takes.
#[test]
fn case_128_members_are_what_a_request_names() {
    let stage = Stage::start();
    let api = Api::admin(&stage.gateway);
    let [ada, bob] = ["ada", "bob"].map(|name| stage.gateway.create_account(name, "user"));
    let owner = |id: &str| json!({ "externalId": id, "externalIdType": "rancher_id", "role": "owner" });
    let reader = |id: &str| json!({ "externalId": id, "externalIdType": "rancher_id", "role": "readonly" });
    let members = |id: &Value| {
        let list = api.document(&format!("/v2-beta/projects/{}/projectmembers", id.as_str().unwrap()));
        let member = |member: &Value| {
            json!({
                "externalId": member["externalId"],
                "externalIdType": member["externalIdType"],
                "role": member["role"],
            })
        };
        list["data"].as_array().unwrap().iter().map(member).collect::<Vec<_>>()
    };

    // exactly those: an admin who is not named is none of them
    let named = json!({ "id": "named", "members": [owner(&ada), reader(&bob)] });
    let made = api.create("/v2-beta/projects", &named);
    assert_eq!(members(&made["id"]), [owner(&ada), reader(&bob)]);
    let (ada_key, bob_key) =
        (stage.gateway.create_account_key("ada"), stage.gateway.create_account_key("bob"));
    let writing = |key| Request::new("POST", "/v1/projects/named/x").key(key);
    stage.passes(writing(&ada_key));
    stage.refuses(writing(&bob_key), &[403]);
    // nobody named: whoever asks
    for none in [json!({}), json!({ "members": null }), json!({ "members": [] })] {
        let made = api.create("/v2-beta/projects", &none);
        assert_eq!(members(&made["id"]), [owner("1a1")], "{none}");
    }

    // what cannot be makes nothing at all
    let before = api.ids("/v2-beta/projects");
    for (wrong, status, code) in [
        (json!([reader(&ada)]), 400, "InvalidFormat"),
        (json!([owner("1a999")]), 422, "InvalidReference"),
        (json!([owner(&ada), reader(&ada)]), 422, "NotUnique"),
        (
            json!([{ "externalId": ada, "externalIdType": "github_user", "role": "owner" }]),
            422,
            "InvalidOption",
        ),
        (
            json!([{ "externalId": "1234", "externalIdType": "rancher_id", "role": "owner" }]),
            422,
            "InvalidReference",
        ),
        (json!([{ "role": "owner" }]), 422, "MissingRequired"),
        (json!("ada"), 400, "InvalidFormat"),
    ] {
        for target in ["/v2-beta/projects", "/v2-beta/projects/named/?action=setmembers"] {
            let refused = api.post(target, &json!({ "members": wrong })).json();
            assert_eq!(
                (&refused["status"], &refused["code"]),
                (&json!(status), &json!(code)),
                "{target}: {wrong}"
            );
        }
    }
    for (none, status, code) in [
        (json!({}), 422, "MissingRequired"),
        (json!({ "members": null }), 422, "MissingRequired"),
        (json!({ "members": [] }), 400, "InvalidFormat"),
    ] {
        let refused = api.post("/v2-beta/projects/named/?action=setmembers", &none).json();
        assert_eq!((&refused["status"], &refused["code"]), (&json!(status), &json!(code)), "{none}");
    }
    let another = json!({ "projectTemplateId": "1pt2" });
    let refused = api.post("/v2-beta/projects", &another).json();
    assert_eq!((&refused["status"], &refused["fieldName"]), (&json!(422), &json!("projectTemplateId")));
    assert_eq!(api.ids("/v2-beta/projects"), before);
    assert_eq!(members(&json!("named")), [owner(&ada), reader(&bob)]);
}

/// The fuzzer's own words, where the run fails.
#[test]
fn a_fuzzer_that_knows_only_the_description_finds_no_error() {
    let stage = Stage::with(|plan| {
        // about two failures an operation are the fuzzer's own test of authentication
        plan.top("throttle: { failures: 65534 }\nauthentication: { refusal_time: 1ms }")
    });
    let folder = tempfile::tempdir().expect("a folder");
    let output = python::schemathesis()
        .current_dir(folder.path())
        .env("API_USER", &stage.gateway.admin.access_key)
        .env("API_PASSWORD", &stage.gateway.admin.secret)
        .args(["run", &format!("http://{}/openapi.json", stage.gateway.management())])
        .args(["--max-examples", &std::env::var("PORTCULLIS_API_FUZZ_EXAMPLES").unwrap_or("12".to_owned())])
        .output()
        .expect("schemathesis can be started");
    let text = String::from_utf8_lossy(&output.stdout);
    let end: String =
        text.lines().rev().take(400).collect::<Vec<_>>().into_iter().rev().collect::<Vec<_>>().join("\n");
    assert!(output.status.success(), "{end}\n{}", String::from_utf8_lossy(&output.stderr));
    // it has really sent something
    let api = Api::admin(&stage.gateway);
    assert!(api.document("/v2-beta/auditlogs?limit=-1&via=api")["data"].as_array().unwrap().len() > 10);
}
