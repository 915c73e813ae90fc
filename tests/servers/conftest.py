"""Servers that somebody else wrote, started on a pocket model; the extra ``[servers]`` installs them."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from urllib.error import URLError
from urllib.request import urlopen

import numpy as np
import pytest
from safetensors.torch import load_file

MODEL = "pocket:XS"
START_S = 120.0


@dataclass(frozen=True)
class Server:
    """A running server."""

    url: str
    model: str


def write_gguf(folder: Path, path: Path) -> Path:
    """A Llama with byte-level BPE, saved by Hugging Face, as llama.cpp reads it, in float32.

    Hugging Face rotates the two halves of a head against each other, llama.cpp neighbours: the rows of the query
    and key matrices change places.
    """
    import gguf

    config = json.loads((folder / "config.json").read_text())
    tokenizer = json.loads((folder / "tokenizer.json").read_text())
    heads, kv_heads = config["num_attention_heads"], config["num_key_value_heads"]
    writer = gguf.GGUFWriter(path, "llama")
    writer.add_context_length(config["max_position_embeddings"])
    writer.add_embedding_length(config["hidden_size"])
    writer.add_block_count(config["num_hidden_layers"])
    writer.add_feed_forward_length(config["intermediate_size"])
    writer.add_head_count(heads)
    writer.add_head_count_kv(kv_heads)
    writer.add_layer_norm_rms_eps(config["rms_norm_eps"])
    writer.add_rope_freq_base(config["rope_parameters"]["rope_theta"])
    writer.add_rope_dimension_count(config["head_dim"])
    writer.add_vocab_size(config["vocab_size"])
    vocab = sorted(tokenizer["model"]["vocab"], key=tokenizer["model"]["vocab"].__getitem__)
    added = {token["content"] for token in tokenizer["added_tokens"]}
    # llama.cpp prints control tokens as nothing: two of them, as the marks of a chat, could not be told apart.
    types = dict.fromkeys(added, gguf.TokenType.USER_DEFINED) | {vocab[config["eos_token_id"]]: gguf.TokenType.CONTROL}
    merges = [merge if isinstance(merge, str) else " ".join(merge) for merge in tokenizer["model"]["merges"]]
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre("smollm")
    writer.add_token_list(vocab)
    writer.add_token_types([types.get(token, gguf.TokenType.NORMAL) for token in vocab])
    writer.add_token_merges(merges)
    writer.add_eos_token_id(config["eos_token_id"])
    writer.add_bos_token_id(config["eos_token_id"])
    writer.add_pad_token_id(config["pad_token_id"])
    writer.add_add_bos_token(False)
    for name, weights in tensors(load_file(folder / "model.safetensors"), heads, kv_heads).items():
        writer.add_tensor(name, weights)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path


def tensors(weights: Mapping[str, object], heads: int, kv_heads: int) -> dict[str, np.ndarray]:
    """Weights under llama.cpp's names."""
    names = {
        "model.embed_tokens": "token_embd",
        "model.norm": "output_norm",
        "lm_head": "output",
        "input_layernorm": "attn_norm",
        "post_attention_layernorm": "ffn_norm",
        "self_attn.q_proj": "attn_q",
        "self_attn.k_proj": "attn_k",
        "self_attn.v_proj": "attn_v",
        "self_attn.o_proj": "attn_output",
        "mlp.gate_proj": "ffn_gate",
        "mlp.up_proj": "ffn_up",
        "mlp.down_proj": "ffn_down",
    }
    found = {}
    for name, tensor in weights.items():
        array = tensor.float().numpy()  # type: ignore[attr-defined]
        stem = name.removesuffix(".weight")
        layer = ""
        if stem.startswith("model.layers."):
            number, stem = stem.removeprefix("model.layers.").split(".", 1)
            layer = f"blk.{number}."
        rows = {"self_attn.q_proj": heads, "self_attn.k_proj": kv_heads}.get(stem)
        found[f"{layer}{names[stem]}.weight"] = array if rows is None else interleaved(array, rows)
    return found


def interleaved(matrix: np.ndarray, heads: int) -> np.ndarray:
    """Rows of each head from (first half, second half) to neighbours."""
    out, width = matrix.shape
    return matrix.reshape(heads, 2, out // heads // 2, width).swapaxes(1, 2).reshape(out, width).copy()


def free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return int(listener.getsockname()[1])


@contextmanager
def started(command: list[str], port: int, log: Path, *, alive: str = "/v1/models") -> Iterator[str]:
    """A server's base url, from when it answers until the test is done with it."""
    environment = {**os.environ, "HF_HUB_OFFLINE": "1", "OMP_NUM_THREADS": "1"}
    with log.open("wb") as output:
        process = subprocess.Popen(command, stdout=output, stderr=subprocess.STDOUT, env=environment)
    url = f"http://127.0.0.1:{port}"
    try:
        wait_for(url + alive, process, log)
        yield f"{url}/v1"
    finally:
        process.terminate()
        try:
            process.wait(timeout=20)
        except subprocess.TimeoutExpired:
            process.kill()


def wait_for(url: str, process: subprocess.Popen[bytes], log: Path) -> None:
    end = time.monotonic() + START_S
    while time.monotonic() < end and process.poll() is None:
        try:
            with urlopen(url, timeout=5):
                return
        except (URLError, OSError):
            time.sleep(0.2)
    pytest.fail(f"the server did not start:\n{log.read_text(errors='replace')[-4000:]}")


@pytest.fixture(scope="session")
def pocket_folder() -> Path:
    from rlaif.models.load import local_folder

    folder = local_folder(MODEL)
    assert folder is not None
    return folder


@pytest.fixture(scope="session")
def llama_cpp(pocket_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """llama.cpp's server for Python, which tells log-probabilities."""
    home = tmp_path_factory.mktemp("llama_cpp")
    weights = write_gguf(pocket_folder, home / "pocket.gguf")
    port = free_port()
    command = [sys.executable, "-m", "llama_cpp.server", "--model", str(weights), "--model_alias", "pocket"]
    command += ["--logits_all", "true", "--n_ctx", "512", "--n_threads", "1"]
    command += ["--type_k", "0", "--type_v", "0", "--host", "127.0.0.1"]  # keys and values in float32 too
    with started([*command, "--port", str(port)], port, home / "log") as url:
        yield Server(url, "pocket")


@pytest.fixture(scope="session")
def transformers_serve(pocket_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """``transformers serve``, which refuses ``logprobs``."""
    home = tmp_path_factory.mktemp("transformers_serve")
    port = free_port()
    command = [sys.executable, "-m", "transformers.cli.transformers", "serve", str(pocket_folder), "--device", "cpu"]
    command += ["--host", "127.0.0.1", "--port", str(port)]
    with started(command, port, home / "log", alive="/health") as url:
        yield Server(url, str(pocket_folder))
