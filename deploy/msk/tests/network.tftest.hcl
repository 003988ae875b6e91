mock_provider "aws" {
  source = "./tests/mocks"
}

variables {
  region             = "eu-central-1"
  availability_zones = ["eu-central-1a", "eu-central-1b", "eu-central-1c"]
}

run "the_network_is_private" {
  module {
    source = "./modules/network"
  }

  variables {
    name                       = "shop"
    cidr                       = "10.42.0.0/16"
    interface_endpoints        = ["ecr.api", "ecr.dkr", "logs", "secretsmanager", "sts"]
    services                   = { orders = { port = 8000 }, billing = { reaches = { mail = { security_group_id = "sg-mail", port = 8025 } } } }
    client_ports               = [9098]
    load_balancer_group_id     = "sg-balancer"
    database_security_group_id = "sg-database"
    has_eks                    = true
    eks_security_group_id      = "sg-pods"
    kms_key_arn                = "arn:aws:kms:eu-central-1:111122223333:key/11111111-2222-3333-4444-555555555555"
  }

  assert {
    condition     = length(aws_subnet.private) == 3 && length(distinct([for subnet in aws_subnet.private : subnet.availability_zone])) == 3
    error_message = "Three subnets in three zones."
  }
  assert {
    condition     = alltrue([for subnet in aws_subnet.private : !subnet.map_public_ip_on_launch])
    error_message = "No subnet hands out public addresses."
  }
  assert {
    condition     = length(distinct([for subnet in aws_subnet.private : subnet.cidr_block])) == 3
    error_message = "Subnets do not overlap."
  }
  assert {
    condition     = try(length(aws_route_table.private.route), 0) == 0
    error_message = "No route leads out of the network."
  }
  assert {
    condition     = length(aws_route_table_association.private) == 3
    error_message = "Each subnet uses the private route table, not the network's main one."
  }
  assert {
    condition     = aws_vpc.this.enable_dns_support && aws_vpc.this.enable_dns_hostnames
    error_message = "Names of brokers and endpoints resolve."
  }
  assert {
    condition     = try(length(aws_default_security_group.this.ingress), 0) == 0 && try(length(aws_default_security_group.this.egress), 0) == 0
    error_message = "The default security group lets nothing through."
  }
  assert {
    condition     = aws_flow_log.this.traffic_type == "REJECT"
    error_message = "What was refused is logged."
  }

  # endpoints
  assert {
    condition     = aws_vpc_endpoint.s3.vpc_endpoint_type == "Gateway"
    error_message = "S3 is reached through the gateway: layers of images."
  }
  assert {
    condition     = alltrue([for name in ["ecr.api", "ecr.dkr", "logs", "secretsmanager", "sts"] : contains(keys(aws_vpc_endpoint.interface), name)])
    error_message = "What private subnets need of AWS has endpoints."
  }
  assert {
    condition     = alltrue([for endpoint in aws_vpc_endpoint.interface : endpoint.private_dns_enabled])
    error_message = "Endpoints answer under AWS's own names."
  }
  assert {
    condition     = alltrue([for endpoint in aws_vpc_endpoint.interface : length(endpoint.subnet_ids) == 3])
    error_message = "Endpoints are in every zone."
  }

  # security groups
  assert {
    condition     = toset(keys(aws_security_group.service)) == toset(["orders", "billing", "tasks"])
    error_message = "A security group for each service, and one for one-off tasks."
  }
  assert {
    condition     = alltrue([for rule in aws_vpc_security_group_ingress_rule.brokers : rule.from_port == 9098 && rule.to_port == 9098 && rule.ip_protocol == "tcp"])
    error_message = "Brokers are reached on 9098 alone."
  }
  assert {
    condition     = alltrue([for rule in aws_vpc_security_group_ingress_rule.brokers_from_eks : rule.from_port == 9098 && rule.to_port == 9098])
    error_message = "Pods reach brokers on 9098 alone."
  }
  assert {
    condition = alltrue([
      for rule in concat(
        values(aws_vpc_security_group_ingress_rule.brokers),
        values(aws_vpc_security_group_ingress_rule.brokers_from_eks),
        values(aws_vpc_security_group_ingress_rule.endpoints),
        aws_vpc_security_group_ingress_rule.endpoints_from_eks,
        values(aws_vpc_security_group_ingress_rule.service_from_load_balancer),
      ) : rule.cidr_ipv4 == null && rule.cidr_ipv6 == null && rule.referenced_security_group_id != null
    ])
    error_message = "Who may come in is named by its security group, never by addresses."
  }
  assert {
    condition = alltrue([
      for rule in concat(
        values(aws_vpc_security_group_egress_rule.service_to_brokers),
        values(aws_vpc_security_group_egress_rule.service_to_endpoints),
        values(aws_vpc_security_group_egress_rule.service_to_s3),
        values(aws_vpc_security_group_egress_rule.service_to_database),
      ) : rule.cidr_ipv4 == null && rule.cidr_ipv6 == null
    ])
    error_message = "Where services may go is named as well."
  }
  assert {
    condition     = alltrue([for group in concat(values(aws_security_group.service), [aws_security_group.brokers, aws_security_group.endpoints]) : try(length(group.ingress), 0) == 0])
    error_message = "No rule stands inside a group, where the others would not see it."
  }
  assert {
    condition     = length(aws_vpc_security_group_ingress_rule.brokers) == 3
    error_message = "Each client reaches the brokers, and by one rule."
  }
  assert {
    condition     = alltrue([for rule in aws_vpc_security_group_ingress_rule.endpoints : rule.from_port == 443 && rule.to_port == 443])
    error_message = "Endpoints are reached by HTTPS."
  }
  assert {
    condition     = alltrue([for rule in aws_vpc_security_group_egress_rule.service_to_database : rule.from_port == 5432 && rule.referenced_security_group_id == "sg-database"])
    error_message = "The database is reached on its port, by its group."
  }
  assert {
    condition     = [for rule in aws_vpc_security_group_egress_rule.service_to_others : "${rule.referenced_security_group_id}:${rule.to_port}"] == ["sg-mail:8025"]
    error_message = "What else a service reaches is named, and its alone."
  }
  assert {
    condition     = keys(aws_vpc_security_group_ingress_rule.service_from_load_balancer) == ["orders"]
    error_message = "Only what has a port is reached from the load balancer."
  }
}

run "a_port_without_encryption_is_refused" {
  command = plan

  module {
    source = "./modules/network"
  }

  variables {
    name                       = "shop"
    cidr                       = "10.42.0.0/16"
    interface_endpoints        = []
    services                   = {}
    client_ports               = [9092]
    load_balancer_group_id     = null
    database_security_group_id = null
    has_eks                    = false
    eks_security_group_id      = null
    kms_key_arn                = "arn:aws:kms:eu-central-1:111122223333:key/11111111-2222-3333-4444-555555555555"
  }

  expect_failures = [var.client_ports]
}
