//! Runs the blocks of `docs/quick-start.md` in the order of the page, and compares the status of each `curl`.

#![allow(clippy::unwrap_used, reason = "helpers of tests stop the test where something is not as it must be")]

mod support;

use std::fs;
use std::net::TcpStream;
use std::path::Path;
use std::process::{Child, Command, Stdio};

use support::PATIENCE;
use support::upstream::Upstream;

/// A reader with a shell in an empty folder.
struct Reader {
    folder: tempfile::TempDir,
    /// In place of 127.0.0.1, so that the ports of the page are free.
    address: String,
    api: String,
    gateway: Option<Child>,
    /// The account key and the environment key that were printed last.
    pairs: Vec<(String, String)>,
}

impl Drop for Reader {
    fn drop(&mut self) {
        self.stop_gateway();
    }
}

impl Reader {
    fn new(upstream: &Upstream) -> Self {
        let own = std::process::id();
        Self {
            folder: tempfile::tempdir().unwrap(),
            address: format!("127.{}.{}.{}", 100 + own % 100, own / 100 % 250, 2 + own / 25_000 % 250),
            api: upstream.address().to_string(),
            gateway: None,
            pairs: Vec::new(),
        }
    }

    /// Text of the page with this reader's addresses and keys in it.
    fn own(&self, text: &str) -> String {
        let mut text = text.replace("127.0.0.1:3000", "API").replace("127.0.0.1", &self.address);
        text = text.replace("API", &self.api);
        for (access_key, secret) in &self.pairs {
            text = text.replace(&format!("{}_…:pcs_…", &access_key[..3]), &format!("{access_key}:{secret}"));
            text = text.replace(&format!("{}_…", &access_key[..3]), access_key);
        }
        text
    }

    fn shell(&self, line: &str) -> Command {
        let program = Path::new(env!("CARGO_BIN_EXE_portcullis")).parent().unwrap();
        let mut command = Command::new("sh");
        command.args(["-c", line]).current_dir(self.folder.path()).stdin(Stdio::null());
        command.env("PATH", format!("{}:{}", program.display(), std::env::var("PATH").unwrap()));
        command
    }

    fn run(&mut self, line: &str) {
        let (line, comment) = line.split_once(" # ").unwrap_or((line, ""));
        let line = self.own(line.trim_end());
        if let Some(served) = line.strip_suffix(" &") {
            return self.start_gateway(served);
        }
        let output = self.shell(&line).output().unwrap();
        let said = String::from_utf8_lossy(&output.stdout).into_owned();
        assert!(output.status.success(), "{line}: {said}{}", String::from_utf8_lossy(&output.stderr));
        if !comment.is_empty() {
            let status = said.split(' ').nth(1).unwrap_or_default();
            assert_eq!(status, comment.trim(), "{line}\n{said}");
        }
        let word = |prefix: &str| said.split_whitespace().find(|word| word.starts_with(prefix));
        if let (Some(access_key), Some(secret)) = (word("pca_").or(word("pce_")), word("pcs_")) {
            self.pairs.retain(|(kept, _)| kept[..3] != access_key[..3]);
            self.pairs.push((access_key.to_owned(), secret.to_owned()));
        }
        let config = self.folder.path().join("portcullis.yaml");
        if line == "portcullis init" {
            fs::write(&config, self.own(&fs::read_to_string(&config).unwrap())).unwrap();
        }
    }

    /// Puts what the page shows in place of the end of the configuration that begins with the same section.
    fn edit(&mut self, yaml: &str) {
        let config = self.folder.path().join("portcullis.yaml");
        let before = fs::read_to_string(&config).unwrap();
        let section = yaml.lines().next().unwrap();
        let kept = before.find(&format!("\n{section}")).expect("init has written this section");
        fs::write(&config, format!("{}\n{}", &before[..kept], self.own(yaml))).unwrap();
        if self.gateway.is_some() {
            self.stop_gateway();
            self.start_gateway("portcullis serve");
        }
    }

    fn start_gateway(&mut self, line: &str) {
        let mut command = self.shell(&format!("exec {line}"));
        self.gateway = Some(command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap());
        let address = format!("{}:8080", self.address);
        support::wait_for(PATIENCE, "the gateway listens", || TcpStream::connect(&address).is_ok());
    }

    fn stop_gateway(&mut self) {
        if let Some(mut gateway) = self.gateway.take() {
            gateway.kill().ok();
            gateway.wait().ok();
        }
    }
}

#[test]
fn every_block_of_the_quick_start_works_in_its_order() {
    let page = concat!(env!("CARGO_MANIFEST_DIR"), "/docs/quick-start.md");
    let page = fs::read_to_string(page).unwrap();
    let upstream = Upstream::start();
    let mut reader = Reader::new(&upstream);
    let mut statuses = 0;
    for block in page.split("\n```").skip(1).step_by(2) {
        let (language, text) = block.split_once('\n').unwrap();
        match language {
            "sh" => text.lines().for_each(|line| reader.run(line)),
            "yaml" => reader.edit(text),
            "" => {}
            other => panic!("nobody runs blocks of {other}"),
        }
        statuses += text.matches("# 20").count() + text.matches("# 40").count();
    }
    assert_eq!(statuses, 6, "the page has other calls than this test knows");
}
