"""Files that are written whole or not at all: under a temporary name first, synced, then renamed.

That name holds the process's number: the next write can remove what a killed process left.
"""

import codecs
import contextlib
import csv
import glob
import hashlib
import io
import json
import os
import secrets
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import IO, Any

import psutil

from midas.io.errors import MidasError

MAX_TEXT = 2**28  # bytes of a text file; the predictions for a million images take less


@contextlib.contextmanager
def writing(path: Path) -> Iterator[IO[bytes]]:
    """Open a temporary file for writing and reading; at the end, rename it to `path`.

    Whatever fails on the way, an older file at `path` stays whole. Raises MidasError where the file
    cannot be written.
    """
    temporary = None
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        _remove_leftovers(path)
        name = f".{path.name}.{os.getpid()}.{secrets.token_hex(4)}.part"
        with (path.parent / name).open("x+b") as file:
            temporary = path.parent / name
            yield file
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
        _sync_folder(path.parent)
    except OSError as error:
        raise MidasError(
            f"{path}: cannot be written ({error.strerror or error}); the old file, if any, is whole"
        ) from error
    finally:
        if temporary is not None:
            temporary.unlink(missing_ok=True)


def reserve(file: IO[bytes], size: int) -> None:
    """Fill a file with zeros from its end to `size` bytes; OSError where the disk is full."""
    if hasattr(os, "posix_fallocate"):
        os.posix_fallocate(file.fileno(), 0, size)
    else:
        file.truncate(size)


def move(source: Path, target: Path) -> None:
    """Sync a finished file or folder to the disk, and rename it; raises MidasError."""
    try:
        for path in [*source.rglob("*"), source]:
            _sync_folder(path) if path.is_dir() else _sync(path)
        source.replace(target)
        _sync_folder(target.parent)
    except OSError as error:
        raise MidasError(f"{target}: cannot be written ({error.strerror or error})") from error


def _sync(path: Path) -> None:
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def _sync_folder(path: Path) -> None:
    """Sync a folder where the system can: Windows and some network file systems cannot."""
    with contextlib.suppress(OSError):
        _sync(path)


def _remove_leftovers(path: Path) -> None:
    for leftover in path.parent.glob(f".{glob.escape(path.name)}.*.part"):
        number = leftover.name.removeprefix(f".{path.name}.").partition(".")[0]
        # in a container, a process that has ended may have had the number of this one
        is_own = number == str(os.getpid())
        if number.isdecimal() and (is_own or not psutil.pid_exists(int(number))):
            leftover.unlink(missing_ok=True)


def write_bytes(path: Path, data: bytes | memoryview) -> None:
    """Write bytes, whole or not at all."""
    with writing(path) as file:
        file.write(data)


def write_text(path: Path, text: str) -> None:
    """Write a text in UTF-8, whole or not at all."""
    write_bytes(path, text.encode())


def dump_json(value: object) -> str:
    """The JSON form of this project's files: sorted keys, two spaces, a final newline, no NaN."""
    return json.dumps(value, indent=2, sort_keys=True, ensure_ascii=False, allow_nan=False) + "\n"


def write_json(path: Path, value: object) -> None:
    """Write a value as JSON, whole or not at all."""
    write_text(path, dump_json(value))


def read_text(path: Path, limit: int = MAX_TEXT) -> str:
    """Read UTF-8, or UTF-16 with a byte order mark, and leave that mark out.

    Raises MidasError for more than `limit` bytes, OSError, UnicodeDecodeError.
    """
    with path.open("rb") as file:
        if (size := os.fstat(file.fileno()).st_size) > limit:
            raise MidasError(f"{path}: has {size:,} bytes; such a file has at most {limit:,}")
        data = file.read()
    is_utf16 = data.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE))
    return data.decode("utf-16" if is_utf16 else "utf-8-sig")


def read_lines(path: Path) -> list[str]:
    """Read a list, one entry a line, without empty lines at the end; raises as `read_text`."""
    text = read_text(path).replace("\r\n", "\n").replace("\r", "\n")
    return text.rstrip("\n").split("\n")


def read_json(path: Path) -> Any:
    """Read a JSON file; raises MidasError where it is missing, too large, or not JSON."""
    try:
        return json.loads(read_text(path))
    except FileNotFoundError as error:
        raise MidasError(f"{path}: there is no such file") from error
    except (OSError, ValueError, RecursionError) as error:  # also a number of thousands of digits
        raise MidasError(f"{path}: cannot be read as JSON ({error})") from error


def write_csv(path: Path, rows: Sequence[Mapping[str, object]]) -> None:
    """Write rows with equal keys as CSV with a header, whole or not at all."""
    text = io.StringIO()
    writer = csv.DictWriter(text, fieldnames=list(rows[0]) if rows else [], lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    write_text(path, text.getvalue())


def sha256(path: Path) -> str:
    """The SHA-256 of a file's bytes, in hexadecimal."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
