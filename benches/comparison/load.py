"""The load: wrk, h2load and our own client, on the core for the load.

Every status is checked: an unexpected one fails the run.
"""

import json
import re
from contextlib import contextmanager
from dataclasses import dataclass

from .machine import Failure
from .child_processes import hold_on, run_beside, run_on

# How long a run may take over its time before it counts as hanging.
GRACE_SECONDS = 90


@dataclass
class Counted:
    """What one run of load has counted."""

    requests: int
    seconds: float
    p50: float  # milliseconds
    p99: float


# wrk runs this in its one thread. `request` gives ready bytes: formatting each would cost more than sending it. Where
# every status is to be another than 200, each answer is looked at; else wrk's own count of failures is enough.
WRK_SCRIPT = """\
local expected = {expected}
local requests, at = {{}}, 0
others, seen = 0, 0

function setup(thread) worker = thread end

function init()
  local body = {body} > 0 and string.rep("x", {body}) or nil
  local method = body and "PUT" or "GET"
  for line in io.lines("{headers}") do
    local headers = {{}}
    if line ~= "" then headers["Authorization"] = line end
    requests[#requests + 1] = wrk.format(method, nil, headers, body)
  end
end

function request()
  at = at % #requests + 1
  return requests[at]
end

if expected ~= 200 then
  response = function(status)
    seen = seen + 1
    if status ~= expected then others = others + 1 end
  end
end

function done(summary, latency)
  local errors = summary.errors
  local failed = errors.connect + errors.read + errors.write + errors.timeout
  local wrong = errors.status
  if expected ~= 200 then
    wrong = worker:get("others") + summary.requests - worker:get("seen")
  end
  io.stderr:write(string.format('{{"requests":%d,"microseconds":%d,"failed":%d,"wrong":%d,"p50":%d,"p99":%d}}',
    summary.requests, summary.duration, failed, wrong, latency:percentile(50), latency:percentile(99)))
end
"""


class Wrk:
    """wrk: HTTP/1.1, in the clear or over TLS, as fast as the answers come."""

    def __init__(self, folder, cores):
        self.folder = folder
        self.cores = cores

    def command(self, url, headers, seconds, *, connections=32, expected=200, body=0):
        """`headers`: values of `Authorization`, sent in turn."""
        lines, script = self.folder / "headers.txt", self.folder / "load.lua"
        lines.write_text("".join(header + "\n" for header in headers))
        script.write_text(WRK_SCRIPT.format(expected=expected, body=body, headers=lines))
        return ["wrk", "-t1", f"-c{connections}", f"-d{seconds}s", "--timeout", "60s", "-s", script, url]

    def run(self, url, headers, seconds, *, expected=200, **how):
        """Runs it to its end."""
        command = self.command(url, headers, seconds, expected=expected, **how)
        return self.read(url, run_on(self.cores, command, seconds + GRACE_SECONDS)[1], expected)

    @contextmanager
    def beside(self, url, headers, seconds, lead, **how):
        """Runs it while the block runs, which begins `lead` seconds later, and waits for its end."""
        command = self.command(url, headers, seconds, **how)
        with run_beside(self.cores, command, lead, seconds + GRACE_SECONDS) as beside:
            yield
        self.read(url, beside.errors, 200)

    @staticmethod
    def read(url, errors, expected):
        """What the script has printed."""
        try:
            counted = json.loads(errors[errors.index("{") :])
        except ValueError:
            raise Failure(f"wrk printed no result for {url}:\n{errors}") from None
        if counted["wrong"] or counted["failed"] or not counted["requests"]:
            raise Failure(f"{url}: not every answer was {expected}: {counted}")
        return Counted(
            counted["requests"],
            counted["microseconds"] / 1e6,
            counted["p50"] / 1000,
            counted["p99"] / 1000,
        )


