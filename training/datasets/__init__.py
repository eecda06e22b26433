"""Recorded data sets behind one interface: a list of ``Clip``."""
