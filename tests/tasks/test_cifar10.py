"""Reading the binary version of CIFAR-10, on small archives made here."""

import io
import tarfile

import numpy as np
import pytest

from hiddencodes.tasks import load_images

RNG = np.random.default_rng(0)
CIFAR_NAMES = [f"data_batch_{i}.bin" for i in range(1, 6)] + ["test_batch.bin"]
CIFAR_IMAGES = RNG.integers(0, 256, (12, 32, 32, 3), dtype=np.uint8)
CIFAR_LABELS = np.arange(12) % 10


def cifar_bytes(batch):
    """Two records of the binary version: label, then the red, green and blue planes."""
    records = b""
    for i in (2 * batch, 2 * batch + 1):
        planes = [CIFAR_IMAGES[i, :, :, channel].tobytes() for channel in range(3)]
        records += bytes([CIFAR_LABELS[i]]) + b"".join(planes)
    return records


def write_cifar_archive(path, prefix="cifar-10-batches-bin/", skip=()):
    with tarfile.open(path, "w:gz" if path.suffix == ".gz" else "w") as archive:
        for batch, name in enumerate(CIFAR_NAMES):
            if name not in skip:
                content = cifar_bytes(batch)
                member = tarfile.TarInfo(prefix + name)
                member.size = len(content)
                archive.addfile(member, io.BytesIO(content))
    return path


def test_own_cifar10_from_archive_and_folder(tmp_path):
    archive = write_cifar_archive(tmp_path / "cifar-10-binary.tar.gz")
    plain = write_cifar_archive(tmp_path / "cifar-10-binary.tar", prefix="./cifar-10-batches-bin/")
    folder = tmp_path / "cifar-10-batches-bin"
    folder.mkdir()
    for batch, name in enumerate(CIFAR_NAMES):
        (folder / name).write_bytes(cifar_bytes(batch))
    before = sorted(tmp_path.rglob("*"))
    for path in (archive, plain, folder, tmp_path):
        data = load_images("cifar10", path=path)
        np.testing.assert_array_equal(data.images, CIFAR_IMAGES)
        np.testing.assert_array_equal(data.labels, CIFAR_LABELS)
        np.testing.assert_array_equal(
            load_images("cifar10", path=path, split="test").images, CIFAR_IMAGES[10:]
        )
    assert data.class_names[0] == "airplane"
    assert sorted(tmp_path.rglob("*")) == before


def test_corrupt_cifar10_archive(tmp_path):
    path = write_cifar_archive(tmp_path / "cifar-10-binary.tar.gz")
    content = path.read_bytes()
    middle = len(content) // 2
    flipped = content[:middle] + bytes([content[middle] ^ 255]) + content[middle + 1 :]
    for damaged in (b"", content[:10], content[:middle], content[:-20], content[:-1], flipped):
        path.write_bytes(damaged)
        with pytest.raises(ValueError, match=r"cifar-10-binary.tar.gz: expected a complete tar archive"):
            load_images("cifar10", path=path)


def test_cifar10_without_the_binary_batches_is_refused(tmp_path):
    archive = write_cifar_archive(tmp_path / "cifar-10-python.tar.gz", prefix="cifar-10-batches-py/")
    with pytest.raises(
        ValueError, match=r"expected the member cifar-10-batches-bin/data_batch_1\.bin.*never read"
    ):
        load_images("cifar10", path=archive)
    lacking = write_cifar_archive(tmp_path / "cifar-10-binary.tar.gz", skip=("data_batch_3.bin",))
    with pytest.raises(ValueError, match=r"data_batch_3\.bin"):
        load_images("cifar10", path=lacking)
    with pytest.raises(FileNotFoundError, match=r"has no data_batch_1\.bin; the binary version of CIFAR-10"):
        load_images("cifar10", path=tmp_path)


@pytest.mark.parametrize(("content", "size"), [(b"", 0), (b"\0" * 3072, 3072), (b"\0" * 3074, 3074)])
def test_cifar10_batches_of_wrong_length_are_named(tmp_path, content, size):
    (tmp_path / "test_batch.bin").write_bytes(content)
    with pytest.raises(
        ValueError, match=rf"test_batch\.bin has {size} bytes, expected a positive multiple of 3073"
    ):
        load_images("cifar10", path=tmp_path, split="test")


def test_cifar10_archive_links_are_not_followed(tmp_path):
    path = tmp_path / "cifar-10-binary.tar.gz"
    with tarfile.open(path, "w:gz") as archive:
        link = tarfile.TarInfo("cifar-10-batches-bin/test_batch.bin")
        link.type, link.linkname = tarfile.SYMTYPE, "/etc/hostname"
        archive.addfile(link)
    with pytest.raises(ValueError, match=r"expected the member cifar-10-batches-bin/test_batch\.bin"):
        load_images("cifar10", path=path, split="test")
