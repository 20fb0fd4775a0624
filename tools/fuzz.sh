#!/usr/bin/env bash
# Fuzzes every Fuzz target of the module, one after the other, for the time given (default 30s).
# Inputs are hardly minimized: where cryptography makes coverage vary, that takes all of the time.
# An input that fails is kept by `go test` under the package's testdata/fuzz: commit it with the fix.
set -euo pipefail
cd "$(dirname "$0")/.."

go=${GO:-go}
time=${1:-30s}
targets=0
failed=()

for package in $("$go" list ./...); do
	for target in $("$go" test -list '^Fuzz' "$package" | grep '^Fuzz' || true); do
		printf '\n==> %s %s for %s\n' "$package" "$target" "$time"
		targets=$((targets + 1))
		"$go" test -run '^$' -fuzz "^$target\$" -fuzztime "$time" -fuzzminimizetime 1x "$package" || failed+=("$package $target")
	done
done

printf '\n%d fuzz targets, %d failed\n' "$targets" "${#failed[@]}"
if [ "${#failed[@]}" -gt 0 ]; then
	printf '%s\n' "${failed[@]}"
	exit 1
fi
