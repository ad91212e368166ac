"""What a study file may contain. Every field says in its description what is expected of it, for error messages."""

from typing import Annotated, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, Strict, model_validator

from hiddencodes.rules import ACTIVATION_PARAMETERS, contradictions

Whole = Annotated[int, Field(ge=1, description="a positive integer")]
Index = Annotated[int, Field(ge=0, description="an integer of at least 0")]
Seed = Annotated[
    int,
    Field(
        ge=0,
        lt=2**32,
        description="an integer of at least 0 and below 2^32 (a seed is an unsigned 32-bit number)",
    ),
]
Real = Annotated[float, Field(allow_inf_nan=False, description="a finite number")]
Positive = Annotated[float, Field(gt=0.0, allow_inf_nan=False, description="a positive finite number")]
Text = Annotated[str, Field(min_length=1, max_length=200, description="a text of 1 to 200 characters")]
# TOML has arrays only; the models hold tuples, so that they are immutable all the way down.
Fractions = Annotated[
    tuple[Annotated[float, Field(gt=0.0, le=1.0, description="a number in (0, 1]")], ...],
    Strict(False),
    Field(min_length=1, description="an array of numbers that sum to 1"),
]


Shares = dict[
    Annotated[str, Field(pattern="^[01]+$", description="a code such as 011, one digit per class")],
    Annotated[float, Field(ge=0.0, le=1.0, description="a number from 0 to 1")],
]
Compositions = Annotated[tuple[Shares, ...], Strict(False), Field(min_length=2)]


class Table(BaseModel):
    """A table of a study file: immutable, strictly typed, without unknown keys."""

    model_config = ConfigDict(strict=True, extra="forbid", frozen=True)


class MNIST(Table):
    """Handwritten digits, average-pooled to ``size`` x ``size`` pixels."""

    kind: Literal["mnist"] = Field(description='"mnist"')
    digits: Annotated[
        tuple[Annotated[int, Field(ge=0, le=9, description="a digit from 0 to 9")], ...], Strict(False)
    ] = Field(default=(0, 1, 2), min_length=2, description="an array of at least two different digits")
    n_train: Whole = 60
    fractions: Fractions | None = Field(default=None, description="an array of numbers that sum to 1")
    n_test: Index = 30
    size: int = Field(default=10, ge=1, le=28, description="an integer from 1 to 28")
    y_plus: Real = 1.0
    y_minus: Real = 0.0


class OrthogonalClasses(Table):
    """Orthogonal inputs with class targets: nothing but the labels says which patterns belong together."""

    kind: Literal["orthogonal_classes"] = Field(description='"orthogonal_classes"')
    n_train: Whole = 60
    fractions: Fractions = (0.5, 0.25, 0.25)
    n_test: Index = 0
    n_inputs: Whole | None = Field(default=None, description="an integer of at least n_train + n_test")
    kappa: Positive = 1.0
    test_overlap: float = Field(default=0.5, ge=0.0, le=1.0, description="a number from 0 to 1")
    y_plus: Real = 1.0
    y_minus: Real = 0.0


class GaussianClusters(Table):
    """Classes that are clouds of Gaussian noise around random centers."""

    kind: Literal["gaussian_clusters"] = Field(description='"gaussian_clusters"')
    n_train: Whole = 60
    fractions: Fractions = (0.5, 0.25, 0.25)
    n_test: Index = 30
    n_inputs: Whole = 50
    noise: float = Field(default=1.0, ge=0.0, allow_inf_nan=False, description="a number of at least 0")
    y_plus: Real = 1.0
    y_minus: Real = 0.0


class Images(Table):
    """Published sets of labeled images, from your own copy or from the cache."""

    kind: Literal["images"] = Field(description='"images"')
    data: Literal["mnist10k", "mnist", "fashion_mnist", "cifar10"] = Field(
        description='"mnist10k", "mnist", "fashion_mnist" or "cifar10"'
    )
    path: Text | None = Field(
        default=None, description="the path of your own copy, relative to the study file"
    )
    download: bool = Field(default=True, description="true or false")
    classes: Annotated[tuple[Index, ...], Strict(False)] = Field(
        min_length=2, description="an array of at least two different labels"
    )
    n_train: Whole = 60
    fractions: Fractions | None = Field(default=None, description="an array of numbers that sum to 1")
    n_test: Index = 30
    size: Whole | None = Field(default=None, description="a positive integer")
    y_plus: Real = 1.0
    y_minus: Real = 0.0


TASKS: dict[str, type[Table]] = {
    "mnist": MNIST,
    "orthogonal_classes": OrthogonalClasses,
    "gaussian_clusters": GaussianClusters,
    "images": Images,
}


