mock_provider "aws" {
  source = "./tests/mocks"
}

variables {
  name           = "shop"
  region         = "eu-central-1"
  image          = "111122223333.dkr.ecr.eu-central-1.amazonaws.com/shop:1.2.3"
  has_image      = true
  repository_arn = "arn:aws:ecr:eu-central-1:111122223333:repository/shop"
  architecture   = "X86_64"
  services = {
    orders  = { command = ["uvicorn"], port = 8000, count = 2, cpu = 512, memory = 1024, environment = {}, secrets = { DATABASE_URL = "arn:aws:secretsmanager:eu-central-1:111122223333:secret:shop/orders-AbCdEf" } }
    billing = { command = ["ottla", "run", "billing:app"], count = 3, cpu = 512, memory = 1024, environment = { TOPICS__ORDERS = "shop.orders" }, secrets = {} }
  }
  deployer           = ["ottla", "topics", "apply", "billing:app"]
  policies           = { orders = "{\"of\": \"orders\"}", billing = "{\"of\": \"billing\"}", deployer = "{\"of\": \"deployer\"}", billing-replayer = "{\"of\": \"billing-replayer\"}" }
  environment        = { KAFKA_SECURITY = "msk-iam", KAFKA_BOOTSTRAP_SERVERS = "b-1:9098" }
  drain_s            = 25
  subnet_ids         = ["subnet-a", "subnet-b", "subnet-c"]
  security_group_ids = { orders = "sg-orders", billing = "sg-billing", tasks = "sg-tasks" }
  target_group_arns  = { orders = "arn:aws:elasticloadbalancing:eu-central-1:111122223333:targetgroup/orders/0123456789abcdef" }
  kms_key_arn        = "arn:aws:kms:eu-central-1:111122223333:key/11111111-2222-3333-4444-555555555555"
}

