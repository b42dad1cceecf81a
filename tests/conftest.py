"""Settings of all tests."""

import os
import signal

if "PYTEST_XDIST_WORKER" in os.environ:
    # Each worker has a core: networks that take them all would wait for each other. Before anything imports them.
    os.environ["OMP_NUM_THREADS"] = "1"

if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    # As for a job in a shell's background; the commands under test would inherit it, and Ctrl-C would not reach them.
    signal.signal(signal.SIGINT, signal.default_int_handler)
