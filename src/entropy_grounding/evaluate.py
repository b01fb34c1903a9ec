"""The command ``python -m entropy_grounding.evaluate vlm=tiny_llava benchmark=mini_textvqa``.

It holds nothing to import: the package's name ``evaluate`` is the function.
"""

from entropy_grounding.evaluation import main

if __name__ == "__main__":
    main()
