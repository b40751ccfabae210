"""Make a folder with a model in `model/` an MLflow model, without copying or loading a weight.

mlflow.transformers.save_model would hold the whole model in memory and write it once more; the flavour is only a record
in `MLmodel`. Nothing in it depends on the clock, so the same merge gives the same bytes.
"""

import importlib.metadata
import json
import shutil
from pathlib import Path
from typing import Any

import mlflow
import yaml
from mlflow.models import Model, ModelSignature
from mlflow.types import ColSpec, ParamSchema, ParamSpec, Schema

_REQUIRED = ("mlflow", "torch", "transformers", "accelerate", "safetensors")
_FOR_ADAPTERS = ("peft", "bitsandbytes")
_LOADER = Path(__file__).with_name("luthier_adapter.py")


def write(folder: Path, identity: str) -> None:
    """Add MLmodel and the environment files to a merged model with its tokenizer in `components/tokenizer/`; `identity`
    (hex, 32 digits or more) becomes the model's uuid."""
    config = json.loads((folder / "model" / "config.json").read_bytes())
    model = _model(identity)
    model.add_flavor(
        "transformers",
        transformers_version=importlib.metadata.version("transformers"),
        code=None,
        task="text-generation",
        instance_type="TextGenerationPipeline",
        torch_dtype=f"torch.{config['dtype']}",
        pipeline_model_type=config["architectures"][0],
        source_model_name="model",
        model_binary="model",
        components=["tokenizer"],
        tokenizer_type="AutoTokenizer",
    )
    _save(model, folder, _REQUIRED, loader_module="mlflow.transformers")


def write_adapter(folder: Path, identity: str) -> None:
    """The same for an adapter with its record base.json, loaded by a file of ours that goes with it.

    MLflow's own flavour would load a base without its 4 bits, and with the base's tokenizer and chat template in place of
    those that were trained with; a base that is a folder it would drop without a word (mlflow issue 23761).
    """
    code = folder / "code"
    code.mkdir()
    shutil.copyfile(_LOADER, code / _LOADER.name)
    base = json.loads((folder / "base.json").read_bytes())["model"]
    settings = {"base_model_name_or_path": base}
    needed = (*_REQUIRED, *_FOR_ADAPTERS)
    _save(_model(identity), folder, needed, loader_module=_LOADER.stem, code=code.name, model_config=settings)


def _model(identity: str) -> Model:
    # mlflow fills in the present time where none is given; a fixed one keeps the content hash of equal merges equal.
    return Model(model_uuid=identity[:32], utc_time_created="1970-01-01 00:00:00", signature=_signature())


def _save(model: Model, folder: Path, required: tuple[str, ...], **loader: Any) -> None:
    mlflow.pyfunc.add_to_model(model, conda_env="conda.yaml", python_env="python_env.yaml", **loader)
    model.save(str(folder / "MLmodel"))
    _write_environment(folder, required)


def _signature() -> ModelSignature:
    # Without a ParamSchema predict() drops every parameter in silence.
    return ModelSignature(
        inputs=Schema([ColSpec("string")]),
        outputs=Schema([ColSpec("string")]),
        params=ParamSchema(
            [
                ParamSpec("max_new_tokens", "long", 256),
                ParamSpec("do_sample", "boolean", False),
                ParamSpec("temperature", "double", 1.0),
                ParamSpec("top_p", "double", 1.0),
            ]
        ),
    )


def _write_environment(folder: Path, required: tuple[str, ...]) -> None:
    """requirements.txt, conda.yaml and python_env.yaml: said in full, or mlflow looks for torchvision when it loads."""
    versions = {name: importlib.metadata.version(name).partition("+")[0] for name in required}
    needs = [f"{name}=={version}" for name, version in versions.items()]
    (folder / "requirements.txt").write_text("\n".join(needs) + "\n")
    conda: dict[str, Any] = {
        "name": "mlflow-env",
        "channels": ["conda-forge"],
        "dependencies": ["python>=3.11", "pip", {"pip": needs}],
    }
    (folder / "conda.yaml").write_text(yaml.safe_dump(conda, sort_keys=False))
    environment = {"python": "3.11", "build_dependencies": ["pip"], "dependencies": ["-r requirements.txt"]}
    (folder / "python_env.yaml").write_text(yaml.safe_dump(environment, sort_keys=False))
