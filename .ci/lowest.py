"""Print pip constraints that pin every dependency of pyproject.toml to its lowest allowed version.

torch is left out: its builds differ by machine, and the step that uses these lines takes the one that is installed.
"""

import re
import tomllib
from pathlib import Path

project = tomllib.loads((Path(__file__).parent.parent / "pyproject.toml").read_text(encoding="utf-8"))["project"]
for line in project["dependencies"]:
    name, lowest = re.fullmatch(r"([\w.-]+)>=([\w.]+)(?:,.*)?", line).groups()
    if name != "torch":
        print(f"{name}=={lowest}")
