"""What a run's model cannot do is told in the first seconds, with numbers and options that exist."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from architectures import try_architecture
from omegaconf import DictConfig
from rich.console import Console
from safetensors.torch import load_file, save_file
from tokenizers import Tokenizer, decoders, pre_tokenizers
from tokenizers.models import BPE
from transformers import (
    AutoConfig,
    AutoModelForCausalLM,
    AutoModelForSequenceClassification,
    BertConfig,
    BloomConfig,
    ByT5Tokenizer,
    GPTNeoConfig,
    LlamaConfig,
    Phi3Config,
    PreTrainedTokenizerFast,
)

from rlaif.engines.transformers import TransformersEngine
from rlaif.errors import ConfigError, EngineError
from rlaif.inference.score import score_options
from rlaif.models.classifiers import classifier_pad_id, load_reward_model
from rlaif.models.contexts import context_limit
from rlaif.models.fitness import model_problems
from rlaif.models.load import ModelSpec, _check_finite, load_causal_lm, load_tokenizer, use_attention
from rlaif.models.saving import save_folder
from rlaif.models.trial import TOLERANCE, small_copy, trial_problems
from rlaif.models.uses import ModelUse
from rlaif.modules.values import ValueHead
from rlaif.pipeline.model_check import model_check
from rlaif.pipeline.plan import Plan
from rlaif.pipeline.run import check, load_early
from rlaif.reporting.terminal import RunDisplay
from rlaif.rewards.reward_model import RewardModelReward
from rlaif.tasks.base import get_task
from rlaif.testing.tiny import make_tiny_model
from rlaif.types import Completion, Prompt, Segment, StructuredPrompt

SAMPLING = ModelUse(purpose="sample", num_tokens=60, option="sampling.max_prompt_tokens", num_other=20)
ALL = (
    SAMPLING,
    ModelUse(purpose="imitate", num_tokens=60, option="sft.max_length"),
    ModelUse(purpose="reward_model", num_tokens=60, option="reward_model.max_length"),
)


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_tiny_model(tmp_path_factory.mktemp("models") / "tiny", max_position_embeddings=64)


# The script beside the numerics tests does the same with 40 of them.
@pytest.mark.parametrize("kind", ["gpt2", "gemma2", "granite", "opt", "cwm", "bloom"])
def test_architectures_do_everything_or_are_refused(kind: str, tmp_path: Path) -> None:
    try:
        done = try_architecture(kind, tmp_path)
    finally:
        use_attention("sdpa")
    if kind == "bloom":
        assert "model.name=bloom (bloom): it cannot sample and score with shared prefixes" in done.refused
        return
    assert done.refused == ""
    assert max(done.logprobs, done.sampled, done.scored) < 2e-5
    assert done.losses[1] < done.losses[0]
    assert done.head == {"gpt2": "GPT2", "gemma2": "Gemma2", "opt": "OPT"}.get(kind, "ScalarHead")


def test_lengths_name_numbers_and_the_option_to_lower(tiny: Path) -> None:
    long = ModelUse(purpose="sample", num_tokens=100, option="sampling.max_prompt_tokens", num_other=20)
    same = ModelUse(purpose="sample", num_tokens=100, option="policy.max_prompt_tokens", num_other=20)
    sft = ModelUse(purpose="imitate", num_tokens=65, option="sft.max_length")
    problems = list(model_problems(ModelSpec(str(tiny)), [sft, long, same]))
    reads = f"and {tiny} reads at most 64 (max_position_embeddings in its config.json)"
    assert problems == [
        f"sft.max_length=65: 65 tokens in all, {reads}; type sft.max_length=64 or less, or take a model with a longer"
        " context",
        f"sampling.max_prompt_tokens=80 with 20 new ones: 100 tokens in all, {reads}; type"
        " sampling.max_prompt_tokens=44 or less, or take a model with a longer context",
    ]
    assert list(model_problems(ModelSpec(str(tiny)), ALL)) == []


def test_limits_of_contexts() -> None:
    assert context_limit(LlamaConfig(max_position_embeddings=50), sampled=True) == (50, "max_position_embeddings")
    assert context_limit(BloomConfig(), sampled=True) is None
    mistral = AutoConfig.for_model("mistral", max_position_embeddings=100, sliding_window=30)
    assert context_limit(mistral, sampled=True) == (30, "sliding_window")
    assert context_limit(mistral, sampled=False) == (100, "max_position_embeddings")
    neo = GPTNeoConfig(
        max_position_embeddings=100, window_size=30, num_layers=2, attention_types=[[["global", "local"], 1]]
    )
    assert context_limit(neo, sampled=True) == (30, "window_size")
    neo = GPTNeoConfig(max_position_embeddings=100, window_size=30, num_layers=2, attention_types=[[["global"], 2]])
    assert context_limit(neo, sampled=True) == (100, "max_position_embeddings")
    factors = {"short_factor": [1.0] * 4, "long_factor": [2.0] * 4}
    rope = {"rope_type": "longrope", "rope_theta": 1e4, "original_max_position_embeddings": 40, **factors}
    sizes = {"max_position_embeddings": 100, "original_max_position_embeddings": 40}
    phi = Phi3Config(hidden_size=32, num_attention_heads=4, rope_parameters=rope, **sizes)
    assert context_limit(phi, sampled=True) == (40, "original_max_position_embeddings")
    dynamic = {"rope_type": "dynamic", "rope_theta": 1e4, "factor": 4.0}
    stretched = LlamaConfig(max_position_embeddings=50, rope_parameters=dynamic)
    assert context_limit(stretched, sampled=True) == (50, "max_position_embeddings")


def test_tokens_that_the_embedding_lacks_are_named(tiny: Path, tmp_path: Path) -> None:
    folder = shutil.copytree(tiny, tmp_path / "more")
    tokenizer = load_tokenizer(str(folder))
    tokenizer.add_tokens(["<|more|>"])
    tokenizer.save_pretrained(folder)
    (problem,) = model_problems(ModelSpec(str(folder)), ALL)
    assert "has 1 tokens that its embedding of 320 rows lacks, the first '<|more|>' with id 320" in problem


def test_an_attention_that_cannot_sample(tiny: Path) -> None:
    (problem,) = model_problems(ModelSpec(str(tiny), attn_implementation="flex_attention"), ALL)
    assert problem.startswith("model.attn_implementation=flex_attention: ")
    assert problem.endswith("type model.attn_implementation=sdpa")


def test_a_model_that_is_no_causal_lm(tmp_path: Path) -> None:
    AutoConfig.for_model("t5").save_pretrained(tmp_path)
    (problem,) = model_problems(ModelSpec(str(tmp_path)), ALL)
    assert "t5 has an encoder and a decoder" in problem


def test_a_model_that_reads_ahead_learns_nothing() -> None:
    shape = {"hidden_size": 32, "intermediate_size": 64, "num_attention_heads": 4}
    assert list(trial_problems(small_copy(BertConfig(is_decoder=True, **shape), "sdpa"), {"imitate": True})) == []
    (problem,) = trial_problems(small_copy(BertConfig(**shape), "sdpa"), {"imitate": True})
    assert "cannot learn from texts: it reads the tokens that come later" in problem
    assert problem.endswith("where its config.json has is_decoder, set it to true")


def test_a_folder_without_weights_or_with_an_adapter_alone(tiny: Path, tmp_path: Path) -> None:
    folder = shutil.copytree(tiny, tmp_path / "adapter")
    (folder / "model.safetensors").rename(folder / "adapter_model.safetensors")
    (problem,) = model_problems(ModelSpec(str(folder)), ALL)
    assert problem == f"model.name={folder}: this folder holds no weights (*.safetensors)"
    (folder / "adapter_config.json").write_text("{}")
    (problem,) = model_problems(ModelSpec(str(folder)), ALL)
    assert "holds an adapter of peft" in problem and "merge_and_unload" in problem
    (folder / "config.json").unlink()
    with pytest.raises(ConfigError, match="holds an adapter of peft"):
        list(model_problems(ModelSpec(str(folder)), ALL))


def test_a_model_with_code_of_its_own_is_refused_without_a_question(tiny: Path, tmp_path: Path) -> None:
    folder = shutil.copytree(tiny, tmp_path / "remote")
    config = json.loads((folder / "config.json").read_text())
    config |= {"model_type": "of_my_own", "auto_map": {"AutoConfig": "own.Config", "AutoModelForCausalLM": "own.Model"}}
    (folder / "config.json").write_text(json.dumps(config))
    with pytest.raises(EngineError, match="models that bring code of their own are not run"):
        list(model_problems(ModelSpec(str(folder)), ALL))


def test_weights_that_are_no_numbers_are_not_loaded(tiny: Path, tmp_path: Path) -> None:
    folder = shutil.copytree(tiny, tmp_path / "nan")
    weights = load_file(folder / "model.safetensors")
    name = next(name for name in weights if "down_proj" in name)
    weights[name][1, 2] = float("nan")
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(EngineError, match=f"its weight {name} holds NaN or infinite values"):
        load_causal_lm(str(folder))


def test_a_tokenizer_that_cannot_be_taken_apart_is_refused(tiny: Path, tmp_path: Path) -> None:
    folder = shutil.copytree(tiny, tmp_path / "byt5", ignore=shutil.ignore_patterns("tokenizer*", "special*"))
    ByT5Tokenizer().save_pretrained(folder)
    with pytest.raises(EngineError, match=r"ByT5Tokenizer.*take a model with a tokenizer\.json"):
        load_tokenizer(str(folder))


def test_a_wrong_mask_shows_in_the_small_copy(monkeypatch: pytest.MonkeyPatch) -> None:
    model = small_copy(LlamaConfig(hidden_size=32, intermediate_size=64, num_attention_heads=4), "sdpa")
    purposes = {"sample": True, "reward_model": True}
    assert list(trial_problems(model, purposes)) == []

    def blind(past_BS: torch.Tensor, width: int) -> torch.Tensor:
        return torch.ones(len(past_BS), width, past_BS.shape[1] + width, dtype=torch.bool)

    monkeypatch.setattr("rlaif.inference.prefill.causal_after", blind)
    (problem,) = trial_problems(model, purposes)
    assert "sample and score with shared prefixes: log-probabilities differ by" in problem
    assert TOLERANCE < 0.01


def test_a_run_tells_them_before_anything_is_trained(
    make_config: Callable[..., DictConfig], tiny: Path, tmp_path: Path
) -> None:
    cfg = make_config()
    cfg.model.name, cfg.sft.max_length = str(tiny), 60
    plan = Plan(cfg, tmp_path / "run")
    load_early(plan, RunDisplay(Console(quiet=True)))
    with pytest.raises(ConfigError) as error:
        check(plan)
    assert [problem.split("=")[0] for problem in error.value.problems] == [
        "sampling.max_prompt_tokens",
        "reward_model.max_length",
    ]
    assert not (tmp_path / "store").exists()


@pytest.mark.parametrize("options", [("policy=reinforce",), ("policy=best_of_n", "policy.batch_size=2")])
def test_the_length_that_a_reward_model_scores_is_checked_unless_it_is_another_model(
    options: tuple[str, ...], make_config: Callable[..., DictConfig], tiny: Path, tmp_path: Path
) -> None:
    short = ("sampling.max_prompt_tokens=40", "sampling.max_new_tokens=16", "sft.max_length=60")
    learned = ("policy.max_length=60",) if "policy=best_of_n" in options else ()
    lengths = (*short, *learned, "reward_model.max_length=60", "reward.max_length=65")
    learner = "best_of_n" if learned else "policy"
    other = f"{{stage: {learner}, from: {{reward_model: {tiny}}}}}"
    stages = {
        "own": f"[data,sft,samples,labels,reward_model,{learner}]",
        "other": f"[data,sft,{other}]",
    }
    problems = {}
    for name, listed in stages.items():
        plan = Plan(
            make_config(*options, *lengths, f"model.name={tiny}", f"pipeline.stages={listed}"), tmp_path / "run"
        )
        problems[name] = list(model_check(plan))
    assert [problem.split(":")[0] for problem in problems["own"]] == ["reward.max_length=65"]
    assert problems["other"] == []


def test_a_scalar_head_of_our_own_is_saved_and_read(tmp_path: Path) -> None:
    folder = make_tiny_model(tmp_path / "llama")
    config = AutoConfig.for_model(
        "granite",
        vocab_size=320,
        hidden_size=32,
        intermediate_size=64,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
    )
    with torch.random.fork_rng():
        torch.manual_seed(0)
        AutoModelForCausalLM.from_config(config).save_pretrained(folder)
    scorer, tokenizer = load_reward_model(str(folder), seed=3), load_tokenizer(str(folder))
    with pytest.raises(ValueError, match="Unrecognized configuration"):
        AutoModelForSequenceClassification.from_config(config)
    torch.testing.assert_close(scorer.model.embed_tokens.weight, load_causal_lm(str(folder)).model.embed_tokens.weight)
    save_folder(scorer, tokenizer, tmp_path / "saved")
    again = load_reward_model(str(tmp_path / "saved"))
    ids = torch.tensor([[7, 8, 9, 0, 0], [7, 8, 9, 10, 11]])
    with torch.no_grad():
        both = again(input_ids=ids).logits
        assert torch.equal(both, scorer(input_ids=ids).logits)
        torch.testing.assert_close(both[:1], again(input_ids=ids[:1, :3]).logits)
    state = load_file(tmp_path / "saved" / "model.safetensors")
    del state["score.weight"]
    save_file(state, tmp_path / "saved" / "model.safetensors", {"format": "pt"})
    with pytest.raises(Exception, match=r"score\.weight, which would be random"):
        load_reward_model(str(tmp_path / "saved"))


def test_a_reward_model_sees_the_end_token_where_it_is_also_the_padding(tmp_path: Path) -> None:
    folder = make_tiny_model(tmp_path / "model")
    tokenizer = load_tokenizer(str(folder))
    tokenizer.pad_token = tokenizer.eos_token
    tokenizer.save_pretrained(folder)
    scorer = load_reward_model(str(folder), head_std=1.0)
    end = tokenizer.eos_token_id
    with torch.no_grad():
        finished, cut = (scorer(input_ids=torch.tensor([ids])).logits for ids in ([7, 8, end], [7, 8]))
    assert finished != cut
    save_folder(scorer, load_tokenizer(str(folder)), tmp_path / "saved")
    saved = load_tokenizer(str(tmp_path / "saved"))
    assert saved.pad_token_id == scorer.config.pad_token_id != end
    library = AutoModelForSequenceClassification.from_pretrained(tmp_path / "saved")
    batch = saved(["abc", "a longer text"], padding=True, return_tensors="pt")
    with torch.no_grad():
        torch.testing.assert_close(library(**batch).logits[:1], library(**saved("abc", return_tensors="pt")).logits)


def test_every_model_of_a_run_takes_its_attention_and_the_judge_keeps_its_own(
    tiny: Path, make_config: Callable[..., DictConfig], tmp_path: Path
) -> None:
    cfg = make_config()
    cfg.model.attn_implementation = "eager"
    try:
        Plan(cfg, tmp_path)
        assert load_causal_lm(ModelSpec(str(tiny), dtype="float32")).config._attn_implementation == "eager"
        assert load_reward_model(str(tiny)).config._attn_implementation == "eager"
        assert TransformersEngine(str(tiny)).spec.attention == "sdpa"
        Plan(make_config(), tmp_path)
        assert load_causal_lm(str(tiny)).config._attn_implementation == "sdpa"
    finally:
        use_attention("sdpa")


def test_a_baseline_reads_states_of_the_width_that_the_body_gives() -> None:
    """OPT's body may end with a projection from its hidden width to that of the embedding."""
    sizes = {"hidden_size": 32, "ffn_dim": 64, "num_hidden_layers": 2, "num_attention_heads": 4}
    model = small_copy(AutoConfig.for_model("opt", word_embed_proj_dim=16, **sizes), "sdpa")
    hidden = model.base_model(input_ids=torch.tensor([[5, 6]])).last_hidden_state
    assert ValueHead(model)(hidden, [[5]], torch.tensor([[6, 7]])).shape == (1, 2)


