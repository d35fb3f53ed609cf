#!/usr/bin/env bash
# What a machine with a GPU should be asked, in about ten minutes: the unit tests where a device matters, notebooks that train,
# the study, and how much of the card a step uses. Each part has a limit and says how it ended; one that fails stops nothing.
#
#     bash benchmarks/gpu_check.sh [FOLDER for the logs] [PYTHON]
set -uo pipefail
cd "$(dirname "$0")/.."
out=$(realpath -m "${1:-results/gpu}")
python=${2:-.venv/bin/python}
mkdir -p "$out"

part() {
    local name=$1 limit=$2 start=$SECONDS status=0
    shift 2
    timeout "$limit" "$@" >"$out/$name.log" 2>&1 || status=$?
    echo "[$((SECONDS - start)) s, exit $status] $name: $(tail -n 1 "$out/$name.log")"
}

part check 60 "$python" -m scalept_lab.cli check
part mfu 240 "$python" benchmarks/bench_gpu.py
part units 150 "$python" -m pytest -q -n 8 --dist loadfile -m "not slow and not timing" \
    tests/model tests/train tests/compress tests/study tests/transfer tests/test_devices.py
part study 150 "$python" -m scalept_lab.cli study --out "$out/study" --json
for number in 00 02 04 05 08 11; do
    part "notebook-$number" 150 "$python" -m scalept_lab.cli run notebooks/"$number"_*.ipynb
done
cat "$out/mfu.log"
