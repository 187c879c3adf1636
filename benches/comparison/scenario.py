"""What a scenario is."""

from collections.abc import Callable
from dataclasses import dataclass

from .figures import USUAL
from .load import Client, Counted, H2load, Wrk
from .peers import BASELINE

CONNECTIONS = 32
SLOW_CONNECTIONS = 2  # of peers that run bcrypt for each request: what is under way at the end is not counted


@dataclass
class Turn:
    """One peer's turn in a round: what the load is made with."""

    running: object
    wrk: Wrk
    h2load: H2load
    client: Client
    pairs: list
    seconds: int

    @property
    def authenticates(self):
        """Whether keys mean something to this peer."""
        return self.running.peer.authentication is not None

    @property
    def connections(self):
        """Few where each request costs a bcrypt run."""
        return SLOW_CONNECTIONS if self.running.peer.is_slow else CONNECTIONS

    def header(self):
        """The hot key's."""
        return self.pairs[0].header()


@dataclass
class Scenario:
    """A name on the command line, a block of the table."""

    name: str
    text: str
    peers: tuple = ()
    load: Callable[[Turn], Counted] | None = None
    keys: int = 2  # in the peers' lists
    stored: int = 10  # in Portcullis' store
    notes: str = ""
    figures: tuple = USUAL
    baseline: str | None = BASELINE  # the row that the others are compared with
    # where it is not `rounds.measure`: (bench, scenario, say) to samples by row
    measure: Callable | None = None
