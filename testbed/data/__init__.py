"""Files that ship with the package: catalogues of links and switches, and the page and the style that show a lab."""

from pathlib import Path

DATA = Path(__file__).parent
