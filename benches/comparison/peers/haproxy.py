"""haproxy."""

from .. import fixtures
from .base import IDLE_SECONDS, Peer

# It has no log files of its own: what it writes to standard output goes to one here, which is less work than syslog.
CONFIGURATION = """\
global
    nbthread 1
    maxconn 25000
    no strict-limits
    log stdout format raw local0 info
defaults
    mode http
    log global
    option httplog
    option forwardfor
    timeout connect 5s
    timeout client {idle}s
    timeout server 60s
    timeout http-request 10s
    timeout http-keep-alive {idle}s
{userlist}
frontend gateway
    bind 127.0.0.1:{http} backlog 4096
    bind 127.0.0.1:{https} ssl crt {bundle} alpn h2,http/1.1 backlog 4096
    {authentication}
    default_backend api
backend api
    http-reuse always
    server api 127.0.0.1:{upstream}
"""


class Haproxy(Peer):
    """With a user list, or without."""

    def command(self, setup, running):
        folder = running.folder
        bundle = folder / "bundle.pem"
        bundle.write_text(setup.certificate.read_text() + setup.key.read_text())
        userlist, authentication = "", ""
        if self.authentication:
            users = "".join(f"    user {pair.access_key} {self._password(pair)}\n" for pair in setup.pairs)
            userlist = "userlist keys\n" + users
            authentication = "http-request auth realm api unless { http_auth(keys) }"
        file = folder / "haproxy.cfg"
        file.write_text(
            CONFIGURATION.format(
                idle=IDLE_SECONDS,
                userlist=userlist,
                http=running.http,
                https=running.https,
                bundle=bundle,
                authentication=authentication,
                upstream=setup.upstream,
            )
        )
        return ["haproxy", "-db", "-f", file]

    def _password(self, pair):
        if self.authentication == "plain":
            return f"insecure-password {pair.secret}"
        return f"password {fixtures.bcrypt(pair)}"
