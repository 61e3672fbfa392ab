"""Labs: YAML files, and generators that make them; experiments on them. Imports nothing from testbed."""

from pathlib import Path

from testbed.topologies.generators import Generator, Parameter, ParameterError, generate, generators

__all__ = ["Generator", "Parameter", "ParameterError", "experiments", "files", "generate", "generators"]


def files() -> dict[str, Path]:
    """Return the lab files that ship with the testbed, by name."""
    return {path.stem: path for path in sorted((Path(__file__).parent / "labs").glob("*.yaml"))}


def experiments() -> dict[str, Path]:
    """Return the experiment files that ship with the testbed, by name."""
    return {path.stem: path for path in sorted((Path(__file__).parent / "experiments").glob("*.yaml"))}
