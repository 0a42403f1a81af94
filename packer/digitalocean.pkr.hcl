# DigitalOcean: a snapshot in the region that you name, and in those it is copied to.

variable "digitalocean_token" {
  type        = string
  description = "API token with write access."
  default     = ""
  sensitive   = true
}

variable "digitalocean_region" {
  type        = string
  description = "Region in which the image is made."
  default     = "fra1"
}

variable "digitalocean_copy_regions" {
  type        = list(string)
  description = "Further regions that get a copy."
  default     = []
}

source "digitalocean" "holdfast" {
  api_token        = var.digitalocean_token
  image            = "debian-13-x64"
  region           = var.digitalocean_region
  size             = "s-2vcpu-4gb"
  ssh_username     = "root"
  snapshot_name    = local.name
  snapshot_regions = var.digitalocean_copy_regions
}
