"""Numbers about hidden activations and chains: are the chains to be trusted, and which codes do units carry?"""

from hiddencodes.diagnostics.codes import CodeFraction as CodeFraction
from hiddencodes.diagnostics.codes import CodeTable as CodeTable
from hiddencodes.diagnostics.codes import class_means as class_means
from hiddencodes.diagnostics.codes import code_table as code_table
from hiddencodes.diagnostics.codes import codes as codes
from hiddencodes.diagnostics.codes import outlier_units as outlier_units
from hiddencodes.diagnostics.codes import participation_ratio as participation_ratio
from hiddencodes.diagnostics.convergence import convergence as convergence
from hiddencodes.diagnostics.convergence_report import ConvergenceReport as ConvergenceReport
from hiddencodes.diagnostics.decision import SchemeDecision as SchemeDecision
from hiddencodes.diagnostics.decision import classify_codes as classify_codes
from hiddencodes.diagnostics.drift import DriftReport as DriftReport
from hiddencodes.diagnostics.drift import autocorrelation as autocorrelation
from hiddencodes.diagnostics.drift import code_changes as code_changes
from hiddencodes.diagnostics.drift import drift as drift
from hiddencodes.diagnostics.monte_carlo import chain_mean as chain_mean
from hiddencodes.diagnostics.scheme import SchemeReport as SchemeReport
from hiddencodes.diagnostics.scheme import coding_scheme as coding_scheme