def test_a_judges_context_is_its_window(tmp_path: Path) -> None:
    folder = make_tiny_model(tmp_path)
    sizes = {"hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 1, "num_attention_heads": 4}
    config = AutoConfig.for_model("mistral", vocab_size=320, sliding_window=12, num_key_value_heads=2, **sizes)
    AutoModelForCausalLM.from_config(config).save_pretrained(folder)
    (long, short) = TransformersEngine(str(folder)).score(
        [StructuredPrompt(segments=(Segment(text=text),)) for text in ("0123456789" * 3, "Why")], ("1", "2")
    )
    assert long.missing is not None and long.missing.endswith("the context has 12")
    assert short.missing is None


def gpt2_like_tokenizer() -> PreTrainedTokenizerFast:
    """As GPT-2's: ids begin with "!", and the one special token, the last, ends texts."""
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    backend = Tokenizer(BPE(vocab={letter: index for index, letter in enumerate(alphabet)}, merges=[]))
    backend.pre_tokenizer, backend.decoder = pre_tokenizers.ByteLevel(add_prefix_space=False), decoders.ByteLevel()
    end = "<|endoftext|>"
    return PreTrainedTokenizerFast(tokenizer_object=backend, bos_token=end, eos_token=end, unk_token=end)


def gpt2_like_folder(folder: Path, *, spare_rows: int) -> Path:
    tokenizer = gpt2_like_tokenizer()
    make_tiny_model(folder)
    end = tokenizer.eos_token_id
    config = AutoConfig.from_pretrained(
        folder, vocab_size=len(tokenizer) + spare_rows, pad_token_id=None, bos_token_id=end, eos_token_id=end
    )
    with torch.random.fork_rng():
        torch.manual_seed(0)
        AutoModelForCausalLM.from_config(config).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


@pytest.mark.parametrize("spare_rows", [0, 3])
def test_a_reward_model_reads_every_character_where_all_special_tokens_end_texts(
    spare_rows: int, tmp_path: Path
) -> None:
    folder = gpt2_like_folder(tmp_path / "model", spare_rows=spare_rows)
    scorer, tokenizer = load_reward_model(str(folder), head_std=1.0), load_tokenizer(str(folder))
    assert tokenizer.convert_ids_to_tokens(0) == "!"
    prompt, ends = Prompt(task="dialogue", text="\n\nHuman: Hi\n\nAssistant:"), (tokenizer.eos_token_id,)
    responses = [Completion(text=text, finished=False) for text in ("Hi there", "Hi!!! there", "Hi there!!")]

    def rewards(reward: RewardModelReward) -> list[float]:
        found: list[float] = reward([prompt] * 3, responses).values_B.tolist()
        return found

    before = rewards(RewardModelReward(standardized=False).use(scorer, tokenizer, task=get_task("dialogue")))
    assert len(set(before)) == 3
    save_folder(scorer, load_tokenizer(str(folder)), tmp_path / "saved")
    reward = RewardModelReward(standardized=False).load(tmp_path / "saved", task=get_task("dialogue"))
    assert rewards(reward) == pytest.approx(before, abs=1e-6)
    saved = load_tokenizer(str(tmp_path / "saved"))
    assert saved.pad_token == "<|pad|>" and saved.pad_token_id == scorer.config.pad_token_id not in ends
    assert saved("Hi!")["input_ids"] == tokenizer("Hi!")["input_ids"]
    library = AutoModelForSequenceClassification.from_pretrained(tmp_path / "saved")
    with torch.no_grad():
        library(**saved(["Hi!", "a longer text"], padding=True, return_tensors="pt"))


def test_the_padding_of_a_classifier_is_a_token_that_no_text_ends_with() -> None:
    tokenizer = gpt2_like_tokenizer()
    end = tokenizer.eos_token_id
    assert classifier_pad_id(tokenizer, (end,)) == len(tokenizer)
    tokenizer.add_special_tokens({"additional_special_tokens": ["<|image|>", "<|vision_pad|>"]})
    assert classifier_pad_id(tokenizer, (end,)) == tokenizer.convert_tokens_to_ids("<|vision_pad|>")
    tokenizer.unk_token = tokenizer.pad_token = "<|image|>"
    assert classifier_pad_id(tokenizer, (end,)) == tokenizer.convert_tokens_to_ids("<|vision_pad|>"), "unknown text"
    tokenizer.pad_token = "<|vision_pad|>"
    assert classifier_pad_id(tokenizer, (end,)) == tokenizer.pad_token_id


def test_a_language_model_is_no_reward(tmp_path: Path) -> None:
    folder = make_tiny_model(tmp_path / "sft")
    with pytest.raises(EngineError, match=r"sft: a LlamaForCausalLM, where a sequence classifier is expected"):
        RewardModelReward().load(folder, task=get_task("dialogue"))
    model, tokenizer = load_reward_model(str(folder)), load_tokenizer(str(folder))
    model.config.num_labels = 2
    model.score = torch.nn.Linear(model.config.hidden_size, 2, bias=False)
    save_folder(model, tokenizer, tmp_path / "two")
    with pytest.raises(EngineError, match=r"two: a reward model has one label, this one has 2"):
        RewardModelReward().load(tmp_path / "two", task=get_task("dialogue"))


def test_positions_that_change_with_the_longest_row_are_refused_beyond_their_limit() -> None:
    dynamic = {"rope_type": "dynamic", "rope_theta": 1e4, "factor": 4.0}
    with torch.random.fork_rng():
        torch.manual_seed(0)
        config = LlamaConfig(
            vocab_size=96,
            hidden_size=32,
            intermediate_size=32,
            num_hidden_layers=1,
            num_attention_heads=2,
            max_position_embeddings=40,
            rope_parameters=dynamic,
        )
        model = AutoModelForCausalLM.from_config(config, attn_implementation="sdpa").eval()
    score_options(model, [[3] * 20, [4] * 38], [[8], [9]])
    with pytest.raises(EngineError, match="exceed max_position_embeddings=40, the reach of rotations, of this model"):
        score_options(model, [[3] * 20, [4] * 60], [[8], [9]])


def test_quantized_weights_are_refused_for_training_alone(tmp_path: Path) -> None:
    folder = make_tiny_model(tmp_path / "awq")
    config = json.loads((folder / "config.json").read_text())
    config["quantization_config"] = {"quant_method": "awq", "bits": 4, "group_size": 128, "zero_point": True}
    (folder / "config.json").write_text(json.dumps(config))
    uses = [ModelUse(purpose="imitate", num_tokens=8, option="sft.max_length")]
    (problem,) = model_problems(ModelSpec(str(folder)), uses)
    assert "its weights are quantized (awq), and policies and reward models learn in float32" in problem


def test_a_package_that_a_model_needs_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = make_tiny_model(tmp_path / "model")

    def absent(*words: object, **options: object) -> None:
        raise ImportError("Loading an AWQ quantized model requires gptqmodel")

    monkeypatch.setattr(AutoModelForCausalLM, "from_pretrained", absent)
    with pytest.raises(EngineError, match="requires gptqmodel"):
        load_causal_lm(str(folder))


def test_weights_of_8_bits_are_not_summed(tiny: Path) -> None:
    """torch has no sum of them; a judge with such weights must still load."""
    model = load_causal_lm(str(tiny))
    weight = next(model.parameters())
    weight.requires_grad_(False)
    weight.data = weight.data.to(torch.float8_e4m3fn)
    _check_finite(ModelSpec(str(tiny)), model)
