"""Our folders and exports in TRL's trainers, without conversion; needs the extra [bench]."""

from __future__ import annotations

import math
import re
from pathlib import Path
from typing import Any

import pytest
import torch
from torch.nn.functional import logsigmoid
from transformers import AutoModelForCausalLM, AutoModelForSequenceClassification, AutoTokenizer

from rlaif.cli.labels import main as rlaif_labels
from rlaif.data.preferences_io import write_preferences
from rlaif.labelers.pointwise import ScoreLabeler
from rlaif.models.adapters import LoraSettings, save_adapter
from rlaif.models.classifiers import load_reward_model
from rlaif.models.load import ModelSpec, load_causal_lm, load_tokenizer
from rlaif.models.saving import save_folder
from rlaif.rewards.reward_model import RewardModelReward
from rlaif.tasks.base import get_task
from rlaif.testing.tiny import make_tiny_model
from rlaif.types import Comparison, Completion, Preference, Prompt

trl = pytest.importorskip("trl")
pytestmark = pytest.mark.filterwarnings("ignore::FutureWarning", "ignore::UserWarning")  # TRL's and accelerate's own
PAGE = Path(__file__).resolve().parents[2] / "docs" / "pages" / "how-to" / "use-with-trl.md"
TASK = get_task("dialogue")
PROMPTS = [Prompt(task="dialogue", text=f"\n\nHuman: {word}?\n\nAssistant:") for word in ("Who", "Why", "How far")]
LABELS = [
    Preference(
        comparison=Comparison(prompt=prompt, first=Completion(text="Yes."), second=Completion(text="No, never.")),
        p_first=p_first,
        source="ai",
    )
    for prompt, p_first in zip(PROMPTS, (0.9, 0.2, 0.7), strict=True)
]


