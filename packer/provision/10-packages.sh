#!/bin/bash
# Installs what packages.txt lists and the machine lacks. The QEMU build finds everything there.
set -euo pipefail
list=$(sed 's/#.*//' "$UPLOAD/packages.txt" | awk 'NF { print $1 }')
missing=$(for name in $list; do
  dpkg-query -W -f '${db:Status-Status}\n' "$name" 2> /dev/null | grep -qx installed || echo "$name"
done)
if [ -n "$missing" ]; then
  export DEBIAN_FRONTEND=noninteractive
  mkdir -p /etc/postgresql-common
  # The database belongs on the encrypted volume.
  echo 'create_main_cluster = false' > /etc/postgresql-common/createcluster.conf
  apt-get update -q
  # shellcheck disable=SC2086
  apt-get install -y -q --no-install-recommends $missing
fi
