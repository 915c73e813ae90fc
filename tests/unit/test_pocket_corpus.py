"""Pretraining text: prompts are the labelers' own, answers tell the truth, what is kept for the test stays out."""

from __future__ import annotations

import re
from collections import Counter
from functools import cache
from random import Random
from typing import get_args

import pytest
from transformers import PreTrainedTokenizerFast

from rlaif.evaluation.attacks import all_attacks
from rlaif.functional.seeds import derive_seed
from rlaif.pocket import attacks, corpus, families
from rlaif.pocket.corpus import CHAT_SHARE, FORMATS, NUM_WARM_UP, PLAIN_ONLY, RENAMED_SHARE, draw_example, draw_format
from rlaif.pocket.examples import ASSISTANT, CANDIDATE_WEIGHT, END, USER, Example, Piece
from rlaif.pocket.families import Family, train_tokenizer
from rlaif.pocket.lexicon import SlotKind, is_held_out
from rlaif.pocket.points import POINTS
from rlaif.pocket.pretraining import RECIPES, Batches
from rlaif.pocket.quality import read
from rlaif.pocket.renaming import KINDS, Renaming, shows_held_out
from rlaif.pocket.revising import revise, write_critique
from rlaif.pocket.world import TASK_NAMES, WORDS, draw_scene, mixed_draft, write_prompt, write_response
from rlaif.prompts.criteria import CriteriaPrompts, built_in_criteria
from rlaif.prompts.harm import HarmPrompts
from rlaif.prompts.judge import JudgePrompts
from rlaif.prompts.teacher import TeacherPrompts
from rlaif.tasks.base import get_task
from rlaif.tokenization import PromptTokenizer
from rlaif.types import Prompt, StructuredPrompt

NUM_EXAMPLES = 2_000
POST = Prompt(
    task="summarization",
    text="My aunt Anna kept the bike today. We had corn soup again. Next is the old farm. Should I call the banker?",
)
HARMFUL = Prompt(
    task="harmless_dialogue",
    text="\n\nHuman: How do I rob the baker? We had corn soup again. My aunt Anna comes on friday noon.\n\nAssistant:",
)


@cache
def examples() -> tuple[tuple[str, tuple[Piece, ...]], ...]:
    """Formats and pieces of many examples after the warm-up."""
    drawn = []
    for item in range(NUM_WARM_UP, NUM_WARM_UP + NUM_EXAMPLES):
        name = draw_format(item, Random(derive_seed(3, "pocket corpus", item, 0)))
        drawn.append((name, tuple(draw_example(3, item))))
    return tuple(drawn)


def text_of(pieces: tuple[Piece, ...]) -> str:
    return "".join(piece.text for piece in pieces)


def make(task: str, rng: Random, *, in_chat: bool = False, renaming: Renaming | None = None) -> Example:
    scene = draw_scene(task, rng, held_out=False)
    return Example(rng=rng, scene=scene, prompt=write_prompt(scene, rng), renaming=renaming, in_chat=in_chat)


class TestShares:
    def test_formats_come_as_often_as_declared(self) -> None:
        total = sum(share for share, _ in FORMATS.values())
        assert total == pytest.approx(1.0)
        counts = Counter(name for name, _ in examples())
        for name, (share, _) in FORMATS.items():
            assert counts[name] / NUM_EXAMPLES == pytest.approx(share, abs=4 * (share / NUM_EXAMPLES) ** 0.5)

    def test_every_format_that_is_asked_of_a_model_is_there_plain_and_in_a_chat(self) -> None:
        kinds = Counter((name, pieces[0].text == USER) for name, pieces in examples())
        for name in FORMATS:
            assert kinds[name, False]
            assert bool(kinds[name, True]) == (name not in PLAIN_ONLY)
        num_chats = sum(count for (_, in_chat), count in kinds.items() if in_chat)
        asked = sum(share for name, (share, _) in FORMATS.items() if name not in PLAIN_ONLY)
        assert num_chats / NUM_EXAMPLES == pytest.approx(CHAT_SHARE * asked, abs=0.025)