@pytest.fixture(scope="module")
def policy(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A policy's folder as a training step writes it."""
    made = make_tiny_model(tmp_path_factory.mktemp("tiny") / "model")
    folder = made.parent / "policy"
    save_folder(load_causal_lm(ModelSpec(str(made))), load_tokenizer(str(made)), folder, temperature=0.9)
    return folder


@pytest.fixture(scope="module")
def reward_model(policy: Path) -> Path:
    """A reward model's folder as its step writes it."""
    folder = policy.parent / "reward_model"
    save_folder(load_reward_model(ModelSpec(str(policy)), seed=1), load_tokenizer(str(policy)), folder)
    return folder


@pytest.fixture(scope="module")
def pairs(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """Labels as ``rlaif-labels export --format trl`` writes them, loaded as TRL's docs do."""
    datasets = pytest.importorskip("datasets")
    folder = tmp_path_factory.mktemp("labels")
    write_preferences(folder / "labels.parquet", LABELS)
    with pytest.raises(SystemExit) as ended:
        rlaif_labels(["export", str(folder / "labels.parquet"), str(folder / "pairs.jsonl"), "--format", "trl"])
    assert not ended.value.code
    cache = str(folder / "cache")
    return datasets.load_dataset("json", data_files=str(folder / "pairs.jsonl"), split="train", cache_dir=cache)


def options(folder: Path) -> dict[str, Any]:
    return {
        "output_dir": str(folder),
        "per_device_train_batch_size": 3,
        "max_steps": 1,
        "logging_steps": 1,
        "report_to": "none",
        "use_cpu": True,
        "bf16": False,
        "gradient_checkpointing": False,
        "save_strategy": "no",
        "disable_tqdm": True,
    }


def first_log(trainer: Any) -> dict[str, float]:
    trainer.train()
    log: dict[str, float] = trainer.state.log_history[0]
    return log


def test_a_policy_and_our_labels_train_by_dpo(policy: Path, pairs: Any, tmp_path: Path) -> None:
    args = trl.DPOConfig(**options(tmp_path))
    log = first_log(trl.DPOTrainer(model=str(policy), args=args, train_dataset=pairs))
    assert log["loss"] == pytest.approx(math.log(2), abs=1e-4), "the policy is its own reference"


def test_an_adapter_trains_on(policy: Path, pairs: Any, tmp_path: Path) -> None:
    peft = pytest.importorskip("peft")
    model = LoraSettings(rank=2).on(load_causal_lm(ModelSpec(str(policy))), base=str(policy), seed=3)
    save_adapter(model, tmp_path / "adapter")
    base = AutoModelForCausalLM.from_pretrained(policy, dtype=torch.float32)
    adapted = peft.PeftModel.from_pretrained(base, tmp_path / "adapter", is_trainable=True)
    tokenizer = AutoTokenizer.from_pretrained(policy)
    args = trl.DPOConfig(**options(tmp_path))
    trainer = trl.DPOTrainer(model=adapted, args=args, train_dataset=pairs, processing_class=tokenizer)
    assert first_log(trainer)["loss"] == pytest.approx(math.log(2), abs=1e-4), "the adapter begins as nothing"


def test_a_reward_model_trains_on_and_scores_as_here(reward_model: Path, pairs: Any, tmp_path: Path) -> None:
    args = trl.RewardConfig(**options(tmp_path))
    log = first_log(trl.RewardTrainer(model=str(reward_model), args=args, train_dataset=pairs))
    scorer = RewardModelReward(standardized=False, max_length=64).load(reward_model, task=TASK)
    better, worse = (scorer.raw_scores(PROMPTS, side) for side in sides())
    assert (better - worse).abs().max() > 1e-3
    assert log["loss"] == pytest.approx(float(-logsigmoid(better - worse).mean()), abs=1e-4)
    loaded = AutoModelForSequenceClassification.from_pretrained(reward_model)
    assert loaded.config.num_labels == 1


def sides() -> tuple[list[Completion], list[Completion]]:
    """The preferred responses, and the others."""
    rows = [(label.comparison.first, label.comparison.second, label.p_first or 0.0) for label in LABELS]
    ordered = [(first, second) if p_first > 0.5 else (second, first) for first, second, p_first in rows]
    return [first for first, _ in ordered], [second for _, second in ordered]


def reward_function() -> tuple[Any, ScoreLabeler]:
    """The function and the labeler of the page's block, as a reader runs it, with a smaller judge."""
    blocks = re.findall(r"```python\n(.*?)```", PAGE.read_text(encoding="utf-8"), re.DOTALL)
    (block,) = (block for block in blocks if "def ai_feedback" in block)
    body = block.partition("labeler = ")[2].replace("\n\n", "\n").strip()
    assert len(body.splitlines()) <= 5, "five lines besides the imports"
    names: dict[str, Any] = {}
    exec(block.replace("pocket:L", "pocket:XS"), names)
    return names["ai_feedback"], names["labeler"]


def test_a_labeler_is_a_reward_function_of_trl(policy: Path, tmp_path: Path) -> None:
    datasets = pytest.importorskip("datasets")
    ai_feedback, labeler = reward_function()
    asked: list[float | None] = []

    def recorded(prompts: list[str], completions: list[str], **kwargs: Any) -> list[float | None]:
        asked.extend(found := ai_feedback(prompts=prompts, completions=completions, **kwargs))
        return found

    texts = [prompt.text for prompt in PROMPTS[:2]]
    args = trl.GRPOConfig(
        **{**options(tmp_path), "per_device_train_batch_size": 4}, num_generations=2, max_completion_length=4
    )
    data = datasets.Dataset.from_dict({"prompt": texts})
    log = first_log(trl.GRPOTrainer(model=str(policy), args=args, train_dataset=data, reward_funcs=[recorded]))
    assert len(asked) == 4 and all(value is not None and -1 <= value <= 1 for value in asked)
    assert log["reward"] == pytest.approx(sum(value or 0.0 for value in asked) / 4, abs=1e-5)
    (rating,) = labeler.rate(PROMPTS[:1], [Completion(text="Yes.")])
    assert ai_feedback([PROMPTS[0].text], ["Yes."]) == [rating.reward]
