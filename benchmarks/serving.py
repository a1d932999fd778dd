"""Load on `fiqa serve`: `python benchmarks/serving.py [MODEL] [--seconds S] [--memory MINUTES] [--picture P]`.

MODEL is a name or a file; by default ediffiqa-t's architecture with random weights, for speed does not depend on the
values. Aligned faces are sent by hey (https://github.com/rakyll/hey) from 1 to 256 connections. Beside the service
stands what people write first: a FastAPI handler that decodes the face and calls onnxruntime's default session. The two
take turns, and their scores are compared. Prints a table, with `--picture` draws it; with `--memory` then the memory of
the service under load, once a minute.
"""

import argparse
import csv
import http.client
import io
import json
import os
import re
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import cv2
import matplotlib
import numpy as np
import onnx
from cpu_scoring import FLOAT_INPUT, random_model
from numpy.typing import NDArray

from sdk.models.card import ModelCard

matplotlib.use("Agg")
import matplotlib.pyplot as plt

PLAIN = """
import sys
import cv2, numpy, onnxruntime, uvicorn
from fastapi import FastAPI, Request
from starlette.concurrency import run_in_threadpool
from sdk.models.loading import load_model
from sdk.runtimes.shared_runtime import prepare

model, app = load_model(sys.argv[1]), FastAPI()
session = onnxruntime.InferenceSession(model.data, providers=["CPUExecutionProvider"])
name = session.get_inputs()[0].name

def run(body):
    face = cv2.imdecode(numpy.frombuffer(body, numpy.uint8), cv2.IMREAD_COLOR)
    return float(session.run(None, {name: prepare(face[None], model.card.input)})[0].reshape(-1)[0])

@app.post("/v1/score")
async def score(request: Request):
    return {"faces": [{"score": await run_in_threadpool(run, await request.body())}]}

uvicorn.run(app, port=int(sys.argv[2]), access_log=False, log_level="warning")
"""
PORTS = {"plain handler": 8101, "fiqa serve": 8102}
PATH = "/v1/score?aligned=1"
CONNECTIONS = (1, 2, 4, 16, 64, 256)


def main() -> None:
    """Start both services, load them in turns, print."""
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("model", nargs="?", default="ediffiqa-t")
    options.add_argument("--seconds", type=int, default=5)
    options.add_argument("--memory", type=int, default=0)
    options.add_argument("--picture", type=Path)
    given = options.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        model = with_card(given.model, Path(folder)) if given.model == "ediffiqa-t" else given.model
        face = Path(folder) / "face.png"
        cv2.imwrite(str(face), np.random.default_rng(0).integers(0, 256, (112, 112, 3), np.uint8))
        services = {
            "plain handler": ["-c", PLAIN, str(model), str(PORTS["plain handler"])],
            "fiqa serve": ["-m", "fiqa", "serve", "--model", str(model), "--port", str(PORTS["fiqa serve"])],
        }
        running = {
            name: subprocess.Popen([sys.executable, *command], stderr=subprocess.DEVNULL)
            for name, command in services.items()
        }
        try:
            scores = [ask(port, face.read_bytes()) for port in PORTS.values()]
            print(f"largest difference of the scores: {abs(scores[0] - scores[1]):.1e}\n")
            print("| connections | plain, requests/s | p50, ms | p99, ms | fiqa, requests/s | p50, ms | p99, ms | x |")
            print("| --- | --- | --- | --- | --- | --- | --- | --- |")
            measured = []
            for connections in CONNECTIONS:
                rates = [load(port, face, connections, given.seconds) for port in PORTS.values()]
                cells = " | ".join(f"{rate:.0f} | {p50:.1f} | {p99:.1f}" for rate, p50, p99 in rates)
                print(f"| {connections} | {cells} | {rates[1][0] / rates[0][0]:.1f} |", flush=True)
                measured.append(rates)
            if given.picture is not None:
                draw(np.array(measured), given.picture)
            for minute in range(given.memory):
                load(PORTS["fiqa serve"], face, 32, 60)
                print(f"minute {minute + 1}: {memory(running['fiqa serve'].pid) / 1e6:.1f} MB", flush=True)
        finally:
            for process in running.values():
                process.terminate()
                process.wait()


def draw(measured: NDArray[np.float64], path: Path) -> None:
    """Draw answers a second and the 99th percentile of their times: (connections, services, 3)."""
    figure, axes = plt.subplots(1, 2, figsize=(9, 3.4))
    for axis, column, title in ((axes[0], 0, "requests a second"), (axes[1], 2, "p99, ms")):
        for service, name in enumerate(PORTS):
            axis.plot(CONNECTIONS, measured[:, service, column], "o-", label=name)
        axis.set(title=title, xlabel="connections", xscale="log", xticks=CONNECTIONS, xticklabels=CONNECTIONS)
        axis.set_ylim(bottom=0) if column == 0 else axis.set_yscale("log")
        axis.minorticks_off()
        axis.grid(alpha=0.3)
    axes[0].legend()
    figure.tight_layout()
    figure.savefig(path, dpi=110)


def with_card(name: str, folder: Path) -> Path:
    """Write a model with random weights, and its card inside."""
    path = random_model(name, folder)
    model = onnx.load(path)
    card = ModelCard.from_dict({"name": name, "input": FLOAT_INPUT, "output": "quality"})
    onnx.helper.set_model_props(model, {"fiqa_card": json.dumps(card.to_dict())})
    onnx.save(model, path)
    return path


def ask(port: int, body: bytes) -> float:
    """Return the score of a face, as soon as the service listens."""
    for _ in range(600):
        try:
            connection = http.client.HTTPConnection("127.0.0.1", port, timeout=20)
            connection.request("POST", PATH, body)
            return float(json.loads(connection.getresponse().read())["faces"][0]["score"])
        except OSError:
            time.sleep(0.1)
    raise SystemExit(f"nothing listens on port {port}")


def load(port: int, face: Path, connections: int, seconds: int) -> tuple[float, float, float]:
    """Return answers a second, and the 50th and 99th percentile of their times, ms. Every answer must be 200."""
    command = ["hey", "-z", f"{seconds}s", "-c", str(connections), "-m", "POST", "-D", str(face), "-o", "csv"]
    done = subprocess.run([*command, f"http://127.0.0.1:{port}{PATH}"], capture_output=True, text=True, check=True)
    rows = list(csv.DictReader(io.StringIO(done.stdout)))
    if wrong := {row["status-code"] for row in rows} - {"200"}:
        raise SystemExit(f"port {port} answers {wrong}")
    times = 1000 * np.array([float(row["response-time"]) for row in rows])
    took = max(float(row["offset"]) + float(row["response-time"]) for row in rows)
    p50, p99 = np.percentile(times, [50, 99])
    return len(rows) / took, float(p50), float(p99)


def memory(pid: int) -> int:
    """Return the resident memory of a process, bytes."""
    found = re.search(r"^VmRSS:\s+(\d+) kB", Path(f"/proc/{pid}/status").read_text(), re.MULTILINE)
    return int(found[1]) * 1024 if found else 0


if __name__ == "__main__":
    os.environ.setdefault("FIQA_OFFLINE", "1")
    main()
