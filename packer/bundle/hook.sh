#!/bin/sh
# Runs out of the bundle while RAUC installs it into the slot that is not running.
# Before: the slot loses its mark of having come up well, so that the new content gets one try. After: the boot loader learns
# the root hash of what was written.
set -eu
slot=$(echo "$RAUC_SLOT_BOOTNAME" | tr 'AB' 'ab')
case "$1" in
  slot-pre-install)
    grub-editenv /boot/grub/grubenv unset "${RAUC_SLOT_BOOTNAME}_GOOD"
    rm -f "/boot/grub/slot-$slot.cfg"
    sync -f /boot/grub/grubenv
    ;;
  slot-post-install)
    printf 'set hash_%s=%s\nset offset_%s=%s\n' "$slot" '@ROOT_HASH@' "$slot" '@HASH_OFFSET@' > "/boot/grub/slot-$slot.cfg.new"
    sync "/boot/grub/slot-$slot.cfg.new"
    mv "/boot/grub/slot-$slot.cfg.new" "/boot/grub/slot-$slot.cfg"
    sync -f /boot/grub/grubenv
    ;;
esac
