"""Child processes: started on their cores, waited for, and ended by their ids, whatever happens."""

import ctypes
import os
import select
import signal
import socket
import subprocess
import time
from contextlib import contextmanager, suppress
from pathlib import Path

from .machine import Failure

START_SECONDS = 60
STOP_SECONDS = 20
PRIORITY = -10  # where that is allowed, for measured programs and load alike: others wait, rather than disturb
_PR_SET_PDEATHSIG = 1
_LIBC = ctypes.CDLL(None, use_errno=True)


def free_port(taken=set()):  # noqa: B006 (it is meant to be remembered)
    """A port of the loopback interface that nobody listens on, never given twice."""
    while True:
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            port = probe.getsockname()[1]
        if port not in taken:
            taken.add(port)
            return port


class Child:
    """One program that runs."""

    def __init__(self, command, cores, output, environment=None):
        self.name = os.path.basename(str(command[0]))
        self.output = output
        # appended to, so that a log can be cut while it is written
        with open(output, "ab") as file:
            self.process = subprocess.Popen(
                [str(part) for part in command],
                stdin=subprocess.DEVNULL,
                stdout=file,
                stderr=file,
                cwd=output.parent,
                env={**os.environ, **(environment or {})},
                preexec_fn=_preparation(cores),
                start_new_session=True,
            )

    @property
    def pid(self):
        """Its process id; children of its own are found below it."""
        return self.process.pid

    def wait_for(self, *ports):
        """Until it listens on all of them."""
        end = time.monotonic() + START_SECONDS
        for port in ports:
            while True:
                if self.process.poll() is not None:
                    raise Failure(f"{self.name} ended with {self.process.returncode}:\n{self.tail()}")
                try:
                    socket.create_connection(("127.0.0.1", port), timeout=1).close()
                    break
                except OSError:
                    if time.monotonic() > end:
                        raise Failure(f"{self.name} does not listen on port {port}:\n{self.tail()}") from None
                    time.sleep(0.02)

    def tail(self):
        """The end of what it has said."""
        return self.output.read_text(errors="replace")[-2000:]

    def stop(self):
        """Ends it in good order, or else by force."""
        if self.process.poll() is None:
            self.process.terminate()
        try:
            self.process.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            os.killpg(self.process.pid, signal.SIGKILL)  # its own session: nginx' workers too
            self.process.wait()


def run_on(cores, command, seconds):
    """Runs a load generator to its end; what it printed on standard output and standard error."""
    with run_beside(cores, command, 0, seconds) as beside:
        pass
    return beside.output, beside.errors


class Beside:
    """A load generator that has run: what it printed."""

    output = ""
    errors = ""


@contextmanager
def run_beside(cores, command, lead, seconds):
    """Runs a load generator beside the block, which begins so many seconds later, and waits for its end."""
    process, beside = _pipes(cores, command), Beside()
    try:
        time.sleep(lead)
        yield beside
        try:
            beside.output, beside.errors = process.communicate(timeout=seconds)
        except subprocess.TimeoutExpired:
            raise Failure(f"`{_words(command)}` did not end within {seconds} s") from None
    finally:
        _end(process)
    if process.returncode != 0:
        said = beside.output + beside.errors
        raise Failure(f"`{_words(command)}` failed with {process.returncode}:\n{said}")


@contextmanager
def hold_on(cores, command, seconds):
    """Runs a program until it has printed a line, then the block, then ends the program's standard input."""
    process = _pipes(cores, command)
    try:
        if not select.select([process.stdout], [], [], seconds)[0]:
            raise Failure(f"`{_words(command)}` printed nothing within {seconds} s")
        if not process.stdout.readline():
            raise Failure(f"`{_words(command)}` failed:\n{process.stderr.read()}")
        yield
        process.communicate(timeout=seconds)
    finally:
        _end(process)


def _pipes(cores, command):
    pipe = subprocess.PIPE
    return subprocess.Popen(
        [str(part) for part in command],
        stdin=pipe,
        stdout=pipe,
        stderr=pipe,
        text=True,
        preexec_fn=_preparation(cores),
        start_new_session=True,
    )


def _end(process):
    if process.poll() is None:
        process.kill()
        process.wait()
    for pipe in (process.stdin, process.stdout, process.stderr):
        pipe.close()


def _words(command):
    return " ".join(str(part) for part in command)


def _preparation(cores):
    def prepare():
        os.sched_setaffinity(0, cores)
        with suppress(OSError):
            os.nice(PRIORITY)
            # where the kernel groups processes by session, that counts within a group alone
            Path("/proc/self/autogroup").write_text(str(PRIORITY))
        # should this process be killed outright, its children go too
        _LIBC.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)

    return prepare
