"""Settings of all tests."""

import os

if "PYTEST_XDIST_WORKER" in os.environ:
    # Each worker has a core: networks that take them all would wait for each other. Before anything imports them.
    os.environ["OMP_NUM_THREADS"] = "1"
