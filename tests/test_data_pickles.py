"""Pickles of data sets: plain arrays come out as they went in, and nothing is ever run."""

import builtins
import codecs
import os
import pickle
import pickletools
from contextlib import suppress

import numpy as np
import pytest

from faqd_train.data.readers.pickles import read_pickle

BATCH = {
    b"data": np.arange(24, dtype=np.uint8).reshape(2, 12),
    b"labels": [3, 1],
    b"filenames": [b"a.png", b"b.png"],
    b"batch_label": b"testing",
}


def same(loaded, given):
    return loaded.keys() == given.keys() and all(
        np.array_equal(loaded[key], given[key]) and type(loaded[key]) is type(given[key])
        for key in given
    )


@pytest.mark.parametrize("protocol", [2, 3, 4])
def test_plain_batches_come_out_as_they_went_in(protocol):
    assert same(read_pickle(pickle.dumps(BATCH, protocol), "batch"), BATCH)


def test_names_of_older_numpy_are_read():
    content = pickle.dumps(BATCH, 2).replace(b"numpy._core.multiarray", b"numpy.core.multiarray")
    assert same(read_pickle(content, "batch"), BATCH)


@pytest.mark.parametrize("dtype", ["<i8", ">i4", "u2", "i1"])
def test_arrays_keep_type_byte_order_and_axis_order(dtype):
    table = np.arange(6).reshape(2, 3).astype(dtype)
    loaded = read_pickle(pickle.dumps({b"c": table, b"f": np.asfortranarray(table)}, 2), "x")
    for key in (b"c", b"f"):
        np.testing.assert_array_equal(loaded[key], table)
        assert loaded[key].dtype == table.dtype


class Runs:
    """Pickles as a call of any function."""

    def __init__(self, function, *arguments):
        self.call = (function, arguments)

    def __reduce__(self):
        return self.call


def mark(path):
    return f"open({str(path)!r}, 'w').close()"


@pytest.mark.parametrize("protocol", range(6))
@pytest.mark.parametrize("function", [eval, exec, os.system])
def test_a_malicious_pickle_runs_nothing(function, protocol, tmp_path):
    """Its own unpickler runs it, so the attack is genuine."""
    marked = tmp_path / "marked"
    order = f"touch {marked}" if function is os.system else mark(marked)
    content = pickle.dumps({b"data": Runs(function, order)}, protocol)
    with pytest.raises(ValueError, match=r"batch asks for .*, which could run code; plain arrays"):
        read_pickle(content, "batch")
    assert not marked.exists()
    pickle.loads(content)
    assert marked.exists()


@pytest.mark.parametrize(
    "opcodes",
    [
        b"\x80\x02cbuiltins\neval\nX\x01\x00\x00\x001\x85R.",  # global and reduce
        b"\x80\x02(X\x01\x00\x00\x001ibuiltins\neval\n.",  # instance
        b"\x80\x04\x8c\x08builtins\x8c\x04eval\x93X\x01\x00\x00\x001\x85R.",  # name from the stack
        b"\x80\x02cnumpy\nndarray\nK\x01\x85\x81.",  # a new object of an allowed name
        b"\x80\x02c_codecs\nencode\n}X\x08\x00\x00\x00__code__K\x01sb.",  # state for a function
        b"\x80\x02cnumpy._core.multiarray\n_reconstruct\n)R}b.",  # a state of another form
        b"\x80\x02]r\xff\xff\xff\xff.",  # a table of 64 GB
        b"\x80\x04\x8e\xff\xff\xff\xff\xff\x00\x00\x00.",  # a string of 1 TB
        b"\x80\x02\x82\x01.",  # the extension registry
        b"\x80\x02X\x01\x00\x00\x00xQ.",  # a persistent id
        b"\x80\x02cnumpy\ndtype\nX\x01\x00\x00\x00O\x85R.",  # an array of objects
    ],
)
def test_hand_made_attacks_are_refused(opcodes):
    with pytest.raises(
        ValueError, match=r"batch (asks for builtins\.eval|is not an intact pickle)"
    ):
        read_pickle(opcodes, "batch")


def test_shapes_that_the_bytes_do_not_fill_are_refused():
    content = pickle.dumps(BATCH, 3)
    place = content.index(b"K\x02K\x0c\x86")
    with pytest.raises(ValueError, match="is not an intact pickle"):
        read_pickle(content[:place] + b"K\x03K\x0c\x86" + content[place + 5 :], "batch")


def test_what_is_no_dictionary_is_refused():
    with pytest.raises(ValueError, match=r"batch holds a list; a dictionary is accepted"):
        read_pickle(pickle.dumps([1]), "batch")


def test_flipped_bytes_give_plain_values_or_one_refusal(monkeypatch):
    """3,000 damaged pickles: whatever else a byte does, it imports and opens nothing."""

    def forbidden(*_arguments, **_named):
        raise AssertionError("a pickle ran something")

    rng = np.random.default_rng(0)
    accepted = 0
    for codec in ("ascii", "latin-1", "raw-unicode-escape", "utf-8"):
        codecs.lookup(codec)  # imported at first use, which runs Python's own code
    for name in ("eval", "exec", "open"):
        monkeypatch.setattr(builtins, name, forbidden)
    monkeypatch.setattr(os, "system", forbidden)
    for protocol in (2, 4):
        content = pickle.dumps(BATCH, protocol)
        for _ in range(1500):
            damaged = bytearray(content)
            damaged[rng.integers(len(content))] ^= 1 << rng.integers(8)
            with suppress(ValueError):
                accepted += isinstance(read_pickle(bytes(damaged), "batch"), dict)
    assert 0 < accepted < 2500  # most of the bytes are pixels or names, whose change is valid


def test_the_attacks_above_are_whole_programs():
    """A pickle that ends early would be refused for that alone."""
    attack = b"\x80\x02cbuiltins\neval\nX\x01\x00\x00\x001\x85R."
    assert [op.name for op, *_ in pickletools.genops(attack)][-1] == "STOP"
    assert pickle.loads(attack) == 1