class H2load:
    """h2load: HTTP/2 over TLS, or HTTP/1.1 at a fixed rate."""

    def __init__(self, folder, cores):
        self.folder = folder
        self.cores = cores

    def command(self, url, header, seconds, log, *, connections, streams=1, rate=None):
        """`rate`: requests a second on each connection, over HTTP/1.1."""
        command = ["h2load", "-t1", f"-c{connections}", f"-m{streams}", f"-D{seconds}", "--log-file", log]
        if rate:
            command += ["--h1", f"--rps={rate}"]
        if header:
            command += ["-H", f"authorization: {header}"]
        return [*command, url]

    def run(self, url, header, seconds, *, expected=200, **how):
        """Runs it to its end."""
        log = self.folder / "requests.log"
        log.unlink(missing_ok=True)
        output, _ = run_on(self.cores, self.command(url, header, seconds, log, **how), seconds + GRACE_SECONDS)
        return self.read(url, output, log, expected)

    @contextmanager
    def beside(self, url, header, seconds, lead, *, expected, **how):
        """Runs it while the block runs, which begins `lead` seconds later. Then `counted` is set."""
        log = self.folder / "beside.log"
        log.unlink(missing_ok=True)
        command = self.command(url, header, seconds, log, **how)
        with run_beside(self.cores, command, lead, seconds + GRACE_SECONDS) as beside:
            yield beside
        beside.counted = self.read(url, beside.output, log, expected)

    @staticmethod
    def read(url, output, log, expected):
        """Statuses and times from its log: start, status and microseconds of each request."""
        times = []
        for line in log.open():
            _, status, microseconds = line.split()
            if int(status) != expected:
                raise Failure(f"{url}: an answer was {status}, not {expected}\n{output}")
            times.append(int(microseconds))
        found = re.search(r"^finished in ([0-9.]+)(s|ms)", output, re.MULTILINE)
        if not times or not found:
            raise Failure(f"{url}: h2load counted nothing:\n{output}")
        times.sort()
        seconds = float(found[1]) / (1000 if found[2] == "ms" else 1)
        return Counted(len(times), seconds, percentile(times, 0.5) / 1000, percentile(times, 0.99) / 1000)


class Client:
    """programs/client.rs, for what wrk and h2load cannot do. It checks every status itself."""

    def __init__(self, program, folder, cores):
        self.program = program
        self.folder = folder
        self.cores = cores

    def request(self, path, headers, closes=False):
        """A file with one request for each of these values of `Authorization`."""
        file = self.folder / "requests.txt"
        close = "Connection: close\r\n" if closes else ""
        file.write_bytes(
            "".join(
                f"GET {path} HTTP/1.1\r\nHost: localhost\r\nAuthorization: {header}\r\n{close}\r\n"
                for header in headers
            ).encode()
        )
        return file

    def handshakes(self, port, path, header, seconds, connections, certificate):
        """New TLS connections, `connections` at once."""
        request = self.request(path, [header], closes=True)
        command = [self.program, "handshakes", f"127.0.0.1:{port}", request, 200, connections, seconds, certificate]
        return self.counted(run_on(self.cores, command, seconds + GRACE_SECONDS)[0])

    def once(self, port, path, headers, connections):
        """Each of the requests once."""
        command = [self.program, "once", f"127.0.0.1:{port}", self.request(path, headers), 200, connections]
        return self.counted(run_on(self.cores, command, GRACE_SECONDS)[0])

    @contextmanager
    def idle(self, port, path, header, connections, certificate):
        """Makes one request on each of `connections`, and holds them while the block runs."""
        request = self.request(path, [header])
        command = [self.program, "idle", f"127.0.0.1:{port}", request, 200, connections]
        command += [certificate] if certificate else []
        with hold_on(self.cores, command, GRACE_SECONDS):
            yield

    @staticmethod
    def counted(output):
        """The counts from the one line that it prints."""
        line = json.loads(output)
        return Counted(line["requests"], line["microseconds"] / 1e6, line["p50"] / 1000, line["p99"] / 1000)


def percentile(ordered, share):
    """A percentile of a sorted list."""
    return ordered[min(len(ordered) - 1, int(len(ordered) * share))]
