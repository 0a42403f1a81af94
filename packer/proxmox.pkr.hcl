# Proxmox: clones a Debian 13 template that has cloud-init and leaves a template of Holdfast. Without such a template import
# the qcow2 of the build instead: qm importdisk, see README.md.

variable "proxmox_url" {
  type        = string
  description = "Address of the API, as https://host:8006/api2/json."
  default     = "https://proxmox.example:8006/api2/json"
}

variable "proxmox_username" {
  type        = string
  description = "User with its realm, as root@pam."
  default     = "root@pam"
}

variable "proxmox_password" {
  type        = string
  description = "Password of that user."
  default     = ""
  sensitive   = true
}

variable "proxmox_node" {
  type        = string
  description = "Node on which the template is made."
  default     = "pve"
}

variable "proxmox_template" {
  type        = string
  description = "Name of the Debian 13 template to clone."
  default     = "debian-13-cloud"
}

source "proxmox-clone" "holdfast" {
  proxmox_url          = var.proxmox_url
  username             = var.proxmox_username
  password             = var.proxmox_password
  node                 = var.proxmox_node
  clone_vm             = var.proxmox_template
  template_name        = local.name
  template_description = "Holdfast ${var.version}"
  cores                = 2
  memory               = 4096
  os                   = "l26"
  ssh_username         = "debian"
  network_adapters {
    model  = "virtio"
    bridge = "vmbr0"
  }
}
