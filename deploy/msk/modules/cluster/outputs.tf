output "arn" {
  description = "With its UUID."
  value       = aws_msk_cluster.this.arn
}

output "bootstrap_brokers" {
  description = "Host names with the port of IAM, as AWS tells them: never put together by hand."
  value       = aws_msk_cluster.this.bootstrap_brokers_sasl_iam
}

output "bootstrap_brokers_scram" {
  description = "The same for SCRAM; empty unless it was asked for."
  value       = aws_msk_cluster.this.bootstrap_brokers_sasl_scram
}
