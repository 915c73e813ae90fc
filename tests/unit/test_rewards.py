"""Rewards that are made of others, of a function, of a group's comparisons, and of several reward models."""

from __future__ import annotations

import json
import math
import re
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from records import assert_fixed

from rlaif.data.base import TaskData
from rlaif.errors import ConfigError, EngineError, GateStopped, PluginError, TrainingError
from rlaif.evaluation.records import LinePlot, Table
from rlaif.evaluation.reward_curves import reward_sections
from rlaif.labelers.models import parts_of
from rlaif.modules.policy_settings import PolicySettings
from rlaif.objectives.reinforce import Reinforce
from rlaif.pipeline.compose import construction_problems
from rlaif.pipeline.stage import Input, Work
from rlaif.rewards.base import Cause, Reward, RewardBatch, RewardResources
from rlaif.rewards.ensemble import Combine, EnsembleReward, combined
from rlaif.rewards.function import FunctionReward
from rlaif.rewards.group_pairwise import GroupPairwiseReward
from rlaif.rewards.labeler import LabelerReward
from rlaif.rewards.missing import check_missing
from rlaif.rewards.mixture import MixtureReward
from rlaif.rewards.reward_model import RewardModelReward
from rlaif.rewards.standardized import Standardized
from rlaif.rewards.statistics import reward_statistics
from rlaif.roles import Reads
from rlaif.stages.policy import PolicyStage
from rlaif.tasks.base import Dialogue, get_task
from rlaif.testing.reward_contract import check_reward
from rlaif.types import Comparison, Completion, Judgment, Preference, Prompt, Rating

NAN = float("nan")
PROMPTS = [Prompt(task="dialogue", text=f"\n\nHuman: {word}\n\nAssistant:") for word in ("one", "two")]


def texts(*words: str) -> list[Completion]:
    return [Completion(text=word) for word in words]


def resources(**given: object) -> RewardResources:
    known: dict[str, object] = {
        "task": get_task("dialogue"),
        "inputs": {},
        "directory": Path(),
        "samples": lambda: (PROMPTS, texts("a", "b")),
        "references": dict,
        "asking": lambda rater: rater,
    }
    return RewardResources(**(known | given))  # type: ignore[arg-type]


class Fixed:
    """Gives the values that it was made with."""

    def __init__(self, *values: float, causes: Sequence[Cause | None] = (), role: str = "") -> None:
        self.values, self.causes, self.role = values, tuple(causes), role
        self.prepared: RewardResources | None = None

    def reads(self) -> Mapping[str, Reads]:
        return {self.role: Reads(kind=self.role)} if self.role else {}

    def prepare(self, resources: RewardResources) -> Fixed:
        """Another object, as a reward that wraps itself returns."""
        other = Fixed(*self.values, causes=self.causes)
        other.prepared = resources
        return other

    def to(self, device: torch.device | str) -> Fixed:
        return self

    def __call__(
        self, prompts: Sequence[Prompt], responses: Sequence[Completion], *, samples_per_prompt: int = 1
    ) -> RewardBatch:
        values = torch.tensor(self.values)
        return RewardBatch(values, ~values.isnan(), causes=self.causes)


def test_a_mixture_is_the_weighted_sum_and_tells_its_parts() -> None:
    parts: dict[str, Reward] = {
        "good": Fixed(1.0, 2.0, NAN, causes=(None, None, "unreadable")),
        "price": Fixed(4.0, NAN, 6.0),
    }
    mixture = MixtureReward(parts, weights={"price": -0.5})
    batch = mixture(PROMPTS[:1] * 3, texts("a", "b", "c"))
    torch.testing.assert_close(batch.values_B, torch.tensor([-1.0, NAN, NAN]), equal_nan=True)
    assert batch.scored_mask_B.tolist() == [True, False, False]
    assert batch.causes == (None, "none given", "unreadable")
    torch.testing.assert_close(batch.parts["price"], torch.tensor([4.0, NAN, 6.0]), equal_nan=True)
    assert list(batch.parts) == ["good", "price"]


def test_a_mixture_prepares_its_parts_by_the_hook_and_keeps_what_it_returns() -> None:
    given = resources()
    mixture = MixtureReward({"one": Fixed(1.0, role="reward_model"), "two": Fixed(2.0, role="criteria")})
    assert set(mixture.reads()) == {"reward_model", "criteria"}
    prepared = mixture.prepare(given)
    assert all(isinstance(part, Fixed) and part.prepared is given for part in prepared.rewards.values())


class Forgets(Fixed):
    """Its author forgot to return it."""

    def prepare(self, resources: RewardResources) -> Fixed:
        self.prepared = resources
        return None  # type: ignore[return-value]


def test_a_reward_that_prepares_and_returns_nothing_is_told() -> None:
    said = r"reward Forgets \(.*\): prepare returned a NoneType, must be the reward to call: itself"
    with pytest.raises(PluginError, match=said):
        MixtureReward({"one": Forgets(1.0)}).prepare(resources())
    (failed,) = [item for item in check_reward(Forgets(1.0)) if item.name == "prepares itself"]
    assert not failed.passed and re.search(said, failed.detail)


