"""Tiny random models: big enough to disagree, small enough to enumerate."""

import pytest
import torch
from transformers import LlamaConfig, LlamaForCausalLM

from draftproof.decoding import CausalModel, Request, Settings, decode


def tiny(seed: int, *, layers: int = 2, vocab: int = 29, scale: float = 0.35) -> CausalModel:
    torch.manual_seed(seed)
    config = LlamaConfig(
        vocab_size=vocab,
        hidden_size=32,
        intermediate_size=48,
        num_hidden_layers=layers,
        num_attention_heads=4,
        num_key_value_heads=2,
        max_position_embeddings=256,
        initializer_range=scale,
    )
    return CausalModel(LlamaForCausalLM(config).eval(), f"tiny-{seed}")


def noisy_copy(model: CausalModel, seed: int, noise: float) -> CausalModel:
    """A draft that agrees with its target often, not always."""
    copy = LlamaForCausalLM(model.module.config).eval()
    copy.load_state_dict(model.module.state_dict())
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for weight in copy.parameters():
            weight.add_(noise * weight.std() * torch.randn(weight.shape, generator=generator))
    return CausalModel(copy, "noisy copy")


@pytest.fixture(scope="session", autouse=True)
def one_thread():
    torch.set_num_threads(1)


@pytest.fixture(scope="session")
def target():
    return tiny(1)


@pytest.fixture(scope="session")
def draft(target):
    return noisy_copy(target, 2, 0.04)


@pytest.fixture(scope="session")
def stranger():
    return tiny(3, layers=1)


@pytest.fixture(scope="session")
def greedy_by_generate():
    """Plain greedy decoding by transformers' own generate, the reference."""

    def generate(target, request, eos):
        with torch.inference_mode():
            out = target.module.generate(
                torch.tensor([request.prompt]),
                max_new_tokens=request.max_new_tokens,
                do_sample=False,
                eos_token_id=sorted(eos),
                pad_token_id=0,
            )
        return out[0, len(request.prompt) :].tolist()

    return generate


@pytest.fixture(scope="session")
def keeps_the_law(target):
    """Whether the first two tokens of sampled answers follow the target's own law."""

    def check(drafter, answers=2000, prompt=(3, 9, 4), of=target):
        """Pearson's statistic within five standard deviations; something must be accepted."""
        vocab = of.vocab_size
        asked = [
            Request(id=str(i), prompt=prompt, max_new_tokens=3, seed=i) for i in range(answers)
        ]
        counts, accepted = torch.zeros(vocab, vocab, dtype=torch.float64), 0
        for a in decode(of, asked, Settings(eos=(), drafter=drafter, temperature=1.0, batch=250)):
            counts[a.tokens[0], a.tokens[1]] += 1
            accepted += a.accepted
        with torch.inference_mode():
            first = of.module(torch.tensor([prompt])).logits[0, -1].double().softmax(0)
            pairs = torch.tensor([[*prompt, v] for v in range(vocab)])
            second = of.module(pairs).logits[:, -1].double().softmax(1)
        expected = answers * first[:, None] * second
        big = expected >= 5
        pearson = ((counts - expected) ** 2 / expected)[big].sum().item()
        rest = answers - expected[big].sum().item()
        pearson += (rest - counts[~big].sum().item()) ** 2 / rest
        degrees = int(big.sum())
        return accepted > 0 and pearson < degrees + 5 * (2 * degrees) ** 0.5

    return check
