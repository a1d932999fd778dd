"""Files: one way to write them, one policy for their errors.

A file is written under a hidden name beside its target and renamed when it is complete. A reader, a second writer or a
crash never sees a partial file. This holds however a process ends; a power failure is not covered.

- A new file gets the permissions of the umask. A replaced file keeps its permissions, and its owner where possible.
- A symbolic link stays; the file that it points to is replaced.
- A pipe, a device or `/dev/stdout` is written into and never replaced.
- If two processes write the same file, the last one wins and neither fails. `LineFile` allows one writer at a time.
- A killed process leaves a hidden `.fiqa-*` file. The next write of the same target removes it.
"""

from sdk.files.line_file import LineFile
from sdk.files.outputs import check_outputs, check_place, check_suffix, make_folder
from sdk.files.paths import check_name, is_stream, open_stream
from sdk.files.reading import open_file, read_file, read_text
from sdk.files.writing import replace_file, replacing, write_errors, write_file, write_json

__all__ = [
    "LineFile",
    "check_name",
    "check_outputs",
    "check_place",
    "check_suffix",
    "is_stream",
    "make_folder",
    "open_file",
    "open_stream",
    "read_file",
    "read_text",
    "replace_file",
    "replacing",
    "write_errors",
    "write_file",
    "write_json",
]
