#!/usr/bin/env bash
# Installs what the tests need beyond Go: a C compiler for the race detector, OpenSSL to make
# certificate files, SoftHSM for keys that cannot be exported, Chromium for the sign-in pages,
# Node.js and npm packages for clients in JavaScript. On Debian and its kin, as root or through
# sudo. What is there already is left alone, so a second run takes no time.
set -euo pipefail
cd "$(dirname "$0")"

missing=()
need() { # need "COMMAND..." PACKAGE...: the Debian packages that bring the first command, unless one is there
	local command
	for command in $1; do
		if command -v "$command" >/dev/null; then return; fi
	done
	missing+=("${@:2}")
}
need gcc gcc libc6-dev
need openssl openssl
need "chromium chromium-browser google-chrome" chromium fonts-liberation
need softhsm2-util softhsm2
need node nodejs
need npm npm

if [ "${#missing[@]}" -gt 0 ]; then
	if ! command -v apt-get >/dev/null; then
		echo "Install these, then try again: ${missing[*]}" >&2
		exit 1
	fi
	as_root=()
	[ "$(id -u)" -eq 0 ] || as_root=(sudo -n)
	export DEBIAN_FRONTEND=noninteractive
	echo "Debian packages: ${missing[*]}"
	"${as_root[@]}" apt-get update -qq
	"${as_root[@]}" apt-get install -y -qq --no-install-recommends -o Dpkg::Use-Pty=0 "${missing[@]}" </dev/null >/dev/null
fi

cd node
if [ ! node_modules/.package-lock.json -nt package-lock.json ]; then
	echo 'npm packages: those of integration/node/package-lock.json'
	npm ci --no-progress --loglevel=error </dev/null
	touch node_modules/.package-lock.json
fi
echo "Node.js $(node --version), MSAL for Node.js $(node -p 'require("@azure/msal-node/package.json").version'), Chromium, OpenSSL, SoftHSM and a C compiler are there."
