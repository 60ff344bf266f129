"""llama.cpp's server without compiling: ``python -m draftproof.stacks.llama_server -m MODEL``.

It runs the server of the package xllamacpp until it is stopped. The options are named as
llama-server names them, so that a plan's ``serve:`` needs no other change. MODEL is a GGUF file,
``lab:smollm2`` (its weights in float32, written on first use) or ``lab:smollm2:packed`` (the
quantised file as released).
"""

from __future__ import annotations

import argparse
import signal
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from draftproof.lab.models import FETCHABLE, model_path
from draftproof.lab.unpacked import float32_gguf
from draftproof.records import DraftproofError

_PACKED = ":packed"


def gguf_file(name: str) -> Path:
    """Return the file that a model's name means.

    Raises:
        DraftproofError: There is none.
    """
    if not name.startswith("lab:"):
        if not Path(name).is_file():
            raise DraftproofError(f"{name}: no such GGUF file")
        return Path(name)
    model = name.removeprefix("lab:").removesuffix(_PACKED)
    if model not in FETCHABLE:
        raise DraftproofError(
            f"{name}: not available as GGUF; name a GGUF file, or one of: "
            f"{', '.join(f'lab:{n}' for n in FETCHABLE)}"
        )
    if name.endswith(_PACKED):
        return model_path(model) / FETCHABLE[model].gguf
    return float32_gguf(model, lambda line: print(line, file=sys.stderr, flush=True))


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m draftproof.stacks.llama_server")
    add = parser.add_argument
    add("-m", "--model", required=True, help="GGUF file, lab:smollm2 or lab:smollm2:packed")
    add("-md", "--model-draft", help="the draft, named likewise")
    add("--port", type=int, required=True)
    add("--alias", help="the model's name in requests (default: the file's)")
    add("-t", "--threads", type=int, default=1)
    add("-np", "--parallel", type=int, default=1, help="answers at the same time")
    add("-c", "--ctx-size", type=int, default=4096, help="context of all answers together")
    for name, what in (("-ctk", "keys"), ("-ctv", "values"), ("-ctkd", "keys of the draft"),
                       ("-ctvd", "values of the draft")):  # fmt: skip
        add(name, default="f16", help=f"type of the cache's {what} (default: f16)")
    add("--spec-type", default="none", help="draft-simple, ngram-simple, … (default: none)")
    add("--spec-draft-n-max", type=int, default=4, help="most tokens drafted a round")
    add("--spec-ngram-simple-size-n", type=int, default=2)
    add("--spec-ngram-simple-size-m", type=int, default=4)
    add("--spec-synth-rates", help="accept drafts at random with these rates: lossy, for controls")
    return parser


def main(arguments: Sequence[str] | None = None) -> None:
    """Serve until stopped."""
    asked = _parser().parse_args(arguments)
    try:
        import xllamacpp  # noqa: PLC0415 - an extra
    except ModuleNotFoundError:
        sys.exit("xllamacpp is missing; run: pip install 'draftproof[real]'")
    try:
        server = xllamacpp.Server(_parameters(xllamacpp, asked))
    except (DraftproofError, KeyError) as error:
        sys.exit(f"error: {error}")
    print(f"listening at {server.listening_address}", file=sys.stderr, flush=True)
    signal.sigwait({signal.SIGTERM, signal.SIGINT})


def _parameters(library: Any, asked: argparse.Namespace) -> Any:
    made = library.CommonParams()
    made.model.path = str(gguf_file(asked.model))
    made.port = asked.port
    made.model_alias = {asked.alias or Path(made.model.path).stem}
    made.n_parallel, made.n_ctx, made.n_threads_http = asked.parallel, asked.ctx_size, 2
    made.endpoint_metrics = True
    made.cache_type_k = _named(library.ggml_type, f"GGML_TYPE_{asked.ctk}")
    made.cache_type_v = _named(library.ggml_type, f"GGML_TYPE_{asked.ctv}")
    made.cpuparams.n_threads = made.cpuparams_batch.n_threads = asked.threads
    speculative = made.speculative
    kinds = library.common_speculative_type
    speculative.types = [_named(kinds, f"COMMON_SPECULATIVE_TYPE_{asked.spec_type}")]
    speculative.ngram_simple.size_n = asked.spec_ngram_simple_size_n
    speculative.ngram_simple.size_m = asked.spec_ngram_simple_size_m
    if asked.spec_synth_rates:
        speculative.synth_rates = [float(rate) for rate in asked.spec_synth_rates.split(",")]
    if asked.model_draft:
        draft = speculative.draft
        draft.mparams.path = str(gguf_file(asked.model_draft))
        draft.n_max = asked.spec_draft_n_max
        draft.cpuparams.n_threads = draft.cpuparams_batch.n_threads = asked.threads
        draft.cache_type_k = _named(library.ggml_type, f"GGML_TYPE_{asked.ctkd}")
        draft.cache_type_v = _named(library.ggml_type, f"GGML_TYPE_{asked.ctvd}")
    return made


def _named(kinds: Any, name: str) -> Any:
    wanted = name.upper().replace("-", "_")
    found = getattr(kinds, wanted, None)
    if found is None:
        prefix = wanted[: wanted.rindex("TYPE_") + len("TYPE_")]
        known = [n.removeprefix(prefix).lower() for n in dir(kinds) if n.startswith(prefix)]
        raise DraftproofError(f"{name.rpartition('TYPE_')[2]!r} is none of {', '.join(known)}")
    return found


if __name__ == "__main__":
    main()
