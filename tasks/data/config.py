"""The shape of the recipe's `data:` section."""

from typing import Annotated, Literal

from pydantic import AfterValidator, Field, field_validator, model_validator

from infra.frozen import Frozen, NotInKey
from infra.launch.resources import OnOneNode, Resources
from tasks.data.filters import Filters
from tasks.data.layouts import FIELDS, TEMPLATED
from tasks.data.messages import CALL, KEYS
from tasks.data.named import NAMES
from tasks.data.rows import ROLES


def _row_template(text: str) -> str:
    from tasks.data.row_templates import RowTemplate  # noqa: PLC0415 - Jinja loads slowly, and most recipes need none

    RowTemplate("", text)
    return text


Templated = Annotated[str, AfterValidator(_row_template)]
Format = Literal[
    "auto", "messages", "sharegpt", "alpaca", "prompt_completion", "text", "preference", "unpaired_preference"
]
Sensitive = Literal["off", "report", "redact", "drop"]
Role = Literal["assistant", "user", "system", "tool"]


class TextConfig(Frozen):
    """What decides how the rows of one source become tokens: one kind of shard. The fields are those of DataConfig."""

    format: Format
    columns: dict[str, str]
    roles: dict[str, str]
    row_templates: dict[str, str]
    roles_to_train: list[Role]
    train_on_last_turn: bool
    fim_rate: float
    fim_spm_rate: float
    filters: Filters
    sensitive: Sensitive
    signatures: bool


class Source(Frozen):
    """Files that are read in one way, and how much of them is taken. What is not said here, the section says."""

    files: Annotated[list[str], NotInKey()] = Field(min_length=1, description="as in train_files")
    format: Format | None = Field(default=None, description="the layout of these rows")
    columns: dict[str, str] | None = Field(default=None, description="columns of other names in these rows")
    roles: dict[str, str] | None = Field(default=None, description="roles of these speakers")
    row_templates: dict[str, Templated] | None = Field(
        default=None, description="fields that are written of these columns"
    )
    weight: float = Field(
        default=1.0,
        gt=0,
        le=1000,
        description="times that each row is seen in an epoch: 2 is twice, 0.25 a quarter of the rows, chosen by a hash",
    )
    max_rows: int | None = Field(default=None, ge=1, description="only the first so many rows that can be used")

    @field_validator("columns")
    @classmethod
    def _fields(cls, value: dict[str, str] | None) -> dict[str, str] | None:
        return value and known_fields(value)

    @field_validator("roles")
    @classmethod
    def _roles(cls, value: dict[str, str] | None) -> dict[str, str] | None:
        return value and known_roles(value)

    @field_validator("row_templates")
    @classmethod
    def _templates(cls, value: dict[str, str] | None) -> dict[str, str] | None:
        return value and text_fields(value)


SHORTEST, LONGEST = 5, 64  # words that a question must have to be looked for in rows; words of a run that is looked for


class OverlapConfig(Frozen):
    """What decides which training rows hold questions of the evaluation, and nothing of how rows become tokens."""

    sources: list[Source]
    decontamination_ngram: int


