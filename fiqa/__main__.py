"""Run the command `fiqa`: `python -m fiqa`."""

from sdk.commands.app import app

if __name__ == "__main__":
    app(prog_name="fiqa")
