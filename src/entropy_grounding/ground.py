"""The command ``python -m entropy_grounding.ground image=photo.jpg question="..."``.

It holds nothing to import: the package's name ``ground`` is the function, also after an import of this module.
"""

import sys

from entropy_grounding.ask import main
from entropy_grounding.zoom import ground

if __name__ == "__main__":
    main()
else:
    sys.modules["entropy_grounding.ground"] = ground  # type: ignore[assignment]  # an import binds what stands here
