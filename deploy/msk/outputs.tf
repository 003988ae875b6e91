output "bootstrap_brokers" {
  description = "KAFKA_BOOTSTRAP_SERVERS: the brokers by name, IAM over TLS. Known only to the network."
  value       = module.cluster.bootstrap_brokers
}

output "bootstrap_brokers_scram" {
  description = "The same for SASL/SCRAM; empty unless it was asked for."
  value       = module.cluster.bootstrap_brokers_scram
}

output "cluster_arn" {
  description = "The MSK cluster, with its UUID."
  value       = module.cluster.arn
}

output "repository_url" {
  description = "Where the image is pushed to."
  value       = aws_ecr_repository.this.repository_url
}

output "policies" {
  description = "What each service, the deployer and each replayer may do with Kafka: for roles of your own, such as CI's."
  value       = module.access.policies
}

output "task_role_arns" {
  description = "On ECS, by service."
  value       = var.ecs.enabled ? module.ecs[0].task_role_arns : {}
}

output "service_account_role_arns" {
  description = "On EKS, by service."
  value       = var.eks.enabled ? module.eks[0].role_arns : {}
}

output "service_accounts" {
  description = "On EKS, who may take these roles."
  value       = var.eks.enabled ? module.eks[0].service_accounts : {}
}

output "helm_values" {
  description = "For the chart in deploy/kubernetes: `terraform output -raw helm_values > msk.yaml`."
  value       = var.eks.enabled ? yamlencode(local.helm_values) : ""
}

output "subnet_ids" {
  description = "The private subnets, for `aws ecs run-task`."
  value       = module.network.subnet_ids
}

output "service_security_group_ids" {
  description = "By service, for `aws ecs run-task`."
  value       = module.network.service_security_group_ids
}