class Loads(Fixed):
    """Has what it scores with once it is prepared."""

    def prepare(self, resources: RewardResources) -> Fixed:
        self.scale = 2.0
        return self

    def __call__(
        self, prompts: Sequence[Prompt], responses: Sequence[Completion], *, samples_per_prompt: int = 1
    ) -> RewardBatch:
        values = torch.tensor([self.scale * len(response.text) for response in responses])
        return RewardBatch(values, ~values.isnan())


def test_the_contract_prepares_a_reward_before_it_calls_it() -> None:
    assert [item for item in check_reward(Loads()) if not item.passed] == []


@pytest.mark.parametrize("value", ["float('inf')", "-float('inf')", "1e39"])
def test_a_function_that_returns_an_infinite_reward_is_told_what_to_write(value: str, tmp_path: Path) -> None:
    (tmp_path / "far.py").write_text(f"def far(completions, **kwargs):\n    return [{value} for _ in completions]\n")
    reward = FunctionReward(f"{tmp_path / 'far.py'}:far")
    with pytest.raises(TrainingError, match=r"^reward\.function=.*far\.py:far: must .* write None where there is no"):
        reward(PROMPTS, texts("a", "b"))


def test_a_function_without_source_is_checked_before_the_training() -> None:
    (problem,) = FunctionReward("os.path:join").prompt_problems(PROMPTS)
    assert problem.startswith("reward.function=os.path:join: needs a, and gets by keyword prompts")


