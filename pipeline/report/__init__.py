"""The report: one HTML page about a finished pipeline."""

from pipeline.report.stage import command

__all__ = ["command"]
