mock_provider "aws" {
  source = "./tests/mocks"
}

override_resource {
  target = aws_eks_cluster.this
  values = {
    arn      = "arn:aws:eks:eu-central-1:111122223333:cluster/shop"
    identity = [{ oidc = [{ issuer = "https://oidc.eks.eu-central-1.amazonaws.com/id/EXAMPLE" }] }]
  }
}

variables {
  name        = "shop"
  eks         = { version = "1.34", namespace = "shop", release = "shop", instance_type = "m7g.large", ami_type = "AL2023_ARM_64_STANDARD", nodes = 3, api_cidrs = [] }
  policies    = { billing = "{\"of\": \"billing\"}", deployer = "{\"of\": \"deployer\"}", billing-replayer = "{\"of\": \"billing-replayer\"}" }
  subnet_ids  = ["subnet-a", "subnet-b", "subnet-c"]
  kms_key_arn = "arn:aws:kms:eu-central-1:111122223333:key/11111111-2222-3333-4444-555555555555"
}

run "a_role_belongs_to_one_service_account" {
  module {
    source = "./modules/eks"
  }

  # trust
  assert {
    condition     = aws_iam_openid_connect_provider.this.url == "https://oidc.eks.eu-central-1.amazonaws.com/id/EXAMPLE"
    error_message = "AWS believes this cluster."
  }
  assert {
    condition     = tolist(aws_iam_openid_connect_provider.this.client_id_list) == tolist(["sts.amazonaws.com"])
    error_message = "Tokens are for STS."
  }
  assert {
    condition     = alltrue([for role in aws_iam_role.service_account : jsondecode(role.assume_role_policy).Statement[0].Action == "sts:AssumeRoleWithWebIdentity"])
    error_message = "Roles are taken by a token."
  }
  assert {
    condition     = alltrue([for role in aws_iam_role.service_account : jsondecode(role.assume_role_policy).Statement[0].Principal == { Federated = aws_iam_openid_connect_provider.this.arn }])
    error_message = "By a token of this cluster, and no other principal."
  }
  assert {
    condition = alltrue([
      for name, role in aws_iam_role.service_account :
      jsondecode(role.assume_role_policy).Statement[0].Condition.StringEquals["oidc.eks.eu-central-1.amazonaws.com/id/EXAMPLE:sub"] ==
      { billing = "system:serviceaccount:shop:shop-billing", deployer = "system:serviceaccount:shop:shop-setup", billing-replayer = "system:serviceaccount:shop:shop-billing-replayer" }[name]
    ])
    error_message = "Each role names the one service account that may take it."
  }
  assert {
    condition = alltrue([
      for role in aws_iam_role.service_account :
      jsondecode(role.assume_role_policy).Statement[0].Condition.StringEquals["oidc.eks.eu-central-1.amazonaws.com/id/EXAMPLE:aud"] == "sts.amazonaws.com"
    ])
    error_message = "And who the token is for."
  }
  assert {
    condition     = alltrue([for role in aws_iam_role.service_account : keys(jsondecode(role.assume_role_policy).Statement[0].Condition) == ["StringEquals"] && length(jsondecode(role.assume_role_policy).Statement) == 1])
    error_message = "Names are compared whole, without patterns, and there is no other way in."
  }
  assert {
    condition     = alltrue([for name, policy in aws_iam_role_policy.service_account : policy.policy == var.policies[name] && policy.role == aws_iam_role.service_account[name].id])
    error_message = "Each role has its own policy."
  }
  assert {
    condition     = length(distinct([for role in aws_iam_role.service_account : role.name])) == 3
    error_message = "A role each."
  }

  # the cluster
  assert {
    condition     = aws_eks_cluster.this.vpc_config[0].endpoint_private_access && !aws_eks_cluster.this.vpc_config[0].endpoint_public_access
    error_message = "Its API is private."
  }
  assert {
    condition     = contains(aws_eks_cluster.this.encryption_config[0].resources, "secrets") && aws_eks_cluster.this.encryption_config[0].provider[0].key_arn == var.kms_key_arn
    error_message = "Its secrets are encrypted by our key."
  }
  assert {
    condition     = contains(aws_eks_cluster.this.enabled_cluster_log_types, "audit")
    error_message = "It says who did what."
  }
  assert {
    condition     = aws_launch_template.node.metadata_options[0].http_tokens == "required" && aws_launch_template.node.metadata_options[0].http_put_response_hop_limit == 1
    error_message = "A pod cannot take its node's role."
  }
  assert {
    condition     = length(aws_eks_node_group.this.subnet_ids) == 3
    error_message = "Nodes are in all zones."
  }
}

run "its_api_opens_to_named_addresses" {
  command = plan

  module {
    source = "./modules/eks"
  }

  variables {
    eks = { version = "1.34", namespace = "shop", release = "shop", instance_type = "m7g.large", ami_type = "AL2023_ARM_64_STANDARD", nodes = 3, api_cidrs = ["198.51.100.7/32"] }
  }

  assert {
    condition     = tolist(aws_eks_cluster.this.vpc_config[0].public_access_cidrs) == tolist(["198.51.100.7/32"])
    error_message = "To these and no others."
  }
}
