# vSphere: clones a Debian 13 template and leaves a template of Holdfast. The OVA of the build is the other way.

variable "vsphere_server" {
  type        = string
  description = "Host name of vCenter."
  default     = "vcenter.example"
}

variable "vsphere_username" {
  type        = string
  description = "User who may clone and make templates."
  default     = "administrator@vsphere.local"
}

variable "vsphere_password" {
  type        = string
  description = "Password of that user."
  default     = ""
  sensitive   = true
}

variable "vsphere_cluster" {
  type        = string
  description = "Cluster that runs the borrowed machine."
  default     = "cluster"
}

variable "vsphere_datastore" {
  type        = string
  description = "Datastore that gets the template."
  default     = "datastore1"
}

variable "vsphere_template" {
  type        = string
  description = "Name of the Debian 13 template to clone."
  default     = "debian-13"
}

source "vsphere-clone" "holdfast" {
  vcenter_server      = var.vsphere_server
  username            = var.vsphere_username
  password            = var.vsphere_password
  cluster             = var.vsphere_cluster
  datastore           = var.vsphere_datastore
  template            = var.vsphere_template
  vm_name             = local.name
  communicator        = "ssh"
  ssh_username        = "debian"
  convert_to_template = true
}
