"""Reads bodies of answers up to a limit, so that endless or compressed ones can't exhaust the memory."""

from __future__ import annotations

import zlib

import aiohttp

from aloe.errors import EndpointError

MAX_ANSWER = 16 * 2**20  # bytes of a chat's answer; 4,096 tokens with 20 alternatives each take about 6 MiB
MAX_VECTORS = 64 * 2**20  # bytes of an answer with embeddings
_STEP = 64 * 1024
_PLAIN = ("", "identity")
_ZLIB = ("gzip", "x-gzip", "deflate")


async def read_body(response: aiohttp.ClientResponse, limit: int, what: str) -> bytes:
    """The body of an answer, decompressed; the session leaves that to us (``auto_decompress=False``).

    Args:
        limit: bytes, compressed or not.
        what: the model and its host, for errors.

    Raises:
        EndpointError: it is longer, damaged, or compressed in a way that was not asked for.
    """
    encoding = response.headers.get("Content-Encoding", "").strip().lower()
    if encoding not in (*_PLAIN, *_ZLIB):
        raise _odd(f"{what} answered in the encoding '{encoding[:40]}'", "let the server send plain JSON or gzip")
    reader = None if encoding in _PLAIN else zlib.decompressobj(wbits=zlib.MAX_WBITS | 32)
    body = bytearray()
    async for chunk in response.content.iter_chunked(_STEP):
        try:
            body += chunk if reader is None else reader.decompress(chunk, limit + 1 - len(body))
        except zlib.error as error:
            raise _odd(f"{what} sent a damaged {encoding} body ({error})", "check the server and its proxies") from None
        if len(body) > limit:
            response.close()  # what is still to come is not read
            raise _odd(f"{what} sent more than {limit // 2**20} MiB", "check that base_url points to the right server")
    return bytes(body)


def _odd(what: str, hint: str) -> EndpointError:
    return EndpointError(what, hint, status=200, retryable=True, possibly_billed=True)
