#!/usr/bin/env python3
"""Prints what GoogleTest's XML reports in a folder add up to: cases by outcome, and why cases were
skipped.

    summarise_reports.py FOLDER
"""

import collections
import pathlib
import sys
import xml.etree.ElementTree as xml


def main():
    outcomes = collections.Counter()
    reasons = collections.Counter()
    programs = 0
    for report in sorted(pathlib.Path(sys.argv[1]).glob("*.xml")):
        programs += 1
        for case in xml.parse(report).iter("testcase"):
            skipped = case.find("skipped")
            if case.get("status") == "notrun":
                outcomes["disabled"] += 1
            elif skipped is not None:
                outcomes["skipped"] += 1
                # The message opens with the source line; the reason is what follows.
                lines = (skipped.get("message") or "").split("\n", 1)
                reasons[lines[-1].strip().replace("\n", " ") or "no reason given"] += 1
            elif case.find("failure") is not None:
                outcomes["failed"] += 1
                print(f"failed: {case.get('classname')}.{case.get('name')}")
            else:
                outcomes["passed"] += 1
    counts = ", ".join(f"{outcomes[key]} {key}"
                       for key in ("passed", "failed", "skipped", "disabled") if outcomes[key])
    print(f"\nTest cases: {sum(outcomes.values())} in {programs} programs ({counts or 'none'})")
    for reason, count in sorted(reasons.items()):
        print(f"  skipped {count}: {reason}")
    print()


if __name__ == "__main__":
    main()
