"""How large a fall of the win rate does the watch see, and how soon?

    python tests/benchmarks/watch_power.py --prompts 200 500

Verdicts of 0 and 1, drawn anew at each of 11 validations: five at a win rate of 70 %, six at 70 % minus the fall. That
is the hardest case: soft verdicts, and verdicts that stay the same where the response does, are less noisy. The last
line of the output is one JSON object: prompts to fall to the share of runs with an alarm within 1, 3 and 5 validations.
"""

from __future__ import annotations

import argparse
import json

import numpy as np

from rlaif.functional.evidence import evidence_over_looks

BEFORE, AFTER, WIN_RATE = 5, 6, 0.7
FALLS = (0.05, 0.08, 0.1, 0.12, 0.15, 0.2, 0.25, 0.3)
WITHIN = (1, 3, 5)


def alarms(num_prompts: int, fall: float, num_runs: int, rng: np.random.Generator) -> list[float]:
    """Share of runs whose alarm comes within each number of validations after the fall."""
    came = []
    for _ in range(num_runs):
        means = [WIN_RATE] * BEFORE + [WIN_RATE - fall] * AFTER
        scores = [(rng.random(num_prompts) < mean).astype(float) for mean in means]
        evidence = evidence_over_looks(scores, range(len(means)), num_looks=len(means), margin=0.02)
        came.append(next((look - BEFORE + 1 for look, value in enumerate(evidence) if value >= 20), len(means)))
    return [float(np.mean([look <= within for look in came])) for within in WITHIN]


def main() -> None:
    """Simulate and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--prompts", type=int, nargs="+", default=[200, 500])
    parser.add_argument("--runs", type=int, default=200)
    arguments = parser.parse_args()
    rng = np.random.default_rng(0)
    found = {num: {fall: alarms(num, fall, arguments.runs, rng) for fall in FALLS} for num in arguments.prompts}
    print(json.dumps(found))


if __name__ == "__main__":
    main()
