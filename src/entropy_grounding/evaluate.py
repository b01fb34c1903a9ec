"""The command ``python -m entropy_grounding.evaluate vlm=tiny_llava benchmark=mini_textvqa``.

It holds nothing to import: the package's name ``evaluate`` is the function, also after an import of this module.
"""

import sys

from entropy_grounding.evaluation import evaluate, main

if __name__ == "__main__":
    main()
else:
    sys.modules["entropy_grounding.evaluate"] = evaluate  # type: ignore[assignment]  # an import binds what stands here
