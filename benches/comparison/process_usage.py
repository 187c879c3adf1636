"""CPU time and memory of a process and its children, from /proc."""

import os
import time
from pathlib import Path

TICK = 1 / os.sysconf("SC_CLK_TCK")


def _stat(path):
    """The fields behind the name, which may hold spaces and parentheses."""
    text = path.read_text()
    return text[text.rindex(")") + 2 :].split()


def tree(pid):
    """The process and all its descendants."""
    below = {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                below.setdefault(int(_stat(entry / "stat")[1]), []).append(int(entry.name))
            except OSError:
                continue  # ended meanwhile
    found, waiting = [], [pid]
    while waiting:
        at = waiting.pop()
        found.append(at)
        waiting += below.get(at, [])
    return found


def cpu_seconds(pid):
    """User and system time of the tree, in seconds."""
    total = 0
    for each in tree(pid):
        fields = _stat(Path(f"/proc/{each}/stat"))
        total += int(fields[11]) + int(fields[12])
    return total * TICK


def resident_bytes(pid):
    """Resident memory of the tree; what processes share is counted once for each, as their users see it."""
    total = 0
    for each in tree(pid):
        for line in Path(f"/proc/{each}/status").open():
            if line.startswith("VmRSS:"):
                total += int(line.split()[1]) * 1024
    return total


def thread_seconds(pid, prefix):
    """User and system time of each thread whose name begins so, by name."""
    times = {}
    for task in Path(f"/proc/{pid}/task").iterdir():
        name = (task / "comm").read_text().strip()
        if name.startswith(prefix):
            fields = _stat(task / "stat")
            times[name] = (int(fields[11]) + int(fields[12])) * TICK
    return times


class Others:
    """What the machine has done since, beside this process and all below it: as a share of all its cores."""

    def __init__(self):
        self.at = time.monotonic()
        self.machine, self.own = self._seconds()

    @staticmethod
    def _seconds():
        with open("/proc/stat") as lines:
            user, nice, system, _idle, _wait, irq, softirq, steal = map(int, lines.readline().split()[1:9])
        me = os.getpid()
        ended = sum(int(field) for field in _stat(Path(f"/proc/{me}/stat"))[13:15])  # children that were waited for
        return (user + nice + system + irq + softirq + steal) * TICK, cpu_seconds(me) + ended * TICK

    def share(self):
        """0 where the machine was ours alone."""
        machine, own = self._seconds()
        took = (time.monotonic() - self.at) * os.cpu_count()
        return max(0, (machine - self.machine) - (own - self.own)) / took
