"""Run `fiqa-train` as `python -m train.cli`, for launchers of several processes."""

from train.cli import app

if __name__ == "__main__":
    app()
