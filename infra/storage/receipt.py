"""What a stage hands on: a receipt names an artifact, a manifest proves it."""

from collections.abc import Mapping
from typing import Any

from pydantic import Field, JsonValue, field_validator

from infra.frozen import Frozen, digest, sealed, unsealed
from infra.storage import layout


class FileEntry(Frozen):
    """One file: path relative to its artifact, size in bytes, sha256 in hex."""

    path: str
    size: int = Field(ge=0)
    sha256: str = Field(pattern=r"\A[0-9a-f]{64}\z")

    @field_validator("path")
    @classmethod
    def _stays_inside(cls, path: str) -> str:
        # A manifest read from a store names files to be written here: no `..` may come in that way.
        return layout.join(path)


class Origin(Frozen):
    """A file from outside the store that an artifact was made of: where it lay, and what it was then."""

    uri: str
    size: int = Field(ge=0)
    sha256: str = Field(pattern=r"\A[0-9a-f]{64}\z")


class Receipt(Frozen):
    """A committed artifact: where it lies (`uri`), what is in it (`content_sha256`), and the figures people ask for."""

    stage: str
    key: str
    attempt: str
    uri: str
    content_sha256: str
    summary: dict[str, JsonValue] = Field(default_factory=dict)


class Manifest(Frozen):
    """The commit record of an artifact. Whoever reads a stage's files reads this first.

    `parts` are artifacts that belong to this one and lie where they were made: it is whole where they are. `origins`,
    `code` (a hash of Luthier's own source), `seconds` and `versions` tell how it was made; they enter no hash.
    """

    format: int = 1
    stage: str
    version: int
    key: str
    attempt: str
    generation: int = 1
    replaces: str = ""
    files: list[FileEntry]
    content_sha256: str
    config: dict[str, JsonValue]
    inputs: dict[str, Receipt]
    parts: dict[str, Receipt] = Field(default_factory=dict)
    summary: dict[str, JsonValue]
    versions: dict[str, str]
    origins: list[Origin] = Field(default_factory=list)
    code: str = ""
    seconds: float = 0.0
    created: str

    def record(self) -> bytes:
        """The bytes that commit it."""
        return sealed(self.model_dump(mode="json"))

    @classmethod
    def read(cls, data: bytes) -> "Manifest":
        """The manifest that a record holds; ValueError where it is damaged, or a newer Luthier's."""
        return cls.model_validate(unsealed(data))


def content_sha256(stage: str, files: list[FileEntry], parts: Mapping[str, Receipt] | None = None) -> str:
    """Equal for equal bytes under equal names, whoever made them and whenever; so a rerun can prove itself equal."""
    made = [stage, 1, sorted([file.path, file.sha256] for file in files)]
    return digest([*made, {name: part.content_sha256 for name, part in parts.items()}] if parts else made)


def input_key(stage: str, version: int, config: dict[str, Any], inputs: dict[str, Receipt]) -> str:
    """Equal for equal work: no clock, host, path, secret or library version goes in.

    `version` is raised by hand when a stage's code starts to make something else of the same inputs.
    """
    return digest([stage, version, config, {name: receipt.content_sha256 for name, receipt in inputs.items()}])
