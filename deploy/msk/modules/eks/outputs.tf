output "security_group_id" {
  description = "Of nodes and pods."
  value       = aws_eks_cluster.this.vpc_config[0].cluster_security_group_id
}

output "role_arns" {
  description = "By service, `deployer` and replayers among them."
  value       = { for name, role in aws_iam_role.service_account : name => role.arn }
}

output "service_accounts" {
  description = "Who may take these roles, in the namespace."
  value       = local.service_accounts
}
