# fiqa video on a CPU, x86-64 or ARM: docker build -f deploy/cpu.Dockerfile -t fiqa-video .
# docker run --rm -p 127.0.0.1:8080:8080 -v fiqa:/data fiqa-video rtsp://camera/stream
FROM python:3.12-slim AS wheel
WORKDIR /src
COPY . .
RUN pip wheel --no-cache-dir --no-deps --wheel-dir /wheels .

FROM python:3.12-slim
COPY --from=wheel /wheels /wheels
# pip finds the one wheel by its pattern; its version is that of the checkout.
RUN pip install --no-cache-dir "$(echo /wheels/fiqa-*.whl)[cpu]" && rm -r /wheels \
    && useradd --create-home --uid 10001 --groups video fiqa \
    && install --directory --owner=fiqa /data
USER 10001
WORKDIR /data
VOLUME /data
ENV FIQA_CACHE=/data/cache
EXPOSE 8080
# One service a container: 503 when the source gives nothing for ten seconds.
HEALTHCHECK --interval=15s --timeout=5s --start-period=60s \
    CMD ["python", "-c", "import urllib.request; urllib.request.urlopen('http://127.0.0.1:8080/health', timeout=4)"]
# All addresses of the container, which -p then limits to those of the host that it names.
ENTRYPOINT ["fiqa", "video", "--serve", "8080", "--host", "0.0.0.0", "--best-shots", "/data/shots"]
CMD ["0"]
