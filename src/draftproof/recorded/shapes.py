"""Logs of known tools that hold an answer deeper than in a column: each is turned into a table.

A shape is known by its fields. What it gives are rows with our own column names, so that all of
them are read by the one reader of tables.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass

Row = dict[str, object]
Numbered = Sequence[tuple[int, Mapping[str, object]]]


@dataclass(frozen=True, slots=True)
class LogShape:
    """How one tool records answers.

    Attributes:
        name: The tool.
        fields: Fields that a row has which is in this shape.
        rows: Turns one row into rows of ours.
    """

    name: str
    fields: frozenset[str]
    rows: Callable[[int, Mapping[str, object]], Iterator[Row]]


def rows_of_document(document: object) -> list[Mapping[str, object]] | None:
    """Return the list of answers inside a log that is one JSON object; None for others.

    Known are promptfoo's results, HELM's scenario states and JailbreakBench's artifacts.
    """
    if not isinstance(document, Mapping):
        return None
    results = document.get("results")
    places = (
        results.get("results") if isinstance(results, Mapping) else None,
        document.get("request_states"),
        document.get("jailbreaks"),
    )
    rows = next((place for place in places if isinstance(place, list)), None)
    return None if rows is None else [row for row in rows if isinstance(row, Mapping)]


def table_of(rows: Numbered) -> list[tuple[int, Row]] | None:
    """Return the rows of a log in our columns; None where no shape is known.

    A row that is no answer (a header of garak's, say) gives none. Ids that occur again, as HELM's
    do for every trial, get their count behind them.
    """
    for shape in SHAPES:
        if not any(shape.fields <= row.keys() for _, row in rows[:50]):
            continue
        table = [
            (line, row)
            for line, source in rows
            if shape.fields <= source.keys()
            for row in shape.rows(line, source)
        ]
        seen: Counter[str] = Counter()
        for _, row in table:
            name = str(row["id"])
            seen[name] += 1
            row["id"] = name if seen[name] == 1 else f"{name}#{seen[name]}"
        return table
    return None


def _answer(name: object, text: object, **more: object) -> Row:
    """Return a row; one without a text is an answer that failed."""
    given = isinstance(text, str)
    row = {"id": str(name), "text": text if given else "", **more}
    return row if given else row | {"finish_reason": "error"}


def _turns(line: int, row: Mapping[str, object]) -> Iterator[Row]:
    """Read an answer of MT-Bench: its turns are one cluster."""
    question = str(row["question_id"])
    for choice in row["choices"] if isinstance(row["choices"], list) else []:
        turns = choice.get("turns") if isinstance(choice, Mapping) else None
        for number, text in enumerate(turns if isinstance(turns, list) else [], 1):
            yield _answer(f"{question}.{number}", text, cluster=question)


def _conversation(line: int, row: Mapping[str, object]) -> Iterator[Row]:
    """Read a chat, ours or ShareGPT's: its last turn is the answer if the assistant's."""
    turns = row.get("messages", row.get("conversations"))
    turns = [t for t in turns if isinstance(t, Mapping)] if isinstance(turns, list) else []
    roles = [str(t.get("role", t.get("from"))) for t in turns]
    texts = [t.get("content", t.get("value")) for t in turns]
    name = row.get("id", line)
    if not roles or roles[-1] not in {"assistant", "gpt", "model", "bot", "chatgpt"}:
        yield _answer(name, None)
        return
    asked = [t for r, t in zip(roles, texts, strict=True) if r in {"user", "human"}]
    prompt = {"prompt": asked[-1]} if asked and isinstance(asked[-1], str) else {}
    yield _answer(name, texts[-1], **prompt)


def _helm_state(line: int, row: Mapping[str, object]) -> Iterator[Row]:
    instance = row["instance"] if isinstance(row["instance"], Mapping) else {}
    result = row["result"] if isinstance(row["result"], Mapping) else {}
    completions = result.get("completions")
    first = completions[0] if isinstance(completions, list) and completions else {}
    text = first.get("text") if isinstance(first, Mapping) else None
    asked = instance.get("input")
    prompt = asked.get("text") if isinstance(asked, Mapping) else None
    yield _answer(instance.get("id", line), text, prompt=prompt)


def _helm_prediction(line: int, row: Mapping[str, object]) -> Iterator[Row]:
    perturbation = row.get("perturbation")
    name = perturbation.get("name") if isinstance(perturbation, Mapping) else None
    id_ = str(row["instance_id"]) + (f"/{name}" if name else "")
    yield _answer(id_, row["predicted_text"], cluster=str(row["instance_id"]))


def _garak(line: int, row: Mapping[str, object]) -> Iterator[Row]:
    """Read an attempt of garak: every generation of it is an answer, all of one cluster."""
    if row["entry_type"] != "attempt":
        return
    name = f"{row.get('probe_classname', 'attempt')}-{row.get('seq', line)}"
    asked = row.get("prompt")
    outputs = row["outputs"] if isinstance(row["outputs"], list) else []
    for number, output in enumerate(outputs):
        text = output.get("text") if isinstance(output, Mapping) else output
        prompt = {"prompt": asked} if isinstance(asked, str) else {}
        yield _answer(f"{name}.{number}", text, cluster=name, **prompt)


def _promptfoo(line: int, row: Mapping[str, object]) -> Iterator[Row]:
    response = row["response"] if isinstance(row["response"], Mapping) else {}
    prompt = row.get("prompt")
    raw = prompt.get("raw") if isinstance(prompt, Mapping) else None
    asked = {"prompt": raw} if isinstance(raw, str) else {}
    id_ = f"{row.get('testIdx', line)}.{row.get('promptIdx', 0)}"
    yield _answer(id_, response.get("output"), **asked)


def _jailbreak(line: int, row: Mapping[str, object]) -> Iterator[Row]:
    """Read an artifact of JailbreakBench; where no attack was found there is no prompt."""
    kept = {k: v for k, v in row.items() if k not in {"index", "response", "prompt"}}
    asked = {"prompt": row["prompt"]} if isinstance(row.get("prompt"), str) else {}
    yield _answer(row["index"], row["response"], **kept, **asked)


def _instruction(line: int, row: Mapping[str, object]) -> Iterator[Row]:
    """Read an output of AlpacaEval, which has no ids: its files are in one order."""
    yield _answer(line - 1, row["output"], prompt=row["instruction"])


SHAPES = (
    LogShape("MT-Bench", frozenset({"question_id", "choices"}), _turns),
    LogShape("HELM", frozenset({"instance", "result"}), _helm_state),
    LogShape("HELM", frozenset({"instance_id", "predicted_text"}), _helm_prediction),
    LogShape("garak", frozenset({"entry_type", "outputs"}), _garak),
    LogShape("promptfoo", frozenset({"response", "promptIdx"}), _promptfoo),
    LogShape("JailbreakBench", frozenset({"index", "goal", "response"}), _jailbreak),
    LogShape("AlpacaEval", frozenset({"instruction", "output", "generator"}), _instruction),
    LogShape("ShareGPT", frozenset({"conversations"}), _conversation),
    LogShape("chat messages", frozenset({"messages"}), _conversation),
)
"""Shapes that are known, those with the most telling fields first."""
