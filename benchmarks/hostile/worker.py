"""One process that tries inputs one after the other, and says what became of each."""

import faulthandler
import gc
import importlib
import os
import random
import resource
import shutil
import sys
import time
import traceback
from multiprocessing.connection import Connection
from pathlib import Path
from types import ModuleType
from typing import NamedTuple

from hostile.guard import Forbidden, Guard
from hostile.inputs import Input, Refused

PROJECT = Path(__file__).parents[2]

CANARY = "canary"
"""File in a worker's current folder that a pickle makes when it is executed."""

ADDRESS_SPACE = 12 << 30
"""Bytes that a worker may reserve: a bomb ends in the worker, not with the machine."""

GROWN = 100 << 20
"""Bytes that may stay behind; a worker that keeps more is replaced, so that it does not spoil what follows."""


class Outcome(NamedTuple):
    """What became of an input.

    Attributes:
        name: `good`, `refused before` or the error's class; with `wrong`, what went wrong.
        wrong: Whether the project broke its promise.
        detail: The message, or where it went wrong.
        seconds: From the door's opening to its end, see `seconds_of`.
        megabytes: Largest resident memory of the process meanwhile.
        tired: The worker wants to be replaced.
    """

    name: str
    wrong: bool = False
    detail: str = ""
    seconds: float = 0.0
    megabytes: int = 0
    tired: bool = False


def draw_input(kind: str, seed: int, index: int) -> Input:
    """The input of a number: the same each time."""
    made: Input = importlib.import_module(f"hostile.{kind}").draw_input(random.Random(f"{seed}/{kind}/{index}"))
    return made


def serve(connection: Connection, kind: str, seed: int, folder: Path) -> None:
    """Try the inputs that come, as a number or as the path of a kept one, until None comes."""
    _settle(folder)
    module = importlib.import_module(f"hostile.{kind}")
    module.warm_up()
    guard = Guard(str(folder), allowed=(f"/proc/{os.getpid()}/clear_refs", "/dev/null"))
    before = _resident("VmRSS")
    connection.send("ready")
    while (task := connection.recv()) is not None:
        given = draw_input(kind, seed, task) if isinstance(task, int) else Input.load(Path(task))
        outcome = _try(module, given, folder, guard)
        gc.collect()
        connection.send(outcome._replace(tired=_resident("VmRSS") > before + GROWN))


def _settle(folder: Path) -> None:
    """Keep all that libraries write in one folder, and be quiet."""
    for name in ("home", "temporary", "cache"):
        (folder / name).mkdir(parents=True, exist_ok=True)
    os.environ.update(
        HOME=str(folder / "home"), XDG_CACHE_HOME=str(folder / "home"), TMPDIR=str(folder / "temporary"),
        FIQA_CACHE=str(folder / "cache"), MPLCONFIGDIR=str(folder / "home"), OMP_NUM_THREADS="1",
    )  # fmt: skip
    sys.dont_write_bytecode = True
    with open(folder / "stderr", "ab") as log:
        os.dup2(log.fileno(), 2)
        os.dup2(log.fileno(), 1)
    faulthandler.enable()
    resource.setrlimit(resource.RLIMIT_AS, (ADDRESS_SPACE, ADDRESS_SPACE))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    os.chdir(folder / "home")


def _try(module: ModuleType, given: Input, folder: Path, guard: Guard) -> Outcome:
    place = folder / "input"
    shutil.rmtree(place, ignore_errors=True)
    place.mkdir()
    for name, data in given.files.items():
        (place / name).parent.mkdir(parents=True, exist_ok=True)
        (place / name).write_bytes(data)
    guard.seen.clear()
    Path("/proc/self/clear_refs").write_text("5")  # the largest resident memory starts anew
    start = seconds_of(os.getpid())
    name, wrong, detail = _open_door(module, given, place)
    seconds, megabytes = seconds_of(os.getpid()) - start, _resident("VmHWM") >> 20
    made = list((folder / "home").glob(f"{CANARY}*"))  # NumPy adds a suffix
    for path in made:
        path.unlink()
    if made:
        name, wrong, detail = "pickle executed", True, detail
    elif guard.seen:
        name, wrong, detail = guard.seen[0].partition(":")[0], True, guard.seen[0]
    return Outcome(name, wrong, detail, seconds, megabytes)


def _open_door(module: ModuleType, given: Input, place: Path) -> tuple[str, bool, str]:
    """Go through the door: what came out, whether that is wrong, and details."""
    from sdk.errors import FiqaError

    try:
        module.DOORS[given.door](place, given)
    except Refused as error:
        return "refused before", False, str(error)
    except FiqaError as error:
        return type(error).__name__, False, str(error)
    except (Exception, Forbidden) as error:  # noqa: BLE001 - that there is none is what is tested
        ours = [frame for frame in traceback.extract_tb(error.__traceback__) if frame.filename.startswith(str(PROJECT))]
        where = f"{Path(ours[-1].filename).relative_to(PROJECT)}:{ours[-1].lineno}" if ours else "the door"
        return type(error).__name__, True, " ".join(f"{where}: {error}".split())[:200]
    return "good", False, ""


def seconds_of(process: int) -> float:
    """A clock that stands still while a process could run and others have the cores: tests share their machine."""
    try:
        waited = int(Path(f"/proc/{process}/schedstat").read_text().split()[1])
    except (FileNotFoundError, ProcessLookupError):  # it has just ended
        waited = 0
    return time.monotonic() - waited / 1e9


def _resident(what: str) -> int:
    status = Path("/proc/self/status").read_text()
    return int(status.split(f"{what}:")[1].split()[0]) << 10
