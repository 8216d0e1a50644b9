"""A small database of the real schema, filled by hand, so that every number on the page is known beforehand."""

import json
import sqlite3
import statistics
from pathlib import Path

from smepilot_report.data import load
from smepilot_report.database import Reader

SOURCE = Path(__file__).resolve().parents[2]
SCHEMA = sorted((SOURCE / "db" / "schema").glob("[0-9][0-9][0-9]_*.sql"))
APPLICATION_ID = 0x534D4550
NO_BOUND = 4294967295

# What a file can hold as a name: markup, quotes, mathtext, template syntax, control and reordering characters.
HOSTILE = "<script>alert('x')</script>$x^{2$ & \"q\" {{ 7*7 }} ]]> \x1b[31m\u202egpj \\frac"
HOSTILE_CLEAN = HOSTILE.replace("\x1b", "\ufffd").replace("\u202e", "\ufffd")
VNNI = "matmul.f32.q8.q4_0.16x16.avx512vnni.vpdpbusd"
AMX = "matmul.f32.q8.q4_0.32x32.amxint8.tdpbssd"
ATTENTION = "attention.f32.f32.f16.64x16.avx512.online"


def read(connection, path):
    """What a report reads of the database at `path`, with all that `connection` has written to it."""
    connection.commit()
    reader = Reader(path)
    try:
        return load(reader)
    finally:
        reader.close()


def create(path, version=len(SCHEMA)):
    """An empty database of the newest schema, or of an older one."""
    connection = sqlite3.connect(path)
    for migration in SCHEMA[:version]:
        connection.executescript(migration.read_text(encoding="utf-8"))
    connection.execute(f"PRAGMA application_id = {APPLICATION_ID}")
    connection.execute(f"PRAGMA user_version = {version}")
    connection.execute("PRAGMA foreign_keys = ON")
    return connection


def insert(connection, table, **values):
    names = ", ".join(values)
    marks = ", ".join("?" * len(values))
    return connection.execute(f"INSERT INTO {table} ({names}) VALUES ({marks})", list(values.values())).lastrowid


def add_machine(connection, fingerprint="00112233445566aa", cpu="Test CPU 9000"):
    facts = {
        "cpu_model": cpu,
        "cpu_family": "Test 1/2/3",
        "isa": "avx2+avx512+avx512vnni+amxint8",
        "cores": 2,
        "cpus": 2,
        "memory_bytes": 8 << 30,
        "matrix_unit": "amx",
        "matrix_units": 2,
        "os": "Test OS",
        "kernel": "Linux 1.2",
        "governor": "performance",
        "hypervisor": "",
        "core_classes": [{"name": "cpu", "cpus": [0, 1]}],
        "caches": [{"level": 1, "bytes": 49152, "instances": 2}, {"level": 2, "bytes": 2 << 20, "instances": 2}],
    }
    platform = insert(
        connection,
        "platform",
        fingerprint=fingerprint,
        identity_json=json.dumps({"cpu_model": cpu}),
        facts_json=json.dumps(facts),
        created="2026-01-01T00:00:00Z",
    )
    return platform, add_session(connection, platform)


def add_session(connection, platform, revision="abc123", load1=0.25):
    return insert(
        connection,
        "session",
        platform_id=platform,
        started="2026-01-02T00:00:00Z",
        command="smetune search",
        version="0.1.0",
        revision=revision,
        compiler="GNU 12.2.0",
        flags="-O2",
        build_type="Release",
        governor="performance",
        kernel="Linux 1.2",
        hypervisor="KVM",
        load1=load1,
    )


def add_calibration(connection, session, noise_floor=0.02, busy_fraction=0.01, quick=0):
    calibration = insert(
        connection,
        "calibration",
        session_id=session,
        created="2026-01-01T01:00:00Z",
        quick=quick,
        seconds=41.5,
        noise_floor=noise_floor,
        exp_geps=6.5,
        pack_gbps=5.25,
        busy_fraction=busy_fraction,
    )
    peaks = [
        ("cpu", "f32", "avx512", 1, 101.5),
        ("cpu", "f32", "avx512", 2, 199.25),
        ("cpu", "f32", "avx2", 2, 99.5),
        ("cpu", "int8", "avx512vnni", 1, 801.5),
        ("cpu", "int8", "avx512vnni", 2, 1599.75),
        ("matrix", "int8", "amxint8", 1, 5001.25),
        ("matrix", "int8", "amxint8", 2, 9995.5),
    ]
    for unit, dtype, isa, workers, gflops in peaks:
        insert(
            connection,
            "peak",
            calibration_id=calibration,
            unit=unit,
            dtype=dtype,
            isa=isa,
            workers=workers,
            gflops=gflops,
            samples_json=json.dumps([gflops * 0.9, gflops]),
        )
    for level, rate in (("L1", 400.5), ("L2", 200.25), ("LLC", 60.125), ("DRAM", 30.0625)):
        for op, factor in (("read", 1), ("write", 0.5)):
            for workers in (1, 2):
                insert(
                    connection,
                    "bandwidth",
                    calibration_id=calibration,
                    level=level,
                    op=op,
                    workers=workers,
                    working_set_bytes=1 << 16,
                    gbps=rate * factor * workers,
                    samples_json="[1.5]",
                )
    insert(connection, "fork_join", calibration_id=calibration, workers=2, ns=450.5, samples_json="[450.5]")
    return calibration


