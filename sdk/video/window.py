"""A window that shows frames."""

import cv2
import numpy as np
from numpy.typing import NDArray

from sdk.errors import InputError

TITLE = "fiqa video (q ends)"
ESCAPE = 27


class Window:
    """Show frames in a window.

    Raises:
        InputError: This OpenCV has no windows.
    """

    def __init__(self) -> None:
        try:
            cv2.namedWindow(TITLE, cv2.WINDOW_NORMAL)
        except cv2.error as error:
            raise InputError(
                f"--show needs windows, which this OpenCV ({cv2.__version__}) is built without; use --serve PORT and a "
                "browser, or: pip uninstall opencv-python-headless && pip install opencv-python"
            ) from error

    def show(self, image: NDArray[np.uint8]) -> bool:
        """Show a frame, uint8 BGR (H, W, 3); returns False when the user wants to end."""
        cv2.imshow(TITLE, image)
        return cv2.waitKey(1) & 0xFF not in (ord("q"), ESCAPE)

    def close(self) -> None:
        """Close the window."""
        cv2.destroyAllWindows()
