# Azure: a managed image in your resource group. Unlike the others Azure's disk cannot be smaller than its Debian's 30 GiB.

variable "azure_client_id" {
  type        = string
  description = "Application (client) id of the service principal."
  default     = ""
}

variable "azure_client_secret" {
  type        = string
  description = "Its secret."
  default     = ""
  sensitive   = true
}

variable "azure_tenant_id" {
  type        = string
  description = "Directory (tenant) id."
  default     = ""
}

variable "azure_subscription_id" {
  type        = string
  description = "Subscription that pays."
  default     = ""
}

variable "azure_location" {
  type        = string
  description = "Region in which the image is made and stays."
  default     = "germanywestcentral"
}

variable "azure_resource_group" {
  type        = string
  description = "Resource group that gets the image."
  default     = "holdfast"
}

source "azure-arm" "holdfast" {
  client_id       = var.azure_client_id
  client_secret   = var.azure_client_secret
  tenant_id       = var.azure_tenant_id
  subscription_id = var.azure_subscription_id
  location        = var.azure_location

  managed_image_name                = local.name
  managed_image_resource_group_name = var.azure_resource_group

  os_type         = "Linux"
  image_publisher = "Debian"
  image_offer     = "debian-13"
  image_sku       = "13"
  vm_size         = "Standard_B2s"
  azure_tags      = local.tags
}
