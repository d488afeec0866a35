"""The small laboratory that trainings are tried in, here as well."""

from tests.lab import lab

__all__ = ["lab"]
