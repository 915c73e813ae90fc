"""Chunks in threads: the same answers, exceptions raised, modes and numbers of threads as before."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from transformers import LlamaConfig, LlamaForCausalLM
from transformers.models.llama.modeling_llama import LlamaRMSNorm, apply_rotary_pos_emb

from rlaif.inference.llama import rms_norm, rotated
from rlaif.inference.parallel import MOST_AT_ONCE, for_each_chunk
from rlaif.inference.sample import sample
from rlaif.inference.score import score_options
from rlaif.types import Sampling

CONCURRENT: Any = SimpleNamespace(runs_concurrently=True)
ALONE: Any = SimpleNamespace(runs_concurrently=False)


@pytest.fixture(autouse=True)
def _two_threads() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="module")
def model() -> LlamaForCausalLM:
    torch.manual_seed(0)
    return LlamaForCausalLM(
        LlamaConfig(
            vocab_size=64,
            hidden_size=32,
            intermediate_size=48,
            num_hidden_layers=2,
            num_attention_heads=4,
            num_key_value_heads=2,
            max_position_embeddings=256,
        )
    ).eval()


def prompts(count: int) -> list[list[int]]:
    generator = torch.Generator().manual_seed(1)
    lengths = torch.randint(20, 90, (count,), generator=generator).tolist()
    return [[5] * 20 + torch.randint(6, 64, (length,), generator=generator).tolist() for length in lengths]


def test_scores_and_samples_are_those_of_one_thread(model: LlamaForCausalLM) -> None:
    sampling = Sampling(max_new_tokens=6, temperature=1.0, seed=3)
    found = []
    for threads in (2, 1):
        torch.set_num_threads(threads)
        scores = score_options(model, prompts(24), [[7], [8, 9]], batch_size=4)
        drawn = sample(model, prompts(24), sampling=sampling, eos_id=1, pad_id=0, batch_size=4)
        found.append((scores, drawn.tokens_BT))
    assert torch.equal(found[0][0], found[1][0])
    assert torch.equal(found[0][1], found[1][1])


def test_chunks_run_at_once_in_the_callers_modes_with_a_share_of_the_threads() -> None:
    both = threading.Barrier(2, timeout=20)
    seen: list[Any] = []

    def work(chunk: int) -> None:
        both.wait()  # passes only while two chunks run
        seen.append((chunk, torch.is_inference_mode_enabled(), torch.is_grad_enabled(), torch.get_num_threads()))

    with torch.inference_mode():
        for_each_chunk(work, [0, 1, 2, 3], CONCURRENT)
    assert sorted(seen) == [(chunk, True, False, 1) for chunk in range(4)]
    started_later = threading.Thread(target=lambda: seen.append(torch.get_num_threads()))
    seen.clear()
    started_later.start()
    started_later.join()
    assert [torch.get_num_threads(), *seen] == [2, 2]
    seen.clear()
    with torch.no_grad():
        for_each_chunk(work, [0, 1], CONCURRENT)
    assert {modes[1:3] for modes in seen} == {(False, False)}


def test_chunks_in_threads_keep_the_callers_autocast(model: LlamaForCausalLM) -> None:
    seen = []
    with torch.autocast("cpu", torch.bfloat16):
        for_each_chunk(
            lambda chunk: seen.append(torch.mm(torch.ones(2, 2), torch.ones(2, 2)).dtype), [0, 1], CONCURRENT
        )
        scores = score_options(model, prompts(24), [[7], [8, 9]], batch_size=4)
        torch.set_num_threads(1)
        assert torch.equal(score_options(model, prompts(24), [[7], [8, 9]], batch_size=4), scores)
    assert seen == [torch.bfloat16, torch.bfloat16]
    torch.testing.assert_close(
        scores, score_options(model, prompts(24), [[7], [8, 9]], batch_size=4), atol=0.05, rtol=0
    )


@pytest.mark.parametrize(("forward", "threads"), [(ALONE, 2), (CONCURRENT, 1)])
def test_without_threads_chunks_run_in_order_on_the_callers_thread(forward: Any, threads: int) -> None:
    torch.set_num_threads(threads)
    seen = []
    for_each_chunk(lambda chunk: seen.append((chunk, threading.current_thread())), [0, 1, 2], forward)
    assert seen == [(chunk, threading.current_thread()) for chunk in range(3)]


def test_no_more_chunks_than_memory_is_planned_for() -> None:
    torch.set_num_threads(8)
    running, most, lock = 0, 0, threading.Lock()

    def work(chunk: int) -> None:
        nonlocal running, most
        with lock:
            running += 1
            most = max(most, running)
        threading.Event().wait(0.01)
        with lock:
            running -= 1

    for_each_chunk(work, list(range(20)), CONCURRENT)
    assert 2 <= most <= MOST_AT_ONCE


def test_an_exception_is_raised_and_what_has_not_begun_is_left_out() -> None:
    begun = []

    def work(chunk: int) -> None:
        begun.append(chunk)
        if chunk == 39:  # the first to begin
            raise RuntimeError(f"chunk {chunk}")
        threading.Event().wait(0.02)

    with pytest.raises(RuntimeError, match="chunk 39"):
        for_each_chunk(work, list(range(40)), CONCURRENT)
    assert len(begun) < 40
    assert torch.get_num_threads() == 2
    threads = [thread.name for thread in threading.enumerate()]
    assert not [name for name in threads if name.startswith("rlaif-chunk")]


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_norm_and_rotation_are_those_of_the_library(dtype: torch.dtype) -> None:
    generator = torch.Generator().manual_seed(2)
    hidden = (5 * torch.randn(3, 7, 32, generator=generator)).to(dtype)
    norm = LlamaRMSNorm(32, eps=1e-3).to(dtype)
    norm.weight.data.uniform_(0.5, 2.0, generator=generator)
    tolerance = 1e-6 if dtype == torch.float32 else 0.03
    with torch.no_grad():
        torch.testing.assert_close(rms_norm(hidden, norm.weight, 1e-3), norm(hidden), rtol=tolerance, atol=tolerance)
    states = torch.randn(3, 7, 4, 8, generator=generator).to(dtype)
    angles = torch.rand(3, 7, 4, generator=generator).repeat(1, 1, 2)
    cos, sin = angles.cos().to(dtype), angles.sin().to(dtype)
    theirs, _ = apply_rotary_pos_emb(states.transpose(1, 2), states.transpose(1, 2), cos, sin)
    ours = rotated(states, cos[:, :, None], sin[:, :, None])
    torch.testing.assert_close(ours, theirs.transpose(1, 2), rtol=tolerance, atol=tolerance)
