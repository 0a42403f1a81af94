# Amazon: a borrowed Debian 13 instance, its disk written, an encrypted AMI copied to the regions that you name and no others.

variable "aws_access_key" {
  type        = string
  description = "Access key. Empty: as the AWS command line finds it."
  default     = ""
}

variable "aws_secret_key" {
  type        = string
  description = "Secret of the access key."
  default     = ""
  sensitive   = true
}

variable "aws_region" {
  type        = string
  description = "Region in which the image is made."
  default     = "eu-central-1"
  validation {
    condition     = regex_replace(var.aws_region, "^[a-z]{2}(-[a-z]+)+-[0-9]$", "") == "" && var.aws_region != ""
    error_message = "An Amazon region looks like eu-central-1."
  }
}

variable "aws_copy_regions" {
  type        = list(string)
  description = "Further regions that get a copy. Empty: none, so the image is nowhere else."
  default     = []
}

variable "aws_kms_key" {
  type        = string
  description = "KMS key that encrypts the image; empty: the account's default key."
  default     = ""
}

source "amazon-ebs" "holdfast" {
  access_key       = var.aws_access_key
  secret_key       = var.aws_secret_key
  region           = var.aws_region
  ami_name         = local.name
  ami_description  = "Holdfast ${var.version}"
  ami_regions      = var.aws_copy_regions
  instance_type    = "t3.medium"
  ena_support      = true
  ssh_username     = "admin"
  encrypt_boot     = true
  kms_key_id       = var.aws_kms_key
  force_deregister = false

  source_ami_filter {
    filters = {
      name                = "debian-13-amd64-*"
      root-device-type    = "ebs"
      virtualization-type = "hvm"
    }
    owners      = ["136693071363"] # Debian's account
    most_recent = true
  }

  launch_block_device_mappings {
    device_name           = "/dev/xvda"
    volume_size           = var.disk_gib
    volume_type           = "gp3"
    iops                  = 3000
    throughput            = 125
    delete_on_termination = true
  }

  # The instance turns itself off after the disk is written.
  disable_stop_instance = true
  tags                  = local.tags
}
