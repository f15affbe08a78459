"""Measure speed on this machine, side by side, and write it to a file: `python scripts/benchmark.py`.

Training steps are measured with our layers, with Keras' own and in native PyTorch (`pip install -e '.[bench]'`), and
without comparison the input pipeline, metrics, growth with the number of images, the demo and the report. Figures are
medians, with least and greatest, over rounds that take all variants in turn, so that a slow moment of the machine
affects all of them. A round during which other processes are busy is repeated, a few times at most, and the quietest
rounds count; "other_processes" of a row says how many cores were busy elsewhere. The file holds the rows of several
machines; the rows of this one, with this software and number format, are added or replaced.
"""

import argparse
import contextlib
import functools
import os
import platform
import statistics
import sys
import time
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from hw2 import backend, files, runs
from hw2.errors import ResultsError

ROOT = Path(__file__).resolve().parent.parent
OUTPUT = ROOT / "results" / "benchmark.json"
PACKAGES = ("numpy", "keras", "tensorflow", "torch", "opencv-python-headless", "gradio")
PRECISIONS = ("float32", "mixed_bfloat16", "mixed_float16")
SECONDS = 1.0  # at least, of each variant in each round
QUIET = 0.1  # cores that other processes may keep busy during a round


def main():
    if refused := backend.refusal():
        sys.exit(refused)
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    backend.set_up_for_training()
    import benchmark_rows
    import keras

    from hw2.hardware import choose_precision

    arguments = parse_arguments(benchmark_rows.ROWS)
    precision = arguments.precision or choose_precision()
    keras.config.set_dtype_policy(precision)
    found = machine(precision)
    record, rows = open_record(arguments.output, found)
    print(f"{found['processor']}, {precision}", flush=True)
    for name in arguments.only or benchmark_rows.ROWS:
        keras.utils.clear_session()
        keras.utils.set_random_seed(0)
        row = benchmark_rows.ROWS[name]
        others = []
        measured = row.measure(functools.partial(in_turn, rounds=arguments.rounds, others=others))
        rows[name] = {
            "title": row.title,
            "unit": row.unit,
            **measured,
            "rounds": arguments.rounds,
            "other_processes": max(others, default=None),
            "commit": runs.provenance()["commit"],
        }
        for key in benchmark_rows.ROWS:  # in the order of the table, however they were measured
            if key in rows:
                rows[key] = rows.pop(key)
        files.write_json(arguments.output, record)
        print(in_words(name, rows[name]), flush=True)


def machine(precision):
    """Return a description of this machine and of its software, without names of hosts, users or folders."""
    import keras

    from hw2.hardware import device_name

    used, versions = keras.backend.backend(), {"python": platform.python_version()}
    for package in PACKAGES if used == "tensorflow" else (*PACKAGES, used):
        try:
            versions[package] = version(package)
        except PackageNotFoundError:
            versions[package] = None
    return {
        "processor": device_name(),
        "memory_gib": round(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30),
        "system": platform.system(),
        "backend": used,
        "precision": precision,
        "versions": versions,
    }


def open_record(path, found):
    """Return `(record, rows)`: the record in the file, or a new one, and its rows of the machine `found`."""
    record = files.read_json(path) or {"machines": []}
    for entry in record["machines"]:
        if {"backend": "tensorflow"} | entry["machine"] == found:  # the oldest records do not name it
            return record, entry["rows"]
    record["machines"].append({"machine": found, "rows": {}})
    return record, record["machines"][-1]["rows"]


