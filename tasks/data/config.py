"""The shape of the recipe's `data:` section."""

from typing import Annotated, Literal

from pydantic import Field, field_validator

from infra.frozen import Frozen, NotInKey
from tasks.data.layouts import FIELDS


class DataConfig(Frozen):
    """Which rows to train on, and how they become tokens. What files hold is in the key, where they lie is not."""

    train_files: Annotated[list[str], NotInKey()] = Field(
        min_length=1,
        description="files, folders, globs, s3:// keys or package:// names of .jsonl, .json, .csv or .parquet rows, or .txt documents",
    )
    validation_files: Annotated[list[str] | None, NotInKey()] = Field(
        default=None, min_length=1, description="rows to hold out; without them, validation_split is taken of the rows"
    )
    validation_split: float = Field(
        default=0.05, ge=0, lt=1, description="share of the rows to hold out, chosen by a hash of each row's content"
    )
    format: Literal["auto", "messages", "sharegpt", "alpaca", "prompt_completion", "text"] = Field(
        default="auto", description="the layout of the rows; by default the one whose columns they have"
    )
    columns: dict[str, str] = Field(
        default={}, description="columns of other names, by the field they hold: {prompt: question, completion: answer}"
    )
    max_length: int = Field(default=2048, ge=8, description="tokens of the longest row, and of a packed sequence")
    packing: bool = Field(default=True, description="put several rows into one sequence, isolated from each other")
    prompt_loss_weight: float = Field(
        default=0.1, ge=0, le=1, description="loss weight of tokens that are not the answer; answers have 1"
    )
    overlong: Literal["drop", "truncate", "split"] = Field(
        default="drop",
        description="what to do with rows above max_length; a row whose answer is cut away is dropped; split is for documents (text), which go on in the next sequence",
    )
    drop_duplicates: bool = Field(
        default=False, description="leave out rows that are equal to an earlier one; they are counted in any case"
    )
    max_bad_rows: float = Field(
        default=0.01, ge=0, le=1, description="share of rows that may be unreadable before the data is refused"
    )
    seed: int = Field(default=42, description="another seed holds out other rows")
    chat_template: Annotated[str | None, NotInKey()] = Field(
        default=None, description="a Jinja file to use instead of the tokenizer's own chat template"
    )

    @field_validator("columns")
    @classmethod
    def _fields(cls, value: dict[str, str]) -> dict[str, str]:
        if unknown := sorted(set(value) - FIELDS):
            raise ValueError(f"no layout has the field {', '.join(unknown)}; fields are {', '.join(sorted(FIELDS))}")
        if len(set(value.values())) < len(value):
            raise ValueError("two fields cannot be held by one column")
        return value
