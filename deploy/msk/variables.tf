variable "name" {
  description = "What everything is called, and begins with."
  type        = string
  default     = "shop"

  validation {
    condition     = can(regex("^[a-z][a-z0-9-]{1,22}[a-z0-9]$", var.name))
    error_message = "name: 3 to 24 lower-case letters, digits and dashes, a letter first."
  }
}

variable "region" {
  description = "AWS region, e.g. eu-central-1."
  type        = string

  validation {
    # The signer of MSK's tokens knows the hosts of these partitions only.
    condition     = can(regex("^[a-z]{2}(-[a-z]+)+-[0-9]$", var.region)) && !startswith(var.region, "cn-")
    error_message = "region: as AWS writes it, e.g. eu-central-1; the partition of China is not supported."
  }
}

variable "availability_zones" {
  description = "Three zones of the region: a broker, a private subnet and a copy of every partition in each."
  type        = list(string)

  validation {
    condition     = length(distinct(var.availability_zones)) == 3 && length(var.availability_zones) == 3
    error_message = "availability_zones: exactly three different ones; RF 3 and min.insync.replicas 2 need them."
  }
}

variable "vpc_cidr" {
  description = "Private addresses of the network; each subnet takes a sixteenth."
  type        = string
  default     = "10.42.0.0/16"

  validation {
    condition = (
      can(cidrhost(var.vpc_cidr, 0)) &&
      can(regex("^(10\\.|172\\.(1[6-9]|2[0-9]|3[01])\\.|192\\.168\\.)", var.vpc_cidr)) &&
      try(tonumber(split("/", var.vpc_cidr)[1]) >= 16 && tonumber(split("/", var.vpc_cidr)[1]) <= 22, false)
    )
    error_message = "vpc_cidr: a private block (RFC 1918) from /16 to /22."
  }
}

# -- Kafka

variable "kafka" {
  description = <<-EOT
    The MSK cluster. `version` 3.8 or later. `instance_type` decides how many connections a broker takes: see README.
    `scram` opens SASL/SCRAM on 9096 beside IAM on 9098, for clients that cannot do IAM.
  EOT
  type = object({
    version           = optional(string, "4.1.x.kraft")
    instance_type     = optional(string, "kafka.m7g.large")
    brokers_per_zone  = optional(number, 1)
    storage_gib       = optional(number, 100)
    retention_hours   = optional(number, 168)
    partitions        = optional(number, 6)
    scram             = optional(bool, false)
    log_retention     = optional(number, 365)
    monitoring        = optional(string, "PER_TOPIC_PER_BROKER")
    prometheus_export = optional(bool, false)
  })
  default = {}

  validation {
    condition     = can(regex("^(3\\.([89]|[1-9][0-9])|[4-9]\\.[0-9]+)\\.", var.kafka.version))
    error_message = "kafka.version: 3.8 or later, e.g. 4.1.x.kraft; IAM knows no transaction markers before."
  }
  validation {
    condition     = startswith(var.kafka.instance_type, "kafka.") && !startswith(var.kafka.instance_type, "express.")
    error_message = "kafka.instance_type: a standard broker, e.g. kafka.m7g.large; Express brokers set replication by themselves."
  }
  validation {
    condition     = var.kafka.brokers_per_zone >= 1 && floor(var.kafka.brokers_per_zone) == var.kafka.brokers_per_zone
    error_message = "kafka.brokers_per_zone: a whole number from 1 on."
  }
  validation {
    condition     = var.kafka.storage_gib >= 1 && var.kafka.storage_gib <= 16384
    error_message = "kafka.storage_gib: 1 to 16384 for each broker."
  }
  validation {
    condition     = contains(["PER_BROKER", "PER_TOPIC_PER_BROKER", "PER_TOPIC_PER_PARTITION"], var.kafka.monitoring)
    error_message = "kafka.monitoring: PER_BROKER, PER_TOPIC_PER_BROKER or PER_TOPIC_PER_PARTITION; DEFAULT leaves out what tells a slow broker."
  }
}

# -- the services

