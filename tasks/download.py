"""Published image data sets: from your own files, from the cache, or downloaded with a checksum."""

import hashlib
import os
from pathlib import Path
from typing import Literal, NamedTuple

import numpy as np
from jaxtyping import Int64, UInt8

from hiddencodes.tasks.digits import load_mnist10k
from hiddencodes.tasks.formats import read_cifar10, read_idx
from hiddencodes.tasks.images import ImageSet
from hiddencodes.tasks.task import digest

type Split = Literal["all", "train", "test"]


class RemoteFile(NamedTuple):
    """A file of a data set, where it is published, and its SHA-256."""

    name: str
    url: str
    sha256: str


class DataSet(NamedTuple):
    """The files that make up the two splits of a published data set, and its class names."""

    files: dict[str, tuple[RemoteFile, ...]]
    class_names: tuple[str, ...]


def idx_files(base: str, split: str, images_sha256: str, labels_sha256: str) -> tuple[RemoteFile, ...]:
    """The image file and the label file of one split, under their published names."""
    images, labels = f"{split}-images-idx3-ubyte.gz", f"{split}-labels-idx1-ubyte.gz"
    return (
        RemoteFile(images, base + images, images_sha256),
        RemoteFile(labels, base + labels, labels_sha256),
    )


MNIST_URL = "https://ossci-datasets.s3.amazonaws.com/mnist/"
FASHION_MNIST_URL = "https://github.com/zalandoresearch/fashion-mnist/raw/master/data/fashion/"
CIFAR10_ARCHIVE = RemoteFile(
    "cifar-10-binary.tar.gz",
    "https://www.cs.toronto.edu/~kriz/cifar-10-binary.tar.gz",
    "c4a38c50a1bc5f3a1c5537f2155ab9d68f9f25eb1ed8d9ddda3db29a59bca1dd",
)
CIFAR10_BATCHES = {
    "train": tuple(f"data_batch_{i}.bin" for i in range(1, 6)),
    "test": ("test_batch.bin",),
}
DATA_SETS = {
    "mnist": DataSet(
        {
            "train": idx_files(
                MNIST_URL,
                "train",
                "440fcabf73cc546fa21475e81ea370265605f56be210a4024d2ca8f203523609",
                "3552534a0a558bbed6aed32b30c495cca23d567ec52cac8be1a0730e8010255c",
            ),
            "test": idx_files(
                MNIST_URL,
                "t10k",
                "8d422c7b0a1c1c79245a5bcf07fe86e33eeafee792b84584aec276f5a2dbc4e6",
                "f7ae60f92e00ec6debd23a6088c31dbd2371eca3ffa0defaefb259924204aec6",
            ),
        },
        tuple("0123456789"),
    ),
    "fashion_mnist": DataSet(
        {
            "train": idx_files(
                FASHION_MNIST_URL,
                "train",
                "3aede38d61863908ad78613f6a32ed271626dd12800ba2636569512369268a84",
                "a04f17134ac03560a47e3764e11b92fc97de4d1bfaf8ba1a3aa29af54cc90845",
            ),
            "test": idx_files(
                FASHION_MNIST_URL,
                "t10k",
                "346e55b948d973a97e58d2351dde16a484bd415d4595297633bb08f03db6a073",
                "67da17c76eaffca5446c3361aaab5c3cd6d1c2608764d35dfb1850b086bf8dd5",
            ),
        },
        (
            "T-shirt/top",
            "Trouser",
            "Pullover",
            "Dress",
            "Coat",
            "Sandal",
            "Shirt",
            "Sneaker",
            "Bag",
            "Ankle boot",
        ),
    ),
    "cifar10": DataSet(
        {"train": (CIFAR10_ARCHIVE,), "test": (CIFAR10_ARCHIVE,)},
        ("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck"),
    ),
}


def load_images(
    name: Literal["mnist10k", "mnist", "fashion_mnist", "cifar10"],
    path: str | os.PathLike[str] | None = None,
    download: bool = True,
    cache: str | os.PathLike[str] | None = None,
    *,
    split: Split = "all",
) -> ImageSet:
    """Load a published set of labeled images, to be passed on to `image_task`.

    "mnist10k" ships with the package. The others are read from `path` if given; otherwise from the cache
    folder, whose files must have the published SHA-256; otherwise they are downloaded into the cache folder.
    CIFAR-10 is read in its binary version only, since the Python version consists of pickles.

    Args:
        name: "mnist10k", "mnist" (LeCun, Cortes and Burges), "fashion_mnist" (arXiv:1708.07747) or "cifar10".
        path: Your own copy, whose checksums are not verified. MNIST and Fashion-MNIST: a folder with the IDX
            files, compressed (.gz) or not. CIFAR-10: the archive `cifar-10-binary.tar.gz`, or the folder
            extracted from it.
        download: Whether to download files that the cache lacks.
        cache: Cache folder; `None` for the user's cache folder of the operating system. The files lie in its
            subfolder `name`.
        split: "train", "test", or "all" for the training images followed by the test images.

    Returns:
        The images as published, their labels, class names and source.

    Raises:
        FileNotFoundError: If files are missing and must not be downloaded; says which and where to put them.
        ConnectionError: If the download fails; says which files, from where, and where to put them.
        ValueError: On a wrong checksum, on a corrupt file, and on wrong arguments.

    >>> data = load_images("mnist10k")
    >>> data.images.shape, data.labels.dtype, data.class_names[:3]
    ((10000, 28, 28), dtype('int64'), ('0', '1', '2'))
    """
    if name == "mnist10k":
        if path is not None or split != "all":
            raise ValueError(
                f"name: mnist10k ships with the package as one set; path={path}, split={split!r}"
            )
        return load_mnist10k()
    data_set, parts = published(name), splits(split)
    files = tuple(dict.fromkeys(file for part in parts for file in data_set.files[part]))
    if path is None:
        place = fetch_all(name, files, cache_folder(cache) / name, download)
    else:
        place = Path(path)
        if not place.exists():
            raise FileNotFoundError(f"path: {place} does not exist. {advice(name, files, place)}")

    if name == "cifar10":
        archive = place if path is not None else place / CIFAR10_ARCHIVE.name
        images, labels = read_cifar10(archive, [batch for part in parts for batch in CIFAR10_BATCHES[part]])
    else:
        pairs = [read_idx_pair(place, *data_set.files[part]) for part in parts]
        images, labels = (np.concatenate(arrays) for arrays in zip(*pairs, strict=True))
    if labels.max() >= len(data_set.class_names):
        raise ValueError(f"{place}: label {labels.max()}, expected 0..{len(data_set.class_names) - 1}")
    images.setflags(write=False)
    labels.setflags(write=False)
    checksums = [file.sha256 for file in files] if path is None else [digest(images), digest(labels)]
    kind = "published files" if path is None else "own copy, arrays"
    return ImageSet(
        images, labels, data_set.class_names, f"{name} {split}, {kind} sha256:{' '.join(checksums)}"
    )


