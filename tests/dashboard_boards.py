"""What the Grafana dashboards show: tests/dashboards.py makes their JSON of this."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Chart:
    """One panel."""

    title: str
    unit: str
    """Grafana's name of the unit: s, percentunit, bytes, Bps, short, reqps."""
    queries: Mapping[str, str]
    """PromQL -> legend."""
    description: str
    is_number: bool = False
    """Whether it shows only the present value."""
    limit: float | None = None
    """From where on values are bad."""
    is_stacked: bool = False


@dataclass(frozen=True)
class Board:
    """One dashboard: rows of charts, those of a row equally wide."""

    uid: str
    title: str
    description: str
    rows: Mapping[str, Sequence[Chart]]
    of_one_model: bool = False


P95 = "model:pixelmill_job_seconds:p95_1m"
P50 = "model:pixelmill_job_seconds:p50_1m"
DECISIONS = 'pixelmill_pilot_decisions_total{outcome="done"}'
OF_QUEUE = "{{model}} in {{queue}}"
WANTED, LIVE = "max by (model) (pixelmill_workers_wanted{of})", "model:pixelmill_workers:live{of}"


PEOPLE = 'model:pixelmill_job_seconds_bucket:rate1m{{priority="interactive", le="{}"}}'


def _once(metric: str, by: str) -> str:
    """The rate of what every web process says alike."""
    return f"sum by ({by}) (max without (instance) (rate({metric}[1m])))"


def _mean_s(histogram: str, of: str) -> str:
    """Mean seconds by stage."""
    total, count = (
        f"sum by (stage) (max without (instance) (rate({histogram}_{part}{of}[1m])))"
        for part in ("sum", "count")
    )
    return f"{total} / {count}"


SERVICE = Board(
    "pixelmill-service",
    "Pixelmill: service",
    "Does it work, for whom, and how well?",
    {
        "Now": [
            Chart(
                "Jobs of people, p95",
                "s",
                {f'max({P95}{{priority="interactive"}})': "p95"},
                "One in twenty takes longer; the slowest model.",
                is_number=True,
                limit=2,
            ),
            Chart(
                "Runs a second",
                "reqps",
                {'sum(model:pixelmill_runs:rate1m{state="done"})': "done"},
                "Runs that were done, of all models.",
                is_number=True,
            ),
            Chart(
                "Our failures",
                "percentunit",
                {"max(model:pixelmill_own_failures:ratio10m)": ""},
                "Of ten minutes, of the worst model, without unreadable pictures.",
                is_number=True,
                limit=0.05,
            ),
            Chart(
                "Alerts",
                "short",
                {'count(ALERTS{alertstate="firing"}) or vector(0)': "firing"},
                "docs/runbooks.md says what to do about each.",
                is_number=True,
                limit=1,
            ),
            Chart(
                "Active users",
                "short",
                {"sum(pixelmill_active_users)": ""},
                "Who asked for something in the last five minutes.",
                is_number=True,
            ),
            Chart(
                "Workers",
                "short",
                {"sum(max by (queue) (pixelmill_workers))": ""},
                "Live workers, each by the queues that it takes from.",
                is_number=True,
            ),
        ],
        "Work": [
            Chart(
                "How long users wait",
                "s",
                {
                    f'max by (model) ({P95}{{priority="interactive"}})': "{{model}} p95",
                    f'max by (model) ({P50}{{priority="interactive"}})': "{{model}} p50",
                },
                "From claim to end, jobs of people.",
                limit=2,
            ),
            Chart(
                "What becomes of runs",
                "reqps",
                {
                    "sum by (state) (model:pixelmill_runs:rate1m)": "{{state}}",
                    f"sum({_once('pixelmill_hits_total', 'model')})": "from the cache",
                },
                "Ended runs, and answers that needed none.",
                is_stacked=True,
            ),
        ],
        "Trouble": [
            Chart(
                "Failures by code",
                "reqps",
                {_once("pixelmill_failures_total", "code"): "{{code}}"},
                "Codes of api.md; bad_input and the like are the picture's fault.",
                is_stacked=True,
            ),
            Chart(
                "Refused by limit",
                "reqps",
                {"sum by (limit) (rate(pixelmill_refused_total[1m])) > 0": "{{limit}}"},
                "429 and 503 for new work.",
                is_stacked=True,
            ),
            Chart(
                "Decisions of the pilot",
                "short",
                {f"sum by (rule) (increase({DECISIONS}[5m]))": "{{rule}}"},
                "In five minutes: degrade, recover, scale, canary, roll back.",
                is_stacked=True,
            ),
            Chart(
                "Lost runs and restarts",
                "short",
                {
                    "sum(increase(pixelmill_leases_lost_total[5m]))": "runs that lost a worker",
                    "sum(increase(pixelmill_loop_restarts_total[5m]))": "loops restarted",
                },
                "In five minutes.",
            ),
        ],
    },
)

