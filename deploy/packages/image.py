"""Makes a container image (an OCI archive) without an engine: image.py PROGRAM ARCHIVE

It holds the program, the libraries that it is linked with, the root certificates, and a user; nothing else, not even a
shell."""

import gzip
import hashlib
import io
import json
import os
import platform
import re
import subprocess
import sys
import tarfile

program, archive = sys.argv[1:]
CERTIFICATES = "/etc/ssl/certs/ca-certificates.crt"
USER = 10001
MODIFIED = int(os.environ.get("SOURCE_DATE_EPOCH", "0"))


def libraries():
    said = subprocess.run(["ldd", program], check=True, capture_output=True, text=True).stdout
    return sorted(set(re.findall(r"(/\S+)", said)))


def add(layer, name, content=None, mode=0o755, owner=0):
    entry = tarfile.TarInfo(name.lstrip("/"))
    entry.uid = entry.gid = owner
    entry.mode, entry.mtime = mode, MODIFIED
    if content is None:
        entry.type = tarfile.DIRTYPE
        layer.addfile(entry)
    else:
        entry.size = len(content)
        layer.addfile(entry, io.BytesIO(content))


def read(path):
    with open(path, "rb") as file:
        return file.read()


def layer():
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w", format=tarfile.USTAR_FORMAT) as tar:
        files = {"/usr/bin/portcullis": (read(program), 0o755)}
        files[CERTIFICATES] = (read(CERTIFICATES), 0o644)
        files["/etc/passwd"] = (b"portcullis:x:%d:%d::/var/lib/portcullis:/sbin/nologin\n" % (USER, USER), 0o644)
        files["/etc/group"] = (b"portcullis:x:%d:\n" % USER, 0o644)
        for path in libraries():
            # by the name that the program asks for, whatever links lead there
            files[path] = (read(path), 0o755)
        folders = {"/tmp": (0o1777, 0), "/var/lib/portcullis": (0o700, USER), "/etc/portcullis": (0o755, 0)}
        for path in list(files) + list(folders):
            while (path := os.path.dirname(path)) != "/":
                folders.setdefault(path, (0o755, 0))
        for path, (mode, owner) in sorted(folders.items()):
            add(tar, path, mode=mode, owner=owner)
        for path, (content, mode) in sorted(files.items()):
            add(tar, path, content, mode)
    return buffer.getvalue()


def blob(tar, content, media):
    digest = hashlib.sha256(content).hexdigest()
    add(tar, "blobs/sha256/" + digest, content, 0o644)
    return {"mediaType": media, "digest": "sha256:" + digest, "size": len(content)}


def document(value):
    return json.dumps(value, sort_keys=True).encode()


plain = layer()
config = {
    "architecture": {"x86_64": "amd64", "aarch64": "arm64"}.get(platform.machine(), platform.machine()),
    "os": "linux",
    "config": {
        "User": "%d:%d" % (USER, USER),
        "WorkingDir": "/var/lib/portcullis",
        "Entrypoint": ["/usr/bin/portcullis"],
        "Cmd": ["serve", "--config", "/etc/portcullis/portcullis.yaml"],
        "ExposedPorts": {"8080/tcp": {}, "8081/tcp": {}},
        # Docker's own addition, which others ignore; times in nanoseconds
        "Healthcheck": {
            "Test": ["CMD", "/usr/bin/portcullis", "health", "--config", "/etc/portcullis/portcullis.yaml"],
            "Interval": 10_000_000_000,
            "Timeout": 12_000_000_000,
            "StartPeriod": 60_000_000_000,
        },
    },
    "rootfs": {"type": "layers", "diff_ids": ["sha256:" + hashlib.sha256(plain).hexdigest()]},
}
with tarfile.open(archive, "w", format=tarfile.USTAR_FORMAT) as tar:
    OCI = "application/vnd.oci.image."
    layer_blob = blob(tar, gzip.compress(plain, mtime=MODIFIED), OCI + "layer.v1.tar+gzip")
    config_blob = blob(tar, document(config), OCI + "config.v1+json")
    manifest = {"schemaVersion": 2, "mediaType": OCI + "manifest.v1+json", "config": config_blob, "layers": [layer_blob]}
    index = blob(tar, document(manifest), OCI + "manifest.v1+json")
    add(tar, "oci-layout", document({"imageLayoutVersion": "1.0.0"}), 0o644)
    add(tar, "index.json", document({"schemaVersion": 2, "manifests": [index]}), 0o644)
