"""The command ``python -m entropy_grounding.ground image=photo.jpg question="..."``.

It holds nothing to import: the package's name ``ground`` is the function.
"""

from entropy_grounding.ask import run_command

if __name__ == "__main__":
    run_command()
