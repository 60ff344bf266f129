"""Our decoder inside of transformers' ``model.generate``."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any
from weakref import WeakKeyDictionary

import torch
from transformers import GenerationConfig
from transformers.generation.stopping_criteria import (
    EosTokenCriteria,
    MaxLengthCriteria,
    StopStringCriteria,
)
from transformers.generation.utils import GenerateDecoderOnlyOutput

from draftproof.decoding.drafters.draft_model import DraftModel
from draftproof.decoding.drafters.drafter import Drafter
from draftproof.decoding.model import CausalModel
from draftproof.decoding.options import Options
from draftproof.decoding.padded_rows import prompts_of, shaping_of_row
from draftproof.decoding.pretrained import Pretrained
from draftproof.decoding.processors import refuse_unserved
from draftproof.decoding.remembered import settled_once
from draftproof.decoding.session import PromptIds, Session
from draftproof.records import DraftproofError

_OF_ITS_OWN = frozenset(
    {"attention_mask", "position_ids", "past_key_values", "use_cache", "logits_to_keep",
     "cache_position", "token_type_ids"}
)  # fmt: skip
"""Arguments of the model that `generate` prepares and the decoder has no need of."""
_models: WeakKeyDictionary[Any, CausalModel] = WeakKeyDictionary()


def generate(
    model: Any,
    input_ids: torch.Tensor,
    logits_processor: Any,
    stopping_criteria: Any,
    generation_config: GenerationConfig,
    draft: Any = None,
    rule: str = "exact",
    rule_options: Mapping[str, Any] | None = None,
    gamma: int = 4,
    draft_prompts: Sequence[Sequence[int]] | None = None,
    streamer: Any = None,
    tokenizer: Any = None,
    stop_strings: str | list[str] | None = None,
    check: bool = True,
    **model_kwargs: Any,
) -> torch.Tensor | GenerateDecoderOnlyOutput:
    """Decode speculatively what ``model.generate(…, custom_generate=generate)`` has prepared.

    >>> model.generate(**inputs, custom_generate=generate, draft=assistant)  # doctest: +SKIP

    transformers gives a callable neither `assistant_model` nor `streamer` nor `tokenizer`: name
    the draft as `draft`, and the others with ``functools.partial``.

    Args:
        model: The target.
        input_ids: ``[B, n] int64``, padded on the left.
        logits_processor: What transformers made of the generation config and the caller's own.
        stopping_criteria: The same; only lengths, ends of sequence and stop strings are served.
        generation_config: The options.
        draft: A causal LM of transformers, or a `draftproof.decoding.drafters.Drafter`.
        rule: Acceptance rule.
        rule_options: Its parameters.
        gamma: Tokens that a draft model drafts a round.
        draft_prompts: For a rule that changes the target distribution, the ids that the draft reads
            in place of each row, without padding: the same conversation in the draft's own chat
            template.
        streamer: Is given each round's tokens; for one prompt.
        tokenizer: Needed for stop strings.
        stop_strings: End an answer.
        check: Compare our forward with each model's own, once while it lives.
        model_kwargs: What else transformers prepared.

    Returns:
        ``[B, n + longest answer] int64``, padded on the right; with ``return_dict_in_generate``
        in transformers' own record.

    Raises:
        DraftproofError: No draft, something is asked for that is not served, or our forward
            differs from a model's own.
    """
    if draft is None:
        raise DraftproofError(
            "name the draft model: model.generate(..., custom_generate=generate, draft=...); "
            "transformers does not pass assistant_model on to a callable"
        )
    refuse_unserved(generation_config, but={"num_return_sequences"})
    _refuse_inputs(model_kwargs, stopping_criteria)
    if streamer is not None and len(input_ids) > 1:
        raise DraftproofError("a streamer takes one prompt")
    target = _causal(model, check)
    drafter = draft if hasattr(draft, "propose") else _draft_model(target, draft, gamma, check)
    sampled = bool(generation_config.do_sample)
    temperature = generation_config.temperature if sampled else 0.0
    stops = [stop_strings] if isinstance(stop_strings, str) else stop_strings or []
    own = _draft_prompts(draft_prompts, len(input_ids))
    session = Session(
        Pretrained(target.name, target, tokenizer, _ends(generation_config)), drafter,
        rule=rule, rule_options=rule_options,
        ignore_generation_config=True,  # transformers has brought in what the checkpoint asks for
    )  # fmt: skip
    options = Options(
        max_new_tokens=int(generation_config.max_length) - input_ids.shape[1],
        temperature=1.0 if temperature is None else temperature,
    )
    requests = []
    for row, (prompt, pads) in enumerate(prompts_of(input_ids, model_kwargs.get("attention_mask"))):
        shaping = shaping_of_row(logits_processor, row, pads, stops, tokenizer)
        # from the caller's own generator, so that torch.manual_seed decides
        seed = int(torch.randint(2**62, (1,))) if sampled else 0
        ids = PromptIds(prompt, own[row])
        requests.append(session.request(row, ids, options, seed=seed, shaping=shaping))
    pieces = session.stream(requests, session.settings(options, batch=len(requests)))
    answers = _collected(pieces, len(requests), input_ids, streamer)
    sequences = _padded(input_ids, answers, generation_config.pad_token_id)
    if generation_config.return_dict_in_generate:
        return GenerateDecoderOnlyOutput(sequences=sequences)
    return sequences


def generate_from_hub(
    model: Any,
    inputs: torch.Tensor | None = None,
    assistant_model: Any = None,
    streamer: Any = None,
    synced_gpus: bool | None = None,
    **options: Any,
) -> Any:
    """Do what `generate` does for a folder's ``custom_generate/generate.py``.

    Args:
        model: The target.
        inputs: Token ids; may be named `input_ids` as well.
        assistant_model: The draft, if it is not named `draft`.
        streamer: See `generate`.
        synced_gpus: Not served.
        options: What ``model.generate`` and `generate` take.

    Raises:
        DraftproofError: See `generate`.
    """
    if synced_gpus or options.get("negative_prompt_ids") is not None:
        raise DraftproofError("synced_gpus and negative_prompt_ids are not served")
    named = {"draft": options.pop("draft", assistant_model), "streamer": streamer}
    for name in ("rule", "rule_options", "gamma", "draft_prompts", "tokenizer",
                 "stop_strings", "check"):  # fmt: skip
        if options.get(name) is not None:
            named[name] = options.pop(name)
    return model.generate(inputs, custom_generate=partial(generate, **named), **options)


def _draft_prompts(
    given: Sequence[Sequence[int]] | None, rows: int
) -> list[tuple[int, ...] | None]:
    """Return one prompt of the draft a row; several sequences of one prompt share theirs."""
    if given is None:
        return [None] * rows
    if len(given) == 0 or rows % len(given):
        raise DraftproofError(f"draft_prompts: {len(given)} for {rows} rows; give one a prompt")
    prompts = [tuple(int(i) for i in ids) for ids in given]
    if min(map(len, prompts)) < 2:
        raise DraftproofError("draft_prompts: a prompt of a draft has at least two tokens")
    return [prompts[row * len(given) // rows] for row in range(rows)]


def _refuse_inputs(model_kwargs: Mapping[str, Any], criteria: Any) -> None:
    """Check that nothing that would be left out matters.

    Raises:
        DraftproofError: It does.
    """
    for name, value in model_kwargs.items():
        if name not in _OF_ITS_OWN and value is not None:
            raise DraftproofError(f"{name} is not served by speculative decoding here")
    cache = model_kwargs.get("past_key_values")
    if cache is not None and cache.get_seq_length() > 0:
        raise DraftproofError("a cache that holds tokens already is not served; pass all ids")
    for criterion in criteria:
        if not isinstance(criterion, MaxLengthCriteria | EosTokenCriteria | StopStringCriteria):
            raise DraftproofError(f"stopping criterion {type(criterion).__name__} is not served")


def _causal(module: Any, check: bool) -> CausalModel:
    """Return a transformers model as the loop runs it; the same one for the same model.

    Its weights stay as they are, so that the caller can go on training or save it.
    """
    causal = _models.get(module)
    if causal is None or (causal.device, causal.dtype) != (module.device, module.dtype):
        name = getattr(module.config, "_name_or_path", "") or type(module).__name__
        causal = _models[module] = CausalModel(module, name, lean=False)
    if check:
        settled_once(causal)
    return causal


def _draft_model(target: CausalModel, module: Any, gamma: int, check: bool) -> Drafter:
    if gamma < 1:
        raise DraftproofError(f"gamma must be at least 1, got {gamma}")
    draft = _causal(module, check)
    if draft.vocab_size != target.vocab_size:
        raise DraftproofError(
            f"{target.name} and {draft.name} have different vocabularies "
            f"({target.vocab_size} and {draft.vocab_size} rows); token-level speculation needs "
            "one vocabulary, choose a draft of the target's family"
        )
    return DraftModel(draft, gamma)


def _ends(config: GenerationConfig) -> frozenset[int]:
    given = config.eos_token_id
    if given is None:
        return frozenset()
    return frozenset([given] if isinstance(given, int) else given)


def _collected(pieces: Any, count: int, input_ids: torch.Tensor, streamer: Any) -> list[list[int]]:
    """Run the loop to its end.

    Raises:
        DraftproofError: A row's logits were not finite.
    """
    answers: list[list[int]] = [[] for _ in range(count)]
    if streamer is not None:
        streamer.put(input_ids.cpu())
    for answer, start in pieces:
        if answer.error:
            raise DraftproofError(answer.error)
        answers[int(answer.id)] = answer.tokens
        if streamer is not None:
            streamer.put(torch.tensor(answer.tokens[start:]))
    if streamer is not None:
        streamer.end()
    return answers


def _padded(input_ids: torch.Tensor, answers: list[list[int]], pad: int | None) -> torch.Tensor:
    """Return prompts and answers as one ``[B, n + longest] int64``."""
    longest = max(len(a) for a in answers)
    rows = [a + [pad or 0] * (longest - len(a)) for a in answers]
    return torch.cat([input_ids, torch.tensor(rows, device=input_ids.device)], dim=1)
