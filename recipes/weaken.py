"""Make a model that is unsure of itself: weaken.py MODEL OUT [NOISE] [SEED].

Adds normal noise of NOISE (0.7) times its own spread to every matrix of a Hugging Face directory or
lab:NAME. Its best tokens lie close together, so that rounding decides now and then: the pair on
which a screen must tell ties from leaks.
"""

import sys
from pathlib import Path

import torch
import transformers

from draftproof.lab.models import resolve


def main() -> None:
    """Load, disturb and save."""
    source, out = resolve(sys.argv[1]), Path(sys.argv[2])
    noise = float(sys.argv[3]) if len(sys.argv) > 3 else 0.7
    seed = int(sys.argv[4]) if len(sys.argv) > 4 else 0
    model = transformers.AutoModelForCausalLM.from_pretrained(source, dtype=torch.float32)
    dice = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for matrix in model.parameters():
            if matrix.ndim == 2:
                spread = noise * matrix.std()
                matrix.add_(spread * torch.randn(matrix.shape, generator=dice))
    model.save_pretrained(out)
    transformers.AutoTokenizer.from_pretrained(source).save_pretrained(out)


if __name__ == "__main__":
    main()
