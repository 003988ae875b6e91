output "vpc_id" {
  description = "The network."
  value       = aws_vpc.this.id
}

output "subnet_ids" {
  description = "Private, one a zone."
  value       = [for zone in var.availability_zones : aws_subnet.private[zone].id]
}

output "brokers_security_group_id" {
  description = "For the brokers."
  value       = aws_security_group.brokers.id
}

output "service_security_group_ids" {
  description = "By service; `tasks` is for one-off tasks."
  value       = { for name, group in aws_security_group.service : name => group.id }
}
