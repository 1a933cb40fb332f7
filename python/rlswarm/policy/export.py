"""A trained policy as files that plain transformers, or plain peft, loads.

The base model's folder is copied but for its weights, so tokenizer, chat template, config and
generation config are those that were published.
"""

import shutil
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
import transformers
from safetensors.torch import save_file
from torch import Tensor

from rlswarm.errors import StorageError
from rlswarm.policy.adapter import attach, published_name, trained
from rlswarm.policy.source import ModelFiles
from rlswarm.worker.messages import LoraShape

_WEIGHTS = (".safetensors", ".bin", ".pt", ".pth", ".gguf", ".msgpack", ".h5", ".onnx")
_INDEX = ".index.json"


def export_merged(
    files: ModelFiles, lora: LoraShape, adapter: Mapping[str, Tensor], target: Path
) -> None:
    """Write the model with `adapter` (B matrices, by published name) merged into its weights, in
    the dtype they were published in. Raises StorageError, ModelError."""

    def fill(folder: Path) -> None:
        model = _adapted(files, lora, adapter)
        _write(model.merge_and_unload(), files, folder)

    _whole_or_not_at_all(target, fill)


def export_full(files: ModelFiles, weights: Mapping[str, Tensor], target: Path) -> None:
    """Write a model all of whose weights were trained, in fp32. Raises StorageError."""

    def fill(folder: Path) -> None:
        model = _plain(files, torch.float32)
        with torch.no_grad():
            for name, parameter in model.named_parameters():
                parameter.copy_(weights[name])
        _write(model, files, folder)

    _whole_or_not_at_all(target, fill)


def export_adapter(
    files: ModelFiles, lora: LoraShape, adapter: Mapping[str, Tensor], base: str, target: Path
) -> None:
    """Write the adapter alone in peft's format, A matrices included; `base` is what its config
    names as its base model. Raises StorageError, ModelError."""

    def fill(folder: Path) -> None:
        model = _adapted(files, lora, adapter)
        tensors = {
            published_name(name): parameter.detach().contiguous()
            for name, parameter in model.named_parameters()
            if "lora_" in name
        }
        save_file(tensors, folder / "adapter_model.safetensors", metadata={"format": "pt"})
        settings: Any = model.peft_config["default"]
        settings.base_model_name_or_path = base
        settings.inference_mode = True
        settings.save_pretrained(folder)

    _whole_or_not_at_all(target, fill)


def _plain(files: ModelFiles, dtype: torch.dtype | str) -> Any:
    return transformers.AutoModelForCausalLM.from_pretrained(
        files.folder,
        dtype=dtype,
        local_files_only=True,
        trust_remote_code=False,
        use_safetensors=True,
    )


def _adapted(files: ModelFiles, lora: LoraShape, adapter: Mapping[str, Tensor]) -> Any:
    wrapped = attach(_plain(files, "auto"), lora)
    with torch.no_grad():
        for name, parameter in trained(wrapped).items():
            parameter.copy_(adapter[name])
    return wrapped


def _write(model: Any, files: ModelFiles, folder: Path) -> None:
    _copy_all_but_weights(files.folder, folder)
    model.save_pretrained(folder)
    if not (folder / "tokenizer.json").is_file():
        shutil.copyfile(files.tokenizer, folder / "tokenizer.json")


def _copy_all_but_weights(source: Path, folder: Path) -> None:
    for file in source.iterdir():
        if file.is_file() and not file.name.endswith((*_WEIGHTS, _INDEX)):
            shutil.copyfile(file, folder / file.name)


def _whole_or_not_at_all(target: Path, fill: Any) -> None:
    """Fill a sibling of `target` and rename it. Raises StorageError."""
    if target.exists():
        raise StorageError(f"{target} exists already; name a folder that does not")
    scratch = None
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        scratch = Path(tempfile.mkdtemp(prefix=f".{target.name}.", dir=target.parent))
        scratch.chmod(0o755)
        fill(scratch)
        scratch.rename(target)
    except OSError as error:
        raise StorageError(
            f"the export to {target} could not be written ({error.strerror or error})"
        ) from error
    except Exception as error:
        if "No space left" in str(error) or "I/O error" in str(error):  # safetensors' own class
            raise StorageError(f"the export to {target} could not be written ({error})") from error
        raise
    finally:
        if scratch is not None:
            shutil.rmtree(scratch, ignore_errors=True)
