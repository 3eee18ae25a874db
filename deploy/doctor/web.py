"""Checks of a running server: page and Flower, replaced programs, and a no-op job per model."""

import os
from collections.abc import Iterable
from typing import Literal, TypedDict

import httpx

from deploy.doctor.finding import ANSWER_S, Finding
from deploy.local import run_file
from tasks.settings import Settings

JOB_S = 20.0
"""How long a no-op job may take through all stages; the answer comes a little later at most."""


class JobReport(TypedDict):
    """What `/readyz?deep=1` says of the no-op job of one model."""

    ok: bool
    ms: dict[str, float]
    """Stage -> how long it took."""
    stuck: str
    """Where the job was when the time was over."""
    reason: str


def pages(settings: Settings) -> Iterable[Finding]:
    """Page and Flower, if `pixelmill up` runs in this folder."""
    run = run_file.read(settings.var_dir)
    hint = f"See {settings.var_dir / 'logs'}, or start again: `pixelmill up`."
    if run.url:
        yield _page(f"{run.local_url}/healthz", hint)
    for name, (times, reason) in run.replaced.items():
        value = f"ran but did not work, and was replaced {times} times: {reason}"
        yield Finding("warn", name, value, hint)
    if run.flower_url:
        yield _flower(run.flower_url, hint)


def no_op_jobs(settings: Settings) -> list[Finding]:
    """Whether a no-op job gets through all stages of each model, if a server is known.

    The server is that of PIXELMILL_URL, else the `pixelmill up` of this folder, whose key goes to
    no other server.
    """
    run = run_file.read(settings.var_dir)
    url = os.environ.get("PIXELMILL_URL") or run.url
    own_key = run.api_key if url == run.url else None
    key = os.environ.get("PIXELMILL_API_KEY") or own_key
    if not url or not key:
        return []
    url = run.local_url if url == run.url else url  # this host may not resolve the public one
    try:
        answer = httpx.get(
            f"{url.rstrip('/')}/readyz",
            params={"deep": 1, "limit_s": JOB_S},
            headers={"Authorization": f"Bearer {key}"},
            timeout=JOB_S + 10,
            trust_env=False,
        )
        return _findings(answer)
    except (httpx.HTTPError, ValueError) as error:
        reason = str(error) or type(error).__name__
        return [Finding("fail", "no-op job", f"{url} does not answer: {reason}", "See its log.")]


def job_finding(model: str, report: JobReport) -> Finding:
    """What became of the no-op job of one model."""
    stages = ", ".join(f"{stage} {ms:.0f} ms" for stage, ms in report["ms"].items())
    if report["ok"]:
        return Finding("ok", f"no-op job {model}", stages)
    value = f"stuck: {report['stuck']} ({report['reason']}); done so far: {stages or 'nothing'}"
    hint = "See the log of the process in which it is stuck."
    return Finding("fail", f"no-op job {model}", value, hint)


def _findings(answer: httpx.Response) -> list[Finding]:
    body = answer.json()
    if "probes" not in body:
        value = body.get("error", {}).get("message", "refused")
        hint = "Set PIXELMILL_API_KEY to the key of an admin, or skip this check by --no-probe."
        return [Finding("warn", "no-op job", value, hint)]
    down = [Finding("fail", "server", reason, "See its log.") for reason in body["down"]]
    return down + [job_finding(model, report) for model, report in body["probes"].items()]


def _page(url: str, hint: str) -> Finding:
    answer = _get("page", url, "fail", hint)
    if isinstance(answer, Finding):
        return answer
    if answer.status_code != 200:
        value = f"{url} answers with status {answer.status_code}: {answer.text}"
        return Finding("fail", "page", value, hint)
    return Finding("ok", "page", f"answers at {url}")


def _flower(url: str, hint: str) -> Finding:
    answer = _get("Flower", url, "warn", hint)
    return answer if isinstance(answer, Finding) else Finding("ok", "Flower", f"answers at {url}")


def _get(
    what: str, url: str, otherwise: Literal["warn", "fail"], hint: str
) -> httpx.Response | Finding:
    """Any answer of a server, or the finding that there is none."""
    try:
        return httpx.get(url, timeout=ANSWER_S, trust_env=False)
    except httpx.HTTPError as error:
        return Finding(otherwise, what, f"{url} does not answer: {error}", hint)