def in_turn(variants, rounds, others, seconds=SECONDS, calls_before=2, attempts=2):
    """Return `{variant: {"median", "min", "max"}}` of a rate or a duration over rounds that take all variants in turn.

    variants: {name: (function, count)}. The function is called `calls_before` times before, and in each round until
    `seconds` have passed; the figure of a round is `count`, such as the images of a call, per second. A count of None
    stands for the milliseconds of a call. attempts: at most `attempts * rounds` rounds are measured. others: list to
    which the number of cores that other processes kept busy is added, for each round that counts.
    """
    for function, _ in variants.values():
        for _ in range(calls_before):
            function()
    measured = []
    while len(measured) < attempts * rounds and sum(busy <= QUIET for busy, _ in measured) < rounds:
        before, values = usage(), {}
        for name, (function, count) in variants.items():
            began, calls = time.perf_counter(), 0
            while not calls or time.perf_counter() - began < seconds:
                function()
                calls += 1
            each = (time.perf_counter() - began) / calls
            values[name] = 1000 * each if count is None else count / each
        measured.append((busy_elsewhere(before, usage()), values))
    measured = sorted(measured, key=lambda round_: round_[0])[:rounds]
    others.extend(busy for busy, _ in measured)
    return {name: spread([values[name] for _, values in measured]) for name in variants}


def spread(values):
    """Return the median, the least and the greatest of some figures, to four digits."""
    figures = {"median": statistics.median(values), "min": min(values), "max": max(values)}
    return {name: float(f"{figure:.4g}") for name, figure in figures.items()}


def usage():
    """Return `(time, busy seconds of all cores, those of this process group)` of Linux; (time, 0, 0) elsewhere.

    The group holds this process and the servers that it starts.
    """
    busy = own = 0
    with contextlib.suppress(OSError):
        ticks = [int(value) for value in Path("/proc/stat").read_text().split("\n", 1)[0].split()[1:9]]
        busy = sum(ticks) - ticks[3] - ticks[4]  # without those that cores were idle or waited for a disk
    for path in Path("/proc").glob("[0-9]*/stat"):
        with contextlib.suppress(OSError):  # a process that has just ended
            fields = path.read_text().rpartition(")")[2].split()
            own += sum(map(int, fields[11:15])) if int(fields[2]) == os.getpgrp() else 0
    return time.perf_counter(), busy / os.sysconf("SC_CLK_TCK"), own / os.sysconf("SC_CLK_TCK")


def busy_elsewhere(began, ended):
    """Return how many cores other processes kept busy between two results of `usage`."""
    wall, busy, own = (after - before for before, after in zip(began, ended, strict=True))
    return round(max(0.0, (busy - own) / wall), 2)


def in_words(name, row):
    """Return a line on a measured row."""
    if "not_measured" in row:
        return f"{name}: not measured: {row['not_measured']}"
    figures = [
        f"{variant} {figure['median']:,.{0 if figure['median'] >= 100 else 1}f}"
        if "median" in figure
        else f"{variant} not measured"
        for variant, figure in row["variants"].items()
    ]
    busy = row["other_processes"]
    return f"{name}: {', '.join(figures)} {row['unit']}" + (f" ({busy} cores busy elsewhere)" if busy else "")


def parse_arguments(rows):
    parser = argparse.ArgumentParser(
        description=__doc__.split("\n\n")[0],
        epilog="rows:\n" + "\n".join(f"  {name:22} {row.title} ({row.unit})" for name, row in rows.items()),
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--only", nargs="+", choices=rows, metavar="ROW", help="these rows; the file keeps the others")
    parser.add_argument("--rounds", type=int, default=5, metavar="N", help="measurements of each row; default: 5")
    parser.add_argument("--precision", choices=PRECISIONS, help="number format; default: this machine's best")
    parser.add_argument("--output", type=Path, default=OUTPUT, metavar="FILE", help="default: results/benchmark.json")
    arguments = parser.parse_args()
    if arguments.rounds < 1:
        parser.error("--rounds takes a number from 1")
    return arguments


if __name__ == "__main__":
    try:
        main()
    except ResultsError as error:
        sys.exit(str(error))
    except KeyboardInterrupt:
        sys.exit("\nInterrupted. The rows that were printed are in the file; --only measures the others.")