def published(name: str) -> DataSet:
    """The published data set of this name.

    Raises:
        ValueError: If there is none.
    """
    if name not in DATA_SETS:
        raise ValueError(f"name: {name!r} is not one of {('mnist10k', *DATA_SETS)}")
    return DATA_SETS[name]


def splits(split: str) -> tuple[str, ...]:
    """The parts that make up a split.

    Raises:
        ValueError: If there is no such split.
    """
    if split not in ("all", "train", "test"):
        raise ValueError(f"split: {split!r} is not one of ('all', 'train', 'test')")
    return ("train", "test") if split == "all" else (split,)


def read_idx_pair(
    folder: Path, images_file: RemoteFile, labels_file: RemoteFile
) -> tuple[UInt8[np.ndarray, "image height width"], Int64[np.ndarray, " image"]]:
    """Read the images and labels of one split from a folder.

    Raises:
        FileNotFoundError: If a file is missing.
        ValueError: If a file is corrupt or there is not one label per image.
    """
    images_path, labels_path = find_idx(folder, images_file.name), find_idx(folder, labels_file.name)
    images, labels = read_idx(images_path, 3), read_idx(labels_path, 1)
    if len(images) != len(labels) or not len(images):
        raise ValueError(
            f"{labels_path}: {len(labels)} labels, expected {len(images)} as in {images_path.name}"
        )
    return images, labels.astype(np.int64)


def find_idx(folder: Path, name: str) -> Path:
    """The IDX file of this published name, compressed or not, in a folder or its subfolder `raw`.

    Raises:
        FileNotFoundError: If it is not there.
    """
    if not folder.is_dir():
        raise FileNotFoundError(f"path: {folder} is not a folder; expected the folder that holds {name}")
    plain = name.removesuffix(".gz")
    dotted = plain.replace("-idx", ".idx")
    for candidate in (name, plain, dotted, f"{dotted}.gz"):
        for path in (folder / candidate, folder / "raw" / candidate):
            if path.is_file():
                return path
    raise FileNotFoundError(f"path: {folder} has neither {name} nor {plain}")


def cache_folder(cache: str | os.PathLike[str] | None) -> Path:
    """The folder given, or the user's cache folder of the operating system."""
    if cache is not None:
        return Path(cache)
    import pooch  # pyright: ignore[reportMissingTypeStubs] -- imported late: most tasks need no download

    return Path(pooch.os_cache("hiddencodes"))


def advice(name: str, files: tuple[RemoteFile, ...], folder: Path) -> str:
    """What to download by hand, from where, and where to put it."""
    wanted = "\n".join(f"  {file.url}  (SHA-256 {file.sha256})" for file in files)
    return (
        f"Download these files and put them, under these names, into {folder}\n{wanted}\n"
        f"or pass path= with the place of your own copy to load_images({name!r}, ...)."
    )


def fetch_all(name: str, files: tuple[RemoteFile, ...], folder: Path, download: bool) -> Path:
    """Make sure that `folder` holds `files` with the published checksums, downloading what is missing.

    Returns:
        The folder.

    Raises:
        FileNotFoundError: If a file is missing and `download` is false.
        ConnectionError: If a download fails.
        ValueError: If a file, present or downloaded, has the wrong checksum.
    """
    help_text = advice(name, files, folder)
    for file in files:
        target = folder / file.name
        found = sha256_of(target) if target.is_file() else None
        if found == file.sha256:
            continue
        state = "is missing" if found is None else f"has SHA-256 {found}, expected {file.sha256}"
        if not download:
            error_type = FileNotFoundError if found is None else ValueError
            raise error_type(f"{target} {state}, and download=False. {help_text}")
        import pooch  # pyright: ignore[reportMissingTypeStubs] -- imported late: most tasks need no download

        try:
            pooch.retrieve(  # pyright: ignore[reportUnknownMemberType] -- pooch is partly untyped
                file.url, f"sha256:{file.sha256}", fname=file.name, path=folder
            )
        except ValueError as error:
            raise ValueError(
                f"{file.url}: what was downloaded is not the published file ({error})"
            ) from error
        except PermissionError:
            raise
        except OSError as error:
            raise ConnectionError(
                f"{target} {state}, and {file.url} could not be downloaded ({error}). {help_text}"
            ) from error
    return folder


def sha256_of(path: Path) -> str:
    """SHA-256 of a file, as hexadecimal text."""
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()
