# All of it, on ECS and EKS at once. `make deploy-check` takes the policies that it lints from what this run made.

mock_provider "aws" {
  source = "./tests/mocks"
}

override_resource {
  target = module.eks[0].aws_eks_cluster.this
  values = {
    name       = "shop"
    arn        = "arn:aws:eks:eu-central-1:111122223333:cluster/shop"
    identity   = [{ oidc = [{ issuer = "https://oidc.eks.eu-central-1.amazonaws.com/id/EXAMPLE" }] }]
    vpc_config = { cluster_security_group_id = "sg-pods" }
  }
}

variables {
  region             = "eu-central-1"
  availability_zones = ["eu-central-1a", "eu-central-1b", "eu-central-1c"]
  image_tag          = "1.2.3"
  services = {
    orders = {
      command = ["uvicorn", "examples.shop.orders.api:api", "--host", "0.0.0.0", "--port", "8000"]
      port    = 8000
      secrets = { DATABASE_URL = "arn:aws:secretsmanager:eu-central-1:111122223333:secret:shop/orders-AbCdEf" }
    }
    billing = {
      command = ["ottla", "run", "examples.shop.billing.app:app"]
      secrets = { DATABASE_URL = "arn:aws:secretsmanager:eu-central-1:111122223333:secret:shop/billing-AbCdEf" }
    }
    notifications = { command = ["ottla", "run", "examples.shop.notifications.app:app"] }
  }
  ecs = {
    enabled = true
    load_balancer = {
      security_group_id = "sg-balancer"
      target_group_arns = { orders = "arn:aws:elasticloadbalancing:eu-central-1:111122223333:targetgroup/orders/0123456789abcdef" }
    }
  }
  eks = { enabled = true }
}

run "everything" {
  assert {
    condition     = aws_kms_key.this.enable_key_rotation
    error_message = "The key is rotated."
  }
  assert {
    condition     = aws_ecr_repository.this.image_tag_mutability == "IMMUTABLE" && aws_ecr_repository.this.image_scanning_configuration[0].scan_on_push
    error_message = "A tag is one build, and is scanned."
  }
  assert {
    condition     = aws_ecr_repository.this.encryption_configuration[0].encryption_type == "KMS"
    error_message = "Images are encrypted by our key."
  }
  assert {
    condition     = toset(keys(output.task_role_arns)) == toset(keys(output.policies)) && toset(keys(output.service_account_role_arns)) == toset(keys(output.policies))
    error_message = "Each policy has its role, on ECS and on EKS."
  }
  assert {
    condition     = length(output.subnet_ids) == 3
    error_message = "Three subnets."
  }
  assert {
    condition     = output.bootstrap_brokers_scram == ""
    error_message = "SCRAM is off."
  }
  assert {
    condition     = keys(yamldecode(output.helm_values).services.billing.serviceAccountAnnotations) == ["eks.amazonaws.com/role-arn"]
    error_message = "The chart is told the roles."
  }
  assert {
    condition     = yamldecode(output.helm_values).kafka.bootstrapServers == output.bootstrap_brokers
    error_message = "The chart is told the brokers."
  }
}
