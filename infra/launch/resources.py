"""What a stage asks of the place where it runs, in sbatch's words."""

from typing import Annotated, Literal

from pydantic import AfterValidator, Field

from infra.frozen import Frozen, NotInKey

# What becomes a line of a batch script: nothing that ends the line or quotes.
WORD = r"^[A-Za-z0-9_][A-Za-z0-9_.,:=/+*&|@()\[\]-]{0,199}$"


class Resources(Frozen):
    """How much of a cluster a stage takes. Nothing of it enters a key; what is not said, the site's profile says."""

    nodes: Annotated[int, NotInKey()] = Field(
        1, ge=1, description="machines that train together, each with as many processes"
    )
    launcher: Annotated[Literal["local", "slurm", "hosts", "kubernetes"] | None, NotInKey()] = Field(
        None,
        description="where it runs: beside the flow, as a job of Slurm, on hosts by ssh, or as pods; default: as the site's profile says",
    )
    partition: Annotated[str | None, NotInKey()] = Field(
        None, pattern=WORD, description="Slurm's partition, or several with commas"
    )
    account: Annotated[str | None, NotInKey()] = Field(
        None, pattern=WORD, description="the account that the job is charged to"
    )
    qos: Annotated[str | None, NotInKey()] = Field(None, pattern=WORD, description="Slurm's quality of service")
    gres: Annotated[str | None, NotInKey()] = Field(
        None, pattern=WORD, description="generic resources a node, as `gpu:a100:4`; for pods `amd.com/gpu:8`"
    )
    gpus_per_node: Annotated[str | None, NotInKey()] = Field(
        None, pattern=WORD, coerce_numbers_to_str=True, description="GPUs a node, as 4 or `a100:4`"
    )
    cpus_per_task: Annotated[int | None, NotInKey()] = Field(None, ge=1, description="cores a node")
    mem: Annotated[str | None, NotInKey()] = Field(None, pattern=WORD, description="memory a node, as `64G`")
    time: Annotated[str | None, NotInKey()] = Field(
        None, description="how long one job may take, in quotes, as `'08:00:00'`; training goes on in a next one"
    )
    constraint: Annotated[str | None, NotInKey()] = Field(
        None, pattern=WORD, description="features that the nodes must have; for pods labels, as `gpu=h100`"
    )
    exclusive: Annotated[bool, NotInKey()] = Field(False, description="whole nodes, shared with no other job")

    def over(self, others: "Resources") -> "Resources":
        """These where they say something, else the others."""
        said = {
            name: getattr(self, name)
            for name, field in type(self).model_fields.items()
            if getattr(self, name) != field.default
        }
        return others.model_copy(update=said)


def _one_node(asked: Resources) -> Resources:
    if asked.nodes > 1:
        raise ValueError("only training goes on several nodes: leave out nodes here")
    return asked


OnOneNode = Annotated[Resources, AfterValidator(_one_node), NotInKey()]
