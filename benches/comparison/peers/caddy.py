"""Caddy."""

import subprocess

from ..machine import Failure
from .base import BODY_MIB, KEPT_CONNECTIONS, Peer

CONFIGURATION = """\
{{
    admin off
    auto_https off
    servers {{
        protocols h1 h2
    }}
    log {{
        output stderr
        level ERROR
    }}
}}
(gateway) {{
    bind 127.0.0.1
    log {{
        output file {folder}/access.log {{
            roll_disabled
        }}
    }}
    basicauth bcrypt {{
{users}
    }}
    request_body {{
        max_size {body}MiB
    }}
    reverse_proxy 127.0.0.1:{upstream} {{
        transport http {{
            keepalive_idle_conns {kept}
            keepalive_idle_conns_per_host {kept}
        }}
    }}
}}
http://:{http} {{
    import gateway
}}
https://:{https} {{
    tls {certificate} {key}
    import gateway
}}
"""


class Caddy(Peer):
    """With bcrypt, the one hash it knows; a Caddyfile turns its memory of verified pairs on."""

    def command(self, setup, running):
        file = running.folder / "Caddyfile"
        users = [f"        {pair.access_key} {_hash(pair.secret)}" for pair in setup.pairs]
        file.write_text(
            CONFIGURATION.format(
                folder=running.folder,
                users="\n".join(users),
                body=BODY_MIB,
                upstream=setup.upstream,
                kept=KEPT_CONNECTIONS,
                http=running.http,
                https=running.https,
                certificate=setup.certificate,
                key=setup.key,
            )
        )
        return ["caddy", "run", "--config", file, "--adapter", "caddyfile"]

    def environment(self, setup):
        folder = str(setup.folder / self.name)
        return {"GOMAXPROCS": "1", "HOME": folder, "XDG_CONFIG_HOME": folder, "XDG_DATA_HOME": folder}


def _hash(secret):
    """As its own command makes it, at the cost that this takes."""
    command = ["caddy", "hash-password", "--plaintext", secret]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise Failure(f"caddy hash-password failed: {done.stderr}")
    return done.stdout.strip()
