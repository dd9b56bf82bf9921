"""The program of the child process: llama.cpp's HTTP server, which lives no longer than its parent."""

import ctypes
import json
import os
import signal
import sys
from typing import TYPE_CHECKING, BinaryIO, Literal, TypedDict

if TYPE_CHECKING:
    import xllamacpp

LOOPBACK = "127.0.0.1"
NICENESS = 5
ERRORS_ONLY = 1
"""llama.cpp's verbosity at which it prints no prompt."""


class Order(TypedDict):
    """What the parent writes to the child's standard input: one line of JSON, so that no other user can read the key."""

    parent: int
    api_key: str
    model: str
    alias: str
    context: int
    parallel: int
    threads: int


class Report(TypedDict):
    """What the child writes to its standard output: a line of JSON when its stage changes.

    `detail` is the server's address when it is ready, else a phrase for people.
    """

    stage: Literal["loading", "ready"]
    detail: str


def main() -> None:
    """Serve until standard input ends, which it does with the parent.

    A model that cannot be loaded ends the process with a sentence on standard error and status 1.
    """
    reports = _claim_stdout()
    order: Order = json.loads(sys.stdin.buffer.readline())
    _die_with(order["parent"])
    if hasattr(os, "nice"):
        os.nice(NICENESS)
    _report(reports, {"stage": "loading", "detail": f"loading {order['alias']}"})
    server = _serve(order)
    _report(reports, {"stage": "ready", "detail": server.listening_address})
    sys.stdin.buffer.read()
    # Unloading the model would only delay an end that nobody waits for.
    os._exit(0)


def _claim_stdout() -> BinaryIO:
    """Keep standard output for reports; what native code prints goes to standard error."""
    reports = os.fdopen(os.dup(1), "wb", buffering=0)
    os.dup2(2, 1)
    return reports


def _report(reports: BinaryIO, report: Report) -> None:
    reports.write(json.dumps(report).encode() + b"\n")


def _die_with(parent: int) -> None:
    """Have Linux kill this process with its parent, also while the model loads; elsewhere the end of input does it."""
    if sys.platform != "linux":
        return
    set_parent_death_signal = 1  # PR_SET_PDEATHSIG of <linux/prctl.h>
    ctypes.CDLL(None).prctl(set_parent_death_signal, signal.SIGKILL)
    if os.getppid() != parent:  # it died before the call
        os._exit(0)


def _serve(order: Order) -> "xllamacpp.Server":
    # The library weighs 100 MB, and the parent imports this file for the shape of the messages.
    import xllamacpp

    params = xllamacpp.CommonParams()
    params.model.path = order["model"]
    params.model_alias = {order["alias"]}
    params.hostnames = [LOOPBACK]
    params.port = 0
    params.api_keys = [order["api_key"]]
    params.n_parallel = order["parallel"]
    params.n_ctx = order["context"] * order["parallel"]
    params.cpuparams.n_threads = order["threads"]
    params.cpuparams_batch.n_threads = order["threads"]
    params.use_jinja = True
    params.ui = False
    params.endpoint_slots = False  # it would show one caller another's prompt
    params.cache_ram_mib = 0  # llama.cpp would keep up to 8 GiB of old chats
    params.verbosity = ERRORS_ONLY
    try:
        return xllamacpp.Server(params)
    except RuntimeError as error:
        sys.exit(f"llama.cpp cannot load {order['model']}: {error}")


if __name__ == "__main__":
    main()
