"""Speed of pairwise labeling against a padded batch through Hugging Face's forward, both sides in one run.

    python tests/benchmarks/labels.py --size 15M

A random Llama reads pairs under one preamble: 400 tokens that all prompts share, a context of about 200 tokens, two
responses of about 40 and an ending of 5, both orders of each pair. Lengths are drawn around these by a seed.

- theirs: padded batches and logits of every position through the model's own forward, as it is loaded.
- ours: ``score_options`` over ``forward_for`` the model, what ``TransformersEngine.score`` calls.

Repeats interleave all sides, so that a busy machine slows all of them; figures are medians of seconds per pair.
Where their side takes minutes (135M), a repeat gives it one slice of the pairs and us all of them.
The last line of the output is one JSON object.
"""

from __future__ import annotations

import argparse
import json
import logging
import random
import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from figures import rounded
from shapes import SHAPES, Shape, random_llama
from transformers import LlamaForCausalLM

from rlaif.inference.cache import rows_at_once
from rlaif.inference.forward import evaluating, forward_for
from rlaif.inference.linear import fast_linear, linear
from rlaif.inference.prefill import PrefixStore
from rlaif.inference.score import score_options

log = logging.getLogger(__name__)

OPTIONS = [[17], [18]]
DTYPES = {"fp32": torch.float32, "bf16": torch.bfloat16}


@dataclass(frozen=True)
class Reading:
    """How a model is read the plain way (PERFORMANCE: pairwise labeling)."""

    their_batch_size: int
    """Prompts in a padded batch."""
    num_slices: int
    """Repeats after which their side has read all pairs."""


READINGS = {"15M": Reading(their_batch_size=4, num_slices=1), "135M": Reading(their_batch_size=2, num_slices=4)}
"""By the name of the model's shape."""


@dataclass(frozen=True)
class Pair:
    """Both prompts of a pair, and what of them is distinct."""

    orders: tuple[list[int], list[int]]
    num_context: int


def make_model(shape: Shape, dtype: torch.dtype) -> LlamaForCausalLM:
    """Random weights, the same for every number format."""
    return random_llama(shape).eval().requires_grad_(False).to(dtype)


def make_pairs(num_pairs: int, vocab: int, seed: int) -> tuple[int, list[Pair]]:
    """The number of tokens in the preamble, and pairs under it."""
    rng = random.Random(seed)

    def draw(mean: int) -> list[int]:
        return [rng.randrange(100, vocab) for _ in range(round(rng.uniform(0.7, 1.3) * mean))]

    preamble, ending = [rng.randrange(100, vocab) for _ in range(400)], [3, 4, 5, 6, 7]
    pairs = []
    for _ in range(num_pairs):
        context, first, second = draw(200), draw(40), draw(40)
        start = preamble + context
        pairs.append(Pair((start + first + second + ending, start + second + first + ending), len(context)))
    return len(preamble), pairs


def theirs(model: LlamaForCausalLM, prompts: list[list[int]], batch_size: int) -> torch.Tensor:
    """Log-probabilities [N, options] from padded batches with full logits."""
    rows = []
    with torch.inference_mode():
        for start in range(0, len(prompts), batch_size):
            batch = prompts[start : start + batch_size]
            width = max(map(len, batch))
            ids = torch.tensor([prompt + [0] * (width - len(prompt)) for prompt in batch])
            mask = torch.tensor([[1] * len(prompt) + [0] * (width - len(prompt)) for prompt in batch])
            logits = model(input_ids=ids, attention_mask=mask, use_cache=False).logits
            last = logits[torch.arange(len(batch)), torch.tensor([len(prompt) - 1 for prompt in batch])]
            rows.append(last.float().log_softmax(-1)[:, [option[0] for option in OPTIONS]])
    return torch.cat(rows)


def ours(model: LlamaForCausalLM, prompts: list[list[int]]) -> torch.Tensor:
    """As the engine: its batch size, a preamble read anew."""
    with evaluating(model):
        return score_options(forward_for(model), prompts, OPTIONS, batch_size=rows_at_once(model), store=PrefixStore())


def useful_flops(model: LlamaForCausalLM, num_preamble: int, pairs: list[Pair]) -> float:
    """Floating-point operations of the distinct tokens: linear layers, causal attention, one head row per prompt."""
    config = model.config
    linears = sum(weight.numel() for name, weight in model.named_parameters() if "proj" in name)
    attention = 4 * config.num_hidden_layers * config.hidden_size
    head = 2 * config.vocab_size * config.hidden_size

    def read(start: int, end: int) -> float:
        num_keys = (end * (end + 1) - start * (start + 1)) / 2
        return 2.0 * linears * (end - start) + attention * num_keys

    total = read(0, num_preamble)
    for pair in pairs:
        end = num_preamble + pair.num_context
        total += read(num_preamble, end) + sum(read(end, len(order)) + head for order in pair.orders)
    return total


