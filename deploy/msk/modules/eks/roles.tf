# IRSA: AWS believes what this cluster says of its pods, and each role names the one service account that may take it.

resource "aws_iam_openid_connect_provider" "this" {
  url            = aws_eks_cluster.this.identity[0].oidc[0].issuer
  client_id_list = ["sts.amazonaws.com"]
}

locals {
  issuer = trimprefix(aws_eks_cluster.this.identity[0].oidc[0].issuer, "https://")

  # As the chart in deploy/kubernetes calls them; its setup Job is the deployer.
  service_accounts = {
    for role in keys(var.policies) : role => "${var.eks.release}-${role == "deployer" ? "setup" : role}"
  }
}

resource "aws_iam_role" "service_account" {
  for_each = toset(keys(var.policies))

  name        = "${var.name}-eks-${each.key}"
  description = "What ${each.key} may do with Kafka"

  assume_role_policy = jsonencode({
    Version = "2012-10-17"
    Statement = [{
      Effect    = "Allow"
      Principal = { Federated = aws_iam_openid_connect_provider.this.arn }
      Action    = "sts:AssumeRoleWithWebIdentity"
      # Both: without `sub` every pod of the cluster could be this service, without `aud` any token of it would do.
      Condition = {
        StringEquals = {
          "${local.issuer}:aud" = "sts.amazonaws.com"
          "${local.issuer}:sub" = "system:serviceaccount:${var.eks.namespace}:${local.service_accounts[each.key]}"
        }
      }
    }]
  })
}

resource "aws_iam_role_policy" "service_account" {
  for_each = var.policies

  name   = "kafka"
  role   = aws_iam_role.service_account[each.key].id
  policy = each.value
}
