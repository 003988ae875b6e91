locals {
  # Only tasks of this account: a service of AWS must not be talked into acting for somebody else (the confused deputy).
  trust = jsonencode({
    Version = "2012-10-17"
    Statement = [{
      Effect    = "Allow"
      Principal = { Service = "ecs-tasks.amazonaws.com" }
      Action    = "sts:AssumeRole"
      Condition = { StringEquals = { "aws:SourceAccount" = data.aws_caller_identity.this.account_id } }
    }]
  })
}

# -- what the code is

resource "aws_iam_role" "task" {
  for_each = toset(keys(var.policies))

  name               = "${var.name}-ecs-${each.key}"
  description        = "What ${each.key} may do with Kafka"
  assume_role_policy = local.trust
}

resource "aws_iam_role_policy" "task" {
  for_each = var.policies

  name   = "kafka"
  role   = aws_iam_role.task[each.key].id
  policy = each.value
}

# -- what starts it

resource "aws_iam_role" "execution" {
  for_each = toset(keys(var.policies))

  name               = "${var.name}-ecs-${each.key}-start"
  description        = "Image, logs and secrets of ${each.key}; nothing of Kafka"
  assume_role_policy = local.trust
}

resource "aws_iam_role_policy" "execution" {
  for_each = toset(keys(var.policies))

  name = "start"
  role = aws_iam_role.execution[each.key].id

  policy = jsonencode({
    Version = "2012-10-17"
    Statement = [
      for statement in [
        {
          Sid    = "Login"
          Effect = "Allow"
          Action = ["ecr:GetAuthorizationToken"]
          # It knows no resource; the token alone opens no repository.
          Resource = ["*"]
        },
        {
          Sid      = "Image"
          Effect   = "Allow"
          Action   = ["ecr:BatchCheckLayerAvailability", "ecr:BatchGetImage", "ecr:GetDownloadUrlForLayer"]
          Resource = [var.repository_arn]
        },
        {
          Sid      = "Logs"
          Effect   = "Allow"
          Action   = ["logs:CreateLogStream", "logs:PutLogEvents"]
          Resource = ["${aws_cloudwatch_log_group.this[each.key].arn}:*"]
        },
        {
          Sid      = "Secrets"
          Effect   = "Allow"
          Action   = ["secretsmanager:GetSecretValue"]
          Resource = sort(distinct(values(local.roles[each.key].secrets)))
        },
      ] : statement if length(statement.Resource) > 0
    ]
  })
}