def matmul_rate(dtype: torch.dtype) -> float:
    """Best floating-point operations per second of square products, by the fastest library there is."""
    best = 0.0
    for width in (512, 1024, 2048):
        x, weight = torch.randn(width, width).to(dtype), torch.randn(width, width).to(dtype)
        for product in (F.linear, linear):
            num_products = 1 + int(2e10 / width**3)
            product(x, weight)
            for _ in range(3):
                seconds = timed(lambda: [product(x, weight) for _ in range(num_products)])[0]  # noqa: B023
                best = max(best, 2.0 * width**3 * num_products / seconds)
    return best


def timed(call: Callable[[], object]) -> tuple[float, object]:
    """Seconds and result."""
    start = time.perf_counter()
    result = call()
    return time.perf_counter() - start, result


def measure(shape: Shape, reading: Reading, num_pairs: int, repeats: int, seed: int) -> dict[str, object]:
    """All figures of the last line."""
    num_preamble, pairs = make_pairs(num_pairs, shape.vocabulary, seed)
    plain = {name: make_model(shape, dtype) for name, dtype in DTYPES.items()}
    fast = {name: fast_linear(make_model(shape, dtype)) for name, dtype in DTYPES.items()}
    prompts = [order for pair in pairs for order in pair.orders]
    for name in DTYPES:
        theirs(plain[name], prompts[: reading.their_batch_size], reading.their_batch_size)
        ours(fast[name], prompts[:8])

    seconds: dict[str, list[float]] = {f"{side}_{name}": [] for side in ("theirs", "ours") for name in DTYPES}
    rates: dict[str, list[float]] = {name: [] for name in DTYPES}
    scores: dict[str, torch.Tensor] = {}
    diffs: dict[str, float] = dict.fromkeys(DTYPES, 0.0)
    for repeat in range(repeats):
        piece = slice(repeat % reading.num_slices, None, reading.num_slices)
        part = [order for pair in pairs[piece] for order in pair.orders]
        with torch.inference_mode():
            for name, dtype in DTYPES.items():
                rates[name].append(matmul_rate(dtype))
        for name in DTYPES:
            spent, result = timed(lambda: theirs(plain[name], part, reading.their_batch_size))  # noqa: B023
            seconds[f"theirs_{name}"].append(spent / len(pairs[piece]))
            spent, scores[name] = timed(lambda: ours(fast[name], prompts))  # type: ignore[assignment]  # noqa: B023
            seconds[f"ours_{name}"].append(spent / num_pairs)
            same = scores[name].view(num_pairs, 2, -1)[piece].reshape(len(part), -1)
            diffs[name] = max(diffs[name], float((result - same).abs().max()))  # type: ignore[operator]
        log.info(
            "repeat %d/%d, ms per pair: %s",
            repeat + 1,
            repeats,
            ", ".join(f"{key} {1000 * values[-1]:.1f}" for key, values in seconds.items()),
        )
    median = {key: statistics.median(values) for key, values in seconds.items()}
    flops = useful_flops(plain["fp32"], num_preamble, pairs) / num_pairs
    return {
        "speedup_fp32": median["theirs_fp32"] / median["ours_fp32"],
        "speedup_bf16": median["theirs_bf16"] / median["ours_bf16"],
        "speedup_bf16_over_fp32": median["theirs_fp32"] / median["ours_bf16"],
        "peak_fraction_fp32": flops / median["ours_fp32"] / statistics.median(rates["fp32"]),
        "peak_fraction_bf16": flops / median["ours_bf16"] / statistics.median(rates["bf16"]),
        "max_abs_diff": diffs["fp32"],
        "max_abs_diff_bf16": diffs["bf16"],
        "ms_per_pair": {key: 1000 * value for key, value in median.items()},
        "spread": {key: (max(values) - min(values)) / median[key] for key, values in seconds.items()},
        "matmul_gflops": {name: statistics.median(values) / 1e9 for name, values in rates.items()},
        "gflop_per_pair": flops / 1e9,
    }


def main() -> None:
    """Measure one size and print its figures."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--size", choices=READINGS, default="15M")
    parser.add_argument("--pairs", type=int, default=64)
    parser.add_argument("--repeats", type=int, default=None, help="default: 5 for 15M, 4 for 135M")
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    torch.set_num_threads(options.threads)
    reading = READINGS[options.size]
    repeats = options.repeats or max(reading.num_slices, 5 if reading.num_slices == 1 else 4)
    figures = measure(SHAPES[options.size], reading, options.pairs, repeats, options.seed)
    about = {"size": options.size, "pairs": options.pairs, "repeats": repeats, "threads": options.threads}
    print(json.dumps(rounded(figures | about)))


if __name__ == "__main__":
    main()
