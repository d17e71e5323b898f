#!/bin/bash
# The test command: installs what the tests need, checks form, then runs every test.
#   tests/run.sh          everything, long campaigns cut short
#   tests/run.sh --soak   everything, long campaigns in full
# Run it as root: tests that mount, change owners or make network namespaces say so and
# fail otherwise.
set -euo pipefail
cd "$(dirname "$0")/.."

case "${1-}" in
'') ;;
--soak) export HASYNC_SOAK=1 ;;
*)
    echo "usage: tests/run.sh [--soak]" >&2
    exit 1
    ;;
esac

step() { printf '\n== %s\n' "$*"; }

# program:package, for every program that the tests start.
needs='sshd:openssh-server ssh:openssh-client ssh-agent:openssh-client rsync:rsync
getfacl:acl getfattr:attr getcap:libcap2-bin ip:iproute2 tc:iproute2 nft:nftables mkfs.xfs:xfsprogs
mkfs.btrfs:btrfs-progs mkfs.ext4:e2fsprogs setpriv:util-linux
man:man-db jq:jq unshare:util-linux prlimit:util-linux script:bsdutils strace:strace time:time ps:procps cc:gcc
bindfs:bindfs fuse2fs:fuse2fs fuse-overlayfs:fuse-overlayfs lowntfs-3g:ntfs-3g mergerfs:mergerfs
mksquashfs:squashfs-tools mkfs.exfat:exfatprogs mkfs.vfat:dosfstools mount.exfat-fuse:exfat-fuse sshfs:sshfs
aiosmtpd:python3-aiosmtpd python3:python3 /usr/libexec/heartbeat/heartbeat:heartbeat
keepalived:keepalived corosync:corosync pacemakerd:pacemaker cibadmin:pacemaker-cli-utils
ocf-tester:resource-agents xmllint:libxml2-utils'

# Not a pipe into `grep -q`: that ends rsync by SIGPIPE, which pipefail takes for a failure.
is_oracle() {
    case "$(rsync --version 2>/dev/null || true)" in
    'rsync  version 3.5.0 '*) ;;
    *) return 1 ;;
    esac
}

install_needs() {
    local missing='' need
    for need in $needs; do
        command -v "${need%%:*}" >/dev/null 2>&1 || missing="$missing ${need#*:}"
    done
    # The oracle is rsync 3.5.0; older ones print and do other things.
    is_oracle || missing="$missing rsync"
    [ -z "$missing" ] && return
    step "installing:$missing"
    if [ "$(id -u)" -ne 0 ] || ! command -v apt-get >/dev/null; then
        echo "not root or no apt-get: install$missing by hand, or run tests/run.sh as root" >&2
        exit 1
    fi
    export DEBIAN_FRONTEND=noninteractive
    apt-get update -q
    # shellcheck disable=SC2086 # a list of packages
    apt-get install -q -y --no-install-recommends $missing
}

PATH="$PATH:/usr/sbin:/sbin"
install_needs
if ! is_oracle; then
    echo "warning: $(rsync --version | sed -n 1p): the comparison with rsync needs 3.5.0 and will fail" >&2
fi
[ "$(id -u)" -eq 0 ] || echo "warning: not root: the tests that need root will fail and say so" >&2
[ "$(id -u)" -ne 0 ] || mkdir -p /run/sshd

step 'form: rustfmt'
cargo fmt --all --check

step 'form: clippy'
cargo clippy --workspace --all-targets --quiet -- -D warnings

step 'dependencies: cargo-deny'
if command -v cargo-deny >/dev/null; then
    cargo deny --log-level error check bans licenses sources
    # The advisory database is fetched from the network: without one it says nothing new.
    if cargo deny fetch db >/dev/null 2>&1; then
        cargo deny --log-level error check advisories
    else
        echo 'skipped: advisories (their database cannot be reached from here)'
    fi
else
    echo 'skipped: cargo-deny is not installed (cargo install cargo-deny --locked)'
fi

step 'tests'
out=$(mktemp)
HASYNC_CAMPAIGN_LOG=$(mktemp)
export HASYNC_CAMPAIGN_LOG
trap 'rm -f "$out" "$HASYNC_CAMPAIGN_LOG"' EXIT
status=0
# Whoever starts this in the background has interrupts ignored, and so would the tests' servers.
env --default-signal=INT,QUIT cargo test --workspace --no-fail-fast 2>&1 | tee "$out" || status=$?

step 'campaigns'
sort -u "$HASYNC_CAMPAIGN_LOG"

step 'results'
grep -E '^test .*FAILED$' "$out" || true
grep '^test result: ' "$out" | awk '
    { passed += $4; failed += $6; ignored += $8 }
    END { printf "test result: %s. %d passed; %d failed; %d ignored\n",
          failed ? "FAILED" : "ok", passed, failed, ignored }'
exit "$status"
