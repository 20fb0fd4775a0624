#!/usr/bin/env bash
# Fuzzes every Fuzz target of the module, one after the other, for the given time (default 30s). Inputs are hardly
# minimized, because cryptography makes coverage vary and minimizing would then take all of the time. `go test` stores a
# failing input in the package's testdata/fuzz. Commit it with the fix.
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
		"$go" test -run '^$' -fuzz "^$target\$" -fuzztime "$time" -fuzzminimizetime 1x "$package" ||
			failed+=("$package $target")
	done
done

printf '\n%d fuzz targets, %d failed\n' "$targets" "${#failed[@]}"
if [ "${#failed[@]}" -gt 0 ]; then
	printf '%s\n' "${failed[@]}"
	exit 1
fi
