"""Old Colab cells import `install_missing` from here; it lives in `course.notebooks`."""

from scalept_lab.course.notebooks import install_missing

__all__ = ["install_missing"]
