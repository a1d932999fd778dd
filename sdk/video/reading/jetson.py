"""GStreamer pipelines of Jetson boards: a CSI camera, a USB camera, a stream through the hardware decoder.

They end in an appsink that keeps one frame, the newest, so that nothing old waits in GStreamer.
"""

import re

from sdk.errors import InputError
from sdk.video.reading.address import without_secrets

SINK = "appsink drop=true max-buffers=1 sync=false"
"""The end of each pipeline."""

TO_BGR = "nvvidconv ! video/x-raw, format=BGRx ! videoconvert ! video/x-raw, format=BGR"
"""From the decoder's or the camera's memory to what OpenCV takes."""

PRESET = re.compile(r"(csi|usb):(\d+)(?:@(\d+)x(\d+)(?:@(\d+))?)?")


def jetson_pipeline(text: str) -> str | None:
    """Turn a preset into a pipeline.

    Args:
        text: One of these: `csi:0` or `csi:0@1280x720@60` (sensor, width x height, frames per second; 1920x1080@30
            unless given); `usb:0`, written in the same way, for a USB camera that sends MJPEG (1280x720@30 unless
            given); `nvdec:rtsp://...` for an H.264 stream.

    Returns:
        The pipeline; None where the text is no preset.

    Raises:
        InputError: It begins like a preset and is wrong.
    """
    kind, _, rest = text.partition(":")
    if kind == "nvdec":
        if not re.fullmatch(r"rtsps?://[^\s\"!]+", rest):
            raise InputError(
                f"{without_secrets(text)} names no stream, wanted nvdec:rtsp://HOST/PATH, without blanks, quotes or '!'"
            )
        return (
            f'rtspsrc location="{rest}" latency=100 protocols=tcp ! rtph264depay ! h264parse ! nvv4l2decoder ! '
            f"{TO_BGR} ! {SINK}"
        )
    if kind not in ("csi", "usb"):
        return None
    match = PRESET.fullmatch(text)
    if match is None:
        raise InputError(f"{text} is no camera preset, wanted for example {kind}:0 or {kind}:0@1280x720@30")
    number, width, height, rate = (None if value is None else int(value) for value in match.groups()[1:])
    if kind == "csi":
        size = f"width={width or 1920}, height={height or 1080}, framerate={rate or 30}/1"
        return f"nvarguscamerasrc sensor-id={number} ! video/x-raw(memory:NVMM), {size} ! {TO_BGR} ! {SINK}"
    size = f"width={width or 1280}, height={height or 720}, framerate={rate or 30}/1"
    return f"v4l2src device=/dev/video{number} ! image/jpeg, {size} ! nvv4l2decoder mjpeg=1 ! {TO_BGR} ! {SINK}"
