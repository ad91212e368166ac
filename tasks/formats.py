"""Readers of the binary formats in which the image data sets are published. None of them executes anything."""

import gzip
import io
import math
import tarfile
import zlib
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from jaxtyping import Int64, UInt8

CIFAR10_RECORD_BYTES = 1 + 3 * 32 * 32
CIFAR10_FOLDER = "cifar-10-batches-bin"


def open_plain_or_gzip(path: Path) -> gzip.GzipFile | io.BufferedReader:
    """Open a file for reading bytes, through gzip if its name ends in `.gz` or `.tgz`."""
    return gzip.open(path) if path.suffix in (".gz", ".tgz") else path.open("rb")


def read_idx(path: Path, ndim: int) -> UInt8[np.ndarray, "..."]:
    """Read an IDX file of unsigned bytes, gzip-compressed if its name ends in `.gz`.

    The format: two zero bytes, the type code (8 for unsigned bytes), the number of axes, each axis' length as
    a big-endian 32-bit integer, then the entries in C order.

    Args:
        path: The file.
        ndim: The number of axes expected: 3 for images, 1 for labels.

    Returns:
        The entries.

    Raises:
        ValueError: Naming the file and what was expected, if the file is corrupt, truncated or too long.
    """
    header_bytes = 4 + 4 * ndim
    try:
        with open_plain_or_gzip(path) as stream:
            header = stream.read(header_bytes)
            magic = bytes([0, 0, 8, ndim])
            if header[:4] != magic:
                raise ValueError(
                    f"{path}: starts with {header[:4].hex() or 'nothing'}, expected {magic.hex()} "
                    f"(IDX, unsigned bytes, {ndim} axes)"
                )
            if len(header) < header_bytes:
                raise ValueError(f"{path}: truncated header of {len(header)} bytes, expected {header_bytes}")
            shape = tuple(int(n) for n in np.frombuffer(header, ">u4", offset=4))
            expected = math.prod(shape)
            content = stream.read()
    except (gzip.BadGzipFile, EOFError, zlib.error) as error:
        raise ValueError(f"{path}: expected a complete gzip file ({error})") from error
    if len(content) != expected:
        raise ValueError(
            f"{path}: {len(content)} bytes after the header, expected {expected} for shape {shape}"
        )
    return np.frombuffer(content, np.uint8).reshape(shape)


def read_cifar10(
    path: Path, files: Sequence[str]
) -> tuple[UInt8[np.ndarray, "image 32 32 3"], Int64[np.ndarray, " image"]]:
    """Read batches of the binary version of CIFAR-10 from its tar archive or from an extracted folder.

    A record is one byte of label and 3072 bytes of pixels: 32 x 32 red, then green, then blue, each row by row.
    Archive members are read by name; nothing is extracted to disk.

    Args:
        path: The archive, or the folder that holds the batches (or holds `cifar-10-batches-bin`).
        files: Names of the batches, such as "data_batch_1.bin".

    Returns:
        Images and labels, in the order of `files`.

    Raises:
        FileNotFoundError: If a batch is missing from the folder.
        ValueError: Naming the file and what was expected, if the archive or a batch is corrupt, or is not the
            binary version.
    """
    contents = read_folder(path, files) if path.is_dir() else read_archive(path, files)
    images: list[np.ndarray] = []
    labels: list[np.ndarray] = []
    for file, content in zip(files, contents, strict=True):
        if not content or len(content) % CIFAR10_RECORD_BYTES:
            raise ValueError(
                f"{path}: {file} has {len(content)} bytes, expected a positive multiple of {CIFAR10_RECORD_BYTES}"
            )
        records = np.frombuffer(content, np.uint8).reshape(-1, CIFAR10_RECORD_BYTES)
        images.append(records[:, 1:].reshape(-1, 3, 32, 32).transpose(0, 2, 3, 1))
        labels.append(records[:, 0].astype(np.int64))
    return np.ascontiguousarray(np.concatenate(images)), np.concatenate(labels)


def read_folder(path: Path, files: Sequence[str]) -> list[bytes]:
    """Read the named files from `path` or from its subfolder `cifar-10-batches-bin`.

    Raises:
        FileNotFoundError: Naming the first file that is missing.
    """
    inner = path / CIFAR10_FOLDER
    folder = inner if inner.is_dir() else path
    for file in files:
        if not (folder / file).is_file():
            raise FileNotFoundError(
                f"path: {folder} has no {file}; the binary version of CIFAR-10 (cifar-10-binary.tar.gz) is needed"
            )
    return [(folder / file).read_bytes() for file in files]


def read_archive(path: Path, files: Sequence[str]) -> list[bytes]:
    """Read the named members of the folder `cifar-10-batches-bin` in a tar archive.

    Raises:
        ValueError: If the archive is corrupt or lacks a regular file of that name.
    """
    wanted = [f"{CIFAR10_FOLDER}/{file}" for file in files]
    contents: dict[str, bytes] = {}
    try:
        with open_plain_or_gzip(path) as stream, tarfile.open(fileobj=stream, mode="r:") as archive:
            for member in archive:
                name = member.name.removeprefix("./")
                content = archive.extractfile(member) if member.isreg() and name in wanted else None
                if content is not None:
                    contents[name] = content.read()
            # To the end, where gzip keeps the checksum: tar itself stops before.
            while stream.read(1 << 20):
                pass
    except (tarfile.TarError, gzip.BadGzipFile, EOFError, zlib.error) as error:
        raise ValueError(f"{path}: expected a complete tar archive ({error})") from error
    for name in wanted:
        if name not in contents:
            raise ValueError(
                f"{path}: expected the member {name} of the binary version of CIFAR-10 "
                "(cifar-10-binary.tar.gz; the Python version holds pickles and is never read)"
            )
    return [contents[name] for name in wanted]
