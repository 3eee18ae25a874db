"""The Redis keys of the backlog, built here and nowhere else."""

from storage.keys import PREFIX

BACKLOG_PREFIX = f"{PREFIX}backlog:"
TURNS_PREFIX = f"{PREFIX}turns:"
TAKEN_PREFIX = f"{PREFIX}taken:"
FINISH_TAGS_PREFIX = f"{PREFIX}finish-tags:"
TICKET_RUNS_PREFIX = f"{PREFIX}ticket-runs:"
VIRTUAL_TIMES = f"{PREFIX}virtual-times"
"""Hash: priority:model -> the virtual time of its backlog (shared_lua/fair.lua)."""
TICKET_COUNT = f"{PREFIX}ticket-count"
"""How many tickets have been queued so far: their ids are numbers."""
CREDITS = f"{PREFIX}credits"
"""Hash: most `tickets` that wait at a time in a priority, and most runs of a model between backlog
and the end of inference (`runs:<model>`), as live workers allow."""


def backlog(model: str, priority: str) -> str:
    """Sorted set of the runs (keys of their hashes) that no cpu worker has taken yet, by start
    tag."""
    return f"{BACKLOG_PREFIX}{priority}:{model}"


def taken(model: str, priority: str) -> str:
    """Sorted set of the runs (keys of their hashes) that were taken from the backlog and have yet
    to go through their model, by when they were taken, in ms."""
    return f"{TAKEN_PREFIX}{priority}:{model}"


def turns(priority: str) -> str:
    """Sorted set of the models that have a backlog, by when they were served last, in ms."""
    return f"{TURNS_PREFIX}{priority}"


def finish_tags(model: str, priority: str) -> str:
    """Sorted set of the flows that had runs of late, by the finish tag of the last one."""
    return f"{FINISH_TAGS_PREFIX}{priority}:{model}"


def ticket_runs(ticket: str) -> str:
    """JSON: the model and the runs that a worker has taken for a ticket, until these have ended."""
    return f"{TICKET_RUNS_PREFIX}{ticket}"
