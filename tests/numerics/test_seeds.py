"""Seeds against hashlib and torch's own generators."""

from __future__ import annotations

import hashlib

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from rlaif.functional.seeds import derive_seed, generator

PARTS = st.lists(st.one_of(st.integers(), st.text(max_size=5)), max_size=4)


def test_seed_is_the_first_63_bits_of_the_hash() -> None:
    message = b"i" + (1).to_bytes(8, "little") + b"7" + b"s" + (3).to_bytes(8, "little") + b"sft"
    first_8_bytes = int.from_bytes(hashlib.sha256(message).digest()[:8], "little")
    assert derive_seed(7, "sft") == first_8_bytes // 2


def test_seed_never_changes_between_versions() -> None:
    assert derive_seed(0, "a") == 52545686304768236


@given(PARTS, PARTS)
def test_different_parts_give_different_seeds(a: list[int | str], b: list[int | str]) -> None:
    assert (derive_seed(*a) == derive_seed(*b)) == (a == b)


@given(PARTS)
def test_seed_fits_torch(parts: list[int | str]) -> None:
    seed = derive_seed(*parts)
    assert 0 <= seed < 2**63
    assert torch.Generator().manual_seed(seed).initial_seed() == seed


@pytest.mark.parametrize("part", [1.0, None, True, b"a"])
def test_other_types_are_refused(part: object) -> None:
    with pytest.raises(TypeError, match="int or str"):
        derive_seed(part)  # type: ignore[arg-type]


def test_global_random_state_is_untouched() -> None:
    before = torch.get_rng_state()
    torch.rand(3, generator=generator(1, "policy"))
    assert torch.equal(before, torch.get_rng_state())
