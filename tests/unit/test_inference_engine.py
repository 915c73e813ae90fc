"""The local engine: tokens of data, terminators, missing answers, stop strings."""

from __future__ import annotations

import math
import pickle
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from rlaif.engines import transformers as loading
from rlaif.engines.scripted import ScriptedEngine
from rlaif.engines.transformers import TransformersEngine
from rlaif.errors import ConfigError, EngineError
from rlaif.inference.sample import sample
from rlaif.testing.tiny import EOS, make_tiny_model, tiny_tokenizer
from rlaif.tokenization import PromptTokenizer
from rlaif.types import Sampling, Segment, StructuredPrompt

TOKENIZER = PromptTokenizer(tiny_tokenizer())


def prompt(*texts: str) -> StructuredPrompt:
    """Ours and data in turn."""
    return StructuredPrompt(
        segments=tuple(Segment(text=text, is_data=bool(index % 2)) for index, text in enumerate(texts))
    )


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_tiny_model(tmp_path_factory.mktemp("model"), max_position_embeddings=128)


@pytest.fixture(scope="module")
def engine(folder: Path) -> TransformersEngine:
    return TransformersEngine(str(folder))


SPECIAL = st.sampled_from(["<pad>", "<s>", "</s>", "<", "s>", " ", "\n", "\x00", "\ud800"])


@settings(max_examples=100, deadline=None)
@given(first=st.lists(SPECIAL | st.text(max_size=8), max_size=5), second=st.text(max_size=20))
def test_data_never_becomes_a_special_token_nor_changes_its_neighbours(first: list[str], second: str) -> None:
    text = "".join(first)
    ids = TOKENIZER.prompt_ids(prompt("Which is better?", text, "\nOr", second, EOS))
    parts = [
        TOKENIZER.trusted_ids("Which is better?"),
        TOKENIZER.data_ids(text),
        TOKENIZER.trusted_ids("\nOr"),
        TOKENIZER.data_ids(second),
        [TOKENIZER.tokenizer.eos_token_id],
    ]
    assert ids == [token for part in parts for token in part]
    special = set(TOKENIZER.tokenizer.all_special_ids)
    assert not special & {*parts[1], *parts[3]}
    if "\ud800" not in text:
        assert TOKENIZER.decode(TOKENIZER.data_ids(text)) == text


def test_a_begin_token_stands_once_where_the_tokenizer_adds_one() -> None:
    from tokenizers.processors import TemplateProcessing

    tokenizer = tiny_tokenizer()
    tokenizer.backend_tokenizer.post_processor = TemplateProcessing(
        single="<s> $A", special_tokens=[("<s>", tokenizer.bos_token_id)]
    )
    ids = PromptTokenizer(tokenizer).prompt_ids(prompt("One", "<s>two", "three"))
    assert ids.count(tokenizer.bos_token_id) == 1
    assert ids[0] == tokenizer.bos_token_id
    assert TOKENIZER.before_ids == []


def test_a_chat_template_wraps_the_prompt_once() -> None:
    tokenizer = tiny_tokenizer()
    tokenizer.chat_template = "{% for m in messages %}<s>{{ m.role }}: {{ m.content }}</s>{% endfor %}<s>assistant:"
    pieces = PromptTokenizer(tokenizer, chat_template="model")
    ids = pieces.prompt_ids(prompt("Say", "</s>"))
    assert tokenizer.decode(ids) == "<s>user: Say</s></s><s>assistant:"
    assert ids.count(tokenizer.eos_token_id) == 1


def test_options_that_begin_each_other_are_closed_by_a_newline(engine: TransformersEngine) -> None:
    (scores,) = engine.score([prompt("Rate it: ")], ["1", "10"])
    model, ids = engine.load().model, engine.token_ids(prompt("Rate it: "))
    expected = []
    for option in ("1\n", "10\n"):
        more = TOKENIZER.trusted_ids(option)
        with torch.no_grad():
            steps = model(input_ids=torch.tensor([ids + more])).logits[0, len(ids) - 1 : -1].log_softmax(-1)
        expected.append(sum(float(step[token]) for step, token in zip(steps, more, strict=True)))
    assert scores.logprobs == pytest.approx(expected, abs=1e-5)
    (plain,) = engine.score([prompt("Rate it: ")], ["1", "2"])
    assert plain.logprobs is not None
    assert scores.logprobs is not None
    assert plain.logprobs[0] > scores.logprobs[0]


