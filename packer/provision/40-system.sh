#!/bin/bash
# Our files over Debian's, units and their order of start, mount points.
set -euo pipefail
mkdir -p /data /state
chmod 755 /data /state
tar -C "$UPLOAD/root" --owner=0 --group=0 --exclude=./etc/initramfs-tools -c . | tar -C / -x --no-same-permissions --keep-directory-symlink
install -m 644 "$UPLOAD/keyring.pem" /etc/rauc/keyring.pem

# Nothing of Debian's that would start beside ours, wait for a keyboard or look for updates.
for unit in postgresql.service rpcbind.service rpcbind.socket e2scrub_all.timer e2scrub_reap.service apt-daily.timer \
  apt-daily-upgrade.timer dpkg-db-backup.timer grub-common.service nfs-blkmap.service ssh.service ssh.socket \
  sshd-keygen.service cloud-init-hotplugd.socket getty@tty1.service systemd-networkd-wait-online.service \
  nfs-client.target; do
  systemctl disable --quiet "$unit" 2> /dev/null || true
done
# Started by nothing, by accident neither.
systemctl mask --quiet getty@.service serial-getty@.service debug-shell.service ctrl-alt-del.target \
  systemd-firstboot.service apt-daily.service apt-daily-upgrade.service
# File systems and formats that nothing here uses; crash logs of the firmware would be kept where the next start forgets them.
systemctl mask --quiet sys-kernel-debug.mount sys-kernel-tracing.mount sys-fs-fuse-connections.mount dev-hugepages.mount \
  proc-sys-fs-binfmt_misc.automount systemd-binfmt.service systemd-pstore.service
# An image for finding faults has a root shell on its second serial line, when its command line says so.
if [ -e "$UPLOAD/debug" ]; then systemctl unmask --quiet debug-shell.service; fi
systemctl mask --quiet cloud-config.service cloud-final.service systemd-networkd-persistent-storage.service \
  rpc-statd-notify.service nfs-blkmap.service rpcbind.service rpcbind.socket e2scrub_reap.service
# The network waits for cloud-init, the rest of the start does not: what unlocks the volume gets ready meanwhile. No drop-in
# takes an order away.
sed -i '/^Before=sysinit.target$/d' /usr/lib/systemd/system/cloud-init-local.service /usr/lib/systemd/system/cloud-init-network.service
# Would start an SSH server for the hypervisor beside the one that is off.
mkdir -p /etc/systemd/system-generators
ln -sf /dev/null /etc/systemd/system-generators/systemd-ssh-generator
# Would put keys that the hypervisor names into /root/.ssh.
ln -sf /dev/null /etc/tmpfiles.d/provision.conf
systemctl enable --quiet systemd-networkd.service systemd-resolved.service chrony.service auditd.service
ln -sf ../run/systemd/resolve/stub-resolv.conf /etc/resolv.conf
echo holdfast > /etc/hostname
printf '127.0.0.1\tlocalhost\n::1\tlocalhost ip6-localhost ip6-loopback\n127.0.1.1\tholdfast\n' > /etc/hosts
ln -sf /usr/share/zoneinfo/UTC /etc/localtime

# The units and what belongs to them, from the application's own tree.
from=/opt/holdfast/systemd
if [ -x "$from/install.sh" ]; then
  "$from/install.sh"
else
  cp "$from"/units/* /usr/lib/systemd/system/
  cp -r "$from"/apparmor/. /etc/apparmor.d/
  [ -e "$from/system/holdfast.env" ] && install -m 644 "$from/system/holdfast.env" /etc/holdfast/holdfast.env
  grep -l '^\[Install\]' "$from"/units/* | xargs -n 1 basename | grep -v '@\.service$' | xargs systemctl enable --quiet
fi
