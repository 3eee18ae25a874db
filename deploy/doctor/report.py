"""`pixelmill doctor`: runs all checks at once and prints a line for each."""

import json
import sys
import threading
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict

import redis
from pydantic import ValidationError
from rich.console import Console

from deploy import settings_error
from deploy.doctor import certificates, host, hosts, servers, web, workers
from deploy.doctor.finding import Check, Finding, Level
from tasks.settings import Settings, settings

ALL_S = 3.0
"""A check that takes longer has failed."""
COLOURS: Mapping[Level, str] = {"ok": "green", "warn": "yellow", "fail": "red"}
CHECKS: tuple[Check, ...] = (
    host.versions,
    host.sources,
    host.device,
    servers.state_redis,
    servers.cache_redis,
    servers.scratch_redis,
    servers.s3,
    certificates.certificates,
    host.disk,
    host.shared_memory,
    workers.workers,
    hosts.hosts,
    web.pages,
)


def main(*, as_json: bool, with_jobs: bool = True) -> int:
    """Run every check and print its findings; returns 1 if one failed, else 0.

    `with_jobs`: also send a no-op job through each model, which may take web.JOB_S seconds.
    """
    findings = examine()
    if with_jobs and not any(f.what == "settings" and f.level == "fail" for f in findings):
        findings += web.no_op_jobs(settings())
    if as_json:
        print(json.dumps([asdict(finding) for finding in findings], indent=1))
    else:
        _show(findings)
    return 1 if any(finding.level == "fail" for finding in findings) else 0


def examine() -> list[Finding]:
    """The findings of all checks, in order, within ALL_S seconds whatever is unavailable."""
    try:
        current = settings()
    except ValidationError as error:
        return [Finding("fail", "settings", settings_error.describe(error), settings_error.HINT)]
    return run_together(CHECKS, current)


def run_together(checks: Sequence[Check], settings: Settings) -> list[Finding]:
    """Run each check on a thread of its own: one that hangs or breaks stops no other."""
    results: list[list[Finding]] = [[] for _ in checks]
    threads = [
        threading.Thread(target=_run, args=(check, settings, findings), daemon=True)
        for check, findings in zip(checks, results, strict=True)
    ]
    end = time.monotonic() + ALL_S
    for thread in threads:
        thread.start()
    for thread, check, findings in zip(threads, checks, results, strict=True):
        thread.join(max(end - time.monotonic(), 0))
        if thread.is_alive():
            findings.append(Finding("fail", _name(check), f"no answer within {ALL_S:g} s"))
    return [finding for findings in results for finding in findings]


def _run(check: Check, settings: Settings, findings: list[Finding]) -> None:
    try:
        for finding in check(settings):
            findings.append(finding)
    except redis.RedisError as error:
        hint = "Check its address in the settings; `pixelmill up` starts a state and a cache Redis."
        reason = str(error) or type(error).__name__
        findings.append(Finding("fail", _name(check), reason, hint))
    except Exception as error:  # a check that breaks is a finding too
        findings.append(Finding("fail", _name(check), f"{type(error).__name__}: {error}"))


def _name(check: Check) -> str:
    name = getattr(check, "__name__", "check")
    return {"s3": "S3"}.get(name) or name.replace("_redis", " Redis").replace("_", " ")


def _show(findings: Sequence[Finding]) -> None:
    console = Console(highlight=False, markup=False, soft_wrap=True, file=sys.stdout)
    width = max(len(finding.what) for finding in findings)
    for finding in findings:
        console.print(f"{finding.level:5}", style=COLOURS[finding.level], end="")
        console.print(f"{finding.what:{width}}  {finding.value}")
        if finding.hint:
            console.print(f"{'':5}{'':{width}}  -> {finding.hint}", style="dim")
    counts = Counter(finding.level for finding in findings)
    console.print(", ".join(f"{counts[level]} {level}" for level in ("ok", "warn", "fail")))
