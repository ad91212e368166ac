"""Task structure, nonlinearity and the geometry of learned representations (arXiv 2401.13558)."""

from hiddencodes.benchmarks.papers.reproduction import Paper, Reproduction
from hiddencodes.benchmarks.papers.task_geometry.alignment_family import alignment_family
from hiddencodes.benchmarks.papers.task_geometry.mechanism import mechanism
from hiddencodes.benchmarks.papers.task_geometry.nonlinearities import nonlinearities
from hiddencodes.benchmarks.papers.task_geometry.posterior_geometry import posterior_geometry
from hiddencodes.benchmarks.papers.task_geometry.separability import separability
from hiddencodes.benchmarks.papers.task_geometry.unstructured import unstructured

REPRODUCTION = Reproduction(
    name="task-geometry",
    title="Task structure and nonlinearity jointly determine learned representational geometry",
    paper=Paper(
        citation="M. Alleman, J. W. Lindsey and S. Fusi, ICLR 2024",
        arxiv="2401.13558",
    ),
    sections=(unstructured, mechanism, separability, alignment_family, nonlinearities, posterior_geometry),
    question="Does a hidden layer inherit the geometry of its inputs or of its targets, how does its nonlinearity decide that, and does the "
    "posterior over weights decide the same?",
    unknown=(
        "The body of the paper: what is compared here was read in its abstract, captions and reviews, in the authors' public code, or derived.",
        "Which of the settings of the public code belong to which figure.",
        "The fixed bias of the output, which is below 0.1 in the public code, is left out here.",
    ),
)
