# What every source needs. Those of one cloud only are in its own file.

variable "version" {
  type        = string
  description = "Version of the image, as in package.json."
  validation {
    condition     = regex_replace(var.version, "^[0-9]+\\.[0-9]+\\.[0-9]+(-[0-9A-Za-z.]+)?$", "") == "" && var.version != ""
    error_message = "The version looks like 1.2.3 or 1.2.3-rc.1."
  }
}

variable "work" {
  type        = string
  description = "Folder in which scripts/build-image put what goes into the image."
  default     = "../.cache/image"
}

variable "disk_gib" {
  type        = number
  description = "Size of the system disk in GiB. The image needs 8; more stays unused."
  default     = 8
  validation {
    condition     = var.disk_gib >= 8 && var.disk_gib <= 64
    error_message = "The system disk has 8 to 64 GiB; data belongs on a disk of its own."
  }
}

variable "disk_image" {
  type        = string
  description = "Finished system disk, raw and packed by zstd, that the cloud sources write: made by the QEMU source first."
  default     = "../.cache/image/out/holdfast.raw.zst"
}

variable "disk_image_sha256" {
  type        = string
  description = "SHA-256 of the unpacked disk, hexadecimal: read back and compared after writing."
  default     = "0000000000000000000000000000000000000000000000000000000000000000"
  validation {
    condition     = regex_replace(var.disk_image_sha256, "^[0-9a-f]{64}$", "") == "" && var.disk_image_sha256 != ""
    error_message = "The SHA-256 has 64 hexadecimal digits."
  }
}

locals {
  name = "holdfast-${replace(var.version, ".", "-")}"
  tags = {
    Name    = "holdfast"
    Version = var.version
  }
}
