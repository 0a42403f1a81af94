# Google Cloud: an image stored in the location that you name.

variable "google_project" {
  type        = string
  description = "Project that gets the image."
  default     = "holdfast"
}

variable "google_account_file" {
  type        = string
  description = "Key of a service account, as JSON or the name of a file. Empty: as gcloud finds it."
  default     = ""
  sensitive   = true
}

variable "google_zone" {
  type        = string
  description = "Zone of the borrowed machine."
  default     = "europe-west3-a"
}

variable "google_storage_locations" {
  type        = list(string)
  description = "Where the image is stored; exactly one place."
  default     = ["europe-west3"]
  validation {
    condition     = length(var.google_storage_locations) == 1
    error_message = "Google stores an image in exactly one location."
  }
}

source "googlecompute" "holdfast" {
  project_id              = var.google_project
  account_file            = var.google_account_file
  zone                    = var.google_zone
  source_image_family     = "debian-13"
  source_image_project_id = ["debian-cloud"]
  machine_type            = "e2-medium"
  disk_size               = 10 # not less than Debian's own
  ssh_username            = "packer"
  image_name              = local.name
  image_family            = "holdfast"
  image_description       = "Holdfast ${var.version}"
  image_storage_locations = var.google_storage_locations
  image_labels = {
    name = "holdfast"
  }
}
