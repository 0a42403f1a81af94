# The one that builds: boots the base disk that scripts/build-image put together, and turns it into the appliance.

variable "base_disk" {
  type        = string
  description = "Disk (qcow2) with Debian 13 in slot A, made by scripts/build-image."
  default     = "../.cache/image/base.qcow2"
}

variable "accelerator" {
  type        = string
  description = "tcg works everywhere; kvm is quicker where the machine has it. Never guessed: a /dev/kvm may exist and not work."
  default     = "tcg"
  validation {
    condition     = contains(["tcg", "kvm", "hvf"], var.accelerator)
    error_message = "The accelerator is tcg, kvm or hvf."
  }
}

variable "ssh_key" {
  type        = string
  description = "Private key that opens the base disk: made for this build and thrown away."
  default     = "../.cache/image/build-key"
}

source "qemu" "holdfast" {
  vm_name          = "holdfast.qcow2"
  output_directory = "${var.work}/packer"

  disk_image      = true
  iso_url         = var.base_disk
  iso_checksum    = "none" # made a minute ago on this machine
  format          = "qcow2"
  disk_size       = "${var.disk_gib}G"
  disk_interface  = "virtio"
  disk_discard    = "unmap"
  skip_compaction = true
  net_device      = "virtio-net"

  accelerator = var.accelerator
  cpus        = 2
  memory      = 2048
  headless    = true
  boot_wait   = "1s"
  qemuargs = [
    ["-cpu", "max"],
    ["-smp", "2"],
    ["-serial", "file:${var.work}/packer-serial.log"],
    ["-device", "virtio-rng-pci"],
    # Packer's own forwarding would listen on every address.
    ["-netdev", "user,id=user.0,hostfwd=tcp:127.0.0.1:{{ .SSHHostPort }}-:22"],
  ]

  communicator         = "ssh"
  ssh_username         = "root"
  ssh_private_key_file = var.ssh_key
  ssh_timeout          = "8m"
  shutdown_command     = "systemctl poweroff"
  shutdown_timeout     = "5m"
}
