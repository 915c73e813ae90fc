"""Memory and time of the cross-entropy over a large vocabulary: all logits at once, and in chunks.

    OMP_NUM_THREADS=1 python tests/benchmarks/vocabulary.py --tokens 2048 --vocabulary 49152 --width 576

Each is measured in a process of its own. The extra memory is the peak of the resident set (Linux: VmHWM, set back just
before) over what hidden states and weights take; it holds the gradients of both. The last line is one JSON object.
"""

from __future__ import annotations

import argparse
import json
import time
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path
from typing import Any

STATUS, CLEAR = Path("/proc/self/status"), Path("/proc/self/clear_refs")


def kilobytes(field: str) -> int:
    """A line of this process's status."""
    (line,) = [line for line in STATUS.read_text().splitlines() if line.startswith(f"{field}:")]
    return int(line.split()[1])


def measure(kind: str, num_tokens: int, vocabulary: int, width: int) -> dict[str, Any]:
    """Loss, sums of the gradients, extra memory in MB and seconds of one loss with its gradients."""
    import torch

    from rlaif.functional.losses import token_cross_entropy
    from rlaif.inference.linear import fast_linear
    from rlaif.inference.vocabulary import Head, chunked_cross_entropy

    torch.manual_seed(0)
    layer = fast_linear(torch.nn.Linear(width, vocabulary, bias=False))
    hidden_ND = torch.randn(num_tokens, width, requires_grad=True)
    labels_N = torch.randint(vocabulary, (num_tokens,))
    layer(hidden_ND[:8]).sum().backward()  # what the libraries load and set up once
    hidden_ND.grad = layer.weight.grad = None
    CLEAR.write_text("5")
    before, start = kilobytes("VmRSS"), time.perf_counter()
    if kind == "plain":
        mask_N = torch.ones_like(labels_N, dtype=torch.bool)
        loss = token_cross_entropy(layer(hidden_ND)[None], labels_N[None], mask_N[None]).total
    else:
        loss = chunked_cross_entropy(Head(layer.weight), hidden_ND, labels_N)
    loss.backward()
    seconds, peak = time.perf_counter() - start, kilobytes("VmHWM")
    assert hidden_ND.grad is not None and layer.weight.grad is not None
    gradients = [hidden_ND.grad.double().norm().item(), layer.weight.grad.double().norm().item()]
    return {"loss": loss.item(), "gradients": gradients, "extra_mb": (peak - before) / 1024, "seconds": seconds}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--tokens", type=int, default=2048)
    parser.add_argument("--vocabulary", type=int, default=49_152)
    parser.add_argument("--width", type=int, default=576)
    options = parser.parse_args()
    found = {}
    for kind in ("plain", "chunked"):
        with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as pool:
            found[kind] = pool.submit(measure, kind, options.tokens, options.vocabulary, options.width).result()
        print(
            f"{kind:8}  {found[kind]['extra_mb']:8,.0f} MB  {found[kind]['seconds']:6.2f} s  {found[kind]['loss']:.2f}"
        )
    plain, chunked = found["plain"], found["chunked"]
    differences = [abs(a / b - 1) for a, b in zip(chunked["gradients"], plain["gradients"], strict=True)]
    print(
        json.dumps(
            {
                "tokens": options.tokens,
                "vocabulary": options.vocabulary,
                "width": options.width,
                "memory_fraction": chunked["extra_mb"] / plain["extra_mb"],
                "time_fraction": chunked["seconds"] / plain["seconds"],
                "loss_difference": abs(chunked["loss"] / plain["loss"] - 1),
                "gradient_difference": max(differences),
            }
        )
    )


if __name__ == "__main__":
    main()