def add_model(connection, name="m", hash="cafe0123", architecture="llama"):
    return insert(connection, "model", name=name, architecture=architecture, hash=hash, shape_json="{}")


def add_search(connection, session, model, calibration):
    return insert(
        connection,
        "search",
        session_id=session,
        model_id=model,
        calibration_id=calibration,
        planner="race",
        variant_set_hash="feed",
        budget_s=60.0,
        options_json="{}",
        state="done",
        started="2026-01-02T00:00:00Z",
        finished="2026-01-02T00:20:00Z",
    )


def add_operator(connection, search, role, calls=4, **shape):
    shape = {"kind": "matmul", "dtype": "q4_0", "kv_len": 0, "kv_heads": 0, **shape}
    operator = insert(connection, "operator", **shape)
    for one in role.split("|"):
        insert(connection, "search_operator", search_id=search, operator_id=operator, role=one, calls=calls)
    return operator


def add_measurement(
    connection,
    search,
    session,
    platform,
    operator,
    samples=(),
    predicted=None,
    status="ok",
    reason="",
    is_default=0,
    variant=VNNI,
    mode="cpu",
    workers=2,
    mc=128,
    nc=64,
    kv_tile=0,
    kv_splits=0,
    **both_units,
):
    candidate = insert(
        connection,
        "candidate",
        operator_id=operator,
        variant=variant,
        mode=mode,
        workers=workers,
        mc=mc,
        nc=nc,
        kv_tile=kv_tile,
        kv_splits=kv_splits,
        **both_units,
    )
    ok = status == "ok"
    return insert(
        connection,
        "measurement",
        search_id=search,
        session_id=session,
        candidate_id=candidate,
        platform_id=platform,
        variant_set_hash="feed",
        status=status,
        reason=reason,
        predicted_ns=predicted,
        median_ns=statistics.median(samples) if ok else None,
        ci_low_ns=min(samples) if ok else None,
        ci_high_ns=max(samples) if ok else None,
        samples_json=json.dumps(list(samples)),
        is_default=is_default,
        created="2026-01-02T00:10:00Z",
        digest="0",
    )


def add_entry(connection, plan, **values):
    values = {
        "kind": "matmul",
        "dtype": "q4_0",
        "kv_heads": 0,
        "kv_max": 0,
        "mode": "cpu",
        "variant": VNNI,
        "workers": 2,
        "mc": 128,
        "nc": 64,
        "kv_tile": 0,
        "kv_splits": 0,
        "measured_kv": 0,
        "predicted_ns": 1000.0,
        "why": "",
        **values,
    }
    return insert(connection, "plan_entry", plan_id=plan, **values)


def add_workload(connection, session, model, engine, rounds, is_baseline=0, joules=None, **values):
    """A run of gsm8k at half its size with two sequences; rounds: (seconds of prefill, of decode) of each."""
    run = {
        "plan_mode": "" if is_baseline else "none",
        "workload": "gsm8k",
        "scale": 0.5,
        "batch": 2,
        "n_prompt": 46,
        "n_gen": 50,
        "build": "b1",
        "arguments": "",
        "model_file": "m.gguf",
        "kv_type": "f16",
        "n_threads": 2,
        "created": "2026-01-01T00:00:00Z",
        **values,
    }
    run = insert(
        connection, "workload_run", session_id=session, model_id=model, engine=engine, is_baseline=is_baseline, **run
    )
    for number, (prefill, decode) in enumerate(rounds, 1):
        insert(
            connection,
            "workload_round",
            run_id=run,
            round=number,
            prefill_s=prefill,
            decode_s=decode,
            joules=joules,
        )
    return run