class Sampling(Table):
    """How the posterior is sampled."""

    sampler: Literal["hmc", "nuts", "adjusted_mclmc", "mala", "numpyro_nuts"] = Field(
        default="hmc", description='"hmc", "nuts", "adjusted_mclmc", "mala" or "numpyro_nuts"'
    )
    chains: Whole = 4
    draws: int = Field(default=400, ge=4, description="an integer of at least 4")
    warmup: Whole = 400
    thin: Whole = 1
    precision: Literal["float64", "float32"] = Field(default="float64", description='"float64" or "float32"')
    key: Index = 0
    target_acceptance: float | None = Field(
        default=None, gt=0.0, lt=1.0, description="a number between 0 and 1"
    )
    superchains: Whole | None = Field(default=None, description="a divisor of chains")
    moves: Literal["cavity_refresh", "annealed_refresh", "pair_rotation"] | None = Field(
        default=None, description='"cavity_refresh", "annealed_refresh" or "pair_rotation"'
    )
    moves_every: Whole = 8
    lost_share: float = Field(default=0.5, ge=0.0, le=1.0, description="a number from 0 to 1")
    compositions: Compositions | None = Field(
        default=None,
        description='an array of at least two tables of shares from 0 to 1 by code, such as [{"111" = 0.25}, {"111" = 0.0}]',
    )


_ACTIVATIONS = 'one of "' + '", "'.join(ACTIVATION_PARAMETERS) + '"'


class Activation(Table):
    """A nonlinearity: its name and, for those that have one, its parameter."""

    name: Literal[
        "linear",
        "sigmoidal",
        "erf",
        "tanh",
        "relu",
        "hard_tanh",
        "leaky_relu",
        "shifted_relu",
        "clipped_relu",
    ] = Field(description=_ACTIVATIONS)
    slope: Real | None = Field(default=None, description="a finite number")
    shift: Real | None = Field(default=None, description="a finite number")
    ceiling: Positive | None = Field(default=None, description="a positive finite number")

    @property
    def parameters(self) -> dict[str, float]:
        """The parameters that were given."""
        return self.model_dump(exclude={"name"}, exclude_none=True)


def _name_alone(value: object) -> object:
    return {"name": value} if isinstance(value, str) else value


class Network(Table):
    """A network and the temperature of its posterior."""

    label: Text
    activation: Annotated[Activation, BeforeValidator(_name_alone)] = Field(
        description=f'a name or a table like {{name = "leaky_relu", slope = 0.1}}; the name is {_ACTIVATIONS}'
    )
    width: int = Field(
        default=100, ge=4, description="an integer of at least 4 (the coding scheme needs at least 4 units)"
    )
    depth: Whole = 1
    parameterization: Literal["mean_field", "ntk", "standard", "mup"] = Field(
        default="mean_field", description='"mean_field", "ntk", "standard" or "mup"'
    )
    readout_variance: Literal["auto", "1/P", "P^(-1/L)"] | Positive = Field(
        default="auto", description='"auto", "1/P", "P^(-1/L)" or a positive finite number'
    )
    readout_scale: Positive = 1.0
    likelihood: Literal["gaussian", "categorical", "bernoulli"] = Field(
        default="gaussian", description='"gaussian", "categorical" or "bernoulli"'
    )
    temperature: Positive | None = Field(default=None, description="a positive finite number")
    n_temperature: Positive | None = Field(default=None, description="a positive finite number")
    bias: bool = Field(default=False, description="true or false")


class Study(Table):
    """A study: one task, one way of sampling, and the networks to compare.

    Attributes:
        name: The study's name; run folders are called after it.
        seeds: Each draws its own training set and its own chains.
        task: What the networks learn.
        sampling: How their posteriors are sampled.
        network: The networks, in the order of the file.
    """

    name: Text
    seeds: Annotated[tuple[Seed, ...], Strict(False)] = Field(
        default=(0,), min_length=1, description="an array of different integers from 0 to 2^32 - 1"
    )
    task: Annotated[MNIST | OrthogonalClasses | GaussianClusters | Images, Field(discriminator="kind")] = (
        Field(description="a table [task]")
    )
    sampling: Sampling = Field(default=Sampling(), description="a table [sampling]")
    network: Annotated[tuple[Network, ...], Strict(False)] = Field(
        min_length=1, description="one or more tables [[network]]"
    )

    @model_validator(mode="after")
    def _agrees_with_itself(self) -> "Study":
        found = list(contradictions(self.model_dump(exclude_unset=True)))
        if found:
            raise ValueError("; ".join(f"{'.'.join(map(str, c.path))}: {c.message}" for c in found))
        return self

    def quick(self, *, draws: int = 40, warmup: int = 100, chains: int = 2, width: int = 40) -> "Study":
        """A smaller version of the study, with the same networks, to try it out.

        Example:
            >>> from hiddencodes.study import load_study
            >>> load_study().quick(width=20).network[0].width
            20
        """
        sampling = self.sampling.model_copy(
            update={
                "superchains": None,
                "draws": min(self.sampling.draws, draws),
                "warmup": min(self.sampling.warmup, warmup),
                "chains": min(self.sampling.chains, chains),
                "thin": 1,
                "compositions": None,
            }
        )
        networks = tuple(n.model_copy(update={"width": min(n.width, width)}) for n in self.network)
        return self.model_copy(update={"seeds": self.seeds[:2], "sampling": sampling, "network": networks})
