"""torch.save archives are read without torch, and nothing in them is run."""

from __future__ import annotations

import contextlib
import os
import pickle
import zipfile
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from torch_writer import Archive, Raw, call, name, pickled, storage, view

from models.cosyvoice.errors import CheckpointError
from models.cosyvoice.torch_file import read_state_dict_views, read_torch_file

MAX_BYTES = 1 << 20
NUMBERS = np.arange(24, dtype=np.float32)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "file.pt"


def read(path: Path) -> object:
    return read_torch_file(path, max_bytes=MAX_BYTES)


def stored_numbers(archive: Archive) -> Raw:
    return storage(archive.add(NUMBERS.tobytes()), "FloatStorage", 24)


def test_plain_values_come_back(path: Path) -> None:
    value = {"a": [1, -2, 3.5, "字", None, True, False], "b": {"c": (1, ())}, 7: "seven"}
    assert read(Archive().write(path, value)) == value


@pytest.mark.parametrize("kind", ["f4", "f8", "f2", "i8", "i4", "u1", "?"])
@pytest.mark.parametrize("big_endian", [False, True])
def test_tensors_of_each_type(path: Path, kind: str, big_endian: bool) -> None:
    array = np.arange(6).reshape(2, 3).astype(kind)
    archive = Archive(big_endian=big_endian)
    archive.write(path, {"x": archive.tensor(array)})
    found = read(path)["x"]
    assert found.dtype == array.dtype
    assert found.dtype.isnative
    np.testing.assert_array_equal(found, array)


def test_bfloat16_comes_as_float32(path: Path) -> None:
    archive = Archive()
    upper_halves = (np.array([1.0, -2.5, 0.0078125], np.float32).view(np.uint32) >> 16).astype("u2")
    stored = storage(archive.add(upper_halves.tobytes()), "BFloat16Storage", 3)
    archive.write(path, view(stored, 0, (3,), (1,)))
    np.testing.assert_array_equal(read(path), np.array([1.0, -2.5, 0.0078125], np.float32))


@pytest.mark.parametrize(
    ("offset", "shape", "strides", "expected"),
    [
        (0, (4, 6), (6, 1), NUMBERS.reshape(4, 6)),
        (0, (6, 4), (1, 6), NUMBERS.reshape(4, 6).T),
        (3, (2, 5), (10, 2), NUMBERS[3:23].reshape(2, 10)[:, ::2]),
        (5, (3, 4), (0, 1), np.tile(NUMBERS[5:9], (3, 1))),
        (23, (), (), NUMBERS[23]),
        (24, (0, 5), (5, 1), np.zeros((0, 5))),
    ],
    ids=["whole", "transposed", "strided", "expanded", "scalar", "empty"],
)
def test_views_of_a_storage(
    path: Path, offset: int, shape: tuple, strides: tuple, expected: np.ndarray
) -> None:
    archive = Archive()
    archive.write(path, view(stored_numbers(archive), offset, shape, strides))
    found = read(path)
    assert found.shape == expected.shape
    np.testing.assert_array_equal(found, expected)
    assert found.flags.owndata


def test_state_dicts_parameters_and_tensors_that_are_shared(path: Path) -> None:
    archive = Archive()
    # memo 0: the tensor; then a state dict that has it twice, once as a parameter, with _metadata
    tensor = Raw(archive.tensor(NUMBERS) + b"q\x00")
    parameter = call(name("torch._utils", "_rebuild_parameter"), Raw(b"h\x00"), True, None)
    state = call(name("collections", "OrderedDict"))
    items = pickled("a") + tensor + pickled("b") + parameter
    archive.write(path, Raw(state + b"(" + items + b"u" + pickled({"_metadata": {}}) + b"b"))
    found = read(path)
    assert list(found) == ["a", "b"]
    assert found["a"] is found["b"]


def test_names_and_shapes_without_reading(path: Path) -> None:
    archive = Archive()
    archive.write(
        path, {"big.weight": archive.constant((50_000, 50_000)), "b": archive.tensor(NUMBERS)}
    )
    views = read_state_dict_views(path)
    assert {key: value.shape for key, value in views.items()} == {
        "big.weight": (50_000, 50_000),
        "b": (24,),
    }


