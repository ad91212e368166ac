"""When abstract representations emerge (arXiv 2510.09816): global minima, certificates and the posterior."""

from hiddencodes.benchmarks.papers.abstraction.certificates import certificates
from hiddencodes.benchmarks.papers.abstraction.depth import depth
from hiddencodes.benchmarks.papers.abstraction.dynamics import dynamics
from hiddencodes.benchmarks.papers.abstraction.minima import minima
from hiddencodes.benchmarks.papers.abstraction.switch import switch
from hiddencodes.benchmarks.papers.abstraction.targets import targets
from hiddencodes.benchmarks.papers.abstraction.temperature import temperature
from hiddencodes.benchmarks.papers.reproduction import Paper, Reproduction

REPRODUCTION = Reproduction(
    name="abstraction",
    title="A mathematical theory for understanding when abstract representations emerge in neural networks",
    paper=Paper(citation="Wang, Johnston and Fusi, 2025", arxiv="2510.09816"),
    sections=(minima, certificates, switch, depth, targets, dynamics, temperature),
    question="Is the global minimum of a network that is trained on latent variables abstract, does training find it, and is the posterior abstract too?",
    unknown=(
        "The body of the paper: its theorems, their hypotheses, its figures. What is compared here was derived from the abstract's setting.",
        "Its normalization of the loss, whether hidden biases are there and decay, and whether targets are 0 and 1 or +1 and -1: all of these decide.",
    ),
)
