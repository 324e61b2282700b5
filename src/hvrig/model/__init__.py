"""The vocabulary that every room shares: frozen values, Protocols and errors.

Standard library only, no I/O. Rooms import from here and never from each other.
"""
