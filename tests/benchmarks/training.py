"""Speed of training against TRL, both sides in one run.

    python tests/benchmarks/training.py --stage dpo --size 3M

Needs the extra [bench]. A random Llama is trained for one epoch: SFT, a reward model, DPO, or rollouts of 48 tokens (8
responses to each prompt) by GRPO or RLOO. Both sides get the same examples per optimizer step, weights, optimizer and
rate.

First both train on the same examples in the same order (rollouts are replayed): the first 20 losses must agree to 1e-4
for SFT, reward model and DPO, and the weights must have moved alike. Then each is timed as it is used:

- theirs: TRL's defaults, and TRL at its best: batches of similar lengths, the reference's log-probs computed once
  before the training, no gradient checkpointing.
- ours: as shipped, the reference's pass over one epoch included.

Repeats alternate the sides. A ratio is that of the seconds of one repeat; the figure is the geometric mean, with a 95 %
interval of Student's t over the repeats, against the faster of TRL's settings. The last line is one JSON object.
"""

from __future__ import annotations

import argparse
import json
import logging
import math
import statistics
from collections.abc import Sequence
from copy import deepcopy
from functools import partial
from typing import Any, get_args

import torch
import training_ours as ours
import training_trl as theirs
from figures import ratio_interval, rounded
from labels import matmul_rate
from training_data import SAMPLES, SIZES, Example, Size, Stage, make_examples, make_model

from rlaif.modules.optim import OptimizerSettings

log = logging.getLogger(__name__)

LR = 1e-4
NUM_COMPARED = 20
TOLERANCE, MOST_APART = 1e-4, 0.05
"""Of losses, and of the weights' movement: the norm of the difference over that of the movement."""
PRECISIONS = {"fp32": "32-true", "bf16": "bf16-mixed"}


def optimization() -> OptimizerSettings:
    """AdamW as TRL has it: a constant rate, no decay, gradients of norm 1 at most."""
    optimizer = partial(torch.optim.AdamW, betas=(0.9, 0.999), eps=1e-8, fused=True)
    return OptimizerSettings(optimizer=optimizer, lr=LR, max_grad_norm=1.0)


def per_step(stage: Stage, size: Size) -> int:
    """Examples of an optimizer step."""
    return size.prompts_per_step if stage in ("grpo", "rloo") else size.batch_size


def reference_of(stage: Stage, size: Size) -> Any:
    """The frozen model; None where nothing is compared with it."""
    return make_model(size, stage) if stage in ("dpo", "grpo", "rloo") else None


def train_ours(stage: Stage, examples: Sequence[Example], size: Size, precision: str, *, in_order: bool) -> Any:
    """The trained model, losses and seconds."""
    model = make_model(size, stage)
    job = ours.Job(stage, model, reference_of(stage, size), examples, size, optimization())
    return model, *ours.train(job, precision=PRECISIONS[precision], in_order=in_order)


def train_theirs(stage: Stage, examples: Sequence[Example], size: Size, precision: str, way: theirs.Way) -> Any:
    """The trained model, losses and seconds."""
    model = make_model(size, stage)
    reference = reference_of(stage, size)
    settings: Any = {"lr": LR, "way": way, "bf16": precision == "bf16"}
    return model, *theirs.train(stage, model, reference, examples, size, **settings)


def compare(stage: Stage, size: Size, num_steps: int, seed: int) -> dict[str, float]:
    """How far both sides are apart after the same steps on the same examples.

    Raises:
        SystemExit: Too far.
    """
    examples = make_examples(size, num_steps * per_step(stage, size), seed)
    start = dict(deepcopy(make_model(size, stage)).named_parameters())
    one, their_losses, _ = train_theirs(stage, examples, size, "fp32", "in_order")
    two, our_losses, _ = train_ours(stage, examples, size, "fp32", in_order=True)
    theirs_by_name = dict(one.named_parameters())
    moved = math.sqrt(sum(float((w - start[n]).square().sum()) for n, w in theirs_by_name.items()))
    apart = math.sqrt(sum(float((w - theirs_by_name[n]).square().sum()) for n, w in two.named_parameters())) / moved
    difference = max(abs(a - b) for a, b in zip(their_losses, our_losses, strict=True))
    log.info("losses theirs %s", ", ".join(f"{loss:.4f}" for loss in their_losses[:5]))
    log.info("losses ours   %s", ", ".join(f"{loss:.4f}" for loss in our_losses[:5]))
    has_losses = stage not in ("grpo", "rloo")  # theirs are 0 by construction, ours the surrogate's
    if apart > MOST_APART or (has_losses and difference > TOLERANCE):
        raise SystemExit(
            f"not the same training: losses differ by {difference:.2g}, weights by {apart:.2g} of their way"
        )
    return {"max_loss_difference": difference if has_losses else math.nan, "weights_apart": apart}


