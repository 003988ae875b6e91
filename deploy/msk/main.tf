# The network comes first, then what lies in it. What each service may do is decided in modules/access alone.

locals {
  # Written by `ottla topics access`, one entry a service; `make deploy-check` holds it against the apps.
  access = jsondecode(file("${path.module}/services.json"))
  # What services read and where they are found, the same on ECS and Kubernetes.
  environment = merge(var.environment, {
    KAFKA_BOOTSTRAP_SERVERS = module.cluster.bootstrap_brokers
    KAFKA_SECURITY          = "msk-iam"
    KAFKA_DRAIN_S           = tostring(var.drain_s)
    OTTLA_ADMIN_HOST        = "0.0.0.0"
    OTTLA_ADMIN_PORT        = "9090"
  })
  interface_endpoints = concat(
    ["ecr.api", "ecr.dkr", "logs", "secretsmanager", "sts"],
    var.eks.enabled ? ["ec2", "eks"] : [],
  )
}

module "network" {
  source = "./modules/network"

  name                       = var.name
  region                     = var.region
  cidr                       = var.vpc_cidr
  availability_zones         = var.availability_zones
  interface_endpoints        = local.interface_endpoints
  services                   = var.services
  client_ports               = concat([9098], var.kafka.scram ? [9096] : [])
  load_balancer_group_id     = try(var.ecs.load_balancer.security_group_id, null)
  database_security_group_id = var.database_security_group_id
  eks_security_group_id      = var.eks.enabled ? module.eks[0].security_group_id : null
  has_eks                    = var.eks.enabled
  kms_key_arn                = aws_kms_key.this.arn
}

module "cluster" {
  source = "./modules/cluster"

  name               = var.name
  kafka              = var.kafka
  subnet_ids         = module.network.subnet_ids
  security_group_ids = [module.network.brokers_security_group_id]
  kms_key_arn        = aws_kms_key.this.arn
}

module "access" {
  source = "./modules/access"

  cluster_arn = module.cluster.arn
  services    = { for name in keys(var.services) : name => local.access[name] }
}

module "ecs" {
  source = "./modules/ecs"
  count  = var.ecs.enabled ? 1 : 0

  name               = var.name
  region             = var.region
  image              = "${aws_ecr_repository.this.repository_url}:${coalesce(var.image_tag, "none")}"
  has_image          = var.image_tag != null
  repository_arn     = aws_ecr_repository.this.arn
  architecture       = var.ecs.architecture
  services           = var.services
  deployer           = var.ecs.deployer
  policies           = module.access.policies
  environment        = local.environment
  drain_s            = var.drain_s
  subnet_ids         = module.network.subnet_ids
  security_group_ids = module.network.service_security_group_ids
  target_group_arns  = try(var.ecs.load_balancer.target_group_arns, {})
  kms_key_arn        = aws_kms_key.this.arn
}

module "eks" {
  source = "./modules/eks"
  count  = var.eks.enabled ? 1 : 0

  name        = var.name
  eks         = var.eks
  policies    = module.access.policies
  subnet_ids  = module.network.subnet_ids
  kms_key_arn = aws_kms_key.this.arn
}

locals {
  annotations = { for name, arn in try(module.eks[0].role_arns, {}) : name => { "eks.amazonaws.com/role-arn" = arn } }

  # Values of the chart in deploy/kubernetes.
  helm_values = {
    image = merge({ repository = aws_ecr_repository.this.repository_url }, var.image_tag == null ? {} : { tag = var.image_tag })
    kafka = {
      bootstrapServers = module.cluster.bootstrap_brokers
      security         = "msk-iam"
      awsRegion        = var.region
      drainSeconds     = var.drain_s
    }
    services = { for name in keys(var.services) : name => { serviceAccountAnnotations = try(local.annotations[name], {}) } }
    setup    = { serviceAccountAnnotations = try(local.annotations["deployer"], {}) }
    # The brokers are no pods, nor is STS, which turns a pod's token into credentials.
    networkPolicy = { kafka = { ports = [9098], to = [] }, extraEgress = [{ ports = [{ port = 443 }] }] }
  }
}