QUEUES = Board(
    "pixelmill-queues",
    "Pixelmill: queues and devices",
    "Where does work wait, and what are the machines doing?",
    {
        "Queues": [
            Chart(
                "Runs that wait",
                "short",
                {"sum by (model, queue) (model:pixelmill_queue_depth:max)": OF_QUEUE},
                "Before each stage.",
                is_stacked=True,
            ),
            Chart(
                "Longest wait",
                "s",
                {"max by (model, queue) (model:pixelmill_queue_oldest_seconds:max)": OF_QUEUE},
                "Of the run that has waited longest.",
            ),
            Chart(
                "In a stage",
                "short",
                {"sum by (state) (max without (instance) (pixelmill_in_flight))": "{{state}}"},
                "Runs that are being worked on.",
                is_stacked=True,
            ),
        ],
        "Workers": [
            Chart(
                "Wanted and live",
                "short",
                {WANTED.format(of=""): "{{model}} wanted", LIVE.format(of=""): "{{model}} live"},
                "Gpu workers of each model.",
            ),
            Chart(
                "Wait for a device",
                "s",
                {"max by (model) (pixelmill_wait_seconds)": "{{model}}"},
                "Estimated, of a run that comes now.",
            ),
            Chart(
                "Messages",
                "reqps",
                {"sum by (stage) (rate(pixelmill_worker_messages_total[1m]))": "{{stage}}"},
                "Taken from the queues; each carries up to 16 runs.",
            ),
        ],
        "Devices": [
            Chart(
                "Device busy",
                "percentunit",
                {"instance:pixelmill_device_busy:ratio1m": "{{instance}}"},
                "Share of time in which batches ran.",
                limit=0.95,
            ),
            Chart(
                "Images of a batch",
                "short",
                {
                    "sum by (model) (rate(pixelmill_batch_size_sum[1m])) / "
                    "sum by (model) (rate(pixelmill_batch_size_count[1m]))": "{{model}}"
                },
                "Mean.",
            ),
            Chart(
                "GPU utilisation",
                "percentunit",
                {"max by (gpu) (pixelmill_gpu_utilization_ratio)": "{{gpu}}"},
                "As the driver says: near 1 as soon as anything runs.",
                limit=0.85,
            ),
            Chart(
                "GPU memory",
                "percentunit",
                {
                    'max by (gpu) (pixelmill_gpu_memory_bytes{of="used"}) / '
                    'on (gpu) max by (gpu) (pixelmill_gpu_memory_bytes{of="total"})': "{{gpu}}"
                },
                "Of all programs.",
            ),
        ],
        "Hosts": [
            Chart(
                "GPU temperature",
                "celsius",
                {"max by (gpu) (pixelmill_gpu_temperature_celsius)": "{{gpu}}"},
                "",
                limit=85,
            ),
            Chart(
                "CPU",
                "percentunit",
                {"host:pixelmill_host_cpu_busy:ratio1m": "{{host}}"},
                "All cores together.",
                limit=0.7,
            ),
            Chart(
                "Memory left",
                "percentunit",
                {"host:pixelmill_host_memory_available:ratio": "{{host}}"},
                "Below 20% is little.",
            ),
            Chart(
                "Memory of devices",
                "bytes",
                {'sum by (instance) (pixelmill_device_memory_bytes{of="used"})': "{{instance}}"},
                "Of a GPU; without one, of the gpu worker's process.",
            ),
        ],
    },
)