run "services_run_locked_up_and_as_themselves" {
  module {
    source = "./modules/ecs"
  }

  # who they are
  assert {
    condition     = length(setintersection([for role in aws_iam_role.task : role.name], [for role in aws_iam_role.execution : role.name])) == 0
    error_message = "What the code is, and what starts it, are different roles."
  }
  assert {
    condition     = alltrue([for name, policy in aws_iam_role_policy.task : policy.policy == var.policies[name] && policy.role == aws_iam_role.task[name].id])
    error_message = "Each task role has its own policy."
  }
  assert {
    condition     = alltrue([for policy in aws_iam_role_policy.execution : !strcontains(policy.policy, "kafka-cluster:")])
    error_message = "What starts a container may do nothing with Kafka."
  }
  assert {
    condition     = alltrue([for policy in aws_iam_role_policy.task : !can(regex("ecr:|logs:|secretsmanager:", policy.policy))])
    error_message = "The code may not pull images or read secrets by itself."
  }
  assert {
    condition = alltrue([
      for role in concat(values(aws_iam_role.task), values(aws_iam_role.execution)) :
      jsondecode(role.assume_role_policy).Statement[0].Principal == { Service = "ecs-tasks.amazonaws.com" } &&
      jsondecode(role.assume_role_policy).Statement[0].Condition.StringEquals["aws:SourceAccount"] == "111122223333"
    ])
    error_message = "Tasks of this account alone may be them."
  }
  assert {
    condition     = strcontains(aws_iam_role_policy.execution["orders"].policy, "secret:shop/orders-AbCdEf") && !strcontains(aws_iam_role_policy.execution["billing"].policy, "secretsmanager")
    error_message = "Each service gets its own secrets, and no other's."
  }

  # how they run
  assert {
    condition     = alltrue([for task in aws_ecs_task_definition.this : jsondecode(task.container_definitions)[0].readonlyRootFilesystem])
    error_message = "The root file system is read-only."
  }
  assert {
    condition     = alltrue([for task in aws_ecs_task_definition.this : jsondecode(task.container_definitions)[0].user == "10001:10001"])
    error_message = "Nobody is root."
  }
  assert {
    condition     = alltrue([for task in aws_ecs_task_definition.this : jsondecode(task.container_definitions)[0].linuxParameters.capabilities.drop == ["ALL"]])
    error_message = "No capability is kept."
  }
  assert {
    condition     = alltrue([for task in aws_ecs_task_definition.this : jsondecode(task.container_definitions)[0].stopTimeout > var.drain_s && jsondecode(task.container_definitions)[0].stopTimeout <= 120])
    error_message = "A container may finish before it is killed."
  }
  assert {
    condition     = alltrue([for name in ["orders", "billing"] : strcontains(jsondecode(aws_ecs_task_definition.this[name].container_definitions)[0].healthCheck.command[3], "/livez")])
    error_message = "Health is whether the poll loop turns, not whether brokers are there."
  }
  assert {
    condition     = !can(jsondecode(aws_ecs_task_definition.this["deployer"].container_definitions)[0].healthCheck)
    error_message = "A task that ends has no health."
  }
  assert {
    condition     = alltrue([for task in aws_ecs_task_definition.this : task.network_mode == "awsvpc" && contains(task.requires_compatibilities, "FARGATE")])
    error_message = "Each task has its own address, on Fargate."
  }
  assert {
    condition     = alltrue([for service in aws_ecs_service.this : !service.network_configuration[0].assign_public_ip])
    error_message = "No task has a public address."
  }
  assert {
    condition     = alltrue([for name, service in aws_ecs_service.this : service.network_configuration[0].security_groups == toset([var.security_group_ids[name]])])
    error_message = "Each service has its own security group."
  }
  assert {
    condition     = alltrue([for service in aws_ecs_service.this : service.deployment_minimum_healthy_percent == 100 && service.deployment_circuit_breaker[0].rollback])
    error_message = "A rollout takes none away first, and goes back when it fails."
  }
  assert {
    condition     = toset(keys(aws_ecs_service.this)) == toset(["orders", "billing"])
    error_message = "Deployer and replayers are tasks that are run once, no services."
  }
  assert {
    condition     = [for service in aws_ecs_service.this : service.desired_count] == [3, 2]
    error_message = "As many run as were asked for."
  }
  assert {
    condition     = length(aws_ecs_service.this["orders"].load_balancer) == 1 && length(aws_ecs_service.this["billing"].load_balancer) == 0
    error_message = "Only what has a target group is behind the load balancer."
  }

  # what they are told
  assert {
    condition     = contains(jsondecode(aws_ecs_task_definition.this["billing"].container_definitions)[0].environment, { name = "KAFKA_SECURITY", value = "msk-iam" })
    error_message = "Kafka by IAM."
  }
  assert {
    condition     = contains(jsondecode(aws_ecs_task_definition.this["billing"].container_definitions)[0].environment, { name = "TOPICS__ORDERS", value = "shop.orders" })
    error_message = "What a service is told alone."
  }
  assert {
    condition     = jsondecode(aws_ecs_task_definition.this["orders"].container_definitions)[0].secrets == [{ name = "DATABASE_URL", valueFrom = "arn:aws:secretsmanager:eu-central-1:111122223333:secret:shop/orders-AbCdEf" }]
    error_message = "Secrets come from Secrets Manager."
  }
  assert {
    condition     = jsondecode(aws_ecs_task_definition.this["deployer"].container_definitions)[0].secrets[0].name == "ORDERS_DATABASE_URL"
    error_message = "The deployer has the secrets of all, by the names of their services."
  }
  assert {
    condition     = jsondecode(aws_ecs_task_definition.this["billing-replayer"].container_definitions)[0].secrets == []
    error_message = "A replayer has none."
  }
  assert {
    condition     = alltrue([for group in aws_cloudwatch_log_group.this : group.kms_key_id == var.kms_key_arn])
    error_message = "Logs are encrypted."
  }
}

run "nothing_runs_before_there_is_an_image" {
  command = plan

  module {
    source = "./modules/ecs"
  }

  variables {
    has_image = false
  }

  assert {
    condition     = alltrue([for service in aws_ecs_service.this : service.desired_count == 0])
    error_message = "No task without an image."
  }
}
