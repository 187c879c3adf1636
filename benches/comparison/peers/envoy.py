"""Envoy."""

import json

from .. import machine
from .base import IDLE_SECONDS, KEPT_CONNECTIONS, Peer

TYPE = "type.googleapis.com/envoy.extensions."
PLENTY = 100_000


class Envoy(Peer):
    """With its basic_auth filter, which knows SHA-1 alone, or without."""

    def command(self, setup, running):
        connection_manager = self._connection_manager(setup, running)
        listeners = [
            _listener("http", running.http, connection_manager, None),
            _listener("https", running.https, connection_manager, _tls(setup)),
        ]
        file = running.folder / "envoy.json"
        resources = {"listeners": listeners, "clusters": [_cluster(setup.upstream)]}
        file.write_text(json.dumps({"static_resources": resources}))
        command = [machine.envoy(), "-c", file, "--concurrency", "1", "--disable-hot-restart"]
        return [*command, "--log-level", "warning"]

    def _connection_manager(self, setup, running):
        log = {"@type": TYPE + "access_loggers.file.v3.FileAccessLog", "path": str(running.folder / "access.log")}
        route = {"match": {"prefix": "/"}, "route": {"cluster": "api"}}
        filters = []
        if self.authentication:
            users = "".join(pair.sha1() + "\n" for pair in setup.pairs)
            basic = {"@type": TYPE + "filters.http.basic_auth.v3.BasicAuth", "users": {"inline_string": users}}
            filters.append({"name": "envoy.filters.http.basic_auth", "typed_config": basic})
        router = {"@type": TYPE + "filters.http.router.v3.Router"}
        filters.append({"name": "envoy.filters.http.router", "typed_config": router})
        return {
            "@type": TYPE + "filters.network.http_connection_manager.v3.HttpConnectionManager",
            "stat_prefix": "gateway",
            "use_remote_address": True,
            "common_http_protocol_options": {"idle_timeout": f"{IDLE_SECONDS}s"},
            "access_log": [{"name": "envoy.access_loggers.file", "typed_config": log}],
            "http_filters": filters,
            "route_config": {"virtual_hosts": [{"name": "api", "domains": ["*"], "routes": [route]}]},
        }


def _listener(name, port, connection_manager, tls):
    chain = {
        "filters": [
            {"name": "envoy.filters.network.http_connection_manager", "typed_config": connection_manager}
        ]
    }
    if tls:
        chain["transport_socket"] = {"name": "envoy.transport_sockets.tls", "typed_config": tls}
    return {
        "name": name,
        "address": {"socket_address": {"address": "127.0.0.1", "port_value": port}},
        "tcp_backlog_size": 4096,
        "filter_chains": [chain],
    }


def _tls(setup):
    files = {
        "certificate_chain": {"filename": str(setup.certificate)},
        "private_key": {"filename": str(setup.key)},
    }
    return {
        "@type": TYPE + "transport_sockets.tls.v3.DownstreamTlsContext",
        "common_tls_context": {"alpn_protocols": ["h2", "http/1.1"], "tls_certificates": [files]},
    }


def _cluster(upstream):
    address = {"socket_address": {"address": "127.0.0.1", "port_value": upstream}}
    most = {"max_connections": PLENTY, "max_pending_requests": PLENTY, "max_requests": PLENTY}
    return {
        "name": "api",
        "type": "STATIC",
        "connect_timeout": "5s",
        "circuit_breakers": {"thresholds": [{**most, "max_connection_pools": KEPT_CONNECTIONS}]},
        "load_assignment": {
            "cluster_name": "api",
            "endpoints": [{"lb_endpoints": [{"endpoint": {"address": address}}]}],
        },
    }
