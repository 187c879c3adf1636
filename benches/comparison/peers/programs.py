"""Our own two: what hyper costs, and the floor under everything that reads and writes."""

from .base import Peer


class Hyper(Peer):
    """A bare proxy of hyper: programs/hyper_proxy.rs."""

    def command(self, site, running):
        addresses = [f"127.0.0.1:{port}" for port in (running.http, running.https, site.upstream)]
        return [site.programs / "hyper_proxy", *addresses, site.certificate, site.key]


class Floor(Peer):
    """A proxy that only reads and writes: programs/floor.rs."""

    serves_tls = False

    def command(self, site, running):
        return [site.programs / "floor", f"127.0.0.1:{running.http}", f"127.0.0.1:{site.upstream}"]
