"""What all peers have in common."""

from dataclasses import dataclass, field
from pathlib import Path

from ..child_processes import Child, free_port

ENVIRONMENT = "e1"
PATH = f"/v1/projects/{ENVIRONMENT}/hosts"  # an environment's path in Portcullis; any path to the others
LARGE_PATH = f"{PATH}/large"

KEPT_CONNECTIONS = 1024  # to the upstream; more than any scenario has requests under way on them
BODY_MIB = 16  # uploads are allowed up to this
IDLE_SECONDS = 75


@dataclass
class Setup:
    """Where the peers of a scenario run, and what they need."""

    folder: Path
    upstream: int  # port
    certificate: Path
    key: Path
    pairs: list  # what the lists of keys hold
    store_folder: Path  # folder of Portcullis' store
    portcullis: Path
    programs: Path
    cores: list
    settings: dict = field(default_factory=dict)  # what a scenario wants of Portcullis in particular


class Peer:
    """A program in front of the upstream."""

    serves_tls = True

    def __init__(self, name, authentication):
        self.name = name
        self.authentication = authentication

    @property
    def is_slow(self):
        """Whether each request costs a bcrypt run: such peers get few requests. Caddy remembers what it verified."""
        return self.authentication == "bcrypt" and self.name != "caddy-bcrypt"

    def start(self, setup):
        """Starts it in a folder of its own and waits until it listens."""
        folder = setup.folder / self.name
        folder.mkdir()
        running = Running(self, folder, setup.certificate, free_port(), free_port() if self.serves_tls else None)
        running.child = Child(
            self.command(setup, running), setup.cores, folder / "output.log", self.environment(setup)
        )
        try:
            running.child.wait_for(*(port for port in (running.http, running.https) if port))
            self.wait_until_ready(running)
        except BaseException:
            running.child.stop()
            raise
        return running

    def command(self, setup, running):
        """Writes the configuration into the folder. Returns the command that starts the program."""
        raise NotImplementedError

    def wait_until_ready(self, running):
        """For peers that listen before they can serve."""

    def environment(self, _setup):
        """Variables of its process."""
        return {}


class Running:
    """A running peer."""

    def __init__(self, peer, folder, certificate, http, https):
        self.peer = peer
        self.folder = folder
        self.certificate = certificate
        self.http = http
        self.https = https
        self.child = None
        self.management = None  # Portcullis alone has this listener, and an admin's key for it
        self.admin = None

    @property
    def pid(self):
        """The id of its process. Children are measured with it."""
        return self.child.pid

    def url(self, path=PATH):
        """A path over HTTP/1.1 in the clear."""
        return f"http://127.0.0.1:{self.http}{path}"

    def secure_url(self, path=PATH):
        """A path over TLS."""
        return f"https://127.0.0.1:{self.https}{path}"

    def empty_logs(self):
        """Empties the logs: a million lines a run would fill the disk. All peers append."""
        for log in self.folder.glob("*.log"):
            with open(log, "r+b") as file:
                file.truncate(0)