def floating_point_operations(stage: Stage, examples: Sequence[Example], model: Any) -> float:
    """Of one epoch's forward and backward passes over each distinct token, without reference and sampling."""
    config = model.config
    linears = sum(weight.numel() for name, weight in model.named_parameters() if "proj" in name)
    head = config.vocab_size * config.hidden_size

    def read(start: int, end: int) -> float:
        keys = (end * (end + 1) - start * (start + 1)) / 2
        return 2.0 * linears * (end - start) + 4.0 * config.num_hidden_layers * config.hidden_size * keys

    total = 0.0
    for e in examples:
        prompt = len(e.prompt)
        if stage == "sft":
            total += read(0, prompt + len(e.first)) + 2.0 * head * len(e.first)
        elif stage == "reward_model":
            total += read(0, prompt + len(e.first)) + read(0, prompt + len(e.second))
        elif stage == "dpo":
            both = read(0, prompt + len(e.first)) + read(0, prompt + len(e.second))
            total += both + 2.0 * head * (len(e.first) + len(e.second))
        else:
            new = len(e.sampled[0])
            total += read(0, prompt) + SAMPLES * (read(prompt, prompt + new) + 2.0 * head * new)
    return 3.0 * total


def measure(
    stage: Stage, size: Size, *, num_steps: int, repeats: int, precisions: Sequence[str], seed: int
) -> dict[str, Any]:
    """All figures of the last line."""
    examples = make_examples(size, num_steps * per_step(stage, size), seed + 1)
    ways: tuple[theirs.Way, ...] = ("default", "best")
    seconds: dict[str, list[float]] = {f"{side}_{p}": [] for p in precisions for side in (*ways, "ours")}
    rates = []
    for repeat in range(repeats + 1):
        for precision in precisions:
            found = {way: train_theirs(stage, examples, size, precision, way)[2] for way in ways}
            found["ours"] = train_ours(stage, examples, size, precision, in_order=False)[2]  # type: ignore[index]
            if repeat:  # the first one warms up
                for side, spent in found.items():
                    seconds[f"{side}_{precision}"].append(spent)
        if repeat:
            rates.append(matmul_rate(torch.float32))
            told = ", ".join(f"{name} {values[-1]:.2f}" for name, values in seconds.items())
            log.info("repeat %d/%d, seconds: %s", repeat, repeats, told)
    figures: dict[str, Any] = {"seconds": {name: statistics.median(values) for name, values in seconds.items()}}
    for precision in precisions:
        fastest = min(ways, key=lambda way: statistics.median(seconds[f"{way}_{precision}"]))
        ratio = ratio_interval(seconds[f"{fastest}_{precision}"], seconds[f"ours_{precision}"])
        names = (f"speedup_{precision}", f"speedup_{precision}_low", f"speedup_{precision}_high")
        figures |= dict(zip(names, ratio, strict=True)) | {f"faster_of_theirs_{precision}": fastest}
        figures[f"speedup_{precision}_over_defaults"] = ratio_interval(
            seconds[f"default_{precision}"], seconds[f"ours_{precision}"]
        )[0]
    if "fp32" in precisions:
        flops = floating_point_operations(stage, examples, make_model(size, stage))
        figures["peak_fraction_fp32"] = flops / figures["seconds"]["ours_fp32"] / statistics.median(rates)
    return figures | {"spread": {n: (max(v) - min(v)) / statistics.median(v) for n, v in seconds.items()}}


def main() -> None:
    """Measure one stage and size, and print the figures."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--stage", choices=get_args(Stage), default="sft")
    parser.add_argument("--size", choices=SIZES, default="3M")
    parser.add_argument("--steps", type=int, default=20, help="optimizer steps of a timed epoch")
    parser.add_argument("--repeats", type=int, default=None, help="default: 5, for 135M 3")
    parser.add_argument("--precisions", nargs="+", choices=PRECISIONS, default=list(PRECISIONS))
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    torch.set_num_threads(options.threads)
    size, repeats = SIZES[options.size], options.repeats or (3 if options.size == "135M" else 5)
    compared = compare(options.stage, size, min(NUM_COMPARED, options.steps), options.seed)
    figures = measure(
        options.stage,
        size,
        num_steps=options.steps,
        repeats=repeats,
        precisions=options.precisions,
        seed=options.seed,
    )
    about = {name: getattr(options, name) for name in ("stage", "size", "steps", "threads")} | {"repeats": repeats}
    print(json.dumps(rounded(about | compared | figures)))


if __name__ == "__main__":
    main()
