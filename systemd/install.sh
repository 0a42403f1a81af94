#!/bin/sh
# Puts units and system files into a root tree (this machine's, or the folder named) and enables what starts by itself.
set -eu
root=${1:-}
here=$(dirname "$(readlink -f "$0")")
put() { install -D -m "$1" "$here/$2" "$root$3"; }

for unit in "$here"/units/*; do put 644 "units/${unit##*/}" "/usr/lib/systemd/system/${unit##*/}"; done
for profile in "$here"/apparmor/*; do put 644 "apparmor/${profile##*/}" "/etc/apparmor.d/${profile##*/}"; done
put 644 system/holdfast.env /etc/holdfast/holdfast.env
# The settings of the machine replace it at every start.
put 600 system/firewall-closed.nft /etc/holdfast/firewall.nft
put 644 system/60-holdfast-sysctl.conf /etc/sysctl.d/60-holdfast.conf
put 644 system/holdfast-modules.conf /etc/modprobe.d/holdfast.conf
put 600 system/50-holdfast.rules /etc/audit/rules.d/50-holdfast.rules
put 644 system/chrony.conf /etc/chrony/chrony.conf
put 644 system/journald.conf /etc/systemd/journald.conf.d/50-holdfast.conf
put 644 system/coredump.conf /etc/systemd/coredump.conf.d/50-holdfast.conf
put 644 system/holdfast.preset /usr/lib/systemd/system-preset/10-holdfast.preset
mkdir -p "$root/etc/chrony/sources.d" "$root/etc/systemd/resolved.conf.d" "$root/etc/systemd/network" "$root/var/log/journal"
# Debian's own sample rules would be read beside ours.
rm -f "$root/etc/audit/rules.d/audit.rules"

# Where each unit is wanted, as its [Install] says; a tree that is not running has no systemctl of its own to ask.
enable() { systemctl ${root:+--root="$root"} --quiet enable "$@"; }
enable holdfast.target holdfast-state.service holdfast-firewall.service holdfast-cloud.service holdfast-unlock.service holdfast-journal.service \
  holdfast-prepare.service holdfast-postgres.service holdfast-keyd.service holdfast-migrate.service holdfast-server.service \
  holdfast-worker.service holdfast-hostd.service holdfast-boot-good.service holdfast-setup.service holdfast-readahead.service \
  holdfast-recovery.service \
  holdfast-console@tty1.service holdfast-console@ttyS0.service
