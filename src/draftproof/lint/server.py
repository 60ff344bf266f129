"""What a running server tells about its own settings. It is asked, never set to work.

Each kind tells something else: SGLang all of its arguments, vLLM its configuration only where the
developer endpoints are on and otherwise the names of its counters, llama.cpp its model and whether
its slots speculate. What a server leaves out is not known, and said not to be.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Any

import httpx

from draftproof.lint.subject import GROUP, ConfigSetting, Subject
from draftproof.records import DraftproofError
from draftproof.stacks.http.options import HttpOptions
from draftproof.stacks.http.telemetry import UnknownCountersError, prometheus_counters

SPECULATES = "speculates"
"""Setting that says that a server speculates, where the server does not report how."""
_KINDS = {"vllm": "vllm", "draftproof": "draftproof", "tensorrt_llm": "trtllm"}
"""Kinds by the owner that a server names for its models."""
_MAX_BODY = 4 * 1024 * 1024
_MAX_SETTINGS = 5_000
_TIMEOUT = 10.0


def server_subject(url: str) -> Subject:
    """Return what a server tells about itself.

    Raises:
        DraftproofError: No address, nobody there, or nothing that lists a model.
    """
    try:
        place = HttpOptions(url=url).url or ""
    except ValueError as error:
        raise DraftproofError(f"{url}: {_first_line(error)}") from error
    with httpx.Client(base_url=place, timeout=_TIMEOUT, follow_redirects=False) as http:
        listed = _document(http, "/v1/models", needed=True)
        entries = [m for m in listed.get("data") or [] if isinstance(m, Mapping)]
        owners = {str(m.get("owned_by")) for m in entries}
        if not entries:
            raise DraftproofError(f"{place}: lists no model at /v1/models, so it is no server here")
        stack, settings = _told(http, owners)
    subject = Subject(name=f"{stack} server", stack=stack, file=place)
    for path, value in settings.items():
        for number, setting in enumerate(_settings((path,), value, place)):
            if number > _MAX_SETTINGS:
                raise DraftproofError(f"{place}: reports more than {_MAX_SETTINGS:,} settings")
            subject.settings.append(setting)
    return subject


def _told(http: httpx.Client, owners: set[str]) -> tuple[str, dict[str, Any]]:
    """Return a server's kind and its settings by name."""
    if "sglang" in owners:
        info = _document(http, "/server_info") or _document(http, "/get_server_info")
        return "sglang", dict(info)
    if "llamacpp" in owners:
        props, slots = _document(http, "/props"), _any(http, "/slots")
        active = isinstance(slots, list) and any(
            isinstance(slot, dict) and slot.get("speculative") is True for slot in slots
        )
        # what /props says of speculation is not true of speculation that is on
        names = {"build_info": "version", "model_ftype": "model", "total_slots": "parallel"}
        settings = {names[k]: v for k, v in props.items() if k in names}
        return "llama.cpp", settings | {SPECULATES: active}
    stack = next((name for owner, name in _KINDS.items() if owner in owners), "unknown")
    info = _document(http, "/server_info", params={"config_format": "json"})
    inner = info.get("vllm_config")
    settings = dict(inner) if isinstance(inner, Mapping) else dict(info)
    settings |= _document(http, "/version")
    if "speculative_config" not in settings:
        settings |= {SPECULATES: _counts(http)}
    return stack, settings


def _counts(http: httpx.Client) -> bool | None:
    """Say whether the server has counters of speculation; None where it has no page of them."""
    try:
        response = http.get("/metrics")
    except httpx.HTTPError:
        return None
    if response.status_code != 200 or "json" in response.headers.get("content-type", ""):
        return None
    try:
        return prometheus_counters(response.text[:_MAX_BODY]) is not None
    except UnknownCountersError:
        return True


def _any(
    http: httpx.Client, path: str, *, needed: bool = False, params: Mapping[str, str] | None = None
) -> Any:
    try:
        response = http.get(path, params=params)
    except httpx.HTTPError as error:
        if needed:
            reason = str(error) or type(error).__name__
            raise DraftproofError(f"{http.base_url}: cannot be reached: {reason}") from error
        return None
    if response.status_code != 200 or len(response.content) > _MAX_BODY:
        if needed:
            raise DraftproofError(f"{http.base_url}: {path} answers HTTP {response.status_code}")
        return None
    try:
        return response.json()
    except (ValueError, RecursionError):
        return None


def _document(
    http: httpx.Client, path: str, *, needed: bool = False, params: Mapping[str, str] | None = None
) -> Mapping[str, Any]:
    document = _any(http, path, needed=needed, params=params)
    return document if isinstance(document, dict) else {}


def _settings(path: tuple[str, ...], value: Any, where: str) -> Iterator[ConfigSetting]:
    """Yield a value as settings, those inside an object with the path that leads to them."""
    if isinstance(value, Mapping) and len(path) < 8:
        yield ConfigSetting(path, GROUP if value else None, where, 1)
        for key, inner in value.items():
            yield from _settings((*path, str(key).replace("-", "_")), inner, where)
    elif isinstance(value, str | int | float | bool) or value is None:
        yield ConfigSetting(path, value, where, 1)
    else:
        yield ConfigSetting(path, json.dumps(value)[:2000] if value else None, where, 1)


def _first_line(error: ValueError) -> str:
    lines = [line.strip() for line in str(error).splitlines()]
    return next((line for line in lines if line.startswith("Value error")), lines[0])
