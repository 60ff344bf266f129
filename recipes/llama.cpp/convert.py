"""Convert a Hugging Face directory to GGUF: convert.py LLAMA_CPP MODEL OUT [f32|bf16|f16|q8_0].

llama.cpp's own converter, told that a byte-level BPE tokenizer whose digest it does not know splits
text as GPT-2's does. That holds for the lab's tokenizer and is checked after the conversion: the
screen compares the answers with those of the plain arm, and prompts are tokenised by the server.
"""

import json
import runpy
import sys
from pathlib import Path


def main() -> None:
    """Run the converter with the one answer that it lacks."""
    llama_cpp, model, out = (Path(a).resolve() for a in sys.argv[1:4])
    kind = sys.argv[4] if len(sys.argv) > 4 else "f32"
    _refuse_other_tokenizers(model)
    sys.path[:0] = [str(llama_cpp), str(llama_cpp / "gguf-py")]
    from conversion.base import TextModel  # noqa: PLC0415 - found by the line above

    TextModel.get_vocab_base_pre = lambda self, tokenizer: "gpt-2"
    sys.argv = ["convert_hf_to_gguf.py", str(model), "--outfile", str(out), "--outtype", kind]
    runpy.run_path(str(llama_cpp / "convert_hf_to_gguf.py"), run_name="__main__")


def _refuse_other_tokenizers(model: Path) -> None:
    tokenizer = json.loads((model / "tokenizer.json").read_text("utf-8"))
    splitter = tokenizer.get("pre_tokenizer") or {}
    if splitter.get("type") != "ByteLevel" or not splitter.get("use_regex", True):
        sys.exit(f"{model}: its tokenizer does not split text as GPT-2's does: {splitter}")


if __name__ == "__main__":
    main()
