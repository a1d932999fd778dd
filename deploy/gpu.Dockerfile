# fiqa video with CUDA on a desktop or server: docker build -f deploy/gpu.Dockerfile -t fiqa-video-gpu .
# docker run --rm --gpus all -p 127.0.0.1:8080:8080 -v fiqa:/data fiqa-video-gpu rtsp://camera/stream
FROM python:3.12-slim AS wheel
WORKDIR /src
COPY . .
RUN pip wheel --no-cache-dir --no-deps --wheel-dir /wheels .

# No image of CUDA: the extra brings the CUDA and cuDNN that its onnxruntime was built for, and the host has the driver.
FROM python:3.12-slim
COPY --from=wheel /wheels /wheels
RUN pip install --no-cache-dir "$(echo /wheels/fiqa-*.whl)[gpu]" && rm -r /wheels \
    && useradd --create-home --uid 10001 --groups video fiqa \
    && install --directory --owner=fiqa /data
USER 10001
WORKDIR /data
VOLUME /data
# What NVIDIA's container runtime passes in: the driver, for computing.
ENV FIQA_CACHE=/data/cache NVIDIA_VISIBLE_DEVICES=all NVIDIA_DRIVER_CAPABILITIES=compute,utility
EXPOSE 8080
HEALTHCHECK --interval=15s --timeout=5s --start-period=60s \
    CMD ["python", "-c", "import urllib.request; urllib.request.urlopen('http://127.0.0.1:8080/health', timeout=4)"]
# cuda, not auto: a container that finds no GPU is an error, not slow.
ENTRYPOINT ["fiqa", "video", "--device", "cuda", "--serve", "8080", "--host", "0.0.0.0", "--best-shots", "/data/shots"]
CMD ["0"]
