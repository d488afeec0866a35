"""The checker of annotated boundaries: beartype, with whole numbers accepted where a number is asked for."""

from beartype import BeartypeConf, beartype

check = beartype(conf=BeartypeConf(is_pep484_tower=True))
