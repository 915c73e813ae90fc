"""vLLM's offline engine behind lines of JSON, for the environment that vLLM needs for itself.

    PYTHON_OF_VLLM tests/benchmarks/vllm_worker.py FOLDER float32 --prefix-caching

Reads one request per line and answers each with one line: ``labels`` are the log-probabilities of options after
prompts, ``rollouts`` samples. What is printed by others goes to the standard error stream.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import time
from typing import Any


def main() -> None:
    """Load the engine, say so, then answer until the input ends."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model")
    parser.add_argument("dtype")
    parser.add_argument("--prefix-caching", action="store_true")
    options = parser.parse_args()
    answers = os.fdopen(os.dup(1), "w", buffering=1)
    os.dup2(2, 1)
    from vllm import LLM, SamplingParams  # type: ignore[import-not-found]

    engine = LLM(
        options.model,
        dtype=options.dtype,
        max_model_len=2048,
        enable_prefix_caching=options.prefix_caching,
        disable_log_stats=False,
        enforce_eager=True,
    )
    print(json.dumps({"ready": True}), file=answers)
    for line in sys.stdin:
        request = json.loads(line)
        answer = (_labels if request["do"] == "labels" else _rollouts)(engine, SamplingParams, request)
        print(json.dumps(answer), file=answers)


def _labels(engine: Any, params: Any, request: dict[str, Any]) -> dict[str, Any]:
    options = request["options"]
    sampling = params(max_tokens=1, temperature=0.0, logprob_token_ids=options, detokenize=False)
    engine.reset_prefix_cache()
    before = _cache_counts(engine)
    start = time.perf_counter()
    outputs = engine.generate(_prompts(request), sampling, use_tqdm=False)
    seconds = time.perf_counter() - start
    return {
        "seconds": seconds,
        "cached": [after - count for after, count in zip(_cache_counts(engine), before, strict=True)],
        "prompts": [list(output.prompt_token_ids) for output in outputs],
        "logprobs": [[output.outputs[0].logprobs[0][option].logprob for option in options] for output in outputs],
    }


def _rollouts(engine: Any, params: Any, request: dict[str, Any]) -> dict[str, Any]:
    tokens = request["tokens"]
    sampling = params(
        n=request["samples"], max_tokens=tokens, temperature=1.0, ignore_eos=True, detokenize=False, seed=0
    )
    engine.reset_prefix_cache()
    start = time.perf_counter()
    outputs = engine.generate(_prompts(request), sampling, use_tqdm=False)
    seconds = time.perf_counter() - start
    return {"seconds": seconds, "tokens": sum(len(one.token_ids) for output in outputs for one in output.outputs)}


def _prompts(request: dict[str, Any]) -> list[dict[str, Any]]:
    return [{"prompt_token_ids": ids} for ids in request["prompts"]]


def _cache_counts(engine: Any) -> list[float]:
    """Tokens found in the prefix cache, and tokens looked up there."""
    values = {metric.name: getattr(metric, "value", 0) for metric in engine.get_metrics()}
    return [float(values.get(f"vllm:prefix_cache_{name}", 0)) for name in ("hits", "queries")]


if __name__ == "__main__":
    main()