class TestForm:
    """A model is asked as it was trained: the ids before an answer are those of the engine's prompt."""

    @pytest.mark.parametrize("family", get_args(Family))
    @pytest.mark.parametrize("in_chat", [False, True])
    def test_a_prompt_has_the_ids_that_an_engine_gives_it(
        self, family: Family, in_chat: bool, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(families, "NUM_TOKENIZER_EXAMPLES", 60)
        tokenizer = train_tokenizer(family)
        assert isinstance(tokenizer, PreTrainedTokenizerFast)
        engine = PromptTokenizer(tokenizer, chat_template="model" if in_chat else "none")
        batches = Batches(RECIPES["XS"], tokenizer)
        task, text = get_task("dialogue"), "\n\nHuman: I need a warm hat.\n\nAssistant:"
        prompts: list[StructuredPrompt] = [
            JudgePrompts().pairwise(task, text, "one.", "two {response}"),
            JudgePrompts().rating(task, text, ""),
            CriteriaPrompts().criterion(task, text, "one", "Is it short?"),
            HarmPrompts().harm(task, text, "one"),
            TeacherPrompts().answer_request(task, text),
        ]
        example = make("dialogue", Random(0), in_chat=in_chat)
        for prompt in prompts:
            pieces = example.asked(prompt, Piece("1", 4.0), Piece("\n", 0.3, ends=True))
            ((ids, _),) = batches._encode([pieces])
            asked = engine.prompt_ids(prompt)
            assert ids[: len(asked)] == asked
            assert ids[len(asked) :] == [*engine.trusted_ids("1"), *engine.trusted_ids("\n"), tokenizer.eos_token_id]

    def test_a_rationale_ends_with_its_line_and_in_a_chat_with_its_turn(self) -> None:
        for name, pieces in examples():
            if name not in ("chain", "rated_chain"):
                continue
            text = text_of(pieces)
            if pieces[0].text == USER:
                before, _, answer = text.rpartition(END + ASSISTANT)
                assert re.fullmatch(r"\d+\n", answer) or (before.endswith("Rationale:") and answer.endswith("."))
            else:
                assert re.search(
                    r"Rationale: [^\n]*overall \d+\.\n(Score=|Better \w+=|More harmful Response=)\d+\n$", text
                )

    def test_the_score_after_a_rationale_is_its_own(self) -> None:
        for name, pieces in examples():
            if name == "rated_chain" and pieces[0].text != USER:
                (overall, score) = re.search(r"overall (\d+)\.\nScore=(\d+)\n$", text_of(pieces)).groups()  # type: ignore[union-attr]
                assert overall == score


class TestTruth:
    @pytest.mark.parametrize("task", TASK_NAMES)
    @pytest.mark.parametrize("kind", ["direct", "chain"])
    def test_a_verdict_names_the_response_that_raters_prefer(self, task: str, kind: str) -> None:
        hits, rng = [], Random(5)
        noun, words = get_task(task).response_noun, WORDS[task]
        for _ in range(400):
            example = make(task, rng)
            text = text_of(tuple(FORMATS[kind][1](example)))
            if "Example\n" in text:
                continue
            first, second = re.search(rf"\n{noun} 1:(.*?)\n{noun} 2:(.*?)\n\n", text, re.DOTALL).groups()  # type: ignore[union-attr]
            gap = read(example.prompt, first.strip()).quality - read(example.prompt, second.strip()).quality
            names_first = text.rstrip().endswith("1")
            if abs(gap) > 1.5:
                hits.append((gap > 0) == (names_first != bool(words.request_forms)))
        assert len(hits) > 100
        assert sum(hits) / len(hits) > 0.8  # attacks lose whatever they say; raters err

    def test_the_points_of_a_response_are_true(self) -> None:
        """Each line was judged by eye: person, event, place, question, no mistake, no chat, no gap, short."""
        for response, expected in (
            ("My aunt Anna kept the bike, next the old farm, must I call the banker?", "yyyyyyyn"),
            ("The aunt Bela kept the bike, we had corn soup.", "nynnnnny"),
            ("Someone did something.", "nnnnyyny"),
        ):
            holds = [point.holds(read(POST, response)) for point in POINTS["summarization"]]
            assert "".join("y" if held else "n" for held in holds) == expected
        for response, expected in (
            ("That would be wrong, bring aunt Anna.", "yyynyyny"),
            ("Sure, I will help, start friday dawn.", "nnnnnyny"),
        ):
            holds = [point.holds(read(HARMFUL, response)) for point in POINTS["harmless_dialogue"]]
            assert "".join("y" if held else "n" for held in holds) == expected

    @pytest.mark.parametrize("task", TASK_NAMES)
    def test_the_built_in_criteria_are_points(self, task: str) -> None:
        usual = [point.asks[0] for point in POINTS[task]]
        assert {criterion.asks for criterion in built_in_criteria(task)} <= set(usual)
        assert len({question for point in POINTS[task] for question in point.asks}) == sum(
            len(point.asks) for point in POINTS[task]
        )

    @pytest.mark.parametrize("task", TASK_NAMES)
    def test_a_revision_follows_the_principle_and_changes_nothing_else(self, task: str) -> None:
        rng, num_changed = Random(2), 0
        for _ in range(300):
            example = make(task, rng)
            prompt, response = example.prompt, write_response(example.scene, mixed_draft(rng), rng)
            point = rng.choice([point for point in POINTS[task] if point.principle])
            revised = revise(example.scene, prompt, response, point, rng)
            before, after = read(prompt, response), read(prompt, revised)
            assert point.holds(after), (point.principle, response, revised)
            breaks = "breaks" in write_critique(prompt, response, point, rng)
            assert breaks == (revised != response) == (not point.holds(before))
            num_changed += breaks
            kept = [
                a == b or (point.about == "fact" and place == point.place) or b == "right"
                for place, (a, b) in enumerate(zip(before.verdicts, after.verdicts, strict=True))
            ]
            assert all(kept)
            assert after.chats == before.chats or point.about == "chat"
            assert after.stance == before.stance or point.about == "stance"
        assert num_changed > 50


class TestRenaming:
    def test_facts_are_equal_in_other_words_exactly_where_they_were(self) -> None:
        rng = Random(0)
        for _ in range(200):
            renaming, kind = Renaming(rng), rng.choice(KINDS)
            fillers = [kind.draw(rng, held_out=False) for _ in range(6)]
            named = [renaming(filler) for filler in fillers]
            for one, named_one in zip(fillers, named, strict=True):
                assert [one == other for other in fillers] == [named_one == other for other in named]
            assert renaming(" and ".join(fillers)) == " and ".join(named)

    def test_as_many_examples_as_declared_have_other_words(self) -> None:
        own = {word for kind in KINDS for word in (*kind.heads, *kind.tails)}
        drills = [text_of(pieces) for name, pieces in examples() if name == "drill"]
        renamed = [
            text for text in drills if not set(re.findall(r"\w+", text)) - {"Checklist", "right", "wrong", "the"} <= own
        ]
        assert len(renamed) / len(drills) == pytest.approx(RENAMED_SHARE, abs=0.1)

    def test_no_held_out_filler_comes_up_by_chance(self) -> None:
        found = [
            filler for _, pieces in examples() for kind in KINDS for filler in kind.pattern.findall(text_of(pieces))
        ]
        assert len(found) > 5_000 and not any(map(is_held_out, found))

    @pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.name)
    def test_a_held_out_filler_is_found_in_a_text(self, kind: SlotKind) -> None:
        seen = " and ".join(kind.fillers(held_out=False)[:3])
        assert not shows_held_out(seen)
        assert shows_held_out(f"{seen}, {kind.fillers(held_out=True)[0]}.")

    def test_an_example_that_shows_one_by_chance_is_drawn_again(self, monkeypatch: pytest.MonkeyPatch) -> None:
        before, seen = draw_example(0, NUM_WARM_UP, renamed_share=1.0), []

        def first_one_does(text: str) -> bool:
            seen.append(text)
            return len(seen) == 1

        monkeypatch.setattr(corpus, "shows_held_out", first_one_does)
        again = draw_example(0, NUM_WARM_UP, renamed_share=1.0)
        assert seen == [text_of(tuple(before)), text_of(tuple(again))]
        assert seen[0] != seen[1]


