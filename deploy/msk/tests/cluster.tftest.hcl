mock_provider "aws" {
  source = "./tests/mocks"
}

variables {
  name               = "shop"
  subnet_ids         = ["subnet-a", "subnet-b", "subnet-c"]
  security_group_ids = ["sg-brokers"]
  kms_key_arn        = "arn:aws:kms:eu-central-1:111122223333:key/11111111-2222-3333-4444-555555555555"
  kafka = {
    version           = "4.1.x.kraft"
    instance_type     = "kafka.m7g.large"
    brokers_per_zone  = 1
    storage_gib       = 100
    retention_hours   = 168
    partitions        = 6
    scram             = false
    log_retention     = 365
    monitoring        = "PER_TOPIC_PER_BROKER"
    prometheus_export = false
  }
}

run "the_cluster_is_private_encrypted_and_iam_alone" {
  module {
    source = "./modules/cluster"
  }

  # private
  assert {
    condition     = aws_msk_cluster.this.broker_node_group_info[0].connectivity_info[0].public_access[0].type == "DISABLED"
    error_message = "No broker has a public address."
  }
  assert {
    condition     = tolist(aws_msk_cluster.this.broker_node_group_info[0].client_subnets) == tolist(["subnet-a", "subnet-b", "subnet-c"])
    error_message = "Brokers are in the private subnets."
  }
  assert {
    condition     = aws_msk_cluster.this.broker_node_group_info[0].security_groups == toset(["sg-brokers"])
    error_message = "Brokers have their own security group, and no other."
  }

  # who may come in
  assert {
    condition     = aws_msk_cluster.this.client_authentication[0].sasl[0].iam
    error_message = "IAM is on."
  }
  assert {
    condition     = !aws_msk_cluster.this.client_authentication[0].sasl[0].scram
    error_message = "SCRAM is off unless it is asked for."
  }
  assert {
    condition     = !aws_msk_cluster.this.client_authentication[0].unauthenticated
    error_message = "Nobody comes in without a name."
  }
  assert {
    condition     = try(length(aws_msk_cluster.this.client_authentication[0].tls), 0) == 0
    error_message = "Client certificates are off."
  }

  # encryption
  assert {
    condition     = aws_msk_cluster.this.encryption_info[0].encryption_in_transit[0].client_broker == "TLS"
    error_message = "Between clients and brokers TLS alone."
  }
  assert {
    condition     = aws_msk_cluster.this.encryption_info[0].encryption_in_transit[0].in_cluster
    error_message = "Between brokers too."
  }
  assert {
    condition     = aws_msk_cluster.this.encryption_info[0].encryption_at_rest_kms_key_arn == var.kms_key_arn
    error_message = "Disks are encrypted by a key of ours."
  }

  # what Kafka does by itself
  assert {
    condition     = contains(split("\n", aws_msk_configuration.this.server_properties), "auto.create.topics.enable=false")
    error_message = "A misspelt topic is an error, not a topic."
  }
  assert {
    condition     = contains(split("\n", aws_msk_configuration.this.server_properties), "default.replication.factor=3")
    error_message = "A copy of every partition in each zone."
  }
  assert {
    condition     = contains(split("\n", aws_msk_configuration.this.server_properties), "min.insync.replicas=2")
    error_message = "What was acknowledged survives the loss of a zone."
  }
  assert {
    condition     = contains(split("\n", aws_msk_configuration.this.server_properties), "unclean.leader.election.enable=false")
    error_message = "A copy that is behind never leads."
  }
  assert {
    condition     = aws_msk_cluster.this.configuration_info[0].arn == aws_msk_configuration.this.arn
    error_message = "The cluster has this configuration."
  }
  assert {
    condition     = contains(aws_msk_configuration.this.kafka_versions, aws_msk_cluster.this.kafka_version)
    error_message = "The configuration is for the cluster's version."
  }
  assert {
    condition     = aws_msk_cluster.this.number_of_broker_nodes == 3
    error_message = "One broker a zone."
  }

  # what is seen of it
  assert {
    condition     = aws_msk_cluster.this.logging_info[0].broker_logs[0].cloudwatch_logs[0].enabled
    error_message = "Brokers log."
  }
  assert {
    condition     = aws_msk_cluster.this.logging_info[0].broker_logs[0].cloudwatch_logs[0].log_group == aws_cloudwatch_log_group.brokers.name
    error_message = "They log to our group."
  }
  assert {
    condition     = aws_cloudwatch_log_group.brokers.kms_key_id == var.kms_key_arn && aws_cloudwatch_log_group.brokers.retention_in_days == 365
    error_message = "Logs are encrypted, and kept for a year."
  }
  assert {
    condition     = aws_msk_cluster.this.enhanced_monitoring == "PER_TOPIC_PER_BROKER"
    error_message = "A slow topic is seen."
  }
  assert {
    condition     = endswith(split(",", output.bootstrap_brokers)[0], ":9098")
    error_message = "Clients are told the port of IAM."
  }
}

run "six_brokers_are_two_a_zone" {
  command = plan

  module {
    source = "./modules/cluster"
  }

  variables {
    kafka = {
      version    = "4.1.x.kraft", instance_type = "kafka.m7g.large", brokers_per_zone = 2, storage_gib = 100, retention_hours = 168
      partitions = 6, scram = true, log_retention = 365, monitoring = "PER_BROKER", prometheus_export = true
    }
  }

  assert {
    condition     = aws_msk_cluster.this.number_of_broker_nodes == 6
    error_message = "Brokers come in multiples of the zones."
  }
  assert {
    condition     = aws_msk_cluster.this.client_authentication[0].sasl[0].scram && aws_msk_cluster.this.client_authentication[0].sasl[0].iam
    error_message = "SCRAM comes beside IAM, never instead."
  }
  assert {
    condition     = !aws_msk_cluster.this.client_authentication[0].unauthenticated
    error_message = "Still nobody comes in without a name."
  }
}
