//! What the demo prints: lines to paste, each under a comment that begins with the status it will show.

use std::fmt::Write as _;
use std::net::SocketAddr;
use std::path::Path;

use zeroize::Zeroizing;

use super::fixture::{ENVIRONMENTS, Fixture};
use crate::cli::issue_key::IssuedKey;
use crate::cli::output::quoted;

/// The whole text. It holds the demo's secrets, so it is wiped when it goes.
pub(super) fn text(
    fixture: &Fixture,
    plain: SocketAddr,
    tls: SocketAddr,
    management: SocketAddr,
    folder: &Path,
    program: &Path,
) -> Zeroizing<String> {
    let [blue, green] = ENVIRONMENTS;
    let [blue_key, green_key] = &fixture.environments;
    let (plain, tls) = (format!("http://{plain}"), format!("https://{tls}"));
    let certificate = quoted(&folder.join("certs/gateway.pem"));
    let (blue_user, green_user, admin_user) = (user(blue_key), user(green_key), user(&fixture.admin));
    let (blue_user, green_user, admin_user) = (blue_user.as_str(), green_user.as_str(), admin_user.as_str());

    let mut page = Page(Zeroizing::new(String::new()));
    page.line("Portcullis demo: a sample API, and the gateway in front of it.\n");
    page.line(&format!("The web page is at http://{management}/ and opens with this admin's key:\n"));
    page.line(&format!("  access key  {}", fixture.admin.entry.key.access_key));
    page.line(&Zeroizing::new(format!("  secret key  {}", fixture.admin.secret.as_str())));
    page.line(
        "\nCreate a key for an environment there, paste its curl line into a terminal, deactivate the key, and paste \
         the line again.\n\nOr try these lines in another terminal:\n",
    );
    page.show(
        &format!("200: the key of environment {blue} reads in {blue}"),
        &format!("curl -i -u {blue_user} {plain}/v2-beta/projects/{blue}/stacks"),
    );
    page.show(
        &format!("403: it does not reach environment {green}"),
        &format!("curl -i -u {blue_user} {plain}/v2-beta/projects/{green}/stacks"),
    );
    page.show(
        "401: without a key nothing passes",
        &format!("curl -i {plain}/v2-beta/projects/{blue}/stacks"),
    );
    page.show("200: but for what is public", &format!("curl -i {plain}/healthz"));
    page.show(
        "400: a path that two programs may read differently is refused",
        &format!("curl -i --path-as-is -u {blue_user} {plain}/v2-beta/projects/{blue}/..%2f{green}/stacks"),
    );
    page.show(
        "200: an admin's key reaches everything; here over TLS and HTTP/2",
        &format!(
            "curl -i --cacert {certificate} -u {admin_user} -d 'hello' {tls}/v2-beta/projects/{green}/stacks"
        ),
    );
    page.show(
        "200: an event stream passes event by event",
        &format!("curl -i -N -u {blue_user} '{plain}/v2-beta/projects/{blue}/events?count=5'"),
    );
    page.show(
        "101: a WebSocket passes (this one greets and closes; without ?once it echoes)",
        &format!(
            "curl -i -N --http1.1 -u {blue_user} -H 'Connection: Upgrade' -H 'Upgrade: websocket' \
             -H 'Sec-WebSocket-Version: 13' -H 'Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==' \
             --output - '{plain}/v2-beta/projects/{blue}/subscribe?once'"
        ),
    );
    page.show(
        &format!("a key is deactivated beside the running gateway, here that of {green}"),
        &format!(
            "{} key deactivate --config {} {}",
            quoted(program),
            quoted(&folder.join("portcullis.yaml")),
            green_key.entry.key.access_key
        ),
    );
    page.show(
        "401: when the command has answered, the key no longer works",
        &format!("curl -i -u {green_user} {plain}/v2-beta/projects/{green}/stacks"),
    );
    page.line("Every request is logged below. Ctrl-C ends the demo and removes all it has made.");
    page.0
}

/// What is being written.
struct Page(Zeroizing<String>);

impl Page {
    fn line(&mut self, line: &str) {
        let _ = writeln!(self.0, "{line}"); // a string takes every write
    }

    fn show(&mut self, promise: &str, command: &str) {
        let _ = writeln!(self.0, "  # {promise}\n  {command}\n"); // see above
    }
}

/// `access key:secret key`; neither holds a character that a shell would read.
fn user(key: &IssuedKey) -> Zeroizing<String> {
    Zeroizing::new(format!("{}:{}", key.entry.key.access_key, key.secret.as_str()))
}
