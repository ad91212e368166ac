"""Reading IDX files, the cache and downloads, on small files made here; no outside network."""

import functools
import gzip
import hashlib
import http.server
import struct
import threading

import numpy as np
import pytest

from hiddencodes.tasks import load_images
from hiddencodes.tasks.download import DATA_SETS, DataSet, RemoteFile, cache_folder, published, splits
from hiddencodes.tasks.formats import read_idx

RNG = np.random.default_rng(0)
IDX = {
    "train-images-idx3-ubyte": RNG.integers(0, 256, (6, 4, 3), dtype=np.uint8),
    "train-labels-idx1-ubyte": np.array([0, 9, 3, 3, 1, 2], np.uint8),
    "t10k-images-idx3-ubyte": RNG.integers(0, 256, (2, 4, 3), dtype=np.uint8),
    "t10k-labels-idx1-ubyte": np.array([5, 4], np.uint8),
}


def idx_bytes(array):
    return bytes([0, 0, 8, array.ndim]) + struct.pack(f">{array.ndim}I", *array.shape) + array.tobytes()


def write_idx(folder, compress, rename=str):
    folder.mkdir(parents=True, exist_ok=True)
    for name, array in IDX.items():
        content = idx_bytes(array)
        file = rename(name) + (".gz" if compress else "")
        (folder / file).write_bytes(gzip.compress(content) if compress else content)
    return folder


@pytest.mark.parametrize(
    ("compress", "subfolder", "rename"),
    [
        (True, "", str),
        (False, "", str),
        (False, "raw", str),
        (False, "", lambda name: name.replace("-idx", ".idx")),
    ],
)
@pytest.mark.parametrize("name", ["mnist", "fashion_mnist"])
def test_own_idx_files(tmp_path, name, compress, subfolder, rename):
    write_idx(tmp_path / subfolder, compress, rename)
    data = load_images(name, path=tmp_path)
    np.testing.assert_array_equal(
        data.images, np.concatenate([IDX["train-images-idx3-ubyte"], IDX["t10k-images-idx3-ubyte"]])
    )
    np.testing.assert_array_equal(data.labels, [0, 9, 3, 3, 1, 2, 5, 4])
    assert data.labels.dtype == np.int64
    assert len(data.class_names) == 10
    np.testing.assert_array_equal(
        load_images(name, path=str(tmp_path), split="train").labels, data.labels[:6]
    )
    np.testing.assert_array_equal(load_images(name, path=tmp_path, split="test").images, data.images[6:])
    assert str(tmp_path) not in data.source


IMAGES = "train-images-idx3-ubyte"


@pytest.mark.parametrize(
    ("file", "damage", "message"),
    [
        (IMAGES, lambda b: b[:-1], r"71 bytes after the header, expected 72 for shape \(6, 4, 3\)"),
        (IMAGES, lambda b: b + b"\0", "73 bytes after the header, expected 72"),
        (IMAGES, lambda b: b[:10], "truncated header of 10 bytes, expected 16"),
        (IMAGES, lambda b: b"", "starts with nothing, expected 00000803"),
        (
            IMAGES,
            lambda b: b"\x89PNG" + b[4:],
            r"starts with 89504e47, expected 00000803 \(IDX, unsigned bytes, 3 axes\)",
        ),
        (IMAGES, lambda b: bytes([0, 0, 13, 3]) + b[4:], "starts with 00000d03"),
        ("train-labels-idx1-ubyte", lambda b: bytes([0, 0, 8, 3]) + b[4:], "expected 00000801"),
        ("train-labels-idx1-ubyte", lambda b: b[:4] + struct.pack(">I", 5) + b[8:-1], "5 labels, expected 6"),
        ("train-labels-idx1-ubyte", lambda b: b[:-1] + bytes([10]), r"label 10, expected 0\.\.9"),
    ],
)
def test_corrupt_idx_files_are_named(tmp_path, file, damage, message):
    write_idx(tmp_path, compress=False)
    target = tmp_path / file
    target.write_bytes(damage(target.read_bytes()))
    with pytest.raises(ValueError, match=message) as error:
        load_images("mnist", path=tmp_path)
    assert str(tmp_path) in str(error.value)


@pytest.mark.parametrize(
    "damage",
    [lambda b: b[:-9], lambda b: b"not gzip", lambda b: b[:20] + bytes([b[20] ^ 255]) + b[21:]],
    ids=["truncated", "not gzip", "flipped byte"],
)
def test_corrupt_gzip_files_are_named(tmp_path, damage):
    file = tmp_path / f"{IMAGES}.gz"
    file.write_bytes(damage(gzip.compress(idx_bytes(IDX[IMAGES]))))
    with pytest.raises(ValueError, match=f"{IMAGES}.gz: expected a complete gzip file"):
        read_idx(file, 3)


def test_missing_own_files_are_named(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"nowhere does not exist(?s:.*)train-images-idx3-ubyte\.gz"):
        load_images("mnist", path=tmp_path / "nowhere")
    with pytest.raises(
        FileNotFoundError, match=r"has neither train-images-idx3-ubyte\.gz nor train-images-idx3-ubyte"
    ):
        load_images("mnist", path=tmp_path)
    file = tmp_path / "train-images-idx3-ubyte.gz"
    file.write_bytes(b"")
    with pytest.raises(FileNotFoundError, match="is not a folder; expected the folder that holds"):
        load_images("mnist", path=file)


