variable "name" {
  description = "What everything begins with."
  type        = string
}

variable "region" {
  description = "Part of the endpoints' names."
  type        = string
}

variable "cidr" {
  description = "Private addresses of the network."
  type        = string
}

variable "availability_zones" {
  description = "A private subnet in each."
  type        = list(string)
}

variable "interface_endpoints" {
  description = "Services of AWS that are reached from inside, as their endpoints are called."
  type        = list(string)
}

variable "services" {
  description = "A security group for each."
  type = map(object({
    port    = optional(number)
    reaches = optional(map(object({ security_group_id = string, port = number })), {})
  }))
}

variable "client_ports" {
  description = "Ports of the brokers that services may reach."
  type        = list(number)

  validation {
    condition     = length(setsubtract(var.client_ports, [9096, 9098])) == 0
    error_message = "client_ports: 9098 (IAM), and 9096 (SCRAM) where it is asked for; 9092 is not encrypted, 9194 to 9198 are public."
  }
}

variable "load_balancer_group_id" {
  description = "Security group that HTTP comes from; null: none."
  type        = string
}

variable "database_security_group_id" {
  description = "Security group of PostgreSQL; null: none is reached."
  type        = string
}

variable "has_eks" {
  description = "Whether nodes and pods of Kubernetes may reach brokers and endpoints."
  type        = bool
}

variable "eks_security_group_id" {
  description = "Their security group, where there are any."
  type        = string
}

variable "kms_key_arn" {
  description = "Encrypts the logs."
  type        = string
}