MARKER = "COSYSTREAM_TEST_RAN"
MALICIOUS = {
    "os.system": call(name("os", "system"), "exit 1"),
    "posix.system": call(name("posix", "system"), "exit 1"),
    "eval": call(name("builtins", "eval"), f"__import__('os').putenv({MARKER!r}, '1')"),
    "by the stack": Raw(pickled("os") + pickled("system") + b"\x93" + pickled(("exit 1",)) + b"R"),
    "torch.load": call(name("torch", "load"), "/etc/passwd"),
    "a dotted name": call(name("torch._utils", "_rebuild_tensor_v2.__globals__"), 1),
    "INST": Raw(b"(" + pickled("exit 1") + b"ios\nsystem\n"),
    "OBJ": Raw(b"(" + name("os", "system") + pickled("exit 1") + b"o"),
    "NEWOBJ": Raw(name("subprocess", "Popen") + pickled(("true",)) + b"\x81"),
    "EXT1": Raw(b"\x82\x01"),
    "arguments for OrderedDict": call(name("collections", "OrderedDict"), [["a", 1]]),
    "a state for a name": Raw(name("os", "environ") + pickled({MARKER: "1"}) + b"b"),
    "an unknown storage": view(storage("0", "UntypedStorage", 1), 0, (1,), (1,)),
    "a storage of another module": Raw(
        pickled(("storage", name("os", "FloatStorage"), "0", "cpu", 1)) + b"Q"
    ),
    "another persistent id": Raw(pickled(("module", "x", "y", "z", 1)) + b"Q"),
}


@pytest.mark.parametrize("program", MALICIOUS.values(), ids=MALICIOUS)
def test_a_pickle_that_would_run_something_is_refused(path: Path, program: Raw) -> None:
    Archive().write(path, {"embedding": program})
    with pytest.raises(CheckpointError, match=str(path)):
        read(path)
    assert MARKER not in os.environ


def test_what_python_itself_would_run_is_refused(path: Path) -> None:
    class Evil:
        def __reduce__(self) -> tuple:
            return os.system, ("exit 1",)

    Archive().write(path, Raw(pickle.dumps({"x": Evil()}, 2)[2:-1]))
    with pytest.raises(CheckpointError, match=r"would call posix\.system"):
        read(path)


DAMAGED = {
    "a key that hashes for ever": {(1, 2): 3},
    "appends to a dictionary": Raw(b"}" + pickled(1) + b"a"),
    "sets items of a list": Raw(b"]" + pickled("a") + pickled(1) + b"s"),
    "an empty stack": Raw(b"\x85\x85\x85\x87"),
    "an empty memo": Raw(b"h\x05"),
    "no mark": Raw(b"u"),
    "a number called": Raw(pickled(1) + pickled(()) + b"R"),
    "nested too deeply": Raw(b"]" * 40 + b"a" * 39),
}


@pytest.mark.parametrize("value", DAMAGED.values(), ids=DAMAGED)
def test_a_damaged_pickle_is_refused(path: Path, value: object) -> None:
    Archive().write(path, value)
    with pytest.raises(CheckpointError, match=str(path)):
        read(path)


def test_a_list_that_contains_itself_is_refused(path: Path) -> None:
    Archive().write(path, Raw(b"]q\x00h\x00a"))
    with pytest.raises(CheckpointError, match="nested too deeply"):
        read(path)


def test_lists_of_the_same_lists_are_made_once(path: Path) -> None:
    """A kilobyte that stands for 50**12 lists."""
    levels = b"".join(b"](" + b"h%c" % i * 50 + b"eq%c" % (i + 1) for i in range(12))
    Archive().write(path, Raw(b"]q\x00" + levels))
    found = read(path)
    assert len(found) == 50
    assert found[0] is found[49]


