"""Our own Prometheus series, on BentoML's /metrics: per language, module and stage."""

from prometheus_client import Counter, Gauge, Histogram

SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30)

STAGE_SECONDS = Histogram(
    "langmod_stage_seconds",
    "Seconds a text spent in a stage: encode, queue, run, decode",
    ["base", "stage", "language"],
    buckets=SECONDS,
)
TEXTS = Counter(
    "langmod_texts_total",
    "Texts answered, by endpoint, language and outcome (ok or the error code)",
    ["base", "endpoint", "language", "outcome"],
)
MODULE_TEXTS = Counter(
    "langmod_module_texts_total", "Texts that ran through a module", ["base", "module"]
)
BATCH_ROWS = Histogram(
    "langmod_batch_rows", "Rows of a batch", ["base"], buckets=(1, 2, 4, 8, 16, 32, 64, 128, 256)
)
QUEUED_ROWS = Gauge(
    "langmod_queued_rows", "Rows waiting for a batch", ["base"], multiprocess_mode="livesum"
)
BANK_MODULES = Gauge(
    "langmod_bank_modules",
    "Modules that lie in slots",
    ["base", "role"],
    multiprocess_mode="livesum",
)
BANK_EVENTS = Counter(
    "langmod_bank_events_total",
    "Modules found in a slot (hit), put in one (load), put out of one (eviction)",
    ["base", "role", "event"],
)
BANK_BYTES = Gauge(
    "langmod_bank_bytes",
    "Bytes of the banks with all padding, of the modules in slots, and of those in memory",
    ["base", "place"],
    multiprocess_mode="livesum",
)
STORE_LOOKS = Counter(
    "langmod_store_looks_total",
    "Looks at a store that is no folder, by outcome (ok or unreachable)",
    ["base", "outcome"],
)


def observe(base: str, stage: str, language: str, seconds: float) -> None:
    """Notes the time one text spent in a stage."""
    STAGE_SECONDS.labels(base, stage, language).observe(seconds)
