"""Soak test of `VideoScorer` on a live stream that dies and comes back: `python benchmarks/soak.py [--minutes 20]`.

An MJPEG server in a process of its own loops the synthetic clip over loopback; it is killed and started again ten
times. Meanwhile memory, threads and file handles are sampled. Prints one line per sample and a summary in JSON. Ends
with exit code 1 when memory grew by 1 % or more, a thread or handle leaked, a reconnect took 5 s or more, or a counter
is wrong.
"""

import argparse
import json
import multiprocessing
import os
import random
import socket
import statistics
import sys
import threading
import time
from collections import Counter
from dataclasses import asdict, dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from multiprocessing.sharedctypes import Synchronized
from pathlib import Path

import cv2

sys.path.insert(0, str(Path(__file__).parents[1] / "examples"))
from media.make_clip import clip_frames

from fiqa import BestShots, Counters, QualityScorer, VideoScorer

KILLS = 10
SAMPLE = 5.0
"""Seconds between samples."""

Sample = tuple[float, int, int, int]
"""Seconds since the start, resident bytes, threads, file handles."""


def serve(port: int, pictures: list[bytes], fps: float, sent: "Synchronized[int]") -> None:
    """Loop pictures over HTTP as MJPEG until killed; counts in `sent` every frame that was sent whole."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            self.send_header("Content-Type", "multipart/x-mixed-replace; boundary=frame")
            self.end_headers()
            due = time.monotonic()
            while True:
                data = pictures[sent.value % len(pictures)]
                head = f"--frame\r\nContent-Type: image/jpeg\r\nContent-Length: {len(data)}\r\n\r\n"
                self.wfile.write(head.encode() + data + b"\r\n")
                sent.value += 1
                due = max(due + 1 / fps, time.monotonic() - 1 / fps)
                time.sleep(max(0.0, due - time.monotonic()))

        def log_message(self, format: str, *arguments: object) -> None:
            pass

    ThreadingHTTPServer(("127.0.0.1", port), Handler).serve_forever()


class Killer(threading.Thread):
    """Runs the server, and kills and restarts it in even intervals."""

    def __init__(self, port: int, fps: float, seconds: float) -> None:
        super().__init__(daemon=True)
        self.port = port
        self.seconds = seconds
        self.back: list[float] = []  # when the server listened again
        context = multiprocessing.get_context("spawn")
        self.sent = context.Value("L", 0, lock=False)
        pictures = [cv2.imencode(".jpg", frame)[1].tobytes() for frame in clip_frames()]
        self.make = lambda: context.Process(target=serve, args=(port, pictures, fps, self.sent), daemon=True)
        self.server = self.make()
        self.server.start()
        self.wait_until_it_listens()

    def run(self) -> None:
        """Kill and restart; the server is away for half a second to six seconds."""
        draw = random.Random(0)
        for _ in range(KILLS):
            time.sleep(self.seconds / (KILLS + 1))
            self.kill()
            time.sleep(draw.uniform(0.5, 6))
            self.server = self.make()
            self.server.start()
            self.wait_until_it_listens()
            self.back.append(time.monotonic())

    def kill(self) -> None:
        """Kill the server, and let go of what is held for it."""
        self.server.kill()
        self.server.join()
        self.server.close()

    def wait_until_it_listens(self) -> None:
        """Wait for the port."""
        while True:
            with socket.socket() as probe:
                if probe.connect_ex(("127.0.0.1", self.port)) == 0:
                    return
            time.sleep(0.02)


def sample(start: float) -> Sample:
    """Return what this process holds now."""
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    handles = len(os.listdir("/proc/self/fd"))
    return time.monotonic() - start, pages * os.sysconf("SC_PAGE_SIZE"), threading.active_count(), handles


@dataclass
class Soaked:
    """Observations of a soak.

    Attributes:
        before: Sample before the stream was opened.
        samples: Samples while it ran.
        after: Sample after it was closed.
        arrivals: Arrival of the first frame after each reconnect.
        calls: Calls of the best shots, early and final.
        counters: Counters of the stream at its end.
    """

    before: Sample
    samples: list[Sample] = field(default_factory=list)
    after: Sample = (0.0, 0, 0, 0)
    arrivals: list[float] = field(default_factory=list)
    calls: Counter[str] = field(default_factory=Counter)
    counters: Counters = field(default_factory=Counters)

    @property
    def early_and_late(self) -> tuple[list[Sample], list[Sample]]:
        """First and last fifth of the samples, without the start."""
        warm = [one for one in self.samples if one[0] > 0.1 * self.samples[-1][0]]
        return warm[: len(warm) // 5], warm[-(len(warm) // 5) :]

    @property
    def resident(self) -> list[float]:
        """Median resident bytes of the early and of the late samples."""
        return [statistics.median(one[1] for one in part) for part in self.early_and_late]


def main() -> int:
    """Soak; returns the exit code."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--minutes", type=float, default=20)
    parser.add_argument("--fps", type=float, default=10)
    parser.add_argument("--every", type=int, default=1)
    parser.add_argument("--port", type=int, default=18955)
    options = parser.parse_args()
    killer = Killer(options.port, options.fps, 60 * options.minutes)
    soaked = soak(killer, options.every)
    # Where the picture was back before the port had been probed, the reconnect took no time that could be measured.
    waits = [max(0.0, arrival - back) for back, arrival in zip(killer.back, soaked.arrivals, strict=False)]
    checks = check(soaked, waits, killer.sent.value)
    before, after, (early, late) = soaked.before, soaked.after, soaked.early_and_late
    first, last = soaked.resident
    summary = {
        "minutes": options.minutes, "fps": options.fps, "every": options.every, "growth": round(last / first - 1, 5),
        "resident": [round(first / 2**20, 2), round(last / 2**20, 2)],
        "threads": [before[2], early[0][2], late[-1][2], after[2]],
        "handles": [before[3], early[0][3], late[-1][3], after[3]],
        "reconnect_seconds": [round(wait, 2) for wait in waits], "sent": killer.sent.value,
        "counters": asdict(soaked.counters), "calls": soaked.calls, "checks": checks,
    }  # fmt: skip
    print(json.dumps(summary, indent=1))
    return 0 if all(checks.values()) else 1


