"""Children: started on their cores, waited for, and ended by their process ids, whatever happens."""

import ctypes
import os
import signal
import socket
import subprocess
import time

from .machine import Failure

START_SECONDS = 60
STOP_SECONDS = 20
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
        def prepare():
            os.sched_setaffinity(0, cores)
            # should this process be killed outright, its children go too
            _LIBC.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)

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
                preexec_fn=prepare,
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

    def prepare():
        os.sched_setaffinity(0, cores)
        _LIBC.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)

    command = [str(part) for part in command]
    try:
        done = subprocess.run(
            command, capture_output=True, text=True, timeout=seconds, preexec_fn=prepare, check=False
        )
    except subprocess.TimeoutExpired:
        raise Failure(f"`{' '.join(command)}` did not end within {seconds} s") from None
    if done.returncode != 0:
        raise Failure(f"`{' '.join(command)}` failed with {done.returncode}:\n{done.stdout}{done.stderr}")
    return done.stdout, done.stderr
