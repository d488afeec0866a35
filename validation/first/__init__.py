"""The first generator: contexts of `mobile_vla/analysis/planted/`, on which the verdicts were developed."""