def soak(killer: Killer, every: int) -> Soaked:
    """Score the stream while its server is killed and restarted; ends a while after the last restart."""
    with QualityScorer() as scorer:  # onnxruntime opens files of its own at its first use, and keeps them
        scorer.warmup()
    soaked = Soaked(sample(time.monotonic()))
    shots = BestShots(lambda found: soaked.calls.update(["final" if found.final else "early"]))
    start = due = time.monotonic()
    with VideoScorer(f"http://127.0.0.1:{killer.port}/", best_shots=shots, every=every, min_size=40) as stream:
        killer.start()
        for result in stream:
            now = time.monotonic()
            if stream.counters.reconnects > len(soaked.arrivals):
                soaked.arrivals.append(result.arrived)
            if now >= due:
                due = now + SAMPLE
                soaked.samples.append(sample(start))
                print(
                    "{:.0f} s, {} bytes, {} threads, {} handles".format(*soaked.samples[-1]),
                    stream.counters,
                    flush=True,
                )
            if now - start > killer.seconds and not killer.is_alive() and now - killer.back[-1] > SAMPLE:
                stream.stop()
    killer.join()
    killer.kill()
    soaked.after, soaked.counters = sample(start), stream.counters
    return soaked


def check(soaked: Soaked, waits: list[float], sent: int) -> dict[str, bool]:
    """Return what must hold, and whether it does."""
    before, after, (early, late), counters = soaked.before, soaked.after, soaked.early_and_late, soaked.counters
    accounted = counters.corrupt + counters.skipped + counters.dropped + counters.delivered
    first, last = soaked.resident
    return {
        "memory grew by less than 1 %": last / first - 1 < 0.01,
        "no thread leaked": after[2] == before[2] and max(one[2] for one in late) <= max(one[2] for one in early),
        "no handle leaked": after[3] <= before[3] and max(one[3] for one in late) <= max(one[3] for one in early),
        "each reconnect took less than 5 s": len(waits) == KILLS and max(waits, default=9) < 5,
        "captured frames are accounted for": counters.captured == accounted,
        # A killed server's last frames may still be in a buffer.
        "captured and sent agree": 0 <= sent - counters.captured <= 5 * (KILLS + 1),
    }


if __name__ == "__main__":
    sys.exit(main())
