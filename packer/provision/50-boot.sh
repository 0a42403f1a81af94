#!/bin/bash
# The initrd that finds the root slot. The QEMU build's base has it already, made outside the emulator.
set -euo pipefail
if ! diff -r "$UPLOAD/root/etc/initramfs-tools" /etc/initramfs-tools > /dev/null 2>&1; then
  changed=$(cd "$UPLOAD/root/etc/initramfs-tools" && find . -type f -exec sh -c \
    'for f; do cmp -s "$f" "/etc/initramfs-tools/$f" || echo "$f"; done' sh {} +)
  if [ -n "$changed" ]; then
    cp -r "$UPLOAD/root/etc/initramfs-tools/." /etc/initramfs-tools/
    update-initramfs -u -k all
  fi
fi
lsinitramfs /initrd.img > /tmp/initrd.list
grep -q scripts/init-bottom/holdfast-overlay /tmp/initrd.list
rm /tmp/initrd.list
