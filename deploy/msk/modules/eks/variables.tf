variable "name" {
  description = "Of the cluster."
  type        = string
}

variable "eks" {
  description = "As the root module describes it."
  type = object({
    version       = string
    namespace     = string
    release       = string
    instance_type = string
    ami_type      = string
    nodes         = number
    api_cidrs     = list(string)
  })
}

variable "policies" {
  description = "What each service account may do with Kafka: services, deployer, replayers."
  type        = map(string)
}

variable "subnet_ids" {
  description = "Private."
  type        = list(string)
}

variable "kms_key_arn" {
  description = "Encrypts Kubernetes' secrets."
  type        = string
}