def test_default_cache_folder_is_the_users(tmp_path):
    assert cache_folder(None).is_absolute()
    assert cache_folder(None).name == "hiddencodes"
    assert cache_folder(str(tmp_path)) == tmp_path


def test_wrong_names_are_refused(tmp_path):
    with pytest.raises(
        ValueError, match=r"name: 'emnist' is not one of \('mnist10k', 'mnist', 'fashion_mnist', 'cifar10'\)"
    ):
        published("emnist")
    with pytest.raises(ValueError, match="split: 'validation' is not one of"):
        splits("validation")
    with pytest.raises(ValueError, match="name: mnist10k ships with the package"):
        load_images("mnist10k", path=tmp_path)
    with pytest.raises(ValueError, match="split='test'"):
        load_images("mnist10k", split="test")


def test_published_checksums_are_sha256_and_distinct():
    files = {file for data_set in DATA_SETS.values() for part in data_set.files.values() for file in part}
    assert len({file.sha256 for file in files}) == len(files) == 9
    assert all(len(bytes.fromhex(file.sha256)) == 32 for file in files)
    assert all(file.url.startswith("https://") and file.url.endswith(file.name) for file in files)


@pytest.mark.parametrize("name", ["mnist", "fashion_mnist", "cifar10"])
def test_nothing_cached_and_no_download(tmp_path, name):
    with pytest.raises(FileNotFoundError, match="missing, and download=False") as error:
        load_images(name, download=False, cache=tmp_path)
    message = str(error.value)
    assert str(tmp_path / name) in message
    assert "path=" in message
    for part in DATA_SETS[name].files.values():
        assert all(file.url in message and file.sha256 in message for file in part)


def test_cached_file_with_wrong_checksum(tmp_path):
    write_idx(tmp_path / "mnist", compress=True)
    target = tmp_path / "mnist" / f"{IMAGES}.gz"
    found = hashlib.sha256(target.read_bytes()).hexdigest()
    with pytest.raises(ValueError, match=f"{IMAGES}.gz has SHA-256 {found}, expected 440fcabf73cc"):
        load_images("mnist", download=False, cache=tmp_path)


class QuietHandler(http.server.SimpleHTTPRequestHandler):
    def log_message(self, format, *args):
        pass


@pytest.fixture
def served(tmp_path, monkeypatch):
    """A data set "mnist" published by a server on this machine; yields (folder served, cache folder)."""
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    folder = write_idx(tmp_path / "served", compress=True)
    handler = functools.partial(QuietHandler, directory=str(folder))
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        url = f"http://127.0.0.1:{server.server_port}/"

        def remote(name):
            checksum = hashlib.sha256((folder / name).read_bytes()).hexdigest()
            return RemoteFile(name, url + name, checksum)

        parts = {
            part: tuple(remote(f"{prefix}-{kind}-ubyte.gz") for kind in ("images-idx3", "labels-idx1"))
            for part, prefix in (("train", "train"), ("test", "t10k"))
        }
        monkeypatch.setitem(DATA_SETS, "mnist", DataSet(parts, tuple("0123456789")))
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        yield folder, tmp_path / "cache"
        server.shutdown()
        thread.join()


def test_download_then_cache(served):
    folder, cache = served
    data = load_images("mnist", cache=cache)
    np.testing.assert_array_equal(data.labels, [0, 9, 3, 3, 1, 2, 5, 4])
    assert DATA_SETS["mnist"].files["train"][0].sha256 in data.source
    for file in folder.iterdir():
        file.unlink()
    again = load_images("mnist", cache=cache, download=False)
    np.testing.assert_array_equal(again.images, data.images)


def test_only_the_split_asked_for_is_downloaded(served):
    _, cache = served
    load_images("mnist", cache=cache, split="test")
    assert sorted(file.name for file in (cache / "mnist").iterdir()) == [
        "t10k-images-idx3-ubyte.gz",
        "t10k-labels-idx1-ubyte.gz",
    ]


def test_damaged_cache_is_replaced(served):
    _, cache = served
    (cache / "mnist").mkdir(parents=True)
    (cache / "mnist" / f"{IMAGES}.gz").write_bytes(b"damaged")
    np.testing.assert_array_equal(load_images("mnist", cache=cache, split="train").images, IDX[IMAGES])


def test_downloaded_file_with_wrong_checksum_is_refused_and_not_kept(served):
    folder, cache = served
    (folder / f"{IMAGES}.gz").write_bytes(b"something else")
    with pytest.raises(ValueError, match="what was downloaded is not the published file"):
        load_images("mnist", cache=cache)
    assert not (cache / "mnist" / f"{IMAGES}.gz").exists()


def test_file_gone_from_the_server(served):
    folder, cache = served
    (folder / f"{IMAGES}.gz").unlink()
    with pytest.raises(ConnectionError, match="404"):
        load_images("mnist", cache=cache)


def test_no_network_says_what_to_do(tmp_path, monkeypatch):
    def refuse(*args, **kwargs):
        raise OSError("Network is unreachable")

    monkeypatch.setattr("socket.getaddrinfo", refuse)
    monkeypatch.setenv("NO_PROXY", "*")
    with pytest.raises(ConnectionError, match="could not be downloaded") as error:
        load_images("cifar10", cache=tmp_path)
    message = str(error.value)
    assert "cs.toronto.edu/~kriz/cifar-10-binary.tar.gz" in message
    assert f"put them, under these names, into {tmp_path / 'cifar10'}" in message
    assert "or pass path=" in message
    assert not (tmp_path / "cifar10" / "cifar-10-binary.tar.gz").exists()
