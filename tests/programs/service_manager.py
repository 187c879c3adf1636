"""Plays systemd's part for one service: starts it with a socket to notify, keeps the sockets that it stores, and hands them
to the next process (sd_notify(3), sd_listen_fds(3)). Takes commands on its standard input, a line each, and writes what
happens on its standard output."""

import array
import ctypes
import os
import select
import signal
import socket
import sys

path, command = sys.argv[1], sys.argv[2:]
# processes whose parent has ended become its children
PR_SET_CHILD_SUBREAPER = 36
ctypes.CDLL(None).prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)
notify = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
notify.bind(path)
store = {}  # name -> descriptors
main, main_is_child = 0, True


def say(*words):
    print(*words, flush=True)


def start():
    global main, main_is_child
    main_is_child = True
    kept = [(name, descriptor) for name, descriptors in store.items() for descriptor in descriptors]
    main = os.fork()
    if main:
        return
    environment = dict(os.environ, NOTIFY_SOCKET=path, WATCHDOG_USEC="400000", WATCHDOG_PID=str(os.getpid()))
    # out of the way first: some of them are in each other's places
    moved = [os.dup2(descriptor, 100 + at, inheritable=True) for at, (_, descriptor) in enumerate(kept)]
    for at, descriptor in enumerate(moved):
        os.dup2(descriptor, 3 + at, inheritable=True)
        os.close(descriptor)
    if kept:
        environment["LISTEN_PID"] = str(os.getpid())
        environment["LISTEN_FDS"] = str(len(kept))
        environment["LISTEN_FDNAMES"] = ":".join(name for name, _ in kept)
    os.execvpe(command[0], command, environment)


def receive():
    global main, main_is_child
    text, control, _, _ = notify.recvmsg(4096, socket.CMSG_SPACE(64 * 4), socket.MSG_CMSG_CLOEXEC)
    fields = dict(line.split("=", 1) for line in text.decode().splitlines())
    descriptors = array.array("i")
    for level, kind, data in control:
        if (level, kind) == (socket.SOL_SOCKET, socket.SCM_RIGHTS):
            descriptors.frombytes(data)
    if "FDSTORE" in fields:
        keep(fields.get("FDNAME", "stored"), list(descriptors))
    if "FDSTOREREMOVE" in fields:
        for descriptor in store.pop(fields["FDNAME"], []):
            os.close(descriptor)
    if "MAINPID" in fields:
        main = int(fields["MAINPID"])
        with open(f"/proc/{main}/status") as status:
            main_is_child = f"PPid:\t{os.getpid()}\n" in status.read()
    if "WATCHDOG" not in fields or "watchdog" in sys.argv:
        say("told", *(f"{name}={value}" for name, value in fields.items() if name != "MONOTONIC_USEC"))
    else:
        say("alive")


def keep(name, descriptors):
    for descriptor in descriptors:
        # systemd, too, keeps one descriptor of each socket
        kept = [os.fstat(other).st_ino for others in store.values() for other in others]
        if os.fstat(descriptor).st_ino in kept:
            os.close(descriptor)
        else:
            store.setdefault(name, []).append(descriptor)


def wait_for_end():
    try:
        _, status = os.waitpid(main, 0)
        say("ended", os.waitstatus_to_exitcode(status))
    except ChildProcessError:
        # a process that took over is nobody's child
        poll = select.poll()
        descriptor = os.pidfd_open(main)
        poll.register(descriptor, select.POLLIN)
        poll.poll()
        os.close(descriptor)
        say("ended")


start()
while True:
    ready, _, _ = select.select([notify, sys.stdin], [], [])
    if notify in ready:
        receive()
    if sys.stdin in ready:
        line = sys.stdin.readline().strip()
        if line == "restart":
            # systemd, too, does not wait for the end of one that was not its child when it became the main process
            os.kill(main, signal.SIGTERM if main_is_child else signal.SIGKILL)
            wait_for_end()
            # systemd, too, reads what it was told before it starts a process
            while select.select([notify], [], [], 0)[0]:
                receive()
            start()
        else:
            # the test is over
            try:
                os.kill(main, signal.SIGTERM)
                wait_for_end()
            except ProcessLookupError:
                pass
            sys.exit()