def add_bench(
    connection,
    session,
    model,
    samples,
    plan=None,
    plan_mode="none",
    n_prompt=0,
    n_gen=0,
    file="model.gguf",
    threads=2,
    **values,
):
    return insert(
        connection,
        "bench",
        session_id=session,
        model_id=model,
        plan_id=plan,
        plan_mode=plan_mode,
        model_file=file,
        n_threads=threads,
        n_prompt=n_prompt,
        n_gen=n_gen,
        n_depth=0,
        avg_ts=statistics.fmean(samples),
        stddev_ts=statistics.stdev(samples),
        samples_json=json.dumps(samples),
        created="2026-01-03T00:00:00Z",
        **values,
    )


def add_baseline(
    connection,
    session,
    samples,
    n_prompt=0,
    n_gen=0,
    file="model.gguf",
    threads=2,
    cpu="Test  CPU 9000",
    engine="llama.cpp",
):
    return insert(
        connection,
        "baseline",
        session_id=session,
        engine=engine,
        build="b1 (1)",
        cpu_info=cpu,
        model_file=file,
        model_type="llama Q4_0",
        n_threads=threads,
        n_prompt=n_prompt,
        n_gen=n_gen,
        n_batch=512,
        n_depth=0,
        avg_ts=statistics.fmean(samples),
        stddev_ts=statistics.stdev(samples),
        samples_json=json.dumps(samples),
        raw_json=json.dumps([n_prompt, n_gen, threads, cpu, samples]),
        source="bench.json",
        test_time="2026-01-03T00:00:00Z",
        created="2026-01-03T00:00:00Z",
    )


def fill(connection, name=HOSTILE):
    """A machine, a calibration, a search, a plan, runs and baselines. Returns what tests compare with."""
    platform, session = add_machine(connection)
    calibration = add_calibration(connection, session)
    model = add_model(connection, name)
    search = add_search(connection, session, model, calibration)
    plan = insert(
        connection,
        "plan",
        session_id=session,
        search_id=search,
        version=1,
        fingerprint="00112233445566aa",
        identity_json="{}",
        model_id=model,
        variant_set_hash="feed",
        planner="race",
        workers=2,
        build="abc123 GNU 12.2.0",
        created="2026-01-02T00:20:00Z",
        digest="0",
    )
    decode = add_operator(connection, search, f"{name}|attn_v", m=1, n=512, k=256)
    prefill = add_operator(connection, search, "ffn_up", m=512, n=512, k=256)
    attention = add_operator(
        connection, search, "attention", kind="attention", dtype="f16", m=1, n=8, k=64, kv_len=512, kv_heads=2
    )
    rows = {}

    def measure(key, operator, samples, **values):
        rows[key] = add_measurement(connection, search, session, platform, operator, samples, **values)

    # At M = 1 the default is beaten; at M = 512 the difference is within the intervals; attention keeps the default.
    measure("decode", decode, [5000.25, 5100.5, 5200.5, 5050.0], predicted=2500.5, workers=1)
    measure("decode_default", decode, [9000.0, 9100.5, 9200.0, 9050.0], predicted=2400.5, is_default=1)
    measure("prefill", prefill, [50000.5, 61000.0, 55000.5], predicted=40000.0, variant=AMX, mode="matrix")
    measure("prefill_default", prefill, [56000.0, 62000.0, 60000.0], predicted=90000.0, is_default=1)
    # Faster than its price, though within the peak of its unit: above the roof.
    measure(
        "attention",
        attention,
        [6000.5, 6001.5, 6002.5],
        predicted=10000.0,
        is_default=1,
        variant=ATTENTION,
        mc=0,
        nc=0,
        kv_tile=64,
    )
    measure(
        "incorrect",
        decode,
        [],
        status="incorrect",
        reason="differs from the reference by 7",
        variant=AMX,
        mode="matrix",
    )
    measure(
        "pruned",
        decode,
        [],
        status="pruned",
        reason="predicted 1.5 ms, 9.1x the best prediction of 20.5 us",
        predicted=1.5e6,
        workers=4,
    )
    measure(
        "pruned2",
        decode,
        [],
        status="pruned",
        reason="predicted 2.5 ms, 9.9x the best prediction of 20.5 us",
        predicted=2.5e6,
        workers=8,
    )
    measure(
        "refused", decode, [], status="refused", reason="</details><img src=x onerror=alert(1)> needs sme", workers=16
    )
    entries = [
        add_entry(
            connection,
            plan,
            n=512,
            k=256,
            m_min=1,
            m_max=16,
            workers=1,
            measured_m=1,
            predicted_ns=2500.5,
            measured_ns=5075.25,
            default_ns=9075.25,
            why=f"because {name}",
        ),
        add_entry(
            connection,
            plan,
            n=512,
            k=256,
            m_min=17,
            m_max=NO_BOUND,
            mode="matrix",
            variant=AMX,
            measured_m=512,
            predicted_ns=40000.0,
            measured_ns=55000.5,
            default_ns=60000.0,
        ),
        add_entry(
            connection,
            plan,
            kind="attention",
            dtype="f16",
            n=8,
            k=64,
            kv_heads=2,
            kv_max=NO_BOUND,
            m_min=1,
            m_max=NO_BOUND,
            variant=ATTENTION,
            mc=0,
            nc=0,
            kv_tile=64,
            measured_m=1,
            measured_kv=512,
            predicted_ns=10000.0,
            measured_ns=6001.5,
            default_ns=6001.5,
            why="the default",
        ),
    ]
    samples = {
        "prefill_plan": [200.5, 202.5, 201.5, 203.5],
        "prefill_none": [100.5, 101.5, 102.5],
        "prefill_base": [199.0, 203.0, 204.0],
        "decode_plan": [50.5, 51.5, 52.5],
        "decode_none": [50.0, 51.0, 52.0],
        "decode_base": [80.5, 81.5, 82.5],
        "foreign": [900.5, 901.5, 902.5],
    }
    # Two runs of the same are pooled.
    add_bench(connection, session, model, samples["prefill_plan"][:2], plan, "db", n_prompt=512)
    add_bench(connection, session, model, samples["prefill_plan"][2:], plan, "db", n_prompt=512)
    add_bench(connection, session, model, samples["prefill_none"], n_prompt=512)
    add_bench(connection, session, model, samples["decode_plan"], plan, "db", n_gen=128)
    add_bench(connection, session, model, samples["decode_none"], n_gen=128)
    add_baseline(connection, session, samples["prefill_base"], n_prompt=512)
    add_baseline(connection, session, samples["decode_base"], n_gen=128)
    add_baseline(connection, session, samples["foreign"], n_gen=128, cpu="Other CPU")
    add_baseline(connection, session, [10.5, 11.5], n_gen=128, file=f"other{name}.gguf")
    connection.commit()
    return {
        "rows": rows,
        "entries": entries,
        "samples": samples,
        "plan": plan,
        "model": model,
        "session": session,
        "platform": platform,
        "calibration": calibration,
        "search": search,
    }


