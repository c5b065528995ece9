"""The report of a run: one self-contained page with figures, pictures and where everything came from."""

from experiments.report.page import write_report

__all__ = ["write_report"]
