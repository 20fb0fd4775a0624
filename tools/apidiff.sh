#!/usr/bin/env bash
# Prints the changes of the exported API since the latest release tag. From v1.0.0 on, an incompatible change is an
# error.
set -euo pipefail
cd "$(dirname "$0")/.."

go=${GO:-go}
apidiff=("$go" tool "-modfile=$PWD/tools/go.mod" apidiff -m)
module=$("$go" list -m)

if ! tag=$(git describe --tags --abbrev=0 --match 'v[0-9]*' 2>/dev/null); then
	echo 'No release tag yet, so there is no API to stay compatible with.'
	exit 0
fi

old=$(mktemp -d)
trap 'rm -rf "$old"' EXIT
git archive "$tag" | tar -x -C "$old"
(cd "$old" && "${apidiff[@]}" -w "$old/api.export" "$module")

echo "Changes of the exported API since $tag:"
"${apidiff[@]}" "$old/api.export" "$module"

incompatible=$("${apidiff[@]}" -incompatible "$old/api.export" "$module")
if [ -n "$incompatible" ] && [[ $tag != v0.* ]]; then
	echo "Incompatible with $tag: only a new major version may do this."
	exit 1
fi
