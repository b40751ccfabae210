"""The shape of the recipe's `evaluate:` section."""

from typing import Annotated, Literal

from pydantic import Field

from infra.frozen import Frozen, NotInKey
from infra.launch.resources import OnOneNode, Resources


class QuestionsConfig(Frozen):
    """What decides which documents there are to ask: all of the tasks, however few a run asks of them."""

    tasks: list[str]
    include_path: Annotated[str | None, NotInKey()] = None


class EvaluateConfig(Frozen):
    """What is asked of a model, and how. The same spec scores every model, so that scores can be compared."""

    tasks: list[str] = Field(min_length=1, description="names of lm-eval tasks, groups or tags")
    include_path: Annotated[str | None, NotInKey()] = Field(
        None, description="a folder with task YAMLs of one's own and all that they read; its content is in the key"
    )
    trust_tasks: Annotated[bool, NotInKey()] = Field(
        False, description="a task folder is code that will be run: say true once you have read it"
    )
    num_fewshot: int = Field(0, ge=0, description="solved examples before each question")
    baseline_num_fewshot: Annotated[int | None, NotInKey()] = Field(
        None, ge=1, description="score the base model with so many examples as well, to tell whether prompting would do"
    )
    apply_chat_template: bool = Field(True, description="ask in the tokenizer's chat format; false for base models")
    limit: int | None = Field(None, ge=1, description="only the first so many documents of each task")
    batch_size: Annotated[int, NotInKey()] = Field(8, ge=1, description="documents at once on the device")
    dtype: Literal["auto", "bfloat16", "float32"] = Field("auto", description="auto: what the weights are stored in")
    load_in_4bit: bool = Field(
        False,
        description="hold the model in 4 bits (NF4), base and tuned alike: as qlora trained it, and as an adapter that is not merged needs it",
    )
    seed: int = Field(1234, description="draws few-shot examples and samples, where a task does either")
    resources: OnOneNode = Field(
        default_factory=Resources,
        description="what asking a model takes of a cluster: the fields of `train.resources`, but for nodes",
    )

    def questions(self) -> QuestionsConfig:
        """The part that decides which documents there are to ask; neither a limit nor the order of tasks does."""
        return QuestionsConfig(tasks=sorted(set(self.tasks)), include_path=self.include_path)
