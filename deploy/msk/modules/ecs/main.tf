# The services on Fargate. A task role is what the code is, and differs by service; an execution role is what starts the
# container (image, logs, secrets), and the code never has it.

data "aws_caller_identity" "this" {}

locals {
  # One-off tasks beside the services, started by hand or by CI: `ottla topics apply` as the deployer, `ottla dlt replay` as a
  # replayer. The deployer has the secrets of all services, because it migrates their databases: ORDERS_DATABASE_URL.
  roles = {
    for role in keys(var.policies) : role => {
      is_service  = contains(keys(var.services), role)
      command     = role == "deployer" ? var.deployer : try(var.services[role].command, ["ottla", "--help"])
      port        = try(var.services[role].port, null)
      environment = merge(var.environment, try(var.services[role].environment, {}))
      secrets = role == "deployer" ? merge([
        for name, service in var.services : {
          for secret, arn in service.secrets : "${upper(replace(name, "-", "_"))}_${secret}" => arn
        }
      ]...) : try(var.services[role].secrets, {})
    }
  }

  containers = {
    for role, it in local.roles : role => {
      name      = role
      image     = var.image
      command   = it.command
      essential = true
      # Nothing is written anywhere: a volume would belong to root on Fargate.
      readonlyRootFilesystem = true
      user                   = "10001:10001"
      # Longer than handlers may take to finish, or their records come again.
      stopTimeout     = var.drain_s + 20
      linuxParameters = { initProcessEnabled = true, capabilities = { drop = ["ALL"] } }
      portMappings    = it.port == null ? [] : [{ containerPort = it.port, protocol = "tcp" }]
      environment     = [for name, value in it.environment : { name = name, value = value }]
      secrets         = [for name, arn in it.secrets : { name = name, valueFrom = arn }]
      # Whether the poll loop turns, and nothing else: a broker that is away must not restart the fleet.
      healthCheck = it.is_service ? {
        command = [
          "CMD", "python", "-c",
          "import urllib.request; urllib.request.urlopen('http://127.0.0.1:9090/livez', timeout=4)",
        ]
        interval    = 10
        timeout     = 5
        retries     = 3
        startPeriod = 60
      } : null
      logConfiguration = {
        logDriver = "awslogs"
        options = {
          "awslogs-group"         = aws_cloudwatch_log_group.this[role].name
          "awslogs-region"        = var.region
          "awslogs-stream-prefix" = role
        }
      }
    }
  }
}

resource "aws_ecs_cluster" "this" {
  name = var.name

  setting {
    name  = "containerInsights"
    value = "enabled"
  }
}

resource "aws_cloudwatch_log_group" "this" {
  for_each = toset(keys(var.policies))

  name              = "/${var.name}/ecs/${each.key}"
  retention_in_days = 365
  kms_key_id        = var.kms_key_arn
}

resource "aws_ecs_task_definition" "this" {
  for_each = toset(keys(var.policies))

  family                   = "${var.name}-${each.key}"
  requires_compatibilities = ["FARGATE"]
  network_mode             = "awsvpc"
  cpu                      = try(var.services[each.key].cpu, 512)
  memory                   = try(var.services[each.key].memory, 1024)
  task_role_arn            = aws_iam_role.task[each.key].arn
  execution_role_arn       = aws_iam_role.execution[each.key].arn
  container_definitions    = jsonencode([{ for key, value in local.containers[each.key] : key => value if value != null }])

  runtime_platform {
    operating_system_family = "LINUX"
    cpu_architecture        = var.architecture
  }
}

resource "aws_ecs_service" "this" {
  for_each = var.services

  name            = each.key
  cluster         = aws_ecs_cluster.this.id
  task_definition = aws_ecs_task_definition.this[each.key].arn
  desired_count   = var.has_image ? each.value.count : 0
  launch_type     = "FARGATE"

  # One more, then one less: partitions move twice, and never all at once.
  deployment_minimum_healthy_percent = 100
  deployment_maximum_percent         = 100 + ceil(100 / max(each.value.count, 1))
  health_check_grace_period_seconds  = contains(keys(var.target_group_arns), each.key) ? 60 : null

  deployment_circuit_breaker {
    enable   = true
    rollback = true
  }

  network_configuration {
    subnets          = var.subnet_ids
    security_groups  = [var.security_group_ids[each.key]]
    assign_public_ip = false
  }

  dynamic "load_balancer" {
    for_each = contains(keys(var.target_group_arns), each.key) ? [var.target_group_arns[each.key]] : []

    content {
      target_group_arn = load_balancer.value
      container_name   = each.key
      container_port   = each.value.port
    }
  }
}
