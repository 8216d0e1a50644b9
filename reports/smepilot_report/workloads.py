"""Workloads (smetune workload): ours beside the engines that ran in the same rounds of the same session."""

from dataclasses import dataclass, field

from smepilot_report import stats


@dataclass
class Engine:
    """One engine's rounds; `verdicts` are ours against it, by phase."""

    row: dict
    rounds: dict  # of each phase: {number of the round: seconds}
    prefill: stats.Estimate
    decode: stats.Estimate
    total: stats.Estimate
    joules_per_token: float = None
    verdicts: dict = field(default_factory=dict)


def load(db, platform_id):
    """Lists of engines, ours first, newest session first. Older schemas have none."""
    if not db.row("SELECT 1 FROM sqlite_master WHERE type = 'table' AND name = 'workload_run'"):
        return []
    sessions = {}
    for run in db.rows(
        "SELECT w.* FROM workload_run w JOIN session s ON s.id = w.session_id WHERE s.platform_id = ? "
        "ORDER BY w.session_id DESC, w.is_baseline, w.id",
        platform_id,
    ):
        rounds = db.rows("SELECT * FROM workload_round WHERE run_id = ? ORDER BY round", run["id"])
        if rounds:
            sessions.setdefault(run["session_id"], []).append(_engine(run, rounds))
    for engines in sessions.values():
        ours = engines[0]
        for other in engines[1:] if not ours.row["is_baseline"] else []:
            for phase in ("prefill", "decode", "total"):
                other.verdicts[phase] = stats.judge_pairs(ours.rounds[phase], other.rounds[phase])
    return list(sessions.values())


def _engine(run, rounds):
    tokens = (run["n_prompt"] + run["n_gen"]) * run["batch"]
    joules = [r["joules"] for r in rounds if r["joules"] is not None]
    seconds = {
        "prefill": {r["round"]: r["prefill_s"] for r in rounds},
        "decode": {r["round"]: r["decode_s"] for r in rounds},
        "total": {r["round"]: r["prefill_s"] + r["decode_s"] for r in rounds},
    }
    return Engine(
        run,
        seconds,
        *(stats.estimate(s.values()) for s in seconds.values()),
        stats.median(joules) / tokens if joules else None,
    )
