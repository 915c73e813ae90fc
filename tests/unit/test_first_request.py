"""One request before SFT, of the form that will be asked: where something will be asked, and only there."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import httpx2
import pytest
from fake_server import URL, FakeServer, Handler, error, ok, said
from omegaconf import DictConfig
from rich.console import Console

from rlaif.engines.cached import CachedEngine
from rlaif.errors import ConfigError, GateStopped, RlaifError
from rlaif.pipeline.plan import Plan
from rlaif.pipeline.run import Run, send_first_requests
from rlaif.pipeline.run import estimate as run_estimate
from rlaif.reporting.terminal import RunDisplay
from rlaif.stages.labels import LabelStage

MakePlan = Callable[..., Plan]
SERVER = (
    "labeler/engine=openai",
    "labeler.engine.model=m",
    f"labeler.engine.url={URL}",
    "labeler.engine.max_retries=0",
)
NO_JUDGE = "evaluation.judge=null"


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> FakeServer:
    return FakeServer(lambda body: ok(said())).listen(monkeypatch)


def test_one_request_of_each_form_is_sent_and_billed(server: FakeServer, make_plan: MakePlan) -> None:
    plan = make_plan("pipeline=label", "labeler=pairwise", *SERVER)
    send_first_requests(plan)
    (asked,) = server.asked
    assert (asked["max_tokens"], asked["logprobs"]) == (1, 20)
    assert plan.progress.tried["labels"].num_questions == 1
    assert plan.progress.tried["labels"].num_prompt_tokens == 11
    work = plan.work(plan.step("labels"))
    stage = plan.step("labels").stage
    assert isinstance(stage, LabelStage) and work.tried is not None
    ledger = stage.asking.begin(None, before=work.tried).ledger
    assert (ledger.total().num_questions, ledger.total().num_prompt_tokens) == (1, 11)


def test_a_chain_of_thought_has_two_forms_and_votes_are_one_request(server: FakeServer, make_plan: MakePlan) -> None:
    votes = ("labeler.engine.scoring=votes", "labeler.engine.num_votes=8", "labeler.max_rationale_tokens=33")
    send_first_requests(make_plan("pipeline=label", "labeler=cot_pairwise", *SERVER, *votes))
    assert [body["max_tokens"] for body in server.asked] == [33, 16]
    assert "stop" in server.asked[0] and "stop" not in server.asked[1]


def test_nothing_is_asked_for_an_estimate_or_of_a_local_model(server: FakeServer, make_plan: MakePlan) -> None:
    run_estimate(make_plan("pipeline=label", "labeler=pairwise", *SERVER), RunDisplay(Console(quiet=True)))
    send_first_requests(make_plan("pipeline=label", "labeler.engine.model=pocket:XS"))
    send_first_requests(make_plan("pipeline=label", "labeler=human"))
    assert server.asked == []


SCORECARD = ("pipeline=scorecard", "labeler=pairwise", *SERVER)


def test_nothing_is_asked_where_every_answer_is_known(server: FakeServer, make_plan: MakePlan) -> None:
    plan = make_plan(*SCORECARD)
    step = plan.step("scorecard")
    (asks,) = plan.stage_to_check(step).asks(plan.work(step))
    labeler: Any = asks.labeler
    labeler.engine = CachedEngine(labeler.engine, asks.answers.open())
    assert asks.pairs is not None and len(asks.pairs) == 8
    labeler.label(asks.pairs[:-1])
    num_asked = len(server.asked)
    send_first_requests(plan)
    assert len(server.asked) == num_asked + 1, "one pair is not known"
    labeler.label(asks.pairs)
    num_asked = len(server.asked)
    send_first_requests(plan)
    assert len(server.asked) == num_asked
    send_first_requests(make_plan(*SCORECARD, "label.cache=none"))
    assert len(server.asked) == num_asked + 1


def test_nothing_is_asked_where_the_step_is_finished(
    server: FakeServer, make_plan: MakePlan, monkeypatch: pytest.MonkeyPatch
) -> None:
    plan = make_plan("pipeline=label", "labeler=pairwise", *SERVER)
    monkeypatch.setattr(plan, "path", lambda step: Path("finished"))
    send_first_requests(plan)
    assert server.asked == []


def test_the_judge_and_the_reward_of_direct_rlaif_are_tried_too(server: FakeServer, make_plan: MakePlan) -> None:
    judge = [line.replace("labeler.", "evaluation.judge.") for line in SERVER[1:]]
    plan = make_plan("labeler=human", "labeler/engine@evaluation.judge.engine=openai", *judge)
    send_first_requests(plan)
    assert len(server.asked) == 2 and set(plan.progress.tried) == {"evaluation"}
    direct = make_plan("pipeline=direct", *SERVER, NO_JUDGE)
    send_first_requests(direct)
    assert direct.progress.tried["policy"].num_questions == 1


REFUSALS: list[tuple[httpx2.Response, str]] = [
    (error(404, "The model `m` does not exist"), "labeler.engine.model must be one of the names"),
    (error(404, "Not Found"), "labeler.engine.url"),
    (ok({"error": "Unexpected endpoint or method. (POST /completions)"}), f"labeler.engine.url={URL}"),
    (error(400, "Unsupported parameter: 'stop' is not supported with this model."), "labeler.engine.omit=[stop]"),
    (error(400, "Invalid value for 'top_logprobs': must be less than or equal to 5."), "labeler.engine.top_logprobs=5"),
    (ok(said() | {"model": "m-2024"}), "labeler.engine.accept_model='m-2024'"),
    (ok(said(logprobs=None)), "labeler.engine.scoring=votes"),
    (ok({"error": {"message": "no such model: m", "code": 400}}), "no such model: m"),
    (error(400, "maximum context length is 12 tokens"), "longer context"),
]


@pytest.mark.parametrize(("response", "to_type"), REFUSALS, ids=[to_type for _, to_type in REFUSALS])
def test_what_the_server_refuses_stops_the_run_with_the_option_to_type(
    response: httpx2.Response, to_type: str, make_plan: MakePlan, monkeypatch: pytest.MonkeyPatch
) -> None:
    FakeServer(lambda body: response).listen(monkeypatch)
    with pytest.raises(ConfigError) as error:
        send_first_requests(make_plan("pipeline=label", "labeler=pairwise", *SERVER))
    (problem,) = error.value.problems
    assert problem.startswith(f"labeler.engine.url={URL}: a first request") and to_type in problem


def test_the_judges_options_are_named_where_they_are_typed(
    make_plan: MakePlan, monkeypatch: pytest.MonkeyPatch
) -> None:
    FakeServer(lambda body: ok(said() | {"model": "m-2024"})).listen(monkeypatch)
    judge = [line.replace("labeler.", "evaluation.judge.") for line in SERVER[1:]]
    with pytest.raises(ConfigError, match=r"evaluation\.judge\.engine\.accept_model"):
        send_first_requests(make_plan("labeler=human", "labeler/engine@evaluation.judge.engine=openai", *judge))


def raising(failure: Exception) -> Callable[[dict[str, Any]], httpx2.Response]:
    def answer(body: dict[str, Any]) -> httpx2.Response:
        raise failure

    return answer


def test_a_server_that_is_not_there_stops_the_run_and_a_busy_one_does_not(
    make_plan: MakePlan, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    plan = make_plan("pipeline=label", "labeler=pairwise", *SERVER)
    FakeServer(raising(httpx2.ConnectError("refused"))).listen(monkeypatch)
    with pytest.raises(GateStopped, match=r"labeler\.engine\.url=.*cannot connect.*start the server"):
        send_first_requests(plan)
    FakeServer(lambda body: error(503, "overloaded")).listen(monkeypatch)
    send_first_requests(plan)
    assert "http 503 (overloaded); the run goes on" in caplog.text


WEB_PAGE = httpx2.Response(200, text="<!doctype html><title>Open WebUI</title>")


@pytest.mark.parametrize(
    ("answer", "to_type"),
    [
        (raising(httpx2.RemoteProtocolError("illegal status line")), "http:// of a server that speaks https://"),
        (lambda body: WEB_PAGE, "the base url usually ends in /v1"),
        (lambda body: ok({"id": "1"}), "wrong shape: no choices"),
        (lambda body: ok(said(finish_reason=None)), "no finish_reason"),
        (lambda body: ok(said(finish_reason="eot")), "reply broken off: eot"),
    ],
)
def test_a_server_that_speaks_otherwise_is_not_taken_for_a_busy_one(
    answer: Handler, to_type: str, make_plan: MakePlan, monkeypatch: pytest.MonkeyPatch
) -> None:
    FakeServer(answer).listen(monkeypatch)
    with pytest.raises(ConfigError, match=re.escape(to_type)):
        send_first_requests(make_plan("pipeline=label", "labeler=pairwise", *SERVER))


def test_an_answer_of_no_use_is_told_and_goes_on(
    make_plan: MakePlan, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    FakeServer(lambda body: ok(said("hm"))).listen(monkeypatch)
    send_first_requests(make_plan("pipeline=label", "labeler=pairwise", *SERVER, "labeler.engine.scoring=votes"))
    assert "none of 1 votes could be read" in caplog.text and "labeler.engine.max_vote_tokens" in caplog.text


def test_a_ranking_of_which_a_chat_would_tell_the_first_number_is_found_before_sft(
    server: FakeServer, make_plan: MakePlan
) -> None:
    with pytest.raises(ConfigError, match=r"a chat tells its first token alone, and the answer .1 2. takes several"):
        send_first_requests(make_plan("pipeline=label", "labeler=ranking", *SERVER, "labeler.engine.api=chat"))
    assert server.asked == []


@pytest.mark.parametrize(
    ("answer", "options"),
    [(error(503, "overloaded"), ()), (ok(said("hm")), ("evaluation.judge.engine.scoring=votes",))],
)
def test_warnings_about_a_judge_name_its_options(
    answer: httpx2.Response,
    options: tuple[str, ...],
    make_plan: MakePlan,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    FakeServer(lambda body: answer).listen(monkeypatch)
    judge = [line.replace("labeler.", "evaluation.judge.") for line in SERVER[1:]]
    send_first_requests(make_plan("labeler=human", "labeler/engine@evaluation.judge.engine=openai", *judge, *options))
    assert "evaluation.judge.engine" in caplog.text and "labeler.engine" not in caplog.text


def test_a_tokenizer_without_a_chat_template_is_found_before_sft(
    server: FakeServer, make_plan: MakePlan, tmp_path: Path
) -> None:
    from rlaif.testing.tiny import make_tiny_model

    folder = make_tiny_model(tmp_path / "tiny")
    template = (f"labeler.engine.tokenizer={folder}", "labeler.engine.chat_template=model")
    with pytest.raises(RlaifError, match=r"labeler\.engine\.chat_template=model: .* no chat template"):
        send_first_requests(make_plan("pipeline=label", "labeler=pairwise", *SERVER, *template))
    assert server.asked == []


def test_a_run_stops_before_its_first_step(
    make_config: Callable[..., DictConfig], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Through :func:`rlaif.pipeline.run.run`, with everything that builds a step taken away."""
    import rlaif.pipeline.run as running

    FakeServer(lambda body: error(404, "The model `m` does not exist")).listen(monkeypatch)
    built: list[object] = []
    monkeypatch.setattr(Run, "all_steps", lambda self: built.append(self))
    monkeypatch.setattr(running, "claim", lambda *arguments, **options: None)

    hydra = SimpleNamespace(runtime=SimpleNamespace(output_dir=str(tmp_path)), job=SimpleNamespace(name="job"))
    monkeypatch.setattr(running.HydraConfig, "get", lambda: hydra)
    cfg = make_config("pipeline=label", "labeler=pairwise", *SERVER)
    with pytest.raises(ConfigError, match="does not exist"):
        running.run(cfg)
    assert not built
    cfg.estimate = True
    assert running.run(cfg) is None and not built
