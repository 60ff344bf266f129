"""A fetched model as a float32 GGUF: the weights of the converted model in llama.cpp's form."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from filelock import FileLock

from draftproof.lab.models import FETCHABLE, model_path
from draftproof.records import DraftproofError

_FILE_TYPE = "general.file_type"
_WRITTEN = ("GGUF.", "general.architecture", _FILE_TYPE, "general.quantization_version")
"""Fields that the writer fills in itself."""


def float32_gguf(name: str, progress: Callable[[str], None]) -> Path:
    """Return the file, made on first use and then kept beside the model's directory.

    Every number is that of the converted model, which was rounded to float16; names, layout and
    tokenizer are the packed file's.

    Args:
        name: One of `FETCHABLE`, fetched before.
        progress: Hears a sentence where the file is made.

    Raises:
        DraftproofError: The package gguf is missing.
        UnknownModelError: The model was not fetched.
    """
    packed = model_path(name) / FETCHABLE[name].gguf
    out = packed.parent.with_name(f"{name}-f32.gguf")
    with FileLock(out.with_suffix(".lock")):
        if not out.is_file():
            progress(f"writing {out} (0.5 GB), once")
            part = out.with_suffix(".part")
            _write(packed, part)
            part.rename(out)
    return out


def _write(packed: Path, out: Path) -> None:
    try:
        import gguf  # noqa: PLC0415 - an extra
    except ModuleNotFoundError as error:
        raise DraftproofError("gguf is missing; run: pip install 'draftproof[real]'") from error
    import numpy as np  # noqa: PLC0415

    reader = gguf.GGUFReader(packed)
    architecture = reader.fields["general.architecture"].contents()
    writer = gguf.GGUFWriter(out, architecture)
    for field in reader.fields.values():
        if field.name.startswith(_WRITTEN):
            continue
        inner = field.types[-1] if field.types[0] is gguf.GGUFValueType.ARRAY else None
        writer.add_key_value(field.name, field.contents(), field.types[0], sub_type=inner)
    writer.add_file_type(gguf.LlamaFileType.ALL_F32)
    for tensor in reader.tensors:
        numbers = gguf.quants.dequantize(tensor.data, tensor.tensor_type)
        writer.add_tensor(tensor.name, numbers.astype(np.float16).astype(np.float32))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
