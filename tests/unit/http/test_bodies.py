"""Compressed request bodies: every format, several on top of each other, cut, damaged, and bombs."""

from __future__ import annotations

import asyncio
import gzip
import subprocess
import sys
import zlib
from collections.abc import Callable

import pytest
import zstandard
from fastapi import HTTPException, Request
from hypothesis import given, settings
from hypothesis import strategies as st

from segadmin_api.http.bodies import MOST_BYTES, BodyMemory, encodings_of, read_body, unpack


def raw_deflate(data: bytes) -> bytes:
    packer = zlib.compressobj(wbits=-zlib.MAX_WBITS)
    return packer.compress(data) + packer.flush()


def frames(data: bytes) -> bytes:
    """Two zstd frames, one without its size and one with a checksum."""
    sizeless = zstandard.ZstdCompressor(write_content_size=False)
    checked = zstandard.ZstdCompressor(write_checksum=True)
    return sizeless.compress(data[:9]) + checked.compress(data[9:])


PACK: dict[str, tuple[str, Callable[[bytes], bytes]]] = {
    "gzip": ("gzip", gzip.compress),
    "x-gzip": ("X-GZip", gzip.compress),
    "gzip, two members": ("gzip", lambda data: gzip.compress(data[:3]) + gzip.compress(data[3:])),
    "deflate": ("deflate", zlib.compress),
    "deflate, without a header": ("deflate", raw_deflate),
    "zstd": ("zstd", zstandard.compress),
    "zstd, two frames": ("zstd", frames),
    "gzip in zstd": ("gzip, zstd", lambda data: zstandard.compress(gzip.compress(data))),
    "three": ("deflate,identity ,gzip,zstd", lambda data: zstandard.compress(gzip.compress(zlib.compress(data)))),
    "identity": ("identity", bytes),
    "empty": ("", bytes),
}


def read(body: bytes, *encodings: str, chunk: int = 65536) -> bytes:
    """Read ``body`` as the web server gives it: in chunks."""
    chunks = [body[start : start + chunk] for start in range(0, len(body), chunk)]

    async def receive() -> dict[str, object]:
        return {"type": "http.request", "body": chunks.pop(0) if chunks else b"", "more_body": bool(chunks)}

    headers = [(b"content-encoding", encoding.encode("latin-1")) for encoding in encodings]
    request = Request({"type": "http", "headers": headers}, receive)
    return unpack(asyncio.run(read_body(request)), encodings_of(request))


def refused(body: bytes, *encodings: str) -> HTTPException:
    with pytest.raises(HTTPException) as error:
        read(body, *encodings)
    return error.value


@pytest.mark.parametrize("name", PACK)
@given(data=st.binary(max_size=2000), chunk=st.integers(1, 700))
@settings(max_examples=30, deadline=None)
def test_compressed_bodies_are_read(name: str, data: bytes, chunk: int) -> None:
    encoding, pack = PACK[name]
    assert read(pack(data), encoding, chunk=chunk) == data


def test_several_headers_are_one_list() -> None:
    assert read(zstandard.compress(gzip.compress(b"both")), "gzip", "zstd") == b"both"


@pytest.mark.parametrize("name", ["gzip", "deflate", "deflate, without a header", "zstd", "gzip in zstd", "three"])
def test_a_body_that_is_cut_anywhere_is_refused(name: str) -> None:
    encoding, pack = PACK[name]
    packed = pack(b'{"user": "u1", "kind": "view"}')
    for length in range(len(packed)):
        error = refused(packed[:length], encoding)
        assert error.status_code == 400
        assert "data end early" in error.detail


@pytest.mark.parametrize("encoding", ["gzip", "deflate", "zstd"])
@pytest.mark.parametrize("body", [b'{"user": "u1"}', b"\xff" * 40, b"\x28\xb5\x2f\xfd" + b"\xff" * 40])
def test_a_body_that_is_not_what_its_header_says_is_refused(encoding: str, body: bytes) -> None:
    error = refused(body, encoding)
    assert error.status_code == 400
    assert encoding in error.detail


def test_a_damaged_body_is_refused() -> None:
    packed = bytearray(gzip.compress(b"some text, some text"))
    packed[-6] ^= 1  # of its checksum
    assert refused(bytes(packed), "gzip").status_code == 400
    assert refused(gzip.compress(b"x") + b"and more", "gzip").status_code == 400


@pytest.mark.parametrize("encoding", ["br", "compress", "gzip, br", "aws-chunked", "gz\xefp", ",".join(["gzip"] * 4)])
def test_another_encoding_is_refused_and_the_known_ones_are_named(encoding: str) -> None:
    error = refused(b"x", encoding)
    assert (error.status_code, error.headers) == (415, {"Accept-Encoding": "gzip, deflate, zstd"})
    assert "gzip, deflate, zstd" in error.detail


@pytest.mark.parametrize("encoding", ["gzip", "deflate", "zstd", "identity"])
def test_the_limit_applies_to_the_decompressed_body(encoding: str) -> None:
    pack = PACK[encoding][1]
    assert len(read(pack(bytes(MOST_BYTES)), encoding)) == MOST_BYTES
    assert refused(pack(bytes(MOST_BYTES + 1)), encoding).status_code == 413


BOMBS = """
import resource, zlib, zstandard
from fastapi import HTTPException
from segadmin_api.http.bodies import _unpack

zeros = bytes(1 << 20)
packers = {"gzip": zlib.compressobj(wbits=31), "deflate": zlib.compressobj(),
           "zstd": zstandard.ZstdCompressor().compressobj()}
bombs = {name: b"".join(packer.compress(zeros) for _ in range(400)) + packer.flush()
         for name, packer in packers.items()}
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
for name, bomb in bombs.items():
    try:
        _unpack(bomb, name)
    except HTTPException as error:
        print(name, error.status_code)
print((resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) // 1024)
"""


def test_bombs_of_400_mebibytes_cost_little_memory() -> None:
    done = subprocess.run([sys.executable, "-c", BOMBS], capture_output=True, text=True, check=True)
    *answers, mebibytes = done.stdout.splitlines()
    assert answers == ["gzip 413", "deflate 413", "zstd 413"]
    assert int(mebibytes) < 64


def test_a_window_that_would_take_the_memory_is_refused() -> None:
    parameters = zstandard.ZstdCompressionParameters(window_log=27, write_content_size=False)
    packer = zstandard.ZstdCompressor(compression_params=parameters).compressobj()
    assert refused(packer.compress(b"x" * 100_000) + packer.flush(), "zstd").status_code == 400


def test_all_bodies_together_have_a_limit() -> None:
    memory = BodyMemory(most=100)
    with memory.lease() as first, memory.lease() as second:
        first(60)
        second(40)
        with pytest.raises(HTTPException) as error:
            first(1)
        assert error.value.status_code == 503
    with memory.lease() as third:
        third(100)


def test_a_client_that_disconnects_early_is_not_a_server_error() -> None:
    async def receive() -> dict[str, object]:
        return {"type": "http.disconnect"}

    with pytest.raises(HTTPException) as error:
        asyncio.run(read_body(Request({"type": "http", "headers": []}, receive)))
    assert error.value.status_code == 400
