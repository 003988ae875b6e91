variable "cluster_arn" {
  description = "Of the MSK cluster, with its UUID."
  type        = string

  validation {
    condition     = can(regex("^arn:[^:]+:kafka:[^:]+:[0-9]+:cluster/[^/*]+/[^/*]+$", var.cluster_arn))
    error_message = "cluster_arn: arn:aws:kafka:REGION:ACCOUNT:cluster/NAME/UUID; without the UUID it would be any cluster of that name."
  }
}

variable "services" {
  description = "What each service does with Kafka: entries of services.json."
  type = map(object({
    reads        = list(string)
    writes       = list(string)
    groups       = list(string)
    dead_letters = list(string)
    replays      = list(string)
    ledger       = optional(string)
  }))

  validation {
    condition = alltrue(flatten([
      for service in values(var.services) : [
        for name in concat(service.reads, service.writes, service.groups, service.dead_letters, service.replays) :
        can(regex("^[A-Za-z0-9._-]{1,249}$", name))
      ]
    ]))
    error_message = "services: names of topics and groups, one by one; patterns would grant what nobody has asked for."
  }
  validation {
    condition     = !contains(keys(var.services), "deployer") && alltrue([for name in keys(var.services) : !endswith(name, "-replayer")])
    error_message = "services: none may be called deployer or end in -replayer; those are roles of their own."
  }
}
