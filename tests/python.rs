//! The Python environment of the tests: it has what its list names, and the tools in it start.

mod support;

use std::process::{Command, Output, Stdio};

use serde_json::{Value, json};
use support::python;
use support::raw_upstream::{self, RawUpstream};

#[track_caller]
fn run(command: &mut Command) -> (Output, String) {
    let output = command.stdin(Stdio::null()).output().expect("a program of the environment");
    let said = [output.stdout.as_slice(), &output.stderr].concat();
    (output, String::from_utf8_lossy(&said).into_owned())
}

#[test]
fn the_environment_holds_exactly_what_its_list_says() {
    let (output, frozen) = run(python::program("python").args(["-m", "pip", "freeze", "--all"]));
    assert!(output.status.success(), "{frozen}");
    let list = std::fs::read_to_string(python::folder().join("requirements.txt")).expect("the list");
    let pinned = |text: &str| {
        let mut lines: Vec<String> = text.lines().map(str::to_lowercase).collect();
        // pip came with the virtual environment, in the version of Debian's Python
        lines.retain(|line| !line.starts_with('#') && !line.starts_with("pip=="));
        lines.sort();
        lines
    };
    assert_eq!(pinned(&frozen), pinned(&list));
}

/// Answers every request with what `answer` makes of its first line.
fn server(answer: fn(&str) -> (&'static str, &'static str)) -> String {
    let server = RawUpstream::start(move |_, mut reader| {
        use std::io::Write as _;
        let head = raw_upstream::head(&mut reader)?;
        let (status, body) = answer(&head[0]);
        let length = body.len();
        write!(
            reader.get_mut(),
            "HTTP/1.1 {status}\r\nContent-Type: application/json\r\nContent-Length: {length}\r\n\
             Allow: GET\r\nConnection: close\r\n\r\n{body}"
        )
    });
    format!("http://{}", server.address())
}

#[test]
fn schemathesis_finds_an_answer_that_is_not_documented_and_nothing_else() {
    const DOCUMENT: &str = r#"{"openapi": "3.1.0", "info": {"title": "t", "version": "1"}, "paths": {"/a": {"get": {
        "responses": {"200": {"description": "d", "content": {"application/json": {"schema": {"type": "object"}}}}}
    }}}}"#;
    let good = server(|line| match line.split(' ').take(2).collect::<Vec<_>>()[..] {
        [_, "/openapi.json"] => ("200 OK", DOCUMENT),
        ["GET", _] => ("200 OK", "{}"),
        _ => ("405 Method Not Allowed", "{}"),
    });
    let bad = server(|line| match line.split(' ').take(2).collect::<Vec<_>>()[..] {
        [_, "/openapi.json"] => ("200 OK", DOCUMENT),
        ["GET", _] => ("202 Accepted", "{}"),
        _ => ("405 Method Not Allowed", "{}"),
    });
    for (base, code) in [(good, 0), (bad, 1)] {
        let folder = tempfile::tempdir().expect("a directory");
        let mut command = python::schemathesis();
        command.current_dir(folder.path()).envs([("API_USER", "u"), ("API_PASSWORD", "p")]);
        let (output, said) = run(command.args(["run", &format!("{base}/openapi.json")]));
        assert_eq!(output.status.code(), Some(code), "{said}");
        assert_eq!(said.contains("ST103 Undocumented status code"), code == 1, "{said}");
    }
}

#[test]
fn gdapi_says_what_a_server_refused() {
    const REFUSAL: &str =
        r#"{"type": "error", "status": 401, "code": "Unauthorized", "links": {}, "actions": {}}"#;
    let url = server(|_| ("401 Unauthorized", REFUSAL));
    let (output, said) = run(python::script("gdapi_life.py").args([&url, "access", "secret"]));
    assert!(output.status.success(), "{said}");
    let error = json!({ "type": "error", "status": 401, "code": "Unauthorized", "fieldName": null });
    let steps: Vec<Value> = said.lines().map(|line| serde_json::from_str(line).expect("JSON")).collect();
    assert_eq!(
        steps,
        [json!({ "step": "connect", "error": error }), json!({ "step": "wrong key", "error": error })]
    );
}
