"""python -m train.cli, which is what launchers of several processes call."""

from train.cli import app

if __name__ == "__main__":
    app()
