"""The runtime checker of shapes and types, used in tests only.

An int is accepted where a float is declared.
"""

from beartype import BeartypeConf, beartype

tower = beartype(conf=BeartypeConf(is_pep484_tower=True))
