"""Runs whole commands, each in a fork of a process that has loaded every library already.

Started with ``faults.c`` preloaded. It reads one JSON line an order on standard input and answers
with one on standard output; loading torch for each of hundreds of runs would be most of the time.
"""

from __future__ import annotations

import atexit
import contextlib
import ctypes
import importlib
import json
import os
import signal
import sys
import time
import traceback
from typing import Any

from samedge.machine.libraries import library

_LIBRARIES = ("onnxruntime", "openvino", "onnx", "torch", "cv2", "matplotlib", "jinja2", "rich")
_MORE = ("onnxslim", "onnxscript", "safetensors.torch", "timm", "PIL.Image", "accelerate", "nncf")


def _warm(names: list[str]) -> None:
    for name in names or (*_LIBRARIES, *_MORE):
        with contextlib.suppress(ImportError):
            library(name)
    from samedge import _discovery
    from samedge import cli as commands

    for name in _discovery.names(commands.__name__):
        _discovery.load(commands.__name__, name, attribute="COMMAND")
    if names:
        return
    for module in ("export.pipeline", "distill.train", "comparison.run", "benchmark.bench"):
        importlib.import_module(f"samedge.{module}")


def _run(order: dict[str, Any], report: int) -> None:
    """In the fork: the command, with the shim armed; ends the process."""
    os.setpgid(0, 0)
    log = os.open(order["log"], os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
    os.dup2(log, 1)
    os.dup2(log, 2)
    os.environ.update(order["variables"])
    shim = ctypes.CDLL(None)
    shim.faults_steps.restype = ctypes.c_long
    shim.faults_arm.argtypes = [ctypes.c_char_p, ctypes.c_long, ctypes.c_int, ctypes.c_int]
    folders = ":".join(order["under"]).encode()
    shim.faults_arm(folders, order["at"], order["code"], order["stays"])
    code = 70
    try:
        exec(order["python"], {"arguments": order["arguments"]})
        code = 0
    except SystemExit as end:
        code = end.code if isinstance(end.code, int) else 1
    except BaseException:  # noqa: BLE001 - it is what the test looks for
        traceback.print_exc()
    finally:
        atexit._run_exitfuncs()
        sys.stdout.flush()
        sys.stderr.flush()
        os.write(report, str(shim.faults_steps()).encode())
        os._exit(code)


def _obeyed(order: dict[str, Any]) -> dict[str, Any]:
    reading, writing = os.pipe()
    start = time.monotonic()
    pid = os.fork()
    if pid == 0:
        _run(order, writing)
    os.close(writing)
    deadline = start + (order["kill_after_s"] or order["limit_s"])
    while not (ended := os.waitpid(pid, os.WNOHANG))[0]:
        if time.monotonic() > deadline:
            os.kill(pid, signal.SIGKILL)
            ended = os.waitpid(pid, 0)
            break
        time.sleep(0.002)
    seconds = time.monotonic() - start
    steps = os.read(reading, 20)
    os.close(reading)
    code = os.waitstatus_to_exitcode(ended[1])
    return {"code": code, "seconds": seconds, "steps": int(steps or 0)}


def main() -> None:
    """Obey until standard input ends."""
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    _warm(sys.argv[1:])
    for line in sys.stdin:
        print(json.dumps(_obeyed(json.loads(line))), file=answers, flush=True)


if __name__ == "__main__":
    main()
