# fiqa video on a Jetson, built on the board: docker build -f deploy/jetson.Dockerfile -t fiqa-video-jetson .
# docker run --rm --runtime nvidia --volume /tmp/argus_socket:/tmp/argus_socket --device /dev/video0 \
#     -p 127.0.0.1:8080:8080 -v fiqa:/data fiqa-video-jetson csi:0
# JetPack 6. For JetPack 7 name its image: --build-arg BASE=...
ARG BASE=nvcr.io/nvidia/l4t-jetpack:r36.4.0
# hadolint ignore=DL3006
FROM ${BASE}
ENV DEBIAN_FRONTEND=noninteractive
# The compiler and GStreamer's headers are for OpenCV, whose wheel has no GStreamer. With the system's packages, for JetPack
# brings TensorRT's Python module as one of them.
# hadolint ignore=DL3008
RUN apt-get update \
    && apt-get install --yes --no-install-recommends \
        build-essential cmake pkg-config python3-dev python3-venv \
        libgstreamer1.0-dev libgstreamer-plugins-base1.0-dev \
        gstreamer1.0-plugins-good gstreamer1.0-plugins-bad gstreamer1.0-tools \
        libavcodec-dev libavformat-dev libswscale-dev \
    && rm -rf /var/lib/apt/lists/* \
    && python3 -m venv --system-site-packages /opt/fiqa
ENV PATH=/opt/fiqa/bin:$PATH
COPY deploy/jetson.constraints /
# An hour on an Orin Nano, once: it is a layer of its own, before the checkout. In the venv it hides JetPack's OpenCV.
RUN CMAKE_ARGS="-DWITH_GSTREAMER=ON -DWITH_FFMPEG=ON" \
    pip install --no-cache-dir --constraint /jetson.constraints \
        --no-binary opencv-python-headless "opencv-python-headless>=4.10.0.84" \
    && python -c "import cv2; assert cv2.videoio_registry.hasBackend(cv2.CAP_GSTREAMER)"
# A wheel of onnxruntime-gpu for this JetPack, where you have one; without it the CPU scores.
ARG ONNXRUNTIME_WHEEL=
COPY . /src
# hadolint ignore=DL3013
RUN if [ -n "$ONNXRUNTIME_WHEEL" ]; \
    then pip install --no-cache-dir --constraint /jetson.constraints "/src[tensorrt]" "$ONNXRUNTIME_WHEEL"; \
    else pip install --no-cache-dir --constraint /jetson.constraints "/src[cpu,tensorrt]"; fi \
    && useradd --create-home --uid 10001 --groups video fiqa \
    && install --directory --owner=fiqa /data
USER 10001
WORKDIR /data
VOLUME /data
ENV FIQA_CACHE=/data/cache
EXPOSE 8080
HEALTHCHECK --interval=15s --timeout=5s --start-period=60s \
    CMD ["python", "-c", "import urllib.request; urllib.request.urlopen('http://127.0.0.1:8080/health', timeout=4)"]
ENTRYPOINT ["fiqa", "video", "--serve", "8080", "--host", "0.0.0.0", "--best-shots", "/data/shots"]
CMD ["csi:0"]
