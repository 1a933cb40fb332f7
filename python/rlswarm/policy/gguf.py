"""GGUF files, converted once to a folder of safetensors that loads in a second.

Dequantising takes most of a minute and more memory than the model needs afterwards, so a process
of its own does it.
"""

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

from rlswarm.errors import ModelError
from rlswarm.policy.cache import cache_folder, cached_folder, file_digest

FORMAT = 1
"""Counts changes of what `write_safetensors` writes; old cache folders are then left alone."""


def converted_folder(file: Path, digest: bytes) -> Path:
    """Where the conversion of a GGUF file with this digest is kept."""
    return cache_folder() / "models" / f"{file.stem}-{digest.hex()[:16]}-v{FORMAT}"


def convert(file: Path, tell: Callable[[str], None]) -> Path:
    """The safetensors folder of a GGUF file, made in this process if need be.

    `tell` gets a line when work starts. Raises StorageError, ModelError.
    """

    def make(scratch: Path) -> None:
        tell(f"converting {file.name} to safetensors, once (half a minute) ...")
        try:
            write_safetensors(file, scratch)
        # What its readers raise for files and kinds of tensors that they don't know.
        except (ValueError, KeyError, NotImplementedError) as error:
            raise ModelError(f"{file} is not a GGUF file that can be used ({error})") from error

    return cached_folder(converted_folder(file, file_digest(file)), make)


def converted(file: Path, digest: bytes) -> Path:
    """The safetensors folder of a GGUF file, made in a child process if need be.

    Raises ModelError if the file can't be converted.
    """
    folder = converted_folder(file, digest)
    if not folder.is_dir():
        command = [sys.executable, "-m", "rlswarm.policy.convert", str(file)]
        done = subprocess.run(command, stdin=subprocess.DEVNULL, stdout=sys.stderr, check=False)
        if done.returncode != 0 or not folder.is_dir():
            raise ModelError(f"{file} could not be converted from GGUF; the reason is above")
    return folder


def write_safetensors(file: Path, folder: Path) -> None:
    """Dequantise `file` to fp32 and write weights, config and tokenizer to `folder`."""
    import torch
    from safetensors.torch import save_file
    from transformers import AutoModelForCausalLM, AutoTokenizer

    named = {"pretrained_model_name_or_path": str(file.parent), "gguf_file": file.name}
    AutoTokenizer.from_pretrained(**named, local_files_only=True).save_pretrained(folder)
    model = AutoModelForCausalLM.from_pretrained(
        **named, local_files_only=True, dtype=torch.float32
    )
    # save_pretrained refuses models that came quantised: write the parts ourselves.
    if hasattr(model.config, "quantization_config"):
        del model.config.quantization_config
    model.config.save_pretrained(folder)
    model.generation_config.save_pretrained(folder)
    weights = model.state_dict()
    if model.config.tie_word_embeddings:
        weights.pop("lm_head.weight", None)
    tensors = {name: tensor.contiguous() for name, tensor in weights.items()}
    save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})
