"""Keys and passwords typed where they do not belong: refused before anything is written, and not repeated."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

from omegaconf import DictConfig, ListConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from rlaif.engines.openai.options import AZURE, KEY_ENV

_WITH_USER = re.compile(r"\w[\w+.-]*://[^/?#]*@")
_KEYS = re.compile(r"(\b[\w.]*(?:api_?key|token|secret|password)=)(?!null\b)\S+?(?=[:;,]?(?:\s|$))", re.IGNORECASE)
_HIDDEN = "[hidden]"


def secret_problems(cfg: DictConfig) -> list[str]:
    """Options that hold a secret: what is composed is written into every run's directory.

    Args:
        cfg: Without the ``hydra`` node; values that do not resolve are passed over.

    Returns:
        One line each, without the value.
    """
    problems = []
    for path, key, value in _leaves(cfg, ""):
        if key == "key_env":
            if not KEY_ENV.fullmatch(str(value)):
                problems.append(
                    f"{path}: must be the name of an environment variable, in capitals, never the key itself"
                )
        elif key == "url" and isinstance(value, str) and "?api-version=" in value and "@" not in value:
            problems.append(f"{path}: {AZURE}")
        elif isinstance(value, str) and (
            _WITH_USER.match(value) or (key == "url" and not {"@", "?", "#"}.isdisjoint(value))
        ):
            problems.append(
                f"{path}: takes no user, password or query; keys come from the environment (labeler.engine.key_env)"
            )
    return problems


def without_secrets(line: str) -> str:
    """A line for the terminal, with what was typed as a password or in place of a variable's name taken out.

    >>> without_secrets("labeler.engine.url=http://me:pw@host/v1: no such key")
    'labeler.engine.url=http://[hidden]@host/v1: no such key'
    >>> without_secrets("labeler.engine.key_env=sk-123: no such key; or key_env=MY_KEY")
    'labeler.engine.key_env=[hidden]: no such key; or key_env=MY_KEY'
    >>> without_secrets("labeler.engine.api_key=sk-123: labeler.engine has no key api_key")
    'labeler.engine.api_key=[hidden]: labeler.engine has no key api_key'
    """
    line = re.sub(r"://\S*@", f"://{_HIDDEN}@", line)
    line = _KEYS.sub(rf"\1{_HIDDEN}", line)
    line = re.sub(r"(\burl=[^\s?#]*[?#])\S+?(?=:?(?:\s|$))", rf"\1{_HIDDEN}", line)
    return re.sub(r"(key_env=)(\S+?)(?=[:;,]?(?:\s|$))", _hide_unless_name, line)


def _hide_unless_name(found: re.Match[str]) -> str:
    is_name = found[2] == "null" or KEY_ENV.fullmatch(found[2])
    return found[0] if is_name else found[1] + _HIDDEN


def _leaves(node: DictConfig | ListConfig, prefix: str) -> Iterator[tuple[str, str, Any]]:
    """(path, key, value) of every value that is there and resolves."""
    keys: Any = range(len(node)) if isinstance(node, ListConfig) else list(node)
    for key in keys:
        path = f"{prefix}.{key}" if prefix else str(key)
        try:
            value = node[key]
        except OmegaConfBaseException:
            continue
        if isinstance(value, DictConfig | ListConfig):
            if not OmegaConf.is_interpolation(node, key):  # reported at its own option
                yield from _leaves(value, path)
        elif value is not None:
            yield path, str(key), value
