"""Labs made by functions, by name. Each returns plain data in the shape of a lab file, and says what it may be asked for."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Mapping

from testbed.topologies import domains, fabrics, plain, sites
from testbed.topologies.parts import Data, Generator, Parameter, ParameterError

__all__ = ["Generator", "Parameter", "ParameterError", "generate", "generators"]

GENERATORS: Mapping[str, Generator] = {
    **plain.GENERATORS,
    **fabrics.GENERATORS,
    **domains.GENERATORS,
    **sites.GENERATORS,
}


def generators() -> Mapping[str, Generator]:
    """Return the generators by name."""
    return GENERATORS


def generate(name: str, parameters: Mapping[str, str]) -> Data:
    """Make the lab `name`; besides its own parameters every generator takes `name`, to have the lab called otherwise.

    Raises ParameterError for a generator, parameter or value that does not exist.
    """
    if name not in GENERATORS:
        raise ParameterError(f'no generator is called "{name}"{_nearest(name, GENERATORS)}')
    generator = GENERATORS[name]
    for key in parameters:
        if key != "name" and key not in generator.parameters:
            known = _nearest(key, [*generator.parameters, "name"])
            raise ParameterError(f'{name} has no parameter "{key}"{known}')
    values = {
        key.replace("-", "_"): parameter.read(key, parameters[key]) if key in parameters else parameter.default
        for key, parameter in generator.parameters.items()
    }
    data = generator.make(**values)
    if "name" in parameters:
        data["name"] = parameters["name"]
    return data


def _nearest(word: str, known: Iterable[str]) -> str:
    choices = sorted(known)
    close = difflib.get_close_matches(word, choices, n=1)
    return f'; did you mean "{close[0]}"?' if close else f"; known: {', '.join(choices)}"
