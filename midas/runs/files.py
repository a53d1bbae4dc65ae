"""Whole files or none: everything is written to a temporary name beside its target, synced, and renamed.

A process that is killed in the middle leaves its temporary file behind. Its name holds the process's number, so the next
write of the same target knows it for what it is and removes it.
"""

import contextlib
import csv
import glob
import hashlib
import io
import json
import os
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import IO, Any

from midas.runs.errors import MidasError

MAX_TEXT = 2**28  # bytes of a JSON file that is read; predictions of a million images take less


@contextlib.contextmanager
def writing(path: Path) -> Iterator[IO[bytes]]:
    """A temporary file beside `path` to be filled, open for reading too; at the end it is renamed to `path`.

    Whatever goes wrong on the way (a full disk, a signal), an older file at `path` stays whole and no partial file is
    left behind; after a `kill -9` or a power cut, until `path` is written again.

    Raises:
        MidasError: the file could not be written.
    """
    temporary = None
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        _remove_leftovers(path)
        handle, name = tempfile.mkstemp(prefix=f".{path.name}.{os.getpid()}.", suffix=".part", dir=path.parent)
        temporary = Path(name)
        with os.fdopen(handle, "w+b") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        temporary.chmod(0o666 & ~_umask())  # mkstemp makes private files
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
    """Take a file's place on the disk, zeros from its end to `size` bytes; an OSError where there is not so much.

    Where the system has no call for it (macOS, Windows), the place is taken as the file is filled.
    """
    if hasattr(os, "posix_fallocate"):
        os.posix_fallocate(file.fileno(), 0, size)
    else:
        file.truncate(size)


def move(source: Path, target: Path) -> None:
    """Rename a finished file or folder, its bytes on the disk first: after a power cut `target` is whole or not there.

    Raises:
        MidasError: it could not be written.
    """
    try:
        for path in [*source.rglob("*"), source]:
            _sync_folder(path) if path.is_dir() else _sync(path)
        source.replace(target)
        _sync_folder(target.parent)
    except OSError as error:
        raise MidasError(f"{target}: cannot be written ({error.strerror or error})") from error


def _sync(path: Path) -> None:
    """Wait until a file's bytes, or a folder's names, are on the disk."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def _sync_folder(path: Path) -> None:
    """Likewise where it can be asked for: not of Windows, nor of every network file system."""
    with contextlib.suppress(OSError):
        _sync(path)


def _remove_leftovers(path: Path) -> None:
    """Remove the temporary files of `path` whose process is no more; in containers it may have had this one's number."""
    for left in path.parent.glob(f".{glob.escape(path.name)}.*.part"):
        number = left.name.removeprefix(f".{path.name}.").partition(".")[0]
        if number.isdecimal() and (int(number) == os.getpid() or _is_gone(int(number))):
            left.unlink(missing_ok=True)


def _is_gone(process: int) -> bool:
    """Whether there is no process of that number on this machine; Windows cannot be asked without ending it."""
    if os.name == "nt":
        return False
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return True
    except OSError:
        pass  # it is another user's
    return False


def _umask() -> int:
    """The process's file mode mask, which can only be read by setting it."""
    mask = os.umask(0o022)
    os.umask(mask)
    return mask


def write_bytes(path: Path, data: bytes | memoryview) -> None:
    """Write `data` to `path`, whole or not at all."""
    with writing(path) as file:
        file.write(data)


def write_text(path: Path, text: str) -> None:
    """Write `text` as UTF-8, whole or not at all."""
    write_bytes(path, text.encode())


def dump_json(value: object) -> str:
    """The JSON form that every file of this project has: sorted keys, two spaces, a final newline, no NaN."""
    return json.dumps(value, indent=2, sort_keys=True, ensure_ascii=False, allow_nan=False) + "\n"


def write_json(path: Path, value: object) -> None:
    """Write `value` as JSON, whole or not at all."""
    write_text(path, dump_json(value))


def read_text(path: Path, limit: int = MAX_TEXT) -> str:
    """The text of a file in UTF-8.

    Raises:
        MidasError: the file is larger than `limit` bytes; nothing of it is read then.
        OSError, UnicodeDecodeError: it is missing, or is no text.
    """
    with path.open("rb") as file:
        if (size := os.fstat(file.fileno()).st_size) > limit:
            raise MidasError(f"{path}: has {size:,} bytes; such a file has at most {limit:,}")
        return file.read().decode("utf-8")


def read_json(path: Path) -> Any:
    """The value in a JSON file.

    Raises:
        MidasError: the file is missing, too large, or is not JSON.
    """
    try:
        return json.loads(read_text(path))
    except FileNotFoundError as error:
        raise MidasError(f"{path}: there is no such file") from error
    except (OSError, ValueError, RecursionError) as error:  # a ValueError also for a number of thousands of digits
        raise MidasError(f"{path}: is not readable as JSON ({error})") from error


def write_csv(path: Path, rows: Sequence[Mapping[str, object]]) -> None:
    """Write rows of equal keys as CSV with a header, whole or not at all; DVC plots read it."""
    text = io.StringIO()
    writer = csv.DictWriter(text, fieldnames=list(rows[0]) if rows else [], lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    write_text(path, text.getvalue())


def sha256(path: Path) -> str:
    """The SHA-256 of a file's bytes, in hexadecimal."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
