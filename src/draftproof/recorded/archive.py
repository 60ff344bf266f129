"""Zip files from elsewhere, read within bounds.

The standard library reads no Zstandard members before Python 3.14, so the compressed bytes are
taken as they lie and unpacked here, never beyond the size that is allowed.
"""

from __future__ import annotations

import struct
import zipfile
import zlib
from pathlib import Path
from types import TracebackType
from typing import Self

from draftproof.records import DraftproofError

MAX_MEMBER = 256 * 1024 * 1024
"""Bytes of one unpacked member."""
MAX_TOTAL = 2 * 1024 * 1024 * 1024
"""Bytes unpacked from one file."""
MAX_MEMBERS = 200_000
_CHUNK = 1024 * 1024
_WINDOW = 256 * 1024 * 1024
"""Bytes that a Zstandard member may ask for while it is unpacked."""
_ZSTANDARD = 93
_LOCAL_HEADER = struct.Struct("<4s22xHH")


class Archive:
    """A zip file whose members are read whole, each within `MAX_MEMBER` bytes.

    Raises:
        DraftproofError: No such file, no zip, or one that was cut off.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._left = MAX_TOTAL
        if not path.is_file():
            raise DraftproofError(f"{path}: no such file")
        try:
            self._zip = zipfile.ZipFile(path)
        except (zipfile.BadZipFile, NotImplementedError, OSError) as error:
            raise DraftproofError(
                f"{path}: cannot be read as a zip file ({error}); it may have been cut off"
            ) from error
        members = self._zip.infolist()
        if len(members) > MAX_MEMBERS:
            self._zip.close()
            raise DraftproofError(f"{path}: holds more than {MAX_MEMBERS:,} members")
        # a member that is written again replaces the one before
        self._members = {m.filename: m for m in members}

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._zip.close()

    @property
    def names(self) -> tuple[str, ...]:
        """Member names in the order of the file."""
        return tuple(self._members)

    def read(self, name: str) -> bytes:
        """Return a member's bytes.

        Raises:
            DraftproofError: Too large, encrypted, damaged or compressed in an unknown way.
        """
        where, member = f"{self._path}:{name}", self._members[name]
        limit = min(MAX_MEMBER, self._left)
        if member.flag_bits & 1:
            raise DraftproofError(f"{where}: is encrypted")
        if member.file_size > limit:
            raise DraftproofError(f"{where}: unpacks to more than {limit:,} bytes")
        try:
            packed = self._packed(member, where)
            data = _unpack(packed, member.compress_type, limit, where)
        except (OSError, zlib.error) as error:
            raise DraftproofError(f"{where}: damaged: {error}") from error
        if len(data) > limit:
            raise DraftproofError(f"{where}: unpacks to more than {limit:,} bytes")
        if zlib.crc32(data) != member.CRC:
            raise DraftproofError(f"{where}: damaged: its checksum does not match")
        self._left -= len(data)
        return data

    def _packed(self, member: zipfile.ZipInfo, where: str) -> bytes:
        with self._path.open("rb") as file:
            file.seek(member.header_offset)
            header = file.read(_LOCAL_HEADER.size)
            if len(header) < _LOCAL_HEADER.size or not header.startswith(b"PK\x03\x04"):
                raise DraftproofError(f"{where}: damaged: its header is not where it should be")
            _, name_length, extra_length = _LOCAL_HEADER.unpack(header)
            file.seek(name_length + extra_length, 1)
            packed = file.read(member.compress_size)
        if len(packed) < member.compress_size:
            raise DraftproofError(f"{where}: the file ends within it")
        return packed


def _unpack(packed: bytes, kind: int, limit: int, where: str) -> bytes:
    """Return at most ``limit + 1`` unpacked bytes."""
    if kind == zipfile.ZIP_STORED:
        return packed
    if kind == zipfile.ZIP_DEFLATED:
        return zlib.decompressobj(-zlib.MAX_WBITS).decompress(packed, limit + 1)
    if kind != _ZSTANDARD:
        raise DraftproofError(f"{where}: is compressed in a way that is not known ({kind})")
    try:
        import zstandard  # noqa: PLC0415 - an extra
    except ModuleNotFoundError as error:
        raise DraftproofError(
            f"{where}: is compressed with Zstandard; run: pip install 'draftproof[logs]'"
        ) from error
    try:
        with zstandard.ZstdDecompressor(max_window_size=_WINDOW).stream_reader(packed) as reader:
            pieces, size = [], 0
            while size <= limit and (piece := reader.read(min(_CHUNK, limit + 1 - size))):
                pieces.append(piece)
                size += len(piece)
    except zstandard.ZstdError as error:
        raise DraftproofError(f"{where}: damaged: {error}") from error
    return b"".join(pieces)
