# Sourced by the scripts beside it: where they keep what they build, and how
# they get the Debian packages they need.

# shellcheck disable=SC2034 # used by those who source this
cache_dir="${XDG_CACHE_HOME:-${HOME:-/tmp}/.cache}/hypervisorless-virtio"

have() { command -v "$1" >/dev/null 2>&1; }

# need PROGRAM PACKAGE: installs PACKAGE when PROGRAM is missing and this user
# may; returns 1, without a word, when PROGRAM still is not there.
need() {
	have "$1" && return 0
	add_package "$2" "$1" && have "$1"
}

# need_file FILE PACKAGE: likewise.
need_file() {
	[ -e "$1" ] && return 0
	add_package "$2" "$1" && [ -e "$1" ]
}

# add_package PACKAGE WHAT: installs PACKAGE for WHAT, if this user may.
add_package() {
	have apt-get && [ "$(id -u)" -eq 0 ] || return 1
	echo "   installing $1 for $2"
	{
		apt-get -qq update &&
			DEBIAN_FRONTEND=noninteractive apt-get -qq install -y --no-install-recommends "$1"
	} >/dev/null
}
