#!/usr/bin/env bash
# Installs the programs that the tests need beyond Go, on Debian-based systems, as root or through sudo: a C compiler
# for the race detector, OpenSSL to make certificate files, SoftHSM for keys that cannot be exported, Redis and
# PostgreSQL for stores, Chromium for the sign-in pages, Node.js with npm packages for clients in JavaScript, MSAL for
# Python, Apache with mod_auth_openidc, oauth2-proxy, and Prometheus for the alert rules.
# Installed programs are not changed, so a second run is quick.
set -euo pipefail
cd "$(dirname "$0")"

missing=()
need() { # need "COMMAND..." PACKAGE...: adds the Debian packages unless one of the commands exists
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
need redis-server redis-server
need redis-cli redis-tools
need "initdb $(printf '%s ' /usr/lib/postgresql/*/bin/initdb)" postgresql
need node nodejs
need npm npm
[ -d /usr/lib/python3/dist-packages/msal ] || missing+=(python3-msal)
[ -f /usr/lib/apache2/modules/mod_auth_openidc.so ] || missing+=(apache2-bin libapache2-mod-auth-openidc)
need "nginx /usr/sbin/nginx" nginx-light
need promtool prometheus

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
	# With RUNLEVEL=1, packages start no services.
	"${as_root[@]}" env RUNLEVEL=1 apt-get install -y -qq --no-install-recommends -o Dpkg::Use-Pty=0 "${missing[@]}" \
		</dev/null >/dev/null
fi

cd node
if [ ! node_modules/.package-lock.json -nt package-lock.json ]; then
	echo 'npm packages: as in integration/node/package-lock.json'
	npm ci --no-progress --loglevel=error </dev/null
	touch node_modules/.package-lock.json
fi
cd ..
GOWORK=off go -C oauth2-proxy tool -n oauth2-proxy >/dev/null # Go's build cache keeps it
msal=$(node -p 'require("./node/node_modules/@azure/msal-node/package.json").version')
python_msal=$(/usr/bin/python3 -c 'import msal; print(msal.__version__)')
echo "Installed: Node.js $(node --version), MSAL for Node.js $msal and for Python $python_msal, Chromium, nginx," \
	"Apache, oauth2-proxy, OpenSSL, SoftHSM, Redis, PostgreSQL, Prometheus and a C compiler."
