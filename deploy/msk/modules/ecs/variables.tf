variable "name" {
  description = "What everything begins with."
  type        = string
}

variable "region" {
  description = "Where the logs are."
  type        = string
}

variable "image" {
  description = "With its tag."
  type        = string
}

variable "has_image" {
  description = "Whether it is there; no task runs before."
  type        = bool
}

variable "repository_arn" {
  description = "Where the image is pulled from."
  type        = string
}

variable "architecture" {
  description = "X86_64 or ARM64."
  type        = string
}

variable "services" {
  description = "As the root module describes them."
  type = map(object({
    command     = list(string)
    port        = optional(number)
    count       = number
    cpu         = number
    memory      = number
    environment = map(string)
    secrets     = map(string)
  }))
}

variable "deployer" {
  description = "Command of the task that prepares topics, schemas and tables."
  type        = list(string)
}

variable "policies" {
  description = "What each role may do with Kafka: services, deployer, replayers."
  type        = map(string)
}

variable "environment" {
  description = "Of every container."
  type        = map(string)
}

variable "drain_s" {
  description = "How long handlers may finish on stop."
  type        = number
}

variable "subnet_ids" {
  description = "Private."
  type        = list(string)
}

variable "security_group_ids" {
  description = "By service."
  type        = map(string)
}

variable "target_group_arns" {
  description = "Of a load balancer, by service."
  type        = map(string)
}

variable "kms_key_arn" {
  description = "Encrypts the logs."
  type        = string
}
