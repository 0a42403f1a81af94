# One build for every source. QEMU's provisions Debian 13 into the appliance; every other writes the disk that came out of it
# onto the machine it borrowed, so that what runs on each cloud is, byte for byte, the image that was tested and signed.

packer {
  required_version = ">= 1.6.6"
}

build {
  sources = [
    "source.qemu.holdfast",
    "source.amazon-ebs.holdfast",
    "source.azure-arm.holdfast",
    "source.googlecompute.holdfast",
    "source.digitalocean.holdfast",
    "source.proxmox-clone.holdfast",
    "source.vsphere-clone.holdfast",
  ]

  provisioner "file" {
    only        = ["qemu.holdfast"]
    source      = "${var.work}/upload.tar"
    destination = "/root/upload.tar"
  }

  provisioner "shell" {
    only   = ["qemu.holdfast"]
    inline = ["set -e", "mkdir -p /root/upload", "tar -xf /root/upload.tar -C /root/upload", "rm /root/upload.tar"]
  }

  # Links are made and removed without asking the running systemd, which would load everything anew for each.
  provisioner "shell" {
    only             = ["qemu.holdfast"]
    environment_vars = ["UPLOAD=/root/upload", "SYSTEMD_OFFLINE=1", "SYSTEMCTL_SKIP_SYSV=1"]
    scripts = [
      "${path.root}/provision/10-packages.sh",
      "${path.root}/provision/20-accounts.sh",
      "${path.root}/provision/30-application.sh",
      "${path.root}/provision/40-system.sh",
      "${path.root}/provision/50-boot.sh",
      "${path.root}/provision/60-harden.sh",
      "${path.root}/provision/90-clean.sh",
    ]
  }

  provisioner "shell" {
    only   = ["qemu.holdfast"]
    inline = ["rm -rf /root/upload", "fstrim -v / || true", "sync"]
  }

  # In memory: the disk under it is about to be replaced.
  provisioner "file" {
    except      = ["qemu.holdfast"]
    source      = var.disk_image
    destination = "/dev/shm/holdfast.raw.zst"
  }

  provisioner "shell" {
    except           = ["qemu.holdfast"]
    environment_vars = ["IMAGE_SHA256=${var.disk_image_sha256}"]
    execute_command  = "chmod +x {{ .Path }}; {{ .Vars }} sudo -E bash {{ .Path }}"
    script           = "${path.root}/provision/write-disk.sh"
  }

  post-processor "manifest" {
    output     = "${var.work}/packer-manifest.json"
    strip_path = true
  }
}