def test_equal_options_are_an_error(engine: TransformersEngine) -> None:
    with pytest.raises(EngineError, match="same tokens"):
        engine.score([prompt("x")], ["1", "1"])


def test_one_prompt_that_is_too_long_or_empty_does_not_fail_the_others(engine: TransformersEngine) -> None:
    prompts = [prompt("Better: "), prompt("", "z" * 500), prompt("")]
    scores = engine.score(prompts, ["1", "2"])
    assert [score.missing is None for score in scores] == [True, False, False]
    assert scores[0] == engine.score(prompts[:1], ["1", "2"])[0]
    assert scores[1].missing == "prompt too long: 500 tokens with 1 more, the context has 128"
    assert [score.is_final for score in scores] == [False, True, True], "asking again would give the same"
    assert scores[1].num_prompt_tokens == 500
    replies = engine.generate(prompts, Sampling(max_new_tokens=3))
    assert [reply.missing is None for reply in replies] == [True, False, False]
    assert [reply.is_final for reply in replies] == [False, True, True]


def test_a_prompt_that_gives_nan_is_missing_alone(folder: Path) -> None:
    engine = TransformersEngine(str(folder))
    bad, good = TOKENIZER.trusted_ids("!")[0], prompt("Which one is better, the first? ")
    embedding = engine.load().model.get_input_embeddings().weight
    embedding.data[bad, 0] = math.nan
    engine.load().model.lm_head.weight = torch.nn.Parameter(embedding.data.nan_to_num(), requires_grad=False)
    engine = reload_forward(engine)
    prompts = [good, prompt("Which one is better, the first! "), good]
    scores = engine.score(prompts, ["1", "2"])
    assert [score.missing for score in scores] == [None, "the model's log-probabilities are not finite", None]
    replies = engine.generate(prompts, Sampling(max_new_tokens=3, temperature=1.0))
    assert [reply.missing is None for reply in replies] == [True, False, True]


def reload_forward(engine: TransformersEngine) -> TransformersEngine:
    from dataclasses import replace

    from rlaif.inference.forward import forward_for

    engine._loaded = replace(engine.load(), forward=forward_for(engine.load().model))
    return engine


def test_generation_ends_before_a_stop_string_and_repeats_for_its_seed(engine: TransformersEngine) -> None:
    prompts = [prompt("Say", str(number)) for number in range(6)]
    free = engine.generate(prompts, Sampling(max_new_tokens=12, temperature=1.0, seed=5))
    assert free == engine.generate(prompts, Sampling(max_new_tokens=12, temperature=1.0, seed=5))
    assert free != engine.generate(prompts, Sampling(max_new_tokens=12, temperature=1.0, seed=6))
    stop = next(character for character in free[0].text[2:] if character != "�")
    stopped = engine.generate(prompts, Sampling(max_new_tokens=12, temperature=1.0, seed=5, stop=(stop,)))
    for before, after in zip(free, stopped, strict=True):
        assert stop not in after.text
        assert after.text == before.text.split(stop)[0]
        assert after.finished == (before.finished or stop in before.text)


def test_identity_names_weights_and_options_and_pickles(engine: TransformersEngine, folder: Path) -> None:
    copy = pickle.loads(pickle.dumps(engine))
    assert copy._loaded is None
    assert copy.identity == engine.identity == TransformersEngine(str(folder), batch_size=2).identity
    assert copy.identity != TransformersEngine(str(folder), dtype="bfloat16").identity
    assert copy.score([prompt("a")], ["1", "2"]) == engine.score([prompt("a")], ["1", "2"])


