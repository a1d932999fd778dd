"""The command `fiqa`: one file a command."""