OF = '{model="$model"}'
MODEL = Board(
    "pixelmill-model",
    "Pixelmill: one model",
    "How does one model do, version by version?",
    {
        "Time": [
            Chart(
                "From claim to end",
                "s",
                {f"{P95}{OF}": "{{priority}} p95", f"{P50}{OF}": "{{priority}} p50"},
                "What its users wait.",
                limit=2,
            ),
            Chart(
                "Where the time goes",
                "s",
                {f"{_mean_s('pixelmill_stage_seconds', OF)}": "{{stage}}"},
                "Mean seconds of a run in each stage.",
                is_stacked=True,
            ),
            Chart(
                "p95 by profile",
                "s",
                {
                    "histogram_quantile(0.95, sum by (profile, le) (max without (instance) "
                    f"(rate(pixelmill_job_seconds_bucket{OF}[1m]))))": "{{profile}}"
                },
                "All priorities.",
            ),
        ],
        "Versions": [
            Chart(
                "Runs by version",
                "reqps",
                {
                    "sum by (version) (max without (instance) "
                    f"(rate(pixelmill_runs_total{OF}[1m])))": "{{version}}"
                },
                "Weights and code, eight digits of each digest.",
                is_stacked=True,
            ),
            Chart(
                "Our failures by version",
                "percentunit",
                {f"model_version:pixelmill_own_failures:ratio10m{OF}": "{{version}}"},
                "Above 5% of at least 50 runs, the pilot goes back.",
                limit=0.05,
            ),
            Chart(
                "Failures by code",
                "reqps",
                {
                    "sum by (code) (max without (instance) "
                    f"(rate(pixelmill_failures_total{OF}[1m])))": "{{code}}"
                },
                "",
                is_stacked=True,
            ),
        ],
        "Load": [
            Chart(
                "Waiting",
                "short",
                {f"model:pixelmill_queue_depth:max{OF}": "{{priority}} {{queue}}"},
                "",
                is_stacked=True,
            ),
            Chart(
                "Workers",
                "short",
                {WANTED.format(of=OF): "wanted", LIVE.format(of=OF): "live"},
                "Gpu workers.",
            ),
            Chart(
                "Claims",
                "reqps",
                {f"sum by (verdict) (rate(pixelmill_claims_total{OF}[1m]))": "{{verdict}}"},
                "hit: known; join: an equal run is under way; start: a new run; busy: refused.",
                is_stacked=True,
            ),
        ],
    },
    of_one_model=True,
)

USERS = Board(
    "pixelmill-users",
    "Pixelmill: what a user sees",
    "The service from outside; no metric names a user.",
    {
        "Speed": [
            Chart(
                "Within two seconds",
                "percentunit",
                {f"sum({PEOPLE.format('2')}) / sum({PEOPLE.format('+Inf')})": "jobs of people"},
                "Of those that needed a new run.",
            ),
            Chart(
                "Wait of people and batches",
                "s",
                {
                    f"max by (priority) ({P95})": "{{priority}} p95",
                    f"max by (priority) ({P50})": "{{priority}} p50",
                },
                "From claim to end.",
                limit=2,
            ),
            Chart(
                "Known already",
                "percentunit",
                {
                    'sum(rate(pixelmill_claims_total{verdict=~"hit|join"}[5m])) / '
                    "sum(rate(pixelmill_claims_total[5m]))": "hit or joined"
                },
                "Answered without a run of their own.",
            ),
        ],
        "Answers": [
            Chart(
                "Refusals",
                "reqps",
                {"sum by (limit) (rate(pixelmill_refused_total[1m])) > 0": "{{limit}}"},
                "By the limit that was met.",
                is_stacked=True,
            ),
            Chart(
                "Malformed requests",
                "reqps",
                {"sum by (code) (rate(pixelmill_rejected_requests_total[1m])) > 0": "{{code}}"},
                "",
                is_stacked=True,
            ),
            Chart(
                "Slow web processes",
                "s",
                {"pixelmill_event_loop_lag_seconds": "{{instance}}"},
                "How late the event loop is.",
            ),
        ],
        "Use": [
            Chart(
                "Users and streams",
                "short",
                {
                    "sum(pixelmill_active_users)": "active users",
                    "sum(pixelmill_web_subscribed_channels)": "followed jobs",
                },
                "",
            ),
            Chart(
                "Uploads",
                "Bps",
                {
                    "sum(rate(pixelmill_uploaded_bytes_total[1m]))": "received",
                    "sum(rate(pixelmill_sent_bytes_total[1m]))": "sent",
                },
                "Through web processes; not what browsers fetch from S3 themselves.",
            ),
            Chart(
                "Sign-ins",
                "reqps",
                {"sum by (outcome) (rate(pixelmill_sign_ins_total[1m])) > 0": "{{outcome}}"},
                "",
                is_stacked=True,
            ),
        ],
    },
)

BOARDS = (SERVICE, QUEUES, MODEL, USERS)
