variable "name" {
  description = "Of the cluster."
  type        = string
}

variable "kafka" {
  description = "As the root module describes it."
  type = object({
    version           = string
    instance_type     = string
    brokers_per_zone  = number
    storage_gib       = number
    retention_hours   = number
    partitions        = number
    scram             = bool
    log_retention     = number
    monitoring        = string
    prometheus_export = bool
  })
}

variable "subnet_ids" {
  description = "Three private subnets, one a zone."
  type        = list(string)

  validation {
    condition     = length(var.subnet_ids) == 3
    error_message = "subnet_ids: three, one a zone; RF 3 needs them."
  }
}

variable "security_group_ids" {
  description = "Of the brokers."
  type        = list(string)
}

variable "kms_key_arn" {
  description = "Encrypts disks and logs."
  type        = string
}
