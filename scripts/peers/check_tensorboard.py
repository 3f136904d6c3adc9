#!/usr/bin/env python3
"""Reads the event files of a run back with the tensorboard package and compares them with its
log.jsonl where there is one. Usage: check_tensorboard.py FOLDER Exit code 1 where they
differ. Needs scripts/peers/setup."""
import json
import pathlib
import sys

from tensorboard.backend.event_processing.event_accumulator import EventAccumulator


def main() -> int:
    folder = pathlib.Path(sys.argv[1])
    files = sorted(folder.rglob("events.out.tfevents.*"))
    if not files:
        print(f"{folder}: no event files")
        return 2
    scalars = {}
    doubles = 0
    for run in sorted({file.parent for file in files}):
        # A folder's files together: a resumed run's file takes back what earlier ones hold behind it.
        accumulator = EventAccumulator(str(run), size_guidance={"scalars": 0})
        accumulator.Reload()
        for tag in accumulator.Tags()["scalars"]:
            for event in accumulator.Scalars(tag):
                doubles += (tag, event.step) in scalars
                scalars[tag, event.step] = event.value
    print(f"{len(files)} files, {doubles} steps twice")
    for tag in sorted({tag for tag, _ in scalars}):
        steps = [step for name, step in scalars if name == tag]
        last = max(steps)
        print(f"{tag}: {len(steps)} values, steps {min(steps)} to {last}, last {scalars[tag, last]:.6g}")
    return 1 if doubles else compare(folder / "log.jsonl", scalars)


def compare(log: pathlib.Path, scalars: dict) -> int:
    if not log.exists():
        return 0
    compared = wrong = 0
    for line in log.read_text().splitlines():
        row = json.loads(line)
        for key, value in row.items():
            seen = scalars.pop((key, row.get("step")), None)
            if seen is not None and isinstance(value, (int, float)):
                compared += 1
                wrong += abs(seen - value) > 1e-5 * max(1.0, abs(value))
    extra = sum(key == "loss" for key, _ in scalars)
    print(f"log.jsonl: {compared} values compared, {wrong} differ")
    print(f"{extra} steps are only in the event files")
    return 1 if wrong or extra or not compared else 0


if __name__ == "__main__":
    sys.exit(main())