variable "services" {
  description = <<-EOT
    The containers. What each may do with Kafka stands in services.json, under the same name: `ottla topics access MODULE:APP`
    prints it. `port` is what it serves over HTTP beside the admin endpoint. `secrets` are environment variables, each with
    the ARN of a secret in Secrets Manager. `reaches` is what it needs beside Kafka, AWS and PostgreSQL: groups and their ports.
  EOT
  type = map(object({
    command     = list(string)
    port        = optional(number)
    count       = optional(number, 2)
    cpu         = optional(number, 512)
    memory      = optional(number, 1024)
    environment = optional(map(string), {})
    secrets     = optional(map(string), {})
    reaches     = optional(map(object({ security_group_id = string, port = number })), {})
  }))
  default = {
    orders = {
      command = ["uvicorn", "examples.shop.orders.api:api", "--host", "0.0.0.0", "--port", "8000"]
      port    = 8000
    }
    billing       = { command = ["ottla", "run", "examples.shop.billing.app:app"] }
    notifications = { command = ["ottla", "run", "examples.shop.notifications.app:app"] }
  }

  validation {
    condition = length(setsubtract(keys(var.services), keys(jsondecode(file("${path.module}/services.json"))))) == 0
    error_message = join(" ", [
      "services: not in services.json:",
      join(", ", setsubtract(keys(var.services), keys(jsondecode(file("${path.module}/services.json"))))),
    ])
  }
  validation {
    condition = alltrue(flatten([
      for service in var.services : [for arn in values(service.secrets) : can(regex("^arn:[^:]+:secretsmanager:", arn))]
    ]))
    error_message = "services: secrets are ARNs of Secrets Manager, never values."
  }
  validation {
    condition = alltrue(flatten([
      for service in var.services : [for name in keys(service.environment) : !can(regex("PASSWORD|SECRET|TOKEN$|DATABASE_URL", name))]
    ]))
    error_message = "services: what is secret belongs into `secrets`, not `environment`: task definitions can be read by many."
  }
}

variable "environment" {
  description = "Of every container: TOPICS__ORDERS and the like, SCHEMA_REGISTRY_URL. services.json has the names that these lead to."
  type        = map(string)
  default     = {}
}

variable "image_tag" {
  description = "Tag of the image in the repository that this makes. Null: nothing is there yet, and ECS runs no task."
  type        = string
  default     = null

  validation {
    condition     = var.image_tag == null || try(var.image_tag != "latest" && can(regex("^[A-Za-z0-9_][A-Za-z0-9_.-]{0,127}$", var.image_tag)), false)
    error_message = "image_tag: a tag that names one build, e.g. a commit; never latest."
  }
}

variable "drain_s" {
  description = "KAFKA_DRAIN_S: how long handlers may finish on stop. Containers are given 20 s more."
  type        = number
  default     = 25

  validation {
    condition     = var.drain_s >= 1 && var.drain_s <= 100
    error_message = "drain_s: 1 to 100; ECS kills after 120 s whatever is asked."
  }
}

variable "database_security_group_id" {
  description = "Security group of PostgreSQL, which services may then reach on 5432. Null: none is reached."
  type        = string
  default     = null
}

# -- where they run

variable "ecs" {
  description = <<-EOT
    Services on ECS with Fargate. `load_balancer` is where HTTP comes from: target groups by service, and the security group of
    the balancer. `deployer` is what prepares topics and tables before services start; it has the secrets of all of them, each
    behind its service's name: ORDERS_DATABASE_URL.
  EOT
  type = object({
    enabled      = optional(bool, false)
    architecture = optional(string, "X86_64")
    deployer = optional(list(string), ["sh", "-euc", <<-SCRIPT
      for app in orders.api:kafka billing.app:app notifications.app:app; do
        ottla topics apply "examples.shop.$app"
        if [ -n "$${SCHEMA_REGISTRY_URL:-}" ]; then ottla schemas register "examples.shop.$app"; fi
      done
      export DATABASE_URL="$ORDERS_DATABASE_URL"
      ottla db upgrade
      python -m examples.shop.orders.orders
      export DATABASE_URL="$BILLING_DATABASE_URL"
      ottla db upgrade
      python -m examples.shop.billing.invoices
    SCRIPT
    ])
    load_balancer = optional(object({
      security_group_id = string
      target_group_arns = map(string)
    }))
  })
  default = {}

  validation {
    condition     = contains(["X86_64", "ARM64"], var.ecs.architecture)
    error_message = "ecs.architecture: X86_64 or ARM64, as the image was built."
  }
}

variable "eks" {
  description = <<-EOT
    A Kubernetes cluster in the same network, and a role for each service account of the chart's `release` in `namespace`.
    `api_cidrs` are the addresses that may reach its API from outside; none: only the network itself.
  EOT
  type = object({
    enabled       = optional(bool, false)
    version       = optional(string, "1.34")
    namespace     = optional(string, "shop")
    release       = optional(string, "shop")
    instance_type = optional(string, "m7g.large")
    ami_type      = optional(string, "AL2023_ARM_64_STANDARD")
    nodes         = optional(number, 3)
    api_cidrs     = optional(list(string), [])
  })
  default = {}

  validation {
    condition     = alltrue([for name in [var.eks.namespace, var.eks.release] : can(regex("^[a-z0-9]([a-z0-9-]{0,38}[a-z0-9])?$", name))])
    error_message = "eks.namespace, eks.release: one name as Kubernetes has them; a wildcard would let any pod be any service."
  }
  validation {
    condition     = alltrue([for cidr in var.eks.api_cidrs : can(cidrhost(cidr, 0)) && !endswith(cidr, "/0")])
    error_message = "eks.api_cidrs: addresses of your own, e.g. 198.51.100.7/32; not the whole internet."
  }
}
