"""The decoder and the composer with a meter: work for the sandbox."""

import resource

from tasks.imaging import composer, decoder


def decode(data, memory, arguments):
    """The decoder's answer, or `error`, and `cpu_s` and `peak_mib` of this process."""
    return _metered(decoder.decode, data, memory, arguments)


def compose(data, memory, arguments):
    """The same of the composer."""
    return _metered(composer.compose, data, memory, arguments)


def _metered(work, data, memory, arguments):
    before = resource.getrusage(resource.RUSAGE_SELF)
    try:
        answer = work(data, memory, arguments)
    except BaseException as error:  # noqa: B036 - the caller raises it
        answer = {"error": str(error)[:200] or type(error).__name__}
    after = resource.getrusage(resource.RUSAGE_SELF)
    peak_mib = (after.ru_maxrss - before.ru_maxrss) / 1024
    return {**answer, "cpu_s": after.ru_utime + after.ru_stime, "peak_mib": peak_mib}
