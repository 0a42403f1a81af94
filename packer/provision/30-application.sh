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
/opt/holdfast/node_modules/.bin/node --version
