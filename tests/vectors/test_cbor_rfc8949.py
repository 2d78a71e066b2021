"""CBOR items against RFC 8949 appendix A and against cbor2, and what canonical form forbids."""

from __future__ import annotations

import math
import struct

import cbor2
import pytest
from hypothesis import given
from hypothesis import strategies as st

from protocols.wire import cbor

APPENDIX_A_INTEGERS = {
    0: "00", 1: "01", 10: "0a", 23: "17", 24: "1818", 25: "1819", 100: "1864", 1000: "1903e8",
    1000000: "1a000f4240", 1000000000000: "1b000000e8d4a51000", 18446744073709551615: "1bffffffffffffffff",
    -18446744073709551616: "3bffffffffffffffff", -1: "20", -10: "29", -100: "3863", -1000: "3903e7",
}  # fmt: skip
APPENDIX_A_FLOATS = {
    0.0: "f90000", 1.0: "f93c00", 1.1: "fb3ff199999999999a", 1.5: "f93e00", 65504.0: "f97bff",
    100000.0: "fa47c35000", 3.4028234663852886e38: "fa7f7fffff", 1.0e300: "fb7e37e43c8800759c",
    5.960464477539063e-8: "f90001", 0.00006103515625: "f90400", -4.0: "f9c400", -4.1: "fbc010666666666666",
    math.inf: "f97c00", -math.inf: "f9fc00",
}  # fmt: skip


@pytest.mark.parametrize(("value", "expected"), APPENDIX_A_INTEGERS.items())
def test_integers_of_appendix_a(value: int, expected: str) -> None:
    assert cbor.integer(value).hex() == expected
    assert cbor.Reader(bytes.fromhex(expected)).integer() == value


@pytest.mark.parametrize(("value", "expected"), APPENDIX_A_FLOATS.items())
def test_floats_of_appendix_a(value: float, expected: str) -> None:
    assert cbor.number(value).hex() == expected
    assert cbor.Reader(bytes.fromhex(expected)).number() == value


def test_negative_zero_and_nan() -> None:
    assert cbor.number(-0.0).hex() == "f98000"
    assert math.copysign(1, cbor.Reader(bytes.fromhex("f98000")).number()) == -1
    assert cbor.number(math.nan).hex() == "f97e00"
    assert math.isnan(cbor.Reader(bytes.fromhex("f97e00")).number())


@given(st.integers(-(1 << 64), (1 << 64) - 1))
def test_integers_agree_with_cbor2(value: int) -> None:
    assert cbor.integer(value) == cbor2.dumps(value, canonical=True)


@given(
    st.floats(allow_nan=False) | st.floats(width=16, allow_nan=False) | st.floats(width=32, allow_nan=False)
)
def test_floats_agree_with_cbor2(value: float) -> None:
    encoded = cbor.number(value)
    assert encoded == cbor2.dumps(value, canonical=True)
    assert struct.pack(">d", cbor.Reader(encoded).number()) == struct.pack(">d", value)


@pytest.mark.parametrize(
    "encoded",
    [
        "1817",
        "190018",
        "1900ff",
        "1a0000ffff",
        "1b00000000ffffffff",
        "3817",
        "1c",
        "1f",
        "18",
        "19ff",
        "",
        "40",
        "f6",
    ],
)
def test_integers_in_other_forms_are_refused(encoded: str) -> None:
    with pytest.raises(cbor.Defect):
        cbor.Reader(bytes.fromhex(encoded)).integer()


@pytest.mark.parametrize(
    "encoded",
    [
        "fa3f800000",  # 1.0 as a single
        "fb3ff0000000000000",  # 1.0 as a double
        "fa7fc00000",  # NaN as a single
        "f97e01",  # NaN with a payload
        "f9fe00",  # negative NaN
        "fb7ff8000000000000",
        "fb7ff0000000000000",  # infinity as a double
        "00",
        "f9",
        "f93c",
        "",
    ],
)
def test_floats_in_other_forms_are_refused(encoded: str) -> None:
    with pytest.raises(cbor.Defect):
        cbor.Reader(bytes.fromhex(encoded)).number()


@pytest.mark.parametrize("encoded", ["5f4101ff", "5801aa", "58", "5bffffffffffffffff", "60"])
def test_byte_strings_in_other_forms_are_refused(encoded: str) -> None:
    reader = cbor.Reader(bytes.fromhex(encoded))
    with pytest.raises(cbor.Defect):
        reader.take(reader.argument(cbor.BYTES))
