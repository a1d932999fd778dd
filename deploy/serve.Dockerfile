# fiqa serve on a CPU, x86-64 or ARM: docker build -f deploy/serve.Dockerfile -t fiqa-serve .
# docker run --rm -p 8000:8000 -e FIQA_KEY="$(openssl rand -hex 32)" fiqa-serve
FROM python:3.12-slim AS wheel
WORKDIR /src
COPY . .
RUN pip wheel --no-cache-dir --no-deps --wheel-dir /wheels .

FROM python:3.12-slim
COPY --from=wheel /wheels /wheels
RUN pip install --no-cache-dir "$(echo /wheels/fiqa-*.whl)[cpu,serve]" && rm -r /wheels \
    && useradd --create-home --uid 10001 fiqa
USER 10001
EXPOSE 8000
HEALTHCHECK --interval=15s --timeout=5s --start-period=30s \
    CMD ["python", "-c", "import urllib.request; urllib.request.urlopen('http://127.0.0.1:8000/health', timeout=4)"]
# Beyond the container it needs a key: FIQA_KEY, or --key-file.
ENTRYPOINT ["fiqa", "serve", "--host", "0.0.0.0"]
