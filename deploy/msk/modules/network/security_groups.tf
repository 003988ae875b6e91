# One group a service, one for the brokers, one for the endpoints. Every rule names the other side's group, none an address.

locals {
  # Beside the services: one-off tasks, which prepare topics and replay dead letters.
  clients = toset(concat(keys(var.services), ["tasks"]))

  client_ports = {
    for pair in setproduct(local.clients, var.client_ports) : "${pair[0]}-${pair[1]}" => { client = pair[0], port = pair[1] }
  }
}

resource "aws_security_group" "service" {
  #checkov:skip=CKV2_AWS_5:attached to the tasks in modules/ecs, across a module boundary that checkov does not follow
  for_each = local.clients

  name        = "${var.name}-${each.key}"
  description = "The service ${each.key}"
  vpc_id      = aws_vpc.this.id
}

resource "aws_security_group" "brokers" {
  #checkov:skip=CKV2_AWS_5:attached to the brokers in modules/cluster, across a module boundary that checkov does not follow
  name        = "${var.name}-brokers"
  description = "The brokers: IAM over TLS, from services alone"
  vpc_id      = aws_vpc.this.id
}

resource "aws_security_group" "endpoints" {
  name        = "${var.name}-endpoints"
  description = "Endpoints of AWS services in this network"
  vpc_id      = aws_vpc.this.id
}

# -- to the brokers

resource "aws_vpc_security_group_ingress_rule" "brokers" {
  for_each = local.client_ports

  security_group_id            = aws_security_group.brokers.id
  description                  = "Kafka from ${each.value.client}"
  referenced_security_group_id = aws_security_group.service[each.value.client].id
  ip_protocol                  = "tcp"
  from_port                    = each.value.port
  to_port                      = each.value.port
}

resource "aws_vpc_security_group_egress_rule" "service_to_brokers" {
  for_each = local.client_ports

  security_group_id            = aws_security_group.service[each.value.client].id
  description                  = "Kafka"
  referenced_security_group_id = aws_security_group.brokers.id
  ip_protocol                  = "tcp"
  from_port                    = each.value.port
  to_port                      = each.value.port
}

# Pods share the group of their nodes; who of them is who, their roles tell.
resource "aws_vpc_security_group_ingress_rule" "brokers_from_eks" {
  for_each = var.has_eks ? toset([for port in var.client_ports : tostring(port)]) : []

  security_group_id            = aws_security_group.brokers.id
  description                  = "Kafka from the pods"
  referenced_security_group_id = var.eks_security_group_id
  ip_protocol                  = "tcp"
  from_port                    = tonumber(each.key)
  to_port                      = tonumber(each.key)
}

# -- to AWS

resource "aws_vpc_security_group_ingress_rule" "endpoints" {
  for_each = local.clients

  security_group_id            = aws_security_group.endpoints.id
  description                  = "HTTPS from ${each.key}"
  referenced_security_group_id = aws_security_group.service[each.key].id
  ip_protocol                  = "tcp"
  from_port                    = 443
  to_port                      = 443
}

resource "aws_vpc_security_group_ingress_rule" "endpoints_from_eks" {
  count = var.has_eks ? 1 : 0

  security_group_id            = aws_security_group.endpoints.id
  description                  = "HTTPS from nodes and pods"
  referenced_security_group_id = var.eks_security_group_id
  ip_protocol                  = "tcp"
  from_port                    = 443
  to_port                      = 443
}

resource "aws_vpc_security_group_egress_rule" "service_to_endpoints" {
  for_each = local.clients

  security_group_id            = aws_security_group.service[each.key].id
  description                  = "AWS through endpoints"
  referenced_security_group_id = aws_security_group.endpoints.id
  ip_protocol                  = "tcp"
  from_port                    = 443
  to_port                      = 443
}

resource "aws_vpc_security_group_egress_rule" "service_to_s3" {
  for_each = local.clients

  security_group_id = aws_security_group.service[each.key].id
  description       = "Layers of images"
  prefix_list_id    = aws_vpc_endpoint.s3.prefix_list_id
  ip_protocol       = "tcp"
  from_port         = 443
  to_port           = 443
}

# -- to PostgreSQL, and from the load balancer

resource "aws_vpc_security_group_egress_rule" "service_to_database" {
  for_each = var.database_security_group_id == null ? [] : local.clients

  security_group_id            = aws_security_group.service[each.key].id
  description                  = "PostgreSQL"
  referenced_security_group_id = var.database_security_group_id
  ip_protocol                  = "tcp"
  from_port                    = 5432
  to_port                      = 5432
}

resource "aws_vpc_security_group_egress_rule" "service_to_others" {
  for_each = merge([
    for name, service in var.services : { for other, it in service.reaches : "${name}-${other}" => merge(it, { service = name, other = other }) }
  ]...)

  security_group_id            = aws_security_group.service[each.value.service].id
  description                  = each.value.other
  referenced_security_group_id = each.value.security_group_id
  ip_protocol                  = "tcp"
  from_port                    = each.value.port
  to_port                      = each.value.port
}

resource "aws_vpc_security_group_ingress_rule" "service_from_load_balancer" {
  for_each = var.load_balancer_group_id == null ? {} : {
    for name, service in var.services : name => service.port if service.port != null
  }

  security_group_id            = aws_security_group.service[each.key].id
  description                  = "HTTP from the load balancer"
  referenced_security_group_id = var.load_balancer_group_id
  ip_protocol                  = "tcp"
  from_port                    = each.value
  to_port                      = each.value
}
