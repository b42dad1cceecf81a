"""Runs a command on a number of cores and prints its duration and peak memory as one line of JSON.

    python launch.py CORES SECONDS_AT_MOST OUTPUT COMMAND...

This is a separate, small process, because on Linux a child's peak is never below that of its parent. The command's
output goes to the file OUTPUT. Standard library only; few imports.
"""

import json
import os
import subprocess
import sys
import threading
import time


def main() -> None:
    cores, limit, output, command = int(sys.argv[1]), float(sys.argv[2]), sys.argv[3], sys.argv[4:]
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[:cores])
    with open(output, "wb") as file:  # noqa: PTH123 (pathlib is an import more)
        started = time.perf_counter()
        process = subprocess.Popen(command, stdout=file, stderr=subprocess.STDOUT, stdin=subprocess.DEVNULL)
        timer = threading.Timer(limit, process.kill)
        timer.start()
        _, status, usage = os.wait4(process.pid, 0)
        seconds = time.perf_counter() - started
        timer.cancel()
    code = os.waitstatus_to_exitcode(status)
    print(json.dumps({"code": code, "seconds": seconds, "peak_bytes": usage.ru_maxrss * 1024}))


main()
