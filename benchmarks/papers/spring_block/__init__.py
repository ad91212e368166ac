"""A spring-block theory of feature learning (arXiv 2407.19353): load curves, the phase diagram, the chain, and the posterior."""

from hiddencodes.benchmarks.papers.reproduction import Paper, Reproduction
from hiddencodes.benchmarks.papers.spring_block.chain import chain
from hiddencodes.benchmarks.papers.spring_block.infinite_width import infinite_width
from hiddencodes.benchmarks.papers.spring_block.law import law
from hiddencodes.benchmarks.papers.spring_block.panels import (
    batch_size,
    data_noise,
    dropout,
    learning_rate,
)
from hiddencodes.benchmarks.papers.spring_block.posterior import posterior

REPRODUCTION = Reproduction(
    name="spring-block",
    title="A spring-block theory of feature learning in deep neural networks",
    paper=Paper(
        citation="Shi, Pan and Dokmanic, Physical Review Letters 134, 257301, 2025", arxiv="2407.19353"
    ),
    sections=(chain, infinite_width, posterior, law, dropout, learning_rate, data_noise, batch_size),
    question="Which layers of a deep network separate the classes, how do noise and nonlinearity decide that, and does a chain of springs and blocks do the same?",
    unknown=(
        "The body of the paper and its supplement: settings are those of the authors' released script, numbers those of their figure file.",
        "Which frictions and noises its mechanical phase diagram has, and the ratio of the frictions to both sides.",
        "Readouts have no bias here, and training does not stop where a loss changes by less than 1e-10, as it may there.",
        "Tests there are on MNIST's 10,000 standard digits; here on the shipped digits that were not trained on.",
    ),
)
