"""Scenarios in which each peer gets the same load, as fast as it answers."""

from . import fixtures
from .peers import BASELINE
from .peers.base import LARGE_PATH, PATH
from .rounds import expect
from .scenario import CONNECTIONS, Scenario

MIB = 1 << 20
STREAMS = 16

WITHOUT_KEYS = ("nginx", "haproxy", "envoy", "hyper", "floor")
BCRYPT = ("nginx-bcrypt", "haproxy-bcrypt")
WITH_KEYS = ("nginx-sha1", "haproxy-plain", "envoy-sha1", "caddy-bcrypt", "portcullis")


def _hot(turn):
    return turn.wrk.run(turn.running.url(), [turn.header()], turn.seconds, connections=turn.connections)


def _keys(turn):
    headers = [pair.header() for pair in turn.pairs]
    return turn.wrk.run(turn.running.url(), headers, turn.seconds)


def _refused(header):
    """The baseline does not refuse: it serves the hot key, and what a refusal costs is compared with that."""

    def load(turn):
        if not turn.authenticates:
            return _hot(turn)
        wrong = header(turn.pairs)
        # Caddy takes a second for the first, and for each that comes until it knows
        expect(turn.running, wrong, 401)
        return turn.wrk.run(
            turn.running.url(), [wrong], turn.seconds, connections=turn.connections, expected=401
        )

    return load


def wrong_secret(pairs):
    """A known key with a secret of the right form: another key's."""
    return fixtures.Pair(pairs[0].access_key, pairs[1].secret).header()


def unknown_key(pairs):
    """A key of the right form that nobody has, with a secret of the right form."""
    return fixtures.Pair("pce_" + "0" * 20, pairs[1].secret).header()


def _malformed(_pairs):
    return "Basic this-is-not-base64!"


def _large(turn):
    return turn.wrk.run(turn.running.url(LARGE_PATH), [turn.header()], turn.seconds)


def _upload(turn):
    return turn.wrk.run(turn.running.url(), [turn.header()], turn.seconds, body=MIB)


def _h2(turn):
    url, header = turn.running.secure_url(), turn.header()
    return turn.h2load.run(url, header, turn.seconds, connections=CONNECTIONS, streams=STREAMS)


def _tls(turn):
    return turn.wrk.run(turn.running.secure_url(), [turn.header()], turn.seconds)


def _tls_new(turn):
    port, certificate = turn.running.https, turn.running.certificate
    return turn.client.handshakes(port, PATH, turn.header(), turn.seconds, CONNECTIONS, certificate)


THROTTLE_NOTE = (
    "nginx stands for what it serves without authentication. Portcullis' throttle is set so high that 401 stays 401."
)
PLAIN = (*WITHOUT_KEYS, *WITH_KEYS)
SECURE = tuple(name for name in WITHOUT_KEYS if name != "floor") + WITH_KEYS
REFUSING = (BASELINE, *WITH_KEYS, *BCRYPT)

LOADS = [
    Scenario("hot", "one hot key, 512 bytes, 32 kept connections", (*PLAIN, *BCRYPT), _hot),
    Scenario(
        "keys",
        "10,000 keys in turn, 512 bytes, 32 kept connections",
        ("nginx", "nginx-sha1", "haproxy-plain", "envoy-sha1", "portcullis"),
        _keys,
        keys=fixtures.KEYS,
        stored=1_000_000,
        notes="Portcullis has 1,000,000 keys stored, the others' lists hold the 10,000. Not with bcrypt: Caddy "
        "remembers 1,000 pairs, and the others none.",
    ),
    Scenario(
        "refused-secret", "a known key, a wrong secret: 401", REFUSING, _refused(wrong_secret), notes=THROTTLE_NOTE
    ),
    Scenario("refused-key", "an unknown key: 401", REFUSING, _refused(unknown_key), notes=THROTTLE_NOTE),
    Scenario(
        "refused-malformed", "ill-formed credentials: 401", REFUSING, _refused(_malformed), notes=THROTTLE_NOTE
    ),
    Scenario("large", "1 MiB answers, 32 kept connections", PLAIN, _large),
    Scenario("upload", "1 MiB uploads, 32 kept connections", PLAIN, _upload),
    Scenario("h2", "HTTP/2 over TLS, 32 connections with 16 streams each", SECURE, _h2),
    Scenario("tls", "HTTP/1.1 over 32 kept TLS connections", SECURE, _tls),
    Scenario(
        "tls-new",
        "a new TLS connection for each request, 32 at once",
        SECURE,
        _tls_new,
        notes="TLS 1.3 with X25519 and ECDSA P-256 for all, without resumption.",
    ),
]