def add_coop(connection, known):
    """To what fill() made: rates of both units at once, and one operator divided at several points, with its entry."""
    insert(
        connection,
        "coop_peak",
        calibration_id=known["calibration"],
        matrix_dtype="int8",
        matrix_isa="amxint8",
        matrix_workers=1,
        matrix_gflops=4500.5,
        matrix_samples_json="[4500.5]",
        cpu_dtype="int8",
        cpu_isa="avx512vnni",
        cpu_workers=1,
        cpu_gflops=700.25,
        cpu_samples_json="[700.25]",
    )
    insert(
        connection,
        "coop_bandwidth",
        calibration_id=known["calibration"],
        level="DRAM",
        matrix_workers=1,
        matrix_gbps=25.5,
        matrix_samples_json="[25.5]",
        cpu_workers=1,
        cpu_gbps=20.25,
        cpu_samples_json="[20.25]",
    )
    coop = {"mode": "coop", "workers": 1, "matrix_variant": AMX, "matrix_workers": 1, "split_of": 1024}
    times = {256: 60000.0, 512: 50000.0, 768: 40000.0, 896: 42000.0}
    rows = {}
    for m, scale in ((1, 0.01), (512, 1.0)):
        operator = add_operator(connection, known["search"], "ffn_gate", m=m, n=1024, k=256)

        def measure(time, operator=operator, scale=scale, **values):
            samples = [time * scale * factor for factor in (0.99, 1.0, 1.01, 1.005, 0.995)]
            return add_measurement(
                connection,
                known["search"],
                known["session"],
                known["platform"],
                operator,
                samples,
                predicted=time * scale * 0.9,
                **values,
            )

        rows[m, "cpu"] = measure(90000.0 if m > 1 else 30000.0, is_default=1)
        rows[m, "matrix"] = measure(55000.0, variant=AMX, mode="matrix")
        if m > 1:
            for split, time in times.items():
                rows[m, split] = measure(time, split=split, **coop)
    entry = add_entry(
        connection,
        known["plan"],
        n=1024,
        k=256,
        m_min=100,
        m_max=600,
        measured_m=512,
        measured_ns=42000.0,
        default_ns=90000.0,
        split=896,
        **coop,
    )
    connection.commit()
    return {"rows": rows, "entry": entry}
