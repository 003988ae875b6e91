# Who may do what with Kafka, as IAM policies: a service its records, a deployer the topics, a replayer dead letters.
# Nothing but names goes in, so `make deploy-check` can render all of it, and hold it against what the apps do.

terraform {
  required_version = ">= 1.9.0"
}

locals {
  # arn:aws:kafka:REGION:ACCOUNT:cluster/NAME/UUID. The UUID stays in what follows: a cluster that is made anew under the same
  # name is another one.
  arn     = regex("^(?P<service>arn:[^:]+:kafka:[^:]+:[0-9]+):cluster/(?P<cluster>[^/]+/[^/]+)$", var.cluster_arn)
  topics  = "${local.arn.service}:topic/${local.arn.cluster}"
  groups  = "${local.arn.service}:group/${local.arn.cluster}"
  nothing = { reads = [], writes = [], groups = [], describes = [], creates = [], alters = [] }

  services = {
    for name, service in var.services : name => merge(local.nothing, {
      reads  = service.reads
      writes = service.writes
      groups = service.groups
    })
  }

  # A replay topic is made by the first replay, so it is not the deployer's.
  wanted = distinct(flatten([
    for service in values(var.services) : concat(service.writes, tolist(setsubtract(service.reads, service.replays)))
  ]))

  deployer = { deployer = merge(local.nothing, { describes = local.wanted, creates = local.wanted, alters = local.wanted }) }

  # Reads dead letters, writes them to where this group alone handles them again, and notes in its ledger what became of each.
  # The group is the name that a reader gives to the client; it is on no cluster (READER_GROUP).
  replayers = {
    for name, service in var.services : "${name}-replayer" => merge(local.nothing, {
      reads     = concat(service.dead_letters, [service.ledger])
      writes    = concat(service.replays, [service.ledger])
      groups    = ["ottla-reader"]
      describes = tolist(setsubtract(service.reads, service.replays))
      creates   = concat(tolist(setsubtract(service.replays, service.writes)), [service.ledger])
    }) if service.ledger != null
  }

  grants = merge(local.services, local.deployer, local.replayers)

  statements = {
    for role, grant in local.grants : role => [
      for statement in [
        {
          Sid      = "Connect"
          Effect   = "Allow"
          Action   = concat(["kafka-cluster:Connect"], length(grant.writes) == 0 ? [] : ["kafka-cluster:WriteDataIdempotently"])
          Resource = [var.cluster_arn]
        },
        {
          Sid      = "Read"
          Effect   = "Allow"
          Action   = ["kafka-cluster:DescribeTopic", "kafka-cluster:ReadData"]
          Resource = [for topic in sort(grant.reads) : "${local.topics}/${topic}"]
        },
        {
          # The configuration tells how large a record may be, before it is promised.
          Sid      = "Write"
          Effect   = "Allow"
          Action   = ["kafka-cluster:DescribeTopic", "kafka-cluster:DescribeTopicDynamicConfiguration", "kafka-cluster:WriteData"]
          Resource = [for topic in sort(grant.writes) : "${local.topics}/${topic}"]
        },
        {
          Sid      = "Groups"
          Effect   = "Allow"
          Action   = ["kafka-cluster:AlterGroup", "kafka-cluster:DescribeGroup"]
          Resource = [for group in sort(grant.groups) : "${local.groups}/${group}"]
        },
        {
          Sid      = "See"
          Effect   = "Allow"
          Action   = ["kafka-cluster:DescribeTopic"]
          Resource = [for topic in sort(grant.describes) : "${local.topics}/${topic}"]
        },
        {
          Sid      = "Create"
          Effect   = "Allow"
          Action   = ["kafka-cluster:CreateTopic"]
          Resource = [for topic in sort(grant.creates) : "${local.topics}/${topic}"]
        },
        {
          Sid    = "Alter"
          Effect = "Allow"
          Action = [
            "kafka-cluster:AlterTopic",
            "kafka-cluster:AlterTopicDynamicConfiguration",
            "kafka-cluster:DescribeTopicDynamicConfiguration",
          ]
          Resource = [for topic in sort(grant.alters) : "${local.topics}/${topic}"]
        },
      ] : statement if length(statement.Resource) > 0
    ]
  }
}
