"""nginx."""

import os

from .. import fixtures
from .base import BODY_MIB, IDLE_SECONDS, KEPT_CONNECTIONS, Peer

# `buffer` on the log is what its users turn on under load; without it nginx would write once a request.
CONFIGURATION = """\
daemon off;
{user}
worker_processes 1;
error_log {folder}/error.log;
pid {folder}/nginx.pid;
events {{ worker_connections 40000; }}
http {{
  access_log {folder}/access.log combined buffer=64k flush=1s;
  client_body_temp_path {folder}/body;
  proxy_temp_path {folder}/proxy;
  fastcgi_temp_path {folder}/fastcgi;
  uwsgi_temp_path {folder}/uwsgi;
  scgi_temp_path {folder}/scgi;
  keepalive_timeout {idle}s;
  keepalive_requests 1000000000;
  upstream api {{
    server 127.0.0.1:{upstream};
    keepalive {kept};
    keepalive_requests 1000000000;
  }}
  server {{
    listen 127.0.0.1:{http} backlog=4096;
    listen 127.0.0.1:{https} ssl http2 backlog=4096;
    ssl_certificate {certificate};
    ssl_certificate_key {key};
    ssl_protocols TLSv1.2 TLSv1.3;
    client_max_body_size {body}m;
    location / {{
      {authentication}
      proxy_pass http://api;
      proxy_http_version 1.1;
      proxy_set_header Connection "";
      proxy_set_header Host $host;
      proxy_set_header X-Forwarded-For $proxy_add_x_forwarded_for;
      proxy_set_header X-Forwarded-Proto $scheme;
    }}
  }}
}}
"""


class Nginx(Peer):
    """Without authentication it is what all are compared with."""

    def command(self, setup, running):
        folder = running.folder
        authentication = ""
        if self.authentication:
            lines = {"sha1": lambda pair: pair.sha1(), "bcrypt": _bcrypt_line}[self.authentication]
            keys = folder / "htpasswd"
            keys.write_text("".join(lines(pair) + "\n" for pair in setup.pairs))
            authentication = f'auth_basic "api"; auth_basic_user_file {keys};'
        file = folder / "nginx.conf"
        file.write_text(
            CONFIGURATION.format(
                # the worker would otherwise be a user who may not read this folder
                user="user root;" if os.geteuid() == 0 else "",
                folder=folder,
                idle=IDLE_SECONDS,
                upstream=setup.upstream,
                kept=KEPT_CONNECTIONS,
                http=running.http,
                https=running.https,
                certificate=setup.certificate,
                key=setup.key,
                body=BODY_MIB,
                authentication=authentication,
            )
        )
        return ["nginx", "-p", folder, "-e", folder / "error.log", "-c", file]


def _bcrypt_line(pair):
    return f"{pair.access_key}:{fixtures.bcrypt(pair)}"
