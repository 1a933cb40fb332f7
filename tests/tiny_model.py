"""A random Llama of 0.09 M parameters with a byte-level tokenizer, as a folder on disk.

Made without torch, in well under a second, so that any test may ask for one.
"""

import json
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from safetensors.numpy import save_file
from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers

WIDTH = 64
LAYERS = 2
HEADS = 4
KEY_HEADS = 2
INNER = 128
SPECIAL = ("<|endoftext|>", "<|im_start|>", "<|im_end|>")
VOCABULARY = 256 + len(SPECIAL)

CHAT_TEMPLATE = (
    "{% for message in messages %}"
    "{{ '<|im_start|>' + message['role'] + '\n' + message['content'] + '<|im_end|>' + '\n' }}"
    "{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"
)


def make_tiny_model(folder: Path, seed: int = 0) -> Path:
    """Write a causal language model to `folder` (made if absent) and return it.

    One token is one byte (ids 3..258), or one of three special ones (ids 0..2; ``<|im_end|>`` = 2
    ends a turn). Equal seeds give equal files.
    """
    folder.mkdir(parents=True, exist_ok=True)
    write_tokenizer(folder)
    config = {
        "architectures": ["LlamaForCausalLM"],
        "model_type": "llama",
        "vocab_size": VOCABULARY,
        "hidden_size": WIDTH,
        "intermediate_size": INNER,
        "num_hidden_layers": LAYERS,
        "num_attention_heads": HEADS,
        "num_key_value_heads": KEY_HEADS,
        "max_position_embeddings": 2048,
        "rms_norm_eps": 1e-5,
        "tie_word_embeddings": True,
        "bos_token_id": 0,
        "eos_token_id": 2,
        "pad_token_id": 0,
        "dtype": "float32",
    }
    (folder / "config.json").write_text(json.dumps(config, indent=2))
    save_file(_weights(seed), folder / "model.safetensors", metadata={"format": "pt"})
    return folder


def _weights(seed: int) -> dict[str, NDArray[np.float32]]:
    rng = np.random.default_rng(seed)

    def matrix(rows: int, columns: int, spread: float = 1.0) -> NDArray[np.float32]:
        return (rng.standard_normal((rows, columns)) * spread * columns**-0.5).astype(np.float32)

    # Wide embeddings keep the output far from uniform: samples and gradients carry information.
    weights = {
        "model.embed_tokens.weight": matrix(VOCABULARY, WIDTH, 2.0),
        "model.norm.weight": np.ones(WIDTH, np.float32),
    }
    key_width = WIDTH // HEADS * KEY_HEADS
    for layer in range(LAYERS):
        at = f"model.layers.{layer}."
        weights |= {
            at + "input_layernorm.weight": np.ones(WIDTH, np.float32),
            at + "post_attention_layernorm.weight": np.ones(WIDTH, np.float32),
            at + "self_attn.q_proj.weight": matrix(WIDTH, WIDTH),
            at + "self_attn.k_proj.weight": matrix(key_width, WIDTH),
            at + "self_attn.v_proj.weight": matrix(key_width, WIDTH),
            at + "self_attn.o_proj.weight": matrix(WIDTH, WIDTH),
            at + "mlp.gate_proj.weight": matrix(INNER, WIDTH),
            at + "mlp.up_proj.weight": matrix(INNER, WIDTH),
            at + "mlp.down_proj.weight": matrix(WIDTH, INNER),
        }
    return weights


def write_tokenizer(folder: Path) -> None:
    """The byte-level tokenizer of `make_tiny_model`, with its chat template."""
    letters = sorted(pre_tokenizers.ByteLevel.alphabet())
    vocabulary = {token: number for number, token in enumerate((*SPECIAL, *letters))}
    tokenizer = Tokenizer(models.BPE(vocab=vocabulary, merges=[]))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.add_special_tokens([AddedToken(token, special=True) for token in SPECIAL])
    tokenizer.save(str(folder / "tokenizer.json"))
    settings = {
        "tokenizer_class": "PreTrainedTokenizerFast",
        "bos_token": "<|endoftext|>",
        "eos_token": "<|im_end|>",
        "pad_token": "<|endoftext|>",
        "chat_template": CHAT_TEMPLATE,
    }
    (folder / "tokenizer_config.json").write_text(json.dumps(settings, indent=2))
