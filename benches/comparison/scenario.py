"""A scenario, and one turn of a peer in it."""

from collections.abc import Callable
from dataclasses import dataclass

from .columns import DEFAULT_COLUMNS
from .load import Client, Counted, H2load, Wrk
from .peers import BASELINE

CONNECTIONS = 32
SLOW_CONNECTIONS = 2  # of peers that run bcrypt for each request: what is under way at the end is not counted


@dataclass
class Turn:
    """One turn of a peer in a round: the peer, and what makes the load."""

    running: object
    wrk: Wrk
    h2load: H2load
    client: Client
    pairs: list
    seconds: int

    @property
    def authenticates(self):
        """Whether this peer checks keys."""
        return self.running.peer.authentication is not None

    @property
    def connections(self):
        """How many connections. Few if each request costs a bcrypt run."""
        return SLOW_CONNECTIONS if self.running.peer.is_slow else CONNECTIONS

    def header(self):
        """The `Authorization` of the hot key."""
        return self.pairs[0].header()


@dataclass
class Scenario:
    """A scenario: a name on the command line, and a block of the table."""

    name: str
    text: str
    peers: tuple = ()
    load: Callable[[Turn], Counted] | None = None
    keys: int = 2  # in the peers' lists
    stored: int = 10  # in Portcullis' store
    notes: str = ""
    columns: tuple = DEFAULT_COLUMNS
    baseline: str | None = BASELINE  # the row that the others are compared with
    # where it is not `rounds.measure`: (bench, scenario, say) to samples by row
    measure: Callable | None = None
