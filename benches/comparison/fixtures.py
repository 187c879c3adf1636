"""What all peers share: keys, the lists and stores that hold them, and the certificate."""

import base64
import hashlib
import shutil
import subprocess

from .machine import KEPT, Failure

KEYS = 10_000  # in use, where a scenario says keys in turn
BCRYPT_COST = 10

# A store by its size: how many keys have known secrets, and how many others lie beside them.
STORES = {
    10: (10, 0),
    1_000: (10, 990),
    100_000: (10, 99_990),
    1_000_000: (KEYS, 1_000_000 - KEYS),
}
COLD_KEYS = 500  # of the store that is started without its pepper


class Pair:
    """An access key and its secret."""

    def __init__(self, access_key, secret):
        self.access_key = access_key
        self.secret = secret

    def header(self):
        """The value of `Authorization`."""
        return "Basic " + base64.b64encode(f"{self.access_key}:{self.secret}".encode()).decode()

    def sha1(self):
        """A line of an htpasswd list."""
        digest = base64.b64encode(hashlib.sha1(self.secret.encode()).digest()).decode()
        return f"{self.access_key}:{{SHA}}{digest}"


def store(programs, size):
    """The folder of a store of so many keys, filled where it is not there yet."""
    return _fill(programs, KEPT / f"stock-{size}", *STORES[size])


def cold_store(programs):
    """The folder of a store that is to be started without its pepper."""
    return _fill(programs, KEPT / "stock-cold", COLD_KEYS, 0)


def _fill(programs, folder, known, others):
    done = folder / "done"
    if not done.exists():
        print(f"filling {folder} with {known + others:,} keys, once", flush=True)
        shutil.rmtree(folder, ignore_errors=True)
        command = [str(programs / "fill_store"), str(folder), str(known), str(others)]
        if subprocess.run(command, check=False).returncode != 0:
            raise Failure("the store could not be filled")
        done.touch()
    return folder


def pairs(folder):
    """The known pairs of a store."""
    with open(folder / "pairs.txt") as lines:
        return [Pair(*line.split()) for line in lines]


def admin_pair(folder):
    """The admin's, for the management listener."""
    return Pair(*(folder / "admin.txt").read_text().split())


def bcrypt(pair):
    """A bcrypt hash of the pair's secret, as `htpasswd -B` makes it."""
    command = ["htpasswd", "-nbB", "-C", str(BCRYPT_COST), "x", pair.secret]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise Failure(f"htpasswd failed: {done.stderr}")
    return done.stdout.strip().split(":", 1)[1]


def certificate(folder):
    """A self-signed certificate (ECDSA P-256) that all listeners share, and its key."""
    certificate, key = folder / "gateway.pem", folder / "gateway.key"
    command = ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes"]
    command += ["-days", "30", "-subj", "/CN=localhost", "-addext", "subjectAltName=DNS:localhost,IP:127.0.0.1"]
    command += ["-addext", "basicConstraints=critical,CA:FALSE"]  # or it would be its own authority
    done = subprocess.run([*command, "-keyout", key, "-out", certificate], capture_output=True, check=False)
    if done.returncode != 0:
        raise Failure("openssl made no certificate")
    key.chmod(0o600)
    return certificate, key
