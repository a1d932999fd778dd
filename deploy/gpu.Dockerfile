# fiqa video with CUDA on a desktop or server: docker build -f deploy/gpu.Dockerfile -t fiqa-video-gpu .
# docker run --rm --gpus all -p 127.0.0.1:8080:8080 -v fiqa:/data fiqa-video-gpu rtsp://camera/stream
FROM python:3.12-slim AS wheel
WORKDIR /src
COPY . .
RUN pip wheel --no-cache-dir --no-deps --wheel-dir /wheels .

# onnxruntime-gpu 1.20 to 1.22 wants CUDA 12 and cuDNN 9, which this image brings.
FROM nvidia/cuda:12.6.3-cudnn-runtime-ubuntu24.04
# hadolint ignore=DL3008
RUN apt-get update \
    && apt-get install --yes --no-install-recommends python3 python3-venv \
    && rm -rf /var/lib/apt/lists/* \
    && python3 -m venv /opt/fiqa
ENV PATH=/opt/fiqa/bin:$PATH
COPY --from=wheel /wheels /wheels
# Both wheels of onnxruntime hold the same module, and fiqa brings the one for the CPU: it goes, the other comes.
RUN pip install --no-cache-dir /wheels/fiqa-*.whl && rm -r /wheels \
    && pip uninstall --yes onnxruntime \
    && pip install --no-cache-dir "onnxruntime-gpu>=1.20,<1.23" \
    && useradd --create-home --uid 10001 --groups video fiqa \
    && install --directory --owner=fiqa /data
USER 10001
WORKDIR /data
VOLUME /data
ENV FIQA_CACHE=/data/cache
EXPOSE 8080
HEALTHCHECK --interval=15s --timeout=5s --start-period=60s \
    CMD ["python", "-c", "import urllib.request; urllib.request.urlopen('http://127.0.0.1:8080/health', timeout=4)"]
# cuda, not auto: a container that finds no GPU is an error, not slow.
ENTRYPOINT ["fiqa", "video", "--device", "cuda", "--serve", "8080", "--host", "0.0.0.0", "--best-shots", "/data/shots"]
CMD ["0"]
