output "policies" {
  description = "By role: each service, `deployer`, and `<service>-replayer` where there are dead letters."
  value = {
    for role, statements in local.statements : role => jsonencode({ Version = "2012-10-17", Statement = statements })
  }
}