def test_several_threads_read_the_model_once_and_ask_it_one_after_another(
    folder: Path, engine: TransformersEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    from rlaif.inference import score as scoring

    inside = {"reading": 0, "scoring": 0}
    read, score = loading.load_causal_lm, scoring.score_options

    def alone(name: str, call: Any, *args: Any, **more: Any) -> Any:
        inside[name] += 1
        assert inside[name] == 1, f"two threads were {name}"
        time.sleep(0.02)
        answer = call(*args, **more)
        if name == "scoring":
            inside[name] -= 1
        return answer

    monkeypatch.setattr(loading, "load_causal_lm", lambda *args, **more: alone("reading", read, *args, **more))
    monkeypatch.setattr(scoring, "score_options", lambda *args, **more: alone("scoring", score, *args, **more))
    asked, shared = [prompt(letter) for letter in "abcd"], TransformersEngine(str(folder))
    with ThreadPoolExecutor(4) as threads:
        scores = list(threads.map(lambda one: shared.score([one], ["1", "2"])[0], asked))
    monkeypatch.undo()
    alike = engine.score(asked, ["1", "2"])
    assert [item.logprobs for item in scores] == [pytest.approx(item.logprobs, abs=1e-4) for item in alike]


def test_bad_options_are_reported_together() -> None:
    with pytest.raises(ConfigError) as error:
        TransformersEngine(dtype="fp8", batch_size=0, chat_template="chatml")  # type: ignore[arg-type]
    assert len(error.value.problems) == 3


def test_the_scripted_engine_answers_and_fails_as_told() -> None:
    def respond(text: str) -> str | dict[str, float]:
        if "broken" in text:
            raise TimeoutError("no answer in 30 s")
        return {"1": 0.75, "2": 0.25} if "fair" in text else "2"

    engine = ScriptedEngine(respond)
    prompts = [prompt("fair"), prompt("broken"), prompt("sure"), prompt("fair")]
    scores = engine.score(prompts, ["1", "2"])
    assert scores[0].logprobs == pytest.approx((math.log(0.75), math.log(0.25)))
    assert scores[1].missing == "TimeoutError: no answer in 30 s"
    assert scores[2].logprobs is not None and scores[2].logprobs[1] > scores[2].logprobs[0]
    assert [reply.text for reply in engine.generate(prompts, Sampling(max_new_tokens=1))] == ["1", "", "2", "1"]
    (none,) = ScriptedEngine({"only this": "1"}).score([prompt("that")], ["1", "2"])
    assert none.missing == "no scripted answer matches this prompt"


def test_a_spread_model_answers_as_on_one_device(engine: TransformersEngine, folder: Path) -> None:
    spread = TransformersEngine(str(folder), device="map")
    (ours,), (theirs,) = (e.score([prompt("Which one?")], ["1", "2"]) for e in (spread, engine))
    assert ours.logprobs == pytest.approx(theirs.logprobs, abs=1e-5)


def test_a_device_that_does_not_exist_is_named() -> None:
    with pytest.raises(ConfigError, match=r"device=gpu: allowed are auto, cpu, cuda, cuda:N, map"):
        TransformersEngine(device="gpu")


def test_a_small_model_reads_more_prompts_at_once_on_a_cpu(
    folder: Path, engine: TransformersEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    read: list[int] = []

    def spy(*args: object, batch_size: int, **options: object) -> object:
        read.append(batch_size)
        return sample(*args, batch_size=batch_size, **options)

    monkeypatch.setattr("rlaif.inference.sample.sample", spy)
    sampling = Sampling(max_new_tokens=1)
    engine.generate([prompt("one")], sampling)
    # A token of SmolLM2-135M takes 46,080 bytes in its cache, one of a model with 7 billion weights half a megabyte.
    for num_bytes in (46_080, 2**19):
        monkeypatch.setattr("rlaif.inference.cache.cache_bytes", lambda model, num_bytes=num_bytes: num_bytes)
        engine.generate([prompt("one")], sampling)
    TransformersEngine(str(folder), batch_size=3).generate([prompt("one")], sampling)
    assert read == [64, 22, 16, 3]
