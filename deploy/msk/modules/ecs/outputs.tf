output "task_role_arns" {
  description = "By service, `deployer` and replayers among them."
  value       = { for name, role in aws_iam_role.task : name => role.arn }
}
