"""Loading processes."""

import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[3]

FORKED = """
import cv2, numpy as np, torch
from accelerate import Accelerator
from train.fitting.batches import TrainingBatches
from train.fitting.settings import TrainerSettings

class Blurred(torch.utils.data.Dataset):
    def __len__(self):
        return 4

    def __getitem__(self, key):
        cv2.setNumThreads(1)
        return {"image": torch.from_numpy(cv2.GaussianBlur(np.ones((2000, 2000, 3), np.uint8), (31, 31), 0)[0, 0])}

if __name__ == "__main__":
    cv2.setNumThreads(4)
    cv2.GaussianBlur(np.ones((2000, 2000, 3), np.uint8), (31, 31), 0)
    settings = TrainerSettings(batch_size=2, workers=1)
    print(next(TrainingBatches(Blurred(), settings, Accelerator(cpu=True)).after(0))["image"].tolist())
"""


def test_loading_processes_do_not_wait_for_the_threads_of_opencv() -> None:
    """A process forked from one whose threads of OpenCV run has none of them, and would wait for them for ever."""
    done = subprocess.run([sys.executable, "-c", FORKED], capture_output=True, text=True, timeout=100, cwd=ROOT)
    assert done.stdout.strip() == "[[1, 1, 1], [1, 1, 1]]", done.stderr
