"""What all families of the fault matrix need."""

from tests.e2e.conftest import workplace

__all__ = ["workplace"]
