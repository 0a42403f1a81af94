#!/bin/bash
# What the units do not do themselves: programs that raise rights, ways in, leftovers of installing.
set -euo pipefail
# Nobody but root runs these here; without the bit they can harm nothing.
find / -xdev -type f \( -perm -4000 -o -perm -2000 \) -not -path '/proc/*' -print0 | while IFS= read -r -d '' file; do
  chmod u-s,g-s "$file"
done
# Nothing starts an sshd with this; the one that the owner opens for a time is told what counts in /run/holdfast/ssh.
rm -f /etc/ssh/sshd_config.d/*
cat > /etc/ssh/sshd_config << 'END'
AllowUsers holdfast-support
AuthenticationMethods publickey
PermitRootLogin no
PasswordAuthentication no
PermitEmptyPasswords no
KbdInteractiveAuthentication no
HostbasedAuthentication no
IgnoreRhosts yes
GSSAPIAuthentication no
UsePAM yes
PermitUserEnvironment no
DisableForwarding yes
X11Forwarding no
AllowTcpForwarding no
AllowAgentForwarding no
MaxAuthTries 3
MaxSessions 4
MaxStartups 3:50:10
LoginGraceTime 30
ClientAliveInterval 15
ClientAliveCountMax 3
LogLevel VERBOSE
Banner /etc/issue.net
Ciphers chacha20-poly1305@openssh.com,aes256-gcm@openssh.com
KexAlgorithms mlkem768x25519-sha256,sntrup761x25519-sha512@openssh.com,curve25519-sha256
MACs hmac-sha2-512-etm@openssh.com,hmac-sha2-256-etm@openssh.com
END
chmod 600 /etc/ssh/sshd_config
# What names the system and its version helps only those who look for a hole in it.
printf '%s\n' 'This private system belongs to its owner. Only who is authorized may use it.' \
  'All use is recorded and audited; evidence of misuse may be reported.' | tee /etc/issue /etc/issue.net > /etc/motd

# Core dumps hold keys. Debian's own file allows them to whoever raises the limit.
mkdir -p /etc/systemd/coredump.conf.d /etc/security/limits.d
rm -f /etc/security/limits.d/10-coredump-debian.conf
printf '%s hard core 0\n' '*' root > /etc/security/limits.d/10-holdfast.conf

# A shell is rare here: by the owner's consent, or while SSH is open. It leaves nothing readable and ends when nobody types.
cat > /etc/profile.d/holdfast.sh << 'END'
umask 027
ulimit -c 0
if [ -n "${BASH_VERSION-}" ]; then
  typeset -xr TMOUT=900
fi
END
printf 'umask 027\n' >> /etc/bash.bashrc
# Empty passwords open nothing.
sed -i 's/[[:space:]]nullok\b//' /etc/pam.d/common-*
# Of the accounts that anything makes: the one of an SSH opening has a passphrase, the others none.
sed -i -E '/^(PASS_MAX_DAYS|PASS_MIN_DAYS|UMASK|SHA_CRYPT_M(AX|IN)_ROUNDS)\b/d' /etc/login.defs
printf '%s\n' 'PASS_MAX_DAYS 365' 'PASS_MIN_DAYS 1' 'UMASK 027' 'SHA_CRYPT_MIN_ROUNDS 65536' \
  'SHA_CRYPT_MAX_ROUNDS 65536' >> /etc/login.defs
printf 'INACTIVE=30\n' >> /etc/default/useradd
# Nothing runs what lies there: there is no cron.
rm -rf /etc/cron.d /etc/cron.hourly /etc/cron.daily /etc/cron.weekly /etc/cron.monthly /etc/crontab
# Debian's accounts with another way of saying so.
for account in $(awk -F: '$7 == "/bin/false" { print $1 }' /etc/passwd); do
  usermod --shell /usr/sbin/nologin "$account"
done
# The database's own; Debian leaves it open to the group.
chmod 750 /var/log/postgresql 2> /dev/null || true

# Debian brings profiles for a hundred programs that are not here, and each costs time at every start.
find /etc/apparmor.d -maxdepth 1 -type f -not -name 'holdfast*' -not -name 'usr.sbin.chronyd' -delete
# What is left is translated now, for the kernel that runs here and in the image.
mkdir -p /var/cache/apparmor
# Without such a kernel (in a chroot) that is left to the first start.
if [ -d /sys/kernel/security/apparmor ]; then
  apparmor_parser --skip-kernel-load --write-cache --cache-loc /var/cache/apparmor /etc/apparmor.d ||
    echo 'Some AppArmor profile could not be translated' >&2
fi
