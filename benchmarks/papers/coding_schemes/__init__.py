"""Coding schemes of wide networks that learn to classify (arXiv 2406.16689)."""

from hiddencodes.benchmarks.papers.coding_schemes.deep_codes import deep_codes
from hiddencodes.benchmarks.papers.coding_schemes.deep_linear import deep_linear
from hiddencodes.benchmarks.papers.coding_schemes.drift import drift
from hiddencodes.benchmarks.papers.coding_schemes.generalization import generalization
from hiddencodes.benchmarks.papers.coding_schemes.handwritten_digits import handwritten_digits
from hiddencodes.benchmarks.papers.coding_schemes.relu_outliers import relu_outliers
from hiddencodes.benchmarks.papers.coding_schemes.sigmoidal_branches import sigmoidal_branches
from hiddencodes.benchmarks.papers.coding_schemes.tables import limits_and_poster
from hiddencodes.benchmarks.papers.coding_schemes.two_classes import two_classes
from hiddencodes.benchmarks.papers.reproduction import Paper, Reproduction

REPRODUCTION = Reproduction(
    name="coding-schemes",
    title="Coding schemes in neural networks learning classification tasks",
    paper=Paper(
        citation="A. van Meegen and H. Sompolinsky, Nature Communications 16, 3354 (2025)",
        arxiv="2406.16689",
        doi="10.1038/s41467-025-58276-6",
    ),
    sections=(
        limits_and_poster,
        two_classes,
        sigmoidal_branches,
        relu_outliers,
        deep_linear,
        deep_codes,
        drift,
        generalization,
        handwritten_digits,
    ),
    question="Which codes do the hidden layers of wide linear, sigmoidal and rectified networks use, when their weights are drawn "
    "from the posterior of a classification task, and does the theory of single units predict them?",
    unknown=(
        "The body of the paper: what is compared here was read in its abstract and captions, in the authors' poster, or derived.",
        "The authors' sampler, temperature, numbers of draws and code.",
    ),
)
