#!/bin/bash
# The application in /opt/holdfast, owned by root, and its command.
set -euo pipefail
mkdir -p /opt/holdfast
tar --zstd -xf "$UPLOAD/application.tar.zst" -C /opt/holdfast --no-same-owner
chown -R root:root /opt/holdfast
chmod -R go-w /opt/holdfast
cat > /usr/bin/holdfast << 'END'
#!/bin/sh
# The command line, with the settings that the appliance's own processes have.
if [ -r /etc/holdfast/holdfast.env ]; then
  set -a
  . /etc/holdfast/holdfast.env
  set +a
fi
exec /opt/holdfast/scripts/holdfast "$@"
END
chmod 755 /usr/bin/holdfast
mkdir -p /etc/holdfast
install -m 644 "$UPLOAD/image.json" /etc/holdfast/image.json

# What Node makes of the sources, made once: a start then takes half the time on a slow machine. It counts for one kind of
# processor, one set of V8's switches and one account; another goes without it, or reads it under a second name.
cache=/opt/holdfast/node_modules/.cache/holdfast
mkdir -p "$cache"
for switches in '' '--max-semi-space-size=1'; do
  # shellcheck disable=SC2086
  NODE_COMPILE_CACHE=$cache /opt/holdfast/node_modules/.bin/node $switches "$UPLOAD/provision/warm-cache.js"
done
for folder in "$cache"/*-0; do
  for account in holdfast holdfast-keyd holdfast-worker postgres; do
    ln -sfn "$(basename "$folder")" "${folder%-0}-$(id -u "$account")"
  done
done
chmod -R go=rX "$cache"
