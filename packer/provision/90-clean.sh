#!/bin/bash
# Leaves no package manager, no trace of the build and nothing that must be each machine's own.
set -euo pipefail
mkdir -p /usr/share/holdfast
dpkg-query -W -f '${Package}\t${Version}\t${Architecture}\t${source:Package}\t${source:Version}\n' > /usr/share/holdfast/packages.tsv

# Only the build needed them.
sed 's/#.*//' "$UPLOAD/packages-build.txt" | awk 'NF { print $1 }' |
  xargs dpkg --purge --force-depends --force-remove-essential > /dev/null

# The package manager goes, what it knows stays for scanners: /var/lib/dpkg.
for name in apt dpkg debconf adduser; do
  dpkg-query -L "$name" 2> /dev/null | grep -E '^/usr/(s?bin|lib/apt|lib/dpkg|share/perl5/Deb)' || true
done > "$UPLOAD/manager.list"
while read -r file; do
  if [ -f "$file" ] || [ -L "$file" ]; then rm -f "$file"; fi
done < "$UPLOAD/manager.list"
rm -rf /var/lib/apt /var/cache/apt /etc/apt /var/cache/debconf /var/lib/dpkg/*-old \
  /var/backups/* /etc/kernel /usr/lib/grub
# Copies of before the last change of accounts.
rm -f /etc/passwd- /etc/group- /etc/shadow- /etc/gshadow- /etc/subuid- /etc/subgid-

# Each machine makes its own.
rm -f /etc/ssh/ssh_host_* /etc/ssl/private/* /etc/ssl/certs/ssl-cert-snakeoil.pem /var/lib/systemd/random-seed
rm -rf /var/lib/cloud /var/lib/dhcpcd /etc/systemd/network/10-build.network
: > /etc/machine-id
rm -f /var/lib/dbus/machine-id

# The way in of the build.
rm -rf /root/.ssh /root/.bash_history /root/.cache
rm -f /etc/systemd/system/multi-user.target.wants/ssh.service /etc/systemd/system/sshd.service
# Debian's SSH starts by nothing any more, by hand neither; sshd runs only as holdfast-ssh.service, which the owner opens for a time.
for unit in ssh.service ssh.socket ssh@.service sshd.service sshd@.service sshd-keygen.service; do
  ln -sfn /dev/null "/etc/systemd/system/$unit"
done
find /var/log -type f -delete
rm -rf /var/log/journal /tmp/* /var/tmp/*
find / -xdev -name __pycache__ -path '/usr/lib/python3*/test*' -prune -exec rm -rf {} +
# The catalogues that systemd would make anew at a first start are those of this very /usr.
journalctl --update-catalog
rm -f /etc/.updated /var/.updated
printf 'TIMESTAMP_NSEC=%s000000000\n' "$(date +%s)" | tee /etc/.updated > /var/.updated
sync
