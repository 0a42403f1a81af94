#!/bin/bash
# Accounts with fixed numbers: files on the data volume keep their owners whatever image mounts it.
set -euo pipefail
add_group() { getent group "$2" > /dev/null || groupadd --system --gid "$1" "$2"; }
add_user() {
  getent passwd "$2" > /dev/null ||
    useradd --system --uid "$1" --gid "$2" --no-create-home --home-dir /nonexistent --shell /usr/sbin/nologin "$2"
}
add_group 970 holdfast-data
add_group 971 holdfast
add_group 972 holdfast-keyd
add_group 973 holdfast-worker
add_user 971 holdfast
add_user 972 holdfast-keyd
add_user 973 holdfast-worker
usermod --append --groups holdfast-data holdfast
usermod --append --groups holdfast-data holdfast-worker
# Debian gave PostgreSQL numbers by chance of order.
old_uid=$(id -u postgres)
old_gid=$(id -g postgres)
groupmod --gid 974 postgres
usermod --uid 974 --gid 974 --home /nonexistent --shell /usr/sbin/nologin postgres
# Only the folders that Debian made for it; whoever gets the old numbers next shall not find them open.
find /etc /var -xdev -uid "$old_uid" -exec chown -h postgres {} +
find /etc /var -xdev -gid "$old_gid" -exec chgrp -h postgres {} +
# No password opens anything; the console is a menu.
passwd --quiet --lock root
