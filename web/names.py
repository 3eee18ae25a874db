"""The forms of users' names that are kept for somebody."""

import re

VISITOR = re.compile("u[0-9a-f]{24}")
"""The user that a browser gets in open mode. Nobody else may have such a name."""
