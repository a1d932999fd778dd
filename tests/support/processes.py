"""Several processes that train together."""

import os
import socket
import subprocess
import sys
from pathlib import Path


def start_two(*arguments: str) -> list[subprocess.Popen[bytes]]:
    """Start Python with these arguments twice on the CPU, as torchrun does."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    shared = {"WORLD_SIZE": "2", "LOCAL_WORLD_SIZE": "2", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)}
    shared |= {"ACCELERATE_USE_CPU": "true", "OMP_NUM_THREADS": "1", "PYTHONPATH": "."}
    command, folder = [sys.executable, *arguments], Path(__file__).parents[2]
    environments = [{**os.environ, **shared, "RANK": rank, "LOCAL_RANK": rank} for rank in "01"]
    return [subprocess.Popen(command, env=environment, cwd=folder) for environment in environments]
