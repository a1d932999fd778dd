"""Measure one configuration of `fiqa bench`, in a process of its own: `python -m sdk.proof.bench_worker`.

It speaks in lines of JSON. It reads a configuration and answers with the scores of all faces. Then it reads numbers:
for each it calls the model for that many seconds, and answers with the seconds of every call, the whole time and the
memory.
"""

import json
import os
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np

from sdk.errors import FiqaError
from sdk.models.loading import load_model
from sdk.runtimes.registry import open_runtime
from sdk.runtimes.shared_runtime import prepare


def main() -> None:
    """Answer until the input ends."""
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # what libraries print must not come between the answers

    def answer(**values: Any) -> None:
        answers.write(json.dumps(values) + "\n")
        answers.flush()

    work = json.loads(sys.stdin.readline())
    try:
        model = load_model(work["model"], trust=work["trust"])
        runtime = open_runtime(model, work["device"], precision=work["precision"], threads=work["threads"])
        if work["batch"] > runtime.batch:
            answer(error=f"takes {runtime.batch} faces a call on {runtime.device}")
            return
        faces = np.load(work["faces"])
        size, spec = work["batch"], model.card.input
        scores = [runtime.run(prepare(faces[at : at + size], spec)) for at in range(0, len(faces), size)]
        answer(scores=np.concatenate(scores).tolist(), device=runtime.device, precision=runtime.precision)
        batch = np.resize(faces, (size, *faces.shape[1:]))

        def call(seconds: float) -> list[float]:
            took: list[float] = []
            end = time.perf_counter() + seconds
            while not took or time.perf_counter() < end:
                start = time.perf_counter()
                runtime.run(prepare(batch, spec))
                took.append(time.perf_counter() - start)
            return took

        with ThreadPoolExecutor(work["threads"]) as pool:
            for line in sys.stdin:
                start = time.perf_counter()
                took = list(pool.map(call, [float(line)] * work["threads"]))
                wall = time.perf_counter() - start
                answer(calls=[seconds for own in took for seconds in own], wall=wall, memory=peak_memory())
    except FiqaError as error:
        answer(error=str(error))


def peak_memory() -> int | None:
    """Return the most bytes that this process has held in memory; None where the system does not say."""
    try:
        # Not getrusage: there the parent's memory counts, from before this program was started in its copy.
        for line in Path("/proc/self/status").read_text().splitlines():
            if line.startswith("VmHWM:"):
                return int(line.split()[1]) * 1024
    except OSError:
        pass
    return None


if __name__ == "__main__":
    main()
