# Kafka as a service: private, encrypted, IAM alone, and no topic that nobody asked for.

resource "aws_msk_configuration" "this" {
  name           = "${var.name}-${replace(var.kafka.version, ".", "-")}"
  kafka_versions = [var.kafka.version]

  # A misspelt topic is an error, not a topic; retry and dead-letter topics are made by the deployer.
  # Two of three copies acknowledge, so one zone may be away and nothing that was acknowledged is lost.
  server_properties = <<-EOT
    auto.create.topics.enable=false
    default.replication.factor=3
    min.insync.replicas=2
    unclean.leader.election.enable=false
    num.partitions=${var.kafka.partitions}
    log.retention.hours=${var.kafka.retention_hours}
    allow.everyone.if.no.acl.found=false
  EOT

  lifecycle {
    create_before_destroy = true
  }
}

resource "aws_msk_cluster" "this" {
  cluster_name           = var.name
  kafka_version          = var.kafka.version
  number_of_broker_nodes = var.kafka.brokers_per_zone * length(var.subnet_ids)
  enhanced_monitoring    = var.kafka.monitoring

  broker_node_group_info {
    instance_type   = var.kafka.instance_type
    client_subnets  = var.subnet_ids
    security_groups = var.security_group_ids

    storage_info {
      ebs_storage_info {
        volume_size = var.kafka.storage_gib
      }
    }

    connectivity_info {
      public_access {
        type = "DISABLED"
      }
    }
  }

  client_authentication {
    unauthenticated = false

    sasl {
      iam   = true
      scram = var.kafka.scram
    }
  }

  encryption_info {
    encryption_at_rest_kms_key_arn = var.kms_key_arn

    encryption_in_transit {
      client_broker = "TLS"
      in_cluster    = true
    }
  }

  configuration_info {
    arn      = aws_msk_configuration.this.arn
    revision = aws_msk_configuration.this.latest_revision
  }

  logging_info {
    broker_logs {
      cloudwatch_logs {
        enabled   = true
        log_group = aws_cloudwatch_log_group.brokers.name
      }
    }
  }

  open_monitoring {
    prometheus {
      jmx_exporter {
        enabled_in_broker = var.kafka.prometheus_export
      }
      node_exporter {
        enabled_in_broker = var.kafka.prometheus_export
      }
    }
  }
}

resource "aws_cloudwatch_log_group" "brokers" {
  name              = "/${var.name}/brokers"
  retention_in_days = var.kafka.log_retention
  kms_key_id        = var.kms_key_arn
}
