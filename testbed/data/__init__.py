"""Files that ship with the package: catalogues, the page and style of a drawn lab, and the project that `init` writes."""

from pathlib import Path

DATA = Path(__file__).parent