class DataConfig(Frozen):
    """Which rows to train on, and how they become tokens. What files hold is in the key, where they lie is not."""

    train_files: Annotated[list[str | Source], NotInKey()] = Field(
        min_length=1,
        description="files, folders, globs, s3:// keys, hf://datasets/… or package:// names of .jsonl, .json, .csv, .tsv, .parquet or .arrow rows, or .txt and .md documents; or entries with the fields below",
    )
    validation_files: Annotated[list[str | Source] | None, NotInKey()] = Field(
        default=None,
        min_length=1,
        description="rows to hold out, named in the same way; without them, validation_split is taken of the rows",
    )
    validation_split: float = Field(
        default=0.05,
        ge=0,
        lt=1,
        description="share of the rows to hold out, chosen by a hash of each row's content, of judged rows by that of their prompt",
    )
    format: Format = Field(
        default="auto", description="the layout of the rows; by default the one whose columns they have"
    )
    columns: dict[str, str] = Field(
        default={},
        description="columns of other names, by the field they hold: {prompt: question, completion: answer}; also the keys of messages: {role: speaker}",
    )
    roles: dict[str, str] = Field(
        default={}, description="the role that each name of a speaker has: {Customer: user, Agent: assistant}"
    )
    row_templates: dict[str, Templated] = Field(
        default={},
        description="fields written by Jinja over the row's columns: {prompt: 'Question: {{ question }}', completion: ' {{ answer }}'}",
    )
    max_length: int = Field(default=2048, ge=8, description="tokens of the longest row, and of a packed sequence")
    packing: bool = Field(default=True, description="put several rows into one sequence, isolated from each other")
    prompt_loss_weight: float = Field(
        default=0.1, ge=0, le=1, description="loss weight of tokens that are not the answer; answers have 1"
    )
    roles_to_train: list[Role] = Field(
        default=["assistant"], min_length=1, description="whose messages of a conversation are learned"
    )
    train_on_last_turn: bool = Field(
        default=False, description="learn only the last answer of a conversation; earlier ones are context"
    )
    fim_rate: float = Field(
        default=0,
        ge=0,
        le=1,
        description="share of documents (text) that are rearranged for infilling: prefix, suffix, then the middle",
    )
    fim_spm_rate: float = Field(
        default=0.5, ge=0, le=1, description="share of these whose suffix comes first (SPM), the others are PSM"
    )
    overlong: Literal["drop", "truncate", "split"] = Field(
        default="drop",
        description="what to do with rows above max_length; a row whose answer is cut away is dropped; split is for documents (text), which go on in the next sequence",
    )
    drop_duplicates: bool = Field(
        default=False, description="leave out rows that are equal to an earlier one; they are counted in any case"
    )
    near_duplicates: float | None = Field(
        default=None,
        ge=0.5,
        le=1,
        description="leave out rows that share so much of their 5-word shingles with an earlier one (Jaccard; 0.8 is usual)",
    )
    filters: Filters = Filters()
    sensitive: Sensitive = Field(
        default="report",
        description="personal data and secrets in rows: count them, put marks such as [EMAIL] in their place, or drop the rows",
    )
    decontamination: Annotated[Literal["off", "report", "drop"], NotInKey()] = Field(
        default="report",
        description="rows that hold a question of the evaluation: not looked for, only reported, or left out; the key has the rows that are left out",
    )
    decontamination_ngram: Annotated[int, NotInKey()] = Field(
        default=13,
        ge=SHORTEST,
        le=LONGEST,
        description="words in a row that a row and a question must share (Brown 2020)",
    )
    max_bad_rows: float = Field(
        default=0.01, ge=0, le=1, description="share of rows that may be unreadable before the data is refused"
    )
    seed: int = Field(default=42, description="another seed holds out other rows")
    num_proc: Annotated[int | None, NotInKey()] = Field(
        default=None,
        ge=1,
        description="processes that read and tokenise; by default one a core. The result is the same",
    )
    resources: OnOneNode = Field(
        default_factory=Resources,
        description="what preparing rows takes of a cluster: the fields of `train.resources`, but for nodes",
    )
    chat_template: Annotated[str | None, NotInKey()] = Field(
        default=None,
        description=f"instead of the tokenizer's own chat template: a Jinja file, or the name of one that ships: {', '.join(NAMES)}",
    )

    def overlap(self) -> OverlapConfig:
        """The part that decides which rows hold questions of the evaluation: how they are read, not how often taken."""
        read = [
            Source(
                files=source.files,
                format=text.format,
                columns=text.columns,
                roles=text.roles,
                row_templates=text.row_templates,
            )
            for source in self.sources(validation=False)
            for text in [self.text(source)]
        ]
        return OverlapConfig(sources=read, decontamination_ngram=self.decontamination_ngram)

    @field_validator("decontamination", mode="before")
    @classmethod
    def _off(cls, value: object) -> object:
        return "off" if value is False else value  # what `off` without quotes is in YAML 1.1

    @field_validator("columns")
    @classmethod
    def _fields(cls, value: dict[str, str]) -> dict[str, str]:
        return known_fields(value)

    @field_validator("roles")
    @classmethod
    def _roles(cls, value: dict[str, str]) -> dict[str, str]:
        return known_roles(value)

    @field_validator("row_templates")
    @classmethod
    def _templates(cls, value: dict[str, str]) -> dict[str, str]:
        return text_fields(value)

    @model_validator(mode="after")
    def _one_origin(self) -> "DataConfig":
        for source in (*self.sources(validation=False), *self.sources(validation=True)):
            text = self.text(source)
            if twice := sorted(set(text.columns) & set(text.row_templates)):
                raise ValueError(f"data.columns and data.row_templates both make the field {', '.join(twice)}")
        return self

    def sources(self, validation: bool) -> list[Source]:
        """The entries of one side, each as a source."""
        named = (self.validation_files or []) if validation else self.train_files
        return [Source(files=[entry]) if isinstance(entry, str) else entry for entry in named]

    def text(self, source: Source) -> TextConfig:
        """How the rows of a source become tokens: its own words, else the section's."""
        own = {name: getattr(source, name, None) for name in TextConfig.model_fields if name != "signatures"}
        told = {name: getattr(self, name) if value is None else value for name, value in own.items()}
        return TextConfig(**told, signatures=self.near_duplicates is not None)


def known_fields(columns: dict[str, str]) -> dict[str, str]:
    """The mapping as it is; ValueError where no layout has such a field, or a column would be two."""
    if unknown := sorted(set(columns) - FIELDS):
        raise ValueError(f"no layout has the field {', '.join(unknown)}; fields are {', '.join(sorted(FIELDS))}")
    for held in ({at for at in columns if at in KEYS}, {at for at in columns if at not in KEYS}):
        if len({columns[at] for at in held}) < len(held):
            raise ValueError("two fields cannot be held by one column")
    return columns


def known_roles(roles: dict[str, str]) -> dict[str, str]:
    """The mapping as it is; ValueError where it leads to no role."""
    if unknown := sorted(set(roles.values()) - {*ROLES, CALL}):
        raise ValueError(f"there is no role {', '.join(unknown)}; roles are {', '.join((*ROLES, CALL))}")
    return roles


def text_fields(templates: dict[str, str]) -> dict[str, str]:
    """The templates as they are; ValueError where no template can write such a field."""
    if unknown := sorted(set(templates) - TEMPLATED):
        raise ValueError(
            f"no template can write the field {', '.join(unknown)}; it can write {', '.join(sorted(TEMPLATED))}"
        )
    return templates
