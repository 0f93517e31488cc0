"""Time and memory of `trm convert` on the hostile files of tests/checkpoint (the tests assert no time).

    python3 benchmarks/hostile.py [--tests build/tests/trm_tests]

Wall time of the whole process and its largest resident set, from the tests' own record.
"""
import argparse
import json
import subprocess
import tempfile

parser = argparse.ArgumentParser()
parser.add_argument("--tests", default="build/tests/trm_tests")
args = parser.parse_args()
with tempfile.NamedTemporaryFile(suffix=".json") as out:
    run = subprocess.run([args.tests, "--gtest_filter=Cases/Hostile*", f"--gtest_output=json:{out.name}"],
                         stdout=subprocess.DEVNULL)
    suites = json.load(open(out.name))["testsuites"]
cases = [t for s in suites for t in s["testsuite"]]
failed = sum("failures" in t for t in cases)
for what, unit in (("milliseconds", "ms"), ("megabytes", "MiB")):
    worst = sorted(((int(t[what]), t.get("value_param", "").split("(")[0] or t["name"].split("/")[-1], t["name"])
                    for t in cases), reverse=True)
    print(f"{what}: " + ", ".join(f"{name.split('/')[-1]} {n} {unit}" for n, _, name in worst[:5])
          + f", median {worst[len(worst) // 2][0]} {unit}")
print(f"{len(cases)} hostile files, {failed} not refused as they should be")
raise SystemExit(run.returncode)
