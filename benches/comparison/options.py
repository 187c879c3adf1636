"""The command line."""

import argparse

from .machine import KEPT
from .peers import PEERS
from .all_scenarios import SCENARIOS

ROUNDS = 5
SECONDS = 4
QUICK_ROUNDS = 1
QUICK_SECONDS = 1


def parse():
    """The options of this run."""
    parser = argparse.ArgumentParser(
        prog="benches/compare",
        description="Measures Portcullis beside nginx, haproxy, Envoy and Caddy on this machine, over loopback: one "
        "worker each, in front of one upstream. What is missing is installed from Debian and PyPI. The figure to "
        "quote is CPU time a request, as a ratio to nginx without authentication in the same round.",
        epilog=f"Results: {KEPT / 'results.json'}.",
    )
    names = [scenario.name for scenario in SCENARIOS]
    parser.add_argument("--list", action="store_true", help="name scenarios and peers, and measure nothing")
    parser.add_argument("--only", metavar="NAMES", help="these scenarios, separated by commas")
    parser.add_argument("--peers", metavar="NAMES", help="these peers (and nginx), separated by commas")
    parser.add_argument("--rounds", type=_positive, default=None, help=f"default: {ROUNDS}")
    parser.add_argument("--seconds", type=_positive, default=None, help=f"of each peer's turn; default: {SECONDS}")
    parser.add_argument("--quick", action="store_true", help="one short round of all: shows that everything works")
    parser.add_argument("--add", action="store_true", help="keep what earlier runs have measured of other scenarios")
    parser.add_argument("--show", action="store_true", help="measure nothing: table and chart of the kept results")
    parser.add_argument("--markdown", metavar="FILE", help="write the table there too")
    parser.add_argument("--chart", metavar="FILE", help="write a chart there (SVG)")
    parser.add_argument("--portcullis", metavar="FILE", help="a built program, instead of building one")
    parser.add_argument("--programs", metavar="FOLDER", help="the built examples, instead of building them")
    parser.add_argument("--no-pinning", action="store_true", help="all programs share all cores")
    options = parser.parse_args()
    if options.show and (options.only or options.quick or options.add):
        parser.error("--show shows all that is kept")
    options.only = _among(parser, options.only, names, "scenario")
    options.peers = _among(parser, options.peers, list(PEERS), "peer")
    options.rounds = options.rounds or (QUICK_ROUNDS if options.quick else ROUNDS)
    options.seconds = options.seconds or (QUICK_SECONDS if options.quick else SECONDS)
    return options


def _positive(text):
    value = int(text)
    if value < 1:
        raise argparse.ArgumentTypeError("at least 1")
    return value


def _among(parser, text, known, kind):
    if text is None:
        return known
    names = text.split(",")
    for name in names:
        if name not in known:
            parser.error(f"there is no {kind} {name!r}; there are {', '.join(known)}")
    return [name for name in known if name in names]