@pytest.mark.parametrize(
    ("offset", "shape", "strides"),
    [
        (0, (25,), (1,)),
        (20, (2, 3), (3, 1)),
        (-1, (2,), (1,)),
        (0, (2,), (-1,)),
        (0, (-2,), (1,)),
        (25, (0,), (1,)),
        (0, (2, 2), (1,)),
        (0, (1 << 62,), (0,)),
        (0, (1 << 21,), (0,)),
        (0, ("3",), (1,)),
        ("0", (3,), (1,)),
    ],
)
def test_a_view_beyond_its_storage_is_refused(
    path: Path, offset: object, shape: tuple, strides: tuple
) -> None:
    archive = Archive()
    archive.write(path, view(stored_numbers(archive), offset, shape, strides))
    with pytest.raises(CheckpointError, match=str(path)):
        read(path)


def test_more_than_fits_is_refused_before_it_is_read(path: Path) -> None:
    archive = Archive()
    archive.write(path, [archive.tensor(np.zeros(1 << 17, np.float32)) for _ in range(3)])
    with pytest.raises(CheckpointError, match="1572864 bytes of tensors, more than 1048576"):
        read(path)


def test_a_storage_that_is_too_short_or_missing_is_refused(path: Path) -> None:
    archive = Archive()
    tensor = archive.tensor(NUMBERS)
    archive.storages["0"] = archive.storages["0"][:-4]
    archive.write(path, tensor)
    with pytest.raises(CheckpointError, match="smaller than its tensor; fetch it again"):
        read_state_dict_views(path)
    archive.storages.clear()
    archive.write(path, tensor)
    with pytest.raises(CheckpointError, match="lacks its part data/0"):
        read(path)


def test_compressed_parts_are_refused(path: Path) -> None:
    """torch.save does not compress, so no part can inflate."""
    archive = Archive()
    archive.write(path, archive.tensor(np.zeros(4096, np.float32)), zipfile.ZIP_DEFLATED)
    with pytest.raises(CheckpointError, match="is compressed"):
        read(path)


def test_formats_that_are_no_archive_of_torch(path: Path) -> None:
    path.write_bytes(pickle.dumps({"a": 1}, 2))
    with pytest.raises(CheckpointError, match=r"format before 1\.6.*save it again"):
        read(path)
    path.write_bytes(b"<html>404</html>")
    with pytest.raises(CheckpointError, match="fetch it again"):
        read(path)
    with zipfile.ZipFile(path, "w") as file:
        file.writestr("readme.txt", "no tensors")
    with pytest.raises(CheckpointError, match=r"not one that torch\.save wrote"):
        read(path)


@pytest.mark.parametrize("value", [{}, [], {"epoch": 3}, {1: 2}])
def test_what_is_no_state_dict(path: Path, value: object) -> None:
    Archive().write(path, value)
    with pytest.raises(CheckpointError, match="holds no state dict"):
        read_state_dict_views(path)


def whole_file(path: Path) -> bytes:
    archive = Archive()
    archive.write(path, {"a": archive.tensor(NUMBERS), "b": {"c": archive.tensor(NUMBERS[:5])}})
    return path.read_bytes()


@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(share=st.floats(0, 0.999))
def test_a_file_that_is_cut_short_is_refused(path: Path, share: float) -> None:
    data = whole_file(path)
    path.write_bytes(data[: int(len(data) * share)])
    with pytest.raises(CheckpointError, match="fetch it again"):
        read(path)


@settings(max_examples=150, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_a_damaged_file_is_read_or_refused(path: Path, data: st.DataObject) -> None:
    content = bytearray(whole_file(path))
    for _ in range(data.draw(st.integers(1, 4))):
        content[data.draw(st.integers(0, len(content) - 1))] = data.draw(st.integers(0, 255))
    path.write_bytes(content)
    with contextlib.suppress(CheckpointError):
        read(path)


@settings(max_examples=150, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(program=st.binary(max_size=60))
def test_any_pickle_is_read_or_refused(path: Path, program: bytes) -> None:
    Archive().write(path, Raw(program))
    with contextlib.suppress(CheckpointError):
        read(path)
