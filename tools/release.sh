#!/usr/bin/env bash
# Builds the files of a release: the command entra for each platform and their checksums in dist/, and the release
# notes in notes.md, from the section of CHANGELOG.md.
#
#   release.sh v1.2.3
set -euo pipefail
cd "$(dirname "$0")/.."

version=$1
go=${GO:-go}

awk -v heading="## [${version#v}]" '
	index($0, heading) == 1 { found = 1; next }
	/^## / { found = 0 }
	found' CHANGELOG.md >notes.md
if ! grep -q '[^[:space:]]' notes.md; then
	echo "CHANGELOG.md has no section [${version#v}]" >&2
	exit 1
fi

rm -rf dist
mkdir dist
export CGO_ENABLED=0 GOWORK=off
for platform in linux/amd64 linux/arm64 darwin/amd64 darwin/arm64 windows/amd64 windows/arm64; do
	export GOOS=${platform%/*} GOARCH=${platform#*/}
	name=entra_${version}_${GOOS}_${GOARCH}
	suffix=
	[ "$GOOS" != windows ] || suffix=.exe
	"$go" build -buildvcs=true -trimpath -ldflags '-s -w -buildid=' -o "dist/$name$suffix" ./cmd/entra
done
cd dist
sha256sum entra_* >SHA256SUMS
cat SHA256SUMS
