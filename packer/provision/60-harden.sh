#!/bin/bash
# What the units do not do themselves: programs that raise rights, ways in, leftovers of installing.
set -euo pipefail
# Nobody but root runs these here; without the bit they can harm nothing.
find / -xdev -type f \( -perm -4000 -o -perm -2000 \) -not -path '/proc/*' -print0 | while IFS= read -r -d '' file; do
  chmod u-s,g-s "$file"
done
mkdir -p /etc/ssh/sshd_config.d
cat > /etc/ssh/sshd_config.d/10-holdfast.conf << 'END'
# Nothing starts an sshd with this; the one that the owner opens for a time is told what counts in /run/holdfast/ssh.
PermitRootLogin no
PasswordAuthentication no
KbdInteractiveAuthentication no
AuthenticationMethods publickey
X11Forwarding no
AllowTcpForwarding no
AllowAgentForwarding no
MaxAuthTries 3
LoginGraceTime 30
END
# Core dumps hold keys.
mkdir -p /etc/systemd/coredump.conf.d /etc/security/limits.d
printf '* hard core 0\n' > /etc/security/limits.d/10-holdfast.conf

# Debian brings profiles for a hundred programs that are not here, and each costs time at every start.
find /etc/apparmor.d -maxdepth 1 -type f -not -name 'holdfast*' -not -name 'usr.sbin.chronyd' -delete
# What is left is translated now, for the kernel that runs here and in the image.
mkdir -p /var/cache/apparmor
# Without such a kernel (in a chroot) that is left to the first start.
if [ -d /sys/kernel/security/apparmor ]; then
  apparmor_parser --skip-kernel-load --write-cache --cache-loc /var/cache/apparmor /etc/apparmor.d ||
    echo 'Some AppArmor profile could not be translated' >&2
fi
