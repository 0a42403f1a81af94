#!/bin/bash
# Writes the finished system disk over the disk of the machine that this runs on, reads it back, and turns the machine off.
# Everything it needs is first brought into memory: from the moment the disk is overwritten nothing can be loaded from it.
set -euo pipefail
image=/dev/shm/holdfast.raw.zst
work=/dev/shm/write-disk
disk=/dev/$(lsblk -no PKNAME "$(findmnt -no SOURCE /)" | head -n 1)
[ -b "$disk" ] || { echo "The disk under / was not found" >&2; exit 1; }
command -v zstd > /dev/null || { apt-get update -q && apt-get install -y -q --no-install-recommends zstd; }

mkdir -p "$work"
for program in zstd dd sha256sum head sleep sync sfdisk sh; do
  path=$(command -v "$program") || continue
  cp -L "$path" "$work/"
  ldd "$path" | grep -oE '/[^ ]+' | while read -r library; do cp -L "$library" "$work/"; done
done
loader=$(basename "$(ls "$work"/ld-linux-*.so.* | head -n 1)")

# Known before the disk is touched: the size to read back, and that the upload is whole.
size=$(zstd -dc "$image" | wc -c)
sum=$(zstd -dc "$image" | sha256sum | cut -d ' ' -f 1)
[ "$sum" = "$IMAGE_SHA256" ] || { echo "The uploaded image is not the one that was meant" >&2; exit 1; }
[ "$(blockdev --getsize64 "$disk")" -ge "$size" ] || { echo "$disk is smaller than the image" >&2; exit 1; }

swapoff -a || true
systemctl stop cron rsyslog systemd-journald 2> /dev/null || true
sync
# All file systems read-only at once, whoever still has a file open.
echo u > /proc/sysrq-trigger
sleep 2

run() { program=$1; shift; "$work/$loader" --library-path "$work" "$work/$program" "$@"; }
run zstd -dc "$image" | run dd of="$disk" bs=4M iflag=fullblock oflag=direct status=none
run sync
written=$(run dd if="$disk" bs=4M iflag=direct,count_bytes count="$size" status=none | run sha256sum)
[ "${written%% *}" = "$IMAGE_SHA256" ] || { echo "$disk does not hold what was written" >&2; exit 1; }
# A larger disk: the second partition table belongs at its end.
run sfdisk --relocate gpt-bak-std --no-reread "$disk" > /dev/null 2>&1 || true
echo "$disk holds the image"
# After Packer has heard that this went well.
(run sleep 5; echo o > /proc/sysrq-trigger) > /dev/null 2>&1 &
