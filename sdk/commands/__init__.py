"""The command `fiqa`: one file per command."""
