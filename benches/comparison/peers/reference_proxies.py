"""Our own two proxies: what hyper costs, and what only reading and writing costs."""

from .base import Peer


class Hyper(Peer):
    """A bare proxy of hyper: programs/hyper_proxy.rs."""

    def command(self, setup, running):
        addresses = [f"127.0.0.1:{port}" for port in (running.http, running.https, setup.upstream)]
        return [setup.programs / "hyper_proxy", *addresses, setup.certificate, setup.key]


class Floor(Peer):
    """A proxy that only reads and writes: programs/floor.rs."""

    serves_tls = False

    def command(self, setup, running):
        return [setup.programs / "floor", f"127.0.0.1:{running.http}", f"127.0.0.1:{setup.upstream}"]
