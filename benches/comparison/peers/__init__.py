"""What is compared: each peer knows its configuration, written as its users write it, for one worker.

All of them keep connections to the upstream, write an access log to a file, serve HTTP/1.1 on one port and TLS with
HTTP/2 and HTTP/1.1 on another, with one certificate, and know the same keys.
"""

from .base import Peer, Setup
from .caddy import Caddy
from .envoy import Envoy
from .haproxy import Haproxy
from .nginx import Nginx
from .portcullis import Portcullis
from .reference_proxies import Floor, Hyper

BASELINE = "nginx"

# By the name on the command line, in the order in which they take their turns and stand in the table.
PEERS = {
    peer.name: peer
    for peer in (
        Nginx(BASELINE, None),
        Nginx("nginx-sha1", "sha1"),
        Nginx("nginx-bcrypt", "bcrypt"),
        Haproxy("haproxy", None),
        Haproxy("haproxy-plain", "plain"),
        Haproxy("haproxy-bcrypt", "bcrypt"),
        Envoy("envoy", None),
        Envoy("envoy-sha1", "sha1"),
        Caddy("caddy-bcrypt", "bcrypt"),
        Portcullis("portcullis", "argon2id"),
        Hyper("hyper", None),
        Floor("floor", None),
    )
}

__all__ = ["BASELINE", "PEERS", "Peer", "Portcullis", "Setup"]