def test_parts_of_a_mixture_name_their_options_as_they_are_typed(code: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As it is made, prepared and called, a mixture in a mixture too; advice can be followed."""
    mixture = MixtureReward({"mine": FunctionReward(f"{code}:length"), "other": Fixed(1.0, 2.0)})
    with pytest.raises(GateStopped) as stopped:
        mixture(PROMPTS, texts("", "a"))
    assert str(stopped.value).startswith("reward.rewards.mine.max_missing_rate=0.2: 1 of 2")
    assert str(stopped.value).endswith("or raise reward.rewards.mine.max_missing_rate to accept it.")
    nested = MixtureReward({"outer": MixtureReward({"mine": FunctionReward(f"{code}:breaks")})})
    with pytest.raises(TrainingError, match=r"^reward\.rewards\.outer\.rewards\.mine\.function=/.*mine\.py:breaks: it"):
        nested(PROMPTS, texts("a", "b"))
    parts: dict[str, Reward] = {"many": EnsembleReward(), "code": FunctionReward("builtins:max")}
    with pytest.raises(ConfigError, match=r"^reward@reward\.rewards\.many=ensemble: 1 reward model"):
        MixtureReward(parts).prepare(resources(inputs={"reward_model": (Path("one"),)}))
    with pytest.raises(ConfigError, match=r"^reward\.rewards\.code\.function=builtins:max: its arguments"):
        MixtureReward({"code": parts["code"]}).prepare(resources())
    own = EngineError("the server is gone")
    monkeypatch.setattr(Fixed, "prepare", lambda self, given: (_ for _ in ()).throw(own))
    with pytest.raises(EngineError) as same:
        mixture.prepare(resources())
    assert same.value is own


def test_a_part_that_cannot_be_made_is_named_as_typed() -> None:
    made = "rlaif.rewards."
    rewards: dict[str, dict[str, object]] = {
        "mine": {"_target_": f"{made}function.FunctionReward", "function": "reward.py:f"},
        "asked": {
            "_target_": f"{made}rubric.RubricReward",
            "engine": {"_target_": "rlaif.engines.scripted.ScriptedEngine"},
            "criteria": "nowhere.toml",
        },
    }
    mixture = {"_target_": f"{made}mixture.MixtureReward", "rewards": rewards, "weights": None}
    function, criteria = construction_problems(mixture, "reward")
    assert function.startswith("reward.rewards.mine.function=reward.py:f: no such file")
    assert criteria.startswith("reward.rewards.asked.criteria=nowhere.toml: ")


def test_labelers_inside_a_mixture_are_found() -> None:
    labeler = Judge(lambda pair: 0.5)
    mixture = MixtureReward({"wins": GroupPairwiseReward(labeler), "plain": Fixed(1.0)})
    assert labeler in list(parts_of(mixture))
    assert mixture.min_samples_per_prompt == 2


def test_all_wrong_weights_are_told_at_once() -> None:
    with pytest.raises(ConfigError) as error:
        MixtureReward({"one": Fixed(1.0)}, weights={"one": 0.0, "tow": 1.0})
    assert [problem.split(":")[0] for problem in error.value.problems] == [
        "reward.weights.tow",
        "reward.weights.one=0.0",
    ]
    with pytest.raises(ConfigError, match="at least one reward"):
        MixtureReward({})
    for part in (None, 3, {"max_missing_rate": 0.3}):
        with pytest.raises(
            ConfigError, match=r"reward\.rewards\.x=.*: is no reward; type \+reward@reward\.rewards\.x=labeler"
        ):
            MixtureReward({"one": Fixed(1.0), "x": part})  # type: ignore[dict-item]
    for wrong in (math.inf, NAN, True, "much"):
        with pytest.raises(ConfigError, match=f"reward.weights.one={wrong}: must be a finite number other than 0"):
            MixtureReward({"one": Fixed(1.0)}, weights={"one": wrong})  # type: ignore[dict-item]


def test_a_mixture_is_another_reward_when_a_part_is() -> None:
    one, two = (MixtureReward({"wins": GroupPairwiseReward(Judge(lambda pair: 0.5), **more)}) for more in ({}, {}))
    assert isinstance(one.identity, str) and one.identity == two.identity
    assert one.identity != MixtureReward({"better": GroupPairwiseReward(Judge(lambda pair: 0.5))}).identity


def test_a_response_alone_is_a_sample_of_one() -> None:
    """Other trainers call a reward without samples_per_prompt."""
    seen: list[int] = []

    class Told(Fixed):
        def __call__(
            self, prompts: Sequence[Prompt], responses: Sequence[Completion], *, samples_per_prompt: int = 1
        ) -> RewardBatch:
            seen.append(samples_per_prompt)
            return super().__call__(prompts, responses)

    Standardized(Told(3.0, 5.0), mean=1.0, std=2.0)(PROMPTS, texts("a", "b"))
    MixtureReward({"one": Told(3.0, 5.0)})(PROMPTS, texts("a", "b"))
    assert seen == [1, 1]


@pytest.mark.parametrize("make", [RewardModelReward, EnsembleReward])
def test_one_response_and_one_token_are_allowed_and_none_is_refused(make: Callable[..., Reward]) -> None:
    make(batch_size=1, max_length=1)
    with pytest.raises(ConfigError) as error:
        make(batch_size=0, max_length=-5)
    assert error.value.problems == [
        "reward.batch_size=0: must be at least 1",
        "reward.max_length=-5: must be at least 1",
    ]


def test_the_three_commonest_reasons_of_missing_rewards_are_told() -> None:
    reasons = ["late"] * 4 + ["cut"] * 3 + ["refused"] * 2 + ["rare"] + [None] * 10
    with pytest.raises(GateStopped, match=r"10 of 20 responses .*\(4 × late; 3 × cut; 2 × refused\)"):
        check_missing(reasons, 0.49, reward=None)
    check_missing(reasons, 0.5, reward=None)


class Judge:
    """Says P(first is better) of texts, in one judgement; None fails, NaN cannot be read."""

    name, source, identity = "judge", "ai", "judge"

    def __init__(self, p_first: Callable[[tuple[str, str]], float | None]) -> None:
        self.p_first = p_first
        self.calls: list[int] = []

    def label(self, comparisons: Sequence[Comparison]) -> list[Preference]:
        self.calls.append(len(comparisons))
        return [self._label(pair) for pair in comparisons]

    def _label(self, pair: Comparison) -> Preference:
        p_first = self.p_first((pair.first.text, pair.second.text))
        if p_first is not None and not math.isnan(p_first):
            return Preference(comparison=pair, p_first=p_first)
        evidence = Judgment(order="given", prompt="", missing="bad", unreadable=p_first is not None)
        return Preference(comparison=pair, p_first=None, missing="bad", judgments=(evidence,))


QUALITY = {"a": 0.0, "b": 1.0, "c": 3.0, "d": -1.0}


def bradley_terry(pair: tuple[str, str]) -> float:
    return 1 / (1 + math.exp(QUALITY[pair[1]] - QUALITY[pair[0]]))


def rewarded(judge: Judge, *words: str, samples: int, rate: float = 1.0) -> RewardBatch:
    prompts = [prompt for prompt in PROMPTS for _ in range(samples)][: len(words)]
    reward = GroupPairwiseReward(judge, max_missing_rate=rate).prepare(resources())
    return reward(prompts, texts(*words), samples_per_prompt=samples)


def test_each_response_is_rewarded_by_its_wins_over_its_group() -> None:
    judge = Judge(bradley_terry)
    words = ["c", "a", "b", "d", "b", "a"]
    batch = rewarded(judge, *words, samples=3)
    expected = []
    for place, word in enumerate(words):
        others = [words[row] for row in range(6) if row // 3 == place // 3 and row != place]
        expected.append(np.mean([2 * bradley_terry((word, other)) - 1 for other in others]))
    np.testing.assert_allclose(batch.values_B.numpy(), expected, rtol=1e-6)
    assert judge.calls == [6], "all pairs of all groups in one call"
    backwards = rewarded(Judge(bradley_terry), *words[::-1], samples=3)
    torch.testing.assert_close(backwards.values_B.flip(0), batch.values_B)


def test_equal_responses_tie_and_are_judged_once() -> None:
    judge = Judge(lambda pair: 1.0 if pair == ("a", "b") else 0.0)
    batch = rewarded(judge, "b", "a", "a", samples=3)
    assert batch.values_B.tolist() == [-1.0, 0.5, 0.5]
    assert judge.calls == [1]
    assert rewarded(judge, "a", "a", samples=2).values_B.tolist() == [0.0, 0.0] and judge.calls == [1]


def test_pairs_are_labeled_as_the_run_asks_within_cache_and_budget() -> None:
    judge = Judge(bradley_terry)

    def spent(labeler: object, pairs: Sequence[object]) -> list[Preference]:
        assert labeler is judge and len(pairs) == 1
        raise GateStopped("budget.max_usd=1: is spent")

    reward = GroupPairwiseReward(judge).prepare(resources(label=spent))
    with pytest.raises(GateStopped, match=r"budget\.max_usd=1"):
        reward([PROMPTS[0]] * 2, texts("a", "b"), samples_per_prompt=2)
    assert judge.calls == []


def test_a_loss_of_pairs_gets_both_entries_of_each_judged_pair() -> None:
    answers: dict[tuple[str, str], float | None] = {("a", "b"): 0.75, ("a", "c"): None, ("b", "c"): 0.25}
    batch = rewarded(Judge(lambda pair: answers[pair]), "c", "a", "b", samples=3)
    assert batch.p_beats_BK is not None
    expected = torch.tensor([[NAN, NAN, 0.75], [NAN, NAN, 0.75], [0.25, 0.25, NAN]])
    torch.testing.assert_close(batch.p_beats_BK, expected, equal_nan=True)


def test_a_response_that_is_alone_has_no_reward_and_none_have_none() -> None:
    judge = Judge(bradley_terry)
    assert rewarded(judge, "a", "b", samples=1).values_B.isnan().all() and judge.calls == []
    empty = rewarded(judge, samples=2)
    assert len(empty.values_B) == 0 and empty.p_beats_BK is not None and empty.p_beats_BK.shape == (0, 2)


def test_a_missing_comparison_is_left_out_and_a_response_with_none_is_missing() -> None:
    answers: dict[tuple[str, str], float | None] = {("a", "b"): 0.75, ("a", "c"): None, ("b", "c"): NAN}
    batch = rewarded(Judge(lambda pair: answers[pair]), "a", "b", "c", samples=3)
    torch.testing.assert_close(batch.values_B, torch.tensor([0.5, -0.5, NAN]), equal_nan=True)
    assert batch.causes == (None, None, "failed")
    unread = rewarded(Judge(lambda pair: NAN), "a", "b", samples=2)
    assert unread.causes == ("unreadable", "unreadable")
    with pytest.raises(GateStopped, match=r"reward\.max_missing_rate=0\.5: 2 of 3 comparisons"):
        rewarded(Judge(lambda pair: answers[pair]), "a", "b", "c", samples=3, rate=0.5)


def test_a_response_without_a_group_has_no_reward_and_nobody_is_asked() -> None:
    judge = Judge(bradley_terry)
    batch = rewarded(judge, "a", "b", samples=1)
    assert not batch.scored_mask_B.any() and batch.causes == ("none given", "none given") and judge.calls == []


CODE = """
import sys
import numpy as np
import torch
import math
def length(prompts, completions, **kwargs):
    assert len(prompts) == len(completions) == len(kwargs["completion_ids"]) == len(kwargs["finished"])
    return [None if not text else float("nan") if text == "?" else len(text) for text in completions]
def ends(completions): return [text.endswith(".") for text in completions]
def few(completions): return [1.0]
def many(completions): return [1.0 for _ in range(1000)]
def words(completions): return ["good" for _ in completions]
def breaks(completions): return [1 / 0 for _ in completions]
def needs(completions, answers): return []
async def later(completions): return []
def leaves(completions): raise SystemExit
def by_name(completions): return {text: 1.0 for text in completions}
def of_set(completions): return {2.0, 1.0}
def as_text(completions): return "12"
def as_bytes(completions): return b"12"
def one_number(completions): return torch.tensor(0.5)
def one_of_numpy(completions): return np.float64(0.5)
def plain(completions): return 0.5
def vectors(completions): return [torch.tensor([1.0, 2.0]) for _ in completions]
def huge(completions): return [10**5000 for _ in completions]
def yields(completions):
    yield 1.0
    sys.exit()
def yields_all(completions): yield from map(len, completions)
def arrays(completions): return [torch.tensor(1.0), np.float64(2.0)]
def wants_texts(texts, **kwargs): return []
def by_place(completions, /): return []
def may_get_more(prompts=(), /, *rest, completions, weight=2.0): return [weight for _ in completions]
if sys:
    def chosen(completions): return [3.0 for _ in completions]
try:
    noted: object = ends
except NameError:
    pass
first, second = ends, few
declared: object
"""


@pytest.fixture
def code(tmp_path: Path) -> Path:
    (tmp_path / "broken.py").write_text("import math\ndef length(:\n")
    path = tmp_path / "mine.py"
    path.write_text(CODE)
    return path


def test_a_function_is_called_as_other_trainers_call_theirs(code: Path) -> None:
    reward = FunctionReward(f"{code}:length", max_missing_rate=1.0).prepare(resources())
    batch = reward(PROMPTS * 2, texts("four", "", "?", "ab"))
    torch.testing.assert_close(batch.values_B, torch.tensor([4.0, NAN, NAN, 2.0]), equal_nan=True)
    assert FunctionReward(f"{code}:ends")(PROMPTS, texts("a.", "b")).values_B.tolist() == [1.0, 0.0]
    with pytest.raises(GateStopped, match="the function gave none"):
        FunctionReward(f"{code}:length")(PROMPTS, texts("", "a"))
    assert FunctionReward("math:prod").identity
    nothing = FunctionReward(f"{code}:few")([], [])
    assert (len(nothing.values_B), len(nothing.scored_mask_B)) == (0, 0), "no response, and the function is not asked"


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("few", "it returned 1 for 2 responses"),
        ("many", "it returned 1000 for 2 responses"),
        ("words", "it returned 'good' of type str"),
        ("breaks", "mine.py:13: ZeroDivisionError: division by zero"),
        ("leaves", "mine.py:16: the code ends the process (sys.exit())"),
        ("by_name", "must return a list with a number or None for each response; it returned dict"),
        ("of_set", "it returned set"),
        ("as_text", "it returned str"),
        ("as_bytes", "it returned bytes"),
        ("one_number", "it returned Tensor, a single number"),
        ("one_of_numpy", "it returned float64, a single number"),
        ("plain", "it returned float: 'float' object is not iterable"),
        ("vectors", "one that it returned, of type Tensor: a Tensor with 2 elements cannot be converted to Scalar"),
        ("huge", "one that it returned, of type int: int too large to convert to float"),
        ("yields", "mine.py:28: the code ends the process (sys.exit())"),
    ],
)
def test_what_a_function_cannot_return_is_told(code: Path, name: str, words: str) -> None:
    with pytest.raises(TrainingError, match=r"reward\.function=") as error:
        FunctionReward(f"{code}:{name}")(PROMPTS, texts("a", "b"))
    assert words in str(error.value)


@pytest.mark.parametrize(
    ("place", "words"),
    [
        ("length", "write package.module:name"),
        ("{code}:not a name", "write package.module:name"),
        (":length", "write package.module:name"),
        ("{folder}/broken.py:length", "broken.py:2: "),
        ("{code}:lenght", "did you mean length?"),
        ("{folder}/other.py:length", "no such file"),
        ("no_such_module:length", "there is no module"),
        ("json:no_such_name", "json has no no_such_name"),
    ],
)
def test_a_function_that_is_not_there_is_told_before_a_run(code: Path, place: str, words: str) -> None:
    with pytest.raises(ConfigError, match=r"reward\.function=") as error:
        FunctionReward(place.format(code=code, folder=code.parent))
    assert words in str(error.value)


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("needs", "needs answers"),
        ("later", "is asynchronous"),
        ("wants_texts", "needs texts"),
        ("by_place", "needs completions"),
    ],
)
def test_a_function_that_cannot_be_called_is_told_before_a_run(
    code: Path, monkeypatch: pytest.MonkeyPatch, name: str, words: str
) -> None:
    """Its source is read, and nothing is imported, from a file as from a module."""
    monkeypatch.syspath_prepend(str(code.parent))
    module = code.rename(code.with_name(f"rewards_{name}.py"))
    for place in (module, module.stem):
        with pytest.raises(ConfigError, match=rf"reward\.function={place}:{name}: .*{words}"):
            FunctionReward(f"{place}:{name}")
    assert module.stem not in sys.modules


DECORATED = """
import functools
def given_texts(function): return lambda completions: function(completions)
@given_texts
def wrapped(texts): return [1.0 for _ in texts]
@functools.wraps(wrapped)
async def waits(completions): return []
def twice(texts): return []
def twice(completions): return [2.0 for _ in completions]
class Waits:
    async def __call__(self, completions): return []
waits_inside = Waits()
from operator import *
"""


def test_what_the_source_leaves_open_is_told_as_the_function_is_loaded(tmp_path: Path) -> None:
    path = tmp_path / "decorated.py"
    path.write_text(DECORATED)
    assert FunctionReward(f"{path}:wrapped")(PROMPTS, texts("a", "b")).values_B.tolist() == [1.0, 1.0]
    assert FunctionReward(f"{path}:twice")(PROMPTS, texts("a", "b")).values_B.tolist() == [2.0, 2.0]
    for name in ("waits", "waits_inside"):
        reward = FunctionReward(f"{path}:{name}")
        with pytest.raises(ConfigError, match="is asynchronous"):
            reward.prepare(resources())
    reward = FunctionReward(f"{path}:concat")  # from a star
    with pytest.raises(ConfigError, match="needs a, b"):
        reward.prepare(resources())


def test_a_function_without_a_signature_is_told() -> None:
    with pytest.raises(ConfigError, match=r"reward\.function=builtins:max: its arguments cannot be read .*calls it"):
        FunctionReward("builtins:max").prepare(resources())


@pytest.mark.parametrize(
    ("name", "values"),
    [
        ("chosen", [3.0, 3.0]),
        ("noted", [1.0, 0.0]),
        ("first", [1.0, 0.0]),
        ("yields_all", [2.0, 1.0]),
        ("may_get_more", [2.0, 2.0]),
        ("arrays", [1.0, 2.0]),
    ],
)
def test_however_a_function_is_defined_or_gives_numbers(code: Path, name: str, values: list[float]) -> None:
    assert FunctionReward(f"{code}:{name}")(PROMPTS, texts("a.", "b")).values_B.tolist() == values


def test_a_name_that_is_only_declared_is_no_function(code: Path) -> None:
    with pytest.raises(ConfigError, match="has no function declared"):
        FunctionReward(f"{code}:declared")


def test_a_module_that_ends_the_process_is_told_as_one_that_cannot_be_imported(tmp_path: Path) -> None:
    (tmp_path / "ends.py").write_text("def ends(completions): return []\nraise SystemExit(3)\n")
    with pytest.raises(ConfigError, match=r"reward\.function=.*ends\.py:ends: cannot be imported"):
        FunctionReward(f"{tmp_path / 'ends.py'}:ends").prepare(resources())


def test_the_first_of_several_values_that_are_no_numbers_is_told(tmp_path: Path) -> None:
    (tmp_path / "odd.py").write_text("def odd(completions): return [1.0, 'good', [2.0]]\n")
    reward = FunctionReward(f"{tmp_path / 'odd.py'}:odd")
    assert isinstance(reward.identity, str)
    with pytest.raises(TrainingError, match="it returned 'good' of type str"):
        reward(PROMPTS[:1] * 3, texts("a", "b", "c"))


def test_another_function_body_is_another_reward(code: Path) -> None:
    before = FunctionReward(f"{code}:length").identity
    code.write_text(CODE.replace("len(text) for", "-len(text) for"))
    assert FunctionReward(f"{code}:length").identity != before


@pytest.mark.parametrize("combine", ["mean", "min", "lower_bound"])
def test_an_ensemble_combines_its_members(combine: Combine) -> None:
    members = np.array([[0.0, 2.0, -1.0], [1.0, 0.0, -1.0], [2.0, -5.0, -1.0]])
    expected = {
        "mean": np.mean(members, 0),
        "min": np.min(members, 0),
        "lower_bound": np.mean(members, 0) - 0.5 * np.std(members, 0, ddof=0),
    }
    values, disagreement = combined(torch.tensor(members), combine, 0.5)
    np.testing.assert_allclose(values.numpy(), expected[combine])
    np.testing.assert_allclose(disagreement.numpy(), np.std(members, 0, ddof=0))


def test_members_are_standardized_on_the_same_samples_and_a_missing_one_makes_it_missing(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """One member's unit is ten times the other's; the policy's responses come after the samples."""
    scores = {"one": {"a": 0.0, "b": 2.0, "c": 3.0, "d": 1.0}, "two": {"a": 10.0, "b": 30.0, "c": 20.0, "d": NAN}}
    drawn: list[int] = []

    def load(self: RewardModelReward, folder: Path, *, task: object) -> RewardModelReward:
        of_text = scores[folder.name]
        self.raw_scores = lambda _, responses: torch.tensor([of_text[item.text] for item in responses])  # type: ignore[assignment]
        return self

    monkeypatch.setattr(RewardModelReward, "load", load)
    given = resources(
        inputs={"reward_model": (Path("one"), Path("two"))},
        samples=lambda: drawn.append(1) or (PROMPTS, texts("a", "b")),
    )
    reward = EnsembleReward(combine="lower_bound", disagreement_weight=1.0).prepare(given)
    batch = reward(PROMPTS, texts("c", "d"))
    # standardized: one gives 2 for c, two gives 0: their mean is 1 and their deviation 1
    torch.testing.assert_close(batch.values_B, torch.tensor([0.0, NAN]), equal_nan=True)
    torch.testing.assert_close(batch.parts["disagreement"], torch.tensor([1.0, NAN]), equal_nan=True)
    assert batch.scored_mask_B.tolist() == [True, False] and drawn == [1]
    assert reward.reads()["reward_model"].many and reward.reads()["reward_model"].at_least == 2


def test_a_member_without_a_unit_is_told_with_what_an_ensemble_can_do(monkeypatch: pytest.MonkeyPatch) -> None:
    """reward=ensemble has no option standardized; the other rewards do."""

    def load(self: RewardModelReward, folder: Path, *, task: object) -> RewardModelReward:
        spread = float(folder.name == "one")
        self.raw_scores = lambda _, responses: torch.tensor([spread * place for place, _ in enumerate(responses)])  # type: ignore[assignment]
        return self

    monkeypatch.setattr(RewardModelReward, "load", load)
    with pytest.raises(ConfigError) as error:
        EnsembleReward().prepare(resources(inputs={"reward_model": (Path("one"), Path("two"))}))
    assert str(error.value) == (
        "reward=ensemble: member_2 (two): all 2 SFT samples score 0, which leaves no unit; train it longer"
        " (reward_model.epochs)"
    )
    with pytest.raises(ConfigError, match=r"^reward\.standardized=true: all 2 .* or set reward\.standardized=false$"):
        RewardModelReward().prepare(resources(inputs={"reward_model": (Path("two"),)}))


def test_a_sample_without_a_reward_counts_neither_in_the_zero_nor_in_the_unit() -> None:
    made = Standardized.on_samples(
        Fixed(7.0, math.nan, 1.0), PROMPTS[:1] * 3, texts("a", "b", "c"), option="", remedy=""
    )
    assert (made.mean, made.std) == (4.0, 3.0)


def test_every_member_of_an_ensemble_moves() -> None:
    moved: list[object] = []
    reward = EnsembleReward()
    member = Fixed(1.0)
    member.to = moved.append  # type: ignore[assignment]
    reward.models = [Standardized(member, mean=0.0, std=1.0), Standardized(member, mean=0.0, std=1.0)]
    assert reward.to("meta") is reward and moved == ["meta", "meta"]
    assert list(reward(PROMPTS[:1], texts("a")).parts) == ["disagreement", "member_1", "member_2"]


def test_the_weight_of_the_disagreement_may_be_0_and_is_finite() -> None:
    assert [EnsembleReward(disagreement_weight=weight).disagreement_weight for weight in (0.0, 0.5)] == [0.0, 0.5]
    with pytest.raises(ConfigError, match=r"reward\.disagreement_weight=inf: must be a finite number"):
        EnsembleReward(disagreement_weight=math.inf)


def test_two_rewards_may_read_the_same_results() -> None:
    both = MixtureReward({"one": Fixed(1.0, role="reward_model"), "two": Fixed(2.0, role="reward_model")})
    assert both.reads() == {"reward_model": Reads(kind="reward_model")}


def test_what_a_reward_is_offered_stays_as_it_was_given() -> None:
    assert_fixed(resources())


def test_the_number_of_samples_is_given_by_name_and_is_1_otherwise() -> None:
    judge = GroupPairwiseReward(Judge(bradley_terry), max_missing_rate=1.0)
    assert judge(PROMPTS, texts("a", "b")).scored_mask_B.tolist() == [False, False], "nobody to be compared with"
    inner = Fixed(1.0, 2.0)
    rewards: list[Reward] = [judge, MixtureReward({"a": inner}), Standardized(inner, mean=0.0, std=1.0)]
    rewards += [EnsembleReward(), LabelerReward(Rates())]
    for reward in rewards:
        with pytest.raises(TypeError, match="positional"):
            reward(PROMPTS, texts("a", "b"), 1)  # type: ignore[misc]


def test_an_ensemble_of_one_is_refused() -> None:
    for folders, words in (((Path("one"),), "at least two"), ((Path("one"), Path("one")), "given twice")):
        with pytest.raises(ConfigError, match=words):
            EnsembleReward().prepare(resources(inputs={"reward_model": folders}))
    with pytest.raises(ConfigError) as error:
        EnsembleReward(combine="median", disagreement_weight=-1.0)  # type: ignore[arg-type]
    assert len(error.value.problems) == 2


def test_zero_unit_and_references_are_of_responses_as_they_are_rewarded(monkeypatch: pytest.MonkeyPatch) -> None:
    """policy.strip_trailing takes from the policy's responses what it takes from the SFT policy's."""
    settings = PolicySettings(
        optimizer=torch.optim.AdamW, objective=Reinforce(), lr=1e-2, steps=1, prompts_per_step=2, strip_trailing=". "
    )
    stage = PolicyStage(Dialogue(), settings, Fixed(1.0), asking=None)  # type: ignore[arg-type]
    monkeypatch.setattr(stage, "_draw", lambda work, prompts, purpose: [(item,) for item in texts("yes .", "no")])
    data = TaskData(demonstrations=[], label_prompts=[], policy_prompts=PROMPTS, eval_prompts=[])
    work = Work(
        step="policy", directory=Path(), seed=0, inputs={"prompts": (Input(step="data", stage="data", data=data),)}
    )
    given = stage.prepared(work, asking=None).prepared  # type: ignore[arg-type,attr-defined]
    prompts, samples = given.samples()
    assert [item.text for item in samples] == ["yes", "no"] and prompts == PROMPTS
    assert {key: item.text for key, item in given.references().items()} == {
        PROMPTS[0].id: "yes",
        PROMPTS[1].id: "no",
    }


class Lengths:
    """Rates a response by its length, and counts how often it is asked."""

    name, source, identity = "lengths", "ai", "lengths"

    def __init__(self) -> None:
        self.num_asked = 0

    def rate(self, prompts: Sequence[Prompt], completions: Sequence[Completion]) -> list[Rating]:
        self.num_asked += len(prompts)
        return [
            Rating(prompt=prompt, completion=item, distribution=(1 - len(item.text) / 10, len(item.text) / 10))
            for prompt, item in zip(prompts, completions, strict=True)
        ]


def test_of_several_processes_one_asks_for_the_zero_and_the_unit(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A judge that is asked in every process is paid in every process, and a failure in one gives it another unit."""
    data = TaskData(demonstrations=[], label_prompts=[], policy_prompts=PROMPTS, eval_prompts=[])
    settings = PolicySettings(optimizer=torch.optim.AdamW, objective=Reinforce(), lr=1e-2, steps=1, prompts_per_step=2)
    judges, units = [Lengths(), Lengths()], []
    for rank, judge in enumerate(judges):
        stage = PolicyStage(Dialogue(), settings, LabelerReward(judge, standardized=True), asking=None)  # type: ignore[arg-type]
        monkeypatch.setattr(stage, "_draw", lambda work, prompts, purpose: [(item,) for item in texts("a", "bbb")])
        asking = SimpleNamespace(rater=lambda rater: rater)
        inputs = {"prompts": (Input(step="data", stage="data", data=data),)}
        work = Work(step="policy", directory=tmp_path, seed=0, inputs=inputs, rank=rank, world_size=2)
        reward = stage.prepared(work, asking)  # type: ignore[arg-type]
        assert isinstance(reward, Standardized)
        units.append((reward.mean, reward.std))
    assert units == [(pytest.approx(-0.6), pytest.approx(0.2))] * 2 and units[0] == units[1]
    assert [judge.num_asked for judge in judges] == [2, 0]


class Rates:
    """Rates "bad" as unreadable, "down" as failed, and "even" in the middle of the scale."""

    name, source, identity = "rates", "ai", "rates"

    def rate(self, prompts: Sequence[Prompt], completions: Sequence[Completion]) -> list[Rating]:
        return [self._rating(*pair) for pair in zip(prompts, completions, strict=True)]

    def _rating(self, prompt: Prompt, completion: Completion) -> Rating:
        missing = {"bad": "no verdict", "down": "http 500"}.get(completion.text)
        evidence = Judgment(order="first", prompt="", missing=missing, unreadable=completion.text == "bad")
        distribution = None if missing else (0.5, 0.5)
        return Rating(
            prompt=prompt, completion=completion, distribution=distribution, missing=missing, judgments=(evidence,)
        )


def test_a_bad_reply_a_failed_judge_and_a_true_zero_are_told_apart() -> None:
    reward = LabelerReward(Rates(), max_missing_rate=1.0).prepare(resources())
    batch = reward(PROMPTS[:1] * 4, texts("even", "bad", "down", "even"))
    assert batch.causes == (None, "unreadable", "failed", None)
    figures = {name: (float(part.total), float(part.count)) for name, part in reward_statistics(batch).items()}
    assert figures == {"unreadable": (1, 4), "failed": (1, 4), "zero_reward": (2, 2)}
    assert LabelerReward(Rates()).identity == "rates"


def test_parts_are_means_over_where_they_are() -> None:
    values = torch.tensor([1.0, NAN])
    batch = RewardBatch(
        values, ~values.isnan(), parts={"one": torch.tensor([2.0, NAN]), "two": torch.tensor([1.0, 5.0])}
    )
    figures = {name: (float(part.total), float(part.count)) for name, part in reward_statistics(batch).items()}
    assert figures["reward/one"] == (2, 1) and figures["reward/two"] == (6, 2)
    assert json.dumps(sorted(figures)), "names are plain text"


def row(step: int, **figures: float) -> dict[str, float]:
    return {"step": step, "policy/kl": 2.0 / step, **{f"policy/{name}": value for name, value in figures.items()}}


def test_the_page_shows_parts_disagreement_and_what_was_missing() -> None:
    rows = [
        row(1, missing=0.0, unreadable=0.0, failed=0.0, zero_reward=0.0) | {"policy/reward/disagreement": 0.5},
        row(2, missing=0.2, unreadable=0.1, failed=0.0, zero_reward=0.5) | {"policy/reward/member_1": 3.0},
    ]
    plot, table = reward_sections(rows)
    assert isinstance(plot, LinePlot) and isinstance(table, Table)
    parts, disagreement = plot.panels
    assert parts.lines == {"member_1": ((2, 3.0),)}, "a step without the part has no point"
    assert list(disagreement.lines.values()) == [((2.0, 0.5),)]
    cells = {name: (mean, worst) for name, mean, worst in table.rows}
    assert cells["no reward: the judge's reply holds no verdict"] == ("5.00 %", "10.00 %")
    assert cells["no reward: the judge gave no reply"] == ("0.00 %", "0.00 %")
    assert reward_sections([row(1, missing=0.0)]) == [] == reward_sections([])