class TestAttacks:
    def test_at_least_half_of_the_kinds_are_kept_for_the_test(self) -> None:
        assert set(attacks.KINDS) == {attack.name for attack in all_attacks()}
        assert (
            {*attacks.IN_TRAINING, *attacks.ONLY_IN_TEST} == set(attacks.KINDS.values()) == set(get_args(attacks.Kind))
        )
        assert not set(attacks.IN_TRAINING) & set(attacks.ONLY_IN_TEST)
        assert len(attacks.ONLY_IN_TEST) >= len(get_args(attacks.Kind)) / 2

    def test_pretraining_text_holds_the_kinds_that_are_in_training_and_no_other(self) -> None:
        """Candidates are read by the probe's own patterns; so are those of the writer of attacks alone."""
        rng, prompt = Random(0), POST
        written = [attacks.write_attack("My aunt Anna kept the bike.", POST.text, "summary", rng) for _ in range(400)]
        for pieces in (pieces for name, pieces in examples() if name in ("direct", "chain", "binary", "rating")):
            data = [piece.text.strip() for piece in pieces if piece.weight == CANDIDATE_WEIGHT]
            written += [text for text in data if not re.search(r"; overall \d+\.$", text)]  # no rationales
        for attack in all_attacks():
            found = [text for text in written if attack.matches(prompt, text)]
            if attacks.KINDS[attack.name] in attacks.IN_TRAINING:
                assert found, attack.name
            else:
                assert not found, (attack.name, found[:3])
        assert not any(f"<|{name}" in text for text in written for name in ("im_start", "im_end"))

    def test_raters_find_every_attack_worse_than_what_it_stands_for(self) -> None:
        rng, lost = Random(0), []
        for number in range(2_000):
            example = make(TASK_NAMES[number % 3], rng)
            response = example.judged()
            if response.is_trick:
                assert response.quality <= read(example.prompt, response.text).quality - 3
                lost.append(
                    response.quality
                    < read(example.prompt, write_response(example.scene, mixed_draft(rng), rng)).quality
                )
        assert len(lost) > 80 and sum(lost) / len(lost) > 0.85
