#!/usr/bin/env bash
# Changes one operator of a package at a time, runs the package's tests, and lists the changes that no test noticed.
#
#   mutants.sh [-f REGEXP] PACKAGE...
#
# -f limits the changes to files whose name matches REGEXP. Reports are written to bin/mutants/. The exit status is
# that of the last package with less than 90 % of its changes noticed, or 0.
#
# Tests that hang count as neither noticed nor unnoticed ("timed out"). Slow tests can be left out for a first run:
#
#   GOFLAGS=-skip=TestKeyRolloverUnderLoad tools/mutants.sh -f keys.go ./verify
#
# The work is done in a copy, so the checkout may be edited at the same time.
set -euo pipefail
cd "$(dirname "$0")/.."

only=.
while getopts f: flag; do
	case $flag in
	f) only=$OPTARG ;;
	*) exit 2 ;;
	esac
done
shift $((OPTIND - 1))

threshold=${THRESHOLD:-90}
# A change that makes tests hang is stopped after this many times the duration of the first run, which also compiles.
coefficient=${COEFFICIENT:-5}
workers=${WORKERS:-2}

root=$PWD
reports=$root/bin/mutants
copy=$(mktemp -d)
trap 'rm -rf "$copy"' EXIT
mkdir -p "$reports" "$copy/bin" "$copy/module"

# Without go.work, and without anything that Git ignores, such as Node.js modules.
git ls-files -z --cached --others --exclude-standard -- . ':!:integration' ':!:docs' ':!:go.work*' |
	while IFS= read -r -d '' file; do [ ! -f "$file" ] || printf '%s\0' "$file"; done |
	tar -c --null --files-from=- | tar -x -C "$copy/module"

export GOWORK=off GOFLAGS="-buildvcs=false -vet=off -failfast ${GOFLAGS-}"
export REAL_GO
REAL_GO=$(command -v "${GO:-go}")
go tool -modfile="$root/tools/go.mod" -n gremlins >/dev/null # builds it
gremlins=$(go tool -modfile="$root/tools/go.mod" -n gremlins)

# Gremlins runs this instead of go, for two corrections. It expects status 2 from `go test` if the changed code does not
# compile. The status is 1, as for a failed test, so such a change would count as noticed. And it skips code that the
# coverage profile lacks, such as the conditions of cases: the whole of each file is entered there.
cat >"$copy/bin/go" <<'SHIM'
#!/usr/bin/env bash
[ "${1-}" = test ] || exec "$REAL_GO" "$@"
output=$("$REAL_GO" "$@" 2>&1)
status=$?
printf '%s\n' "$output"
[[ $output != *'[build failed]'* ]] || status=2
previous=
for argument in "$@"; do
	if [ "$previous" = -coverprofile ] && [ -f "$argument" ]; then
		sed -E 's/:[0-9.]+,[0-9.]+ [0-9]+ [0-9]+$/:1.1,1000000.1 1 1/' "$argument" | awk '!seen[$0]++' >"$argument.whole"
		mv "$argument.whole" "$argument"
	fi
	previous=$argument
done
exit $status
SHIM
chmod +x "$copy/bin/go"
export PATH=$copy/bin:$PATH
export TMPDIR=$copy

status=0
cd "$copy/module"
for package in "$@"; do
	package=./${package#./}
	report=$reports/$(tr / - <<<"${package#./}").json
	exclude=()
	while IFS= read -r file; do
		[[ $file =~ $only ]] || exclude+=(--exclude-files "^${file//./\\.}\$")
	done < <(cd "$package" && find . -name '*.go' ! -name '*_test.go' | sed 's|^\./||')
	printf '\n==> mutants of %s\n' "$package"
	"$gremlins" unleash "$package" --workers "$workers" --timeout-coefficient "$coefficient" --invert-logical \
		--output-statuses lt --output "$report" --threshold-efficacy "$((threshold - 1)).999" "${exclude[@]}" ||
		status=$?
done
exit $status
