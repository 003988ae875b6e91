# What each role may do with Kafka. That it is what the services do, no more and no less, `make deploy-check` computes from
# the apps; here stand the rules that hold whatever they do.

mock_provider "aws" {
  source = "./tests/mocks"
}

variables {
  cluster_arn = "arn:aws:kafka:eu-central-1:111122223333:cluster/shop/0f1e2d3c-4b5a-6978-8796-a5b4c3d2e1f0-5"
  services = {
    orders = { reads = [], writes = ["orders"], groups = [], dead_letters = [], replays = [] }
    billing = {
      reads        = ["orders", "orders-billing-retry-1000"]
      writes       = ["invoices", "orders-billing-retry-1000", "orders-billing-dlt"]
      groups       = ["billing", "billing-retry-1000"]
      dead_letters = ["orders-billing-dlt"]
      replays      = ["orders-billing-retry-1000"]
      ledger       = "billing-replays"
    }
    mail = {
      reads        = ["orders", "orders-mail-replay"]
      writes       = ["orders-mail-dlt"]
      groups       = ["mail", "mail-replay"]
      dead_letters = ["orders-mail-dlt"]
      replays      = ["orders-mail-replay"]
      ledger       = "mail-replays"
    }
  }
}

run "policies_are_least_privilege" {
  module {
    source = "./modules/access"
  }

  assert {
    condition     = toset(keys(output.policies)) == toset(["orders", "billing", "mail", "deployer", "billing-replayer", "mail-replayer"])
    error_message = "A policy for each service, for the deployer, and for a replayer of each service with dead letters."
  }
  assert {
    condition = alltrue(flatten([
      for policy in values(output.policies) : [for statement in jsondecode(policy).Statement : [for action in statement.Action : !strcontains(action, "*")]]
    ]))
    error_message = "No action is a pattern."
  }
  assert {
    condition = alltrue(flatten([
      for policy in values(output.policies) : [
        for statement in jsondecode(policy).Statement : [
          for resource in statement.Resource : !strcontains(resource, "*") && strcontains(resource, "/shop/0f1e2d3c-4b5a-6978-8796-a5b4c3d2e1f0-5")
        ]
      ]
    ]))
    error_message = "Every resource is one of this cluster, by its UUID, and no pattern."
  }
  assert {
    condition = alltrue(flatten([
      for policy in values(output.policies) : [for statement in jsondecode(policy).Statement : statement.Effect == "Allow"]
    ]))
    error_message = "What is not allowed is denied; a Deny would hide what is."
  }
  assert {
    condition     = alltrue([for policy in values(output.policies) : contains(jsondecode(policy).Statement[0].Action, "kafka-cluster:Connect")])
    error_message = "Everybody may connect."
  }
  assert {
    condition     = alltrue([for name in ["orders", "billing", "mail"] : !can(regex("CreateTopic|AlterTopic|DeleteTopic", output.policies[name]))])
    error_message = "No service makes, changes or removes topics."
  }
  assert {
    condition     = alltrue([for policy in values(output.policies) : !can(regex("DeleteTopic|DeleteGroup|AlterCluster|TransactionalId", policy))])
    error_message = "Nobody removes anything, changes the cluster, or uses Kafka's transactions."
  }
  assert {
    condition     = !can(regex("ReadData|Group", output.policies["orders"]))
    error_message = "A producer reads nothing and is in no group."
  }
  assert {
    condition     = strcontains(output.policies["orders"], "WriteDataIdempotently")
    error_message = "A producer is idempotent."
  }
  assert {
    condition     = !can(regex("ReadData|WriteData|Group", output.policies["deployer"]))
    error_message = "The deployer sees no record."
  }
  assert {
    condition     = strcontains(output.policies["deployer"], "topic/shop/0f1e2d3c-4b5a-6978-8796-a5b4c3d2e1f0-5/orders-billing-retry-1000\"") && strcontains(output.policies["deployer"], "orders-billing-dlt\"")
    error_message = "The deployer makes retry and dead-letter topics: auto-create is off."
  }
  assert {
    condition     = !strcontains(output.policies["deployer"], "-replay")
    error_message = "Replay topics and ledgers are the replayers'."
  }
  assert {
    condition     = [for statement in jsondecode(output.policies["billing-replayer"]).Statement : statement.Resource if statement.Sid == "Create"] == [["arn:aws:kafka:eu-central-1:111122223333:topic/shop/0f1e2d3c-4b5a-6978-8796-a5b4c3d2e1f0-5/billing-replays"]]
    error_message = "A replayer makes its ledger; the retry topic that it sends to is there."
  }
  assert {
    condition     = !strcontains(output.policies["mail-replayer"], "billing")
    error_message = "A replayer is one group's: it cannot send to another's topics."
  }
  assert {
    condition = alltrue([
      for name in ["billing", "mail"] : !contains(flatten([
        for statement in jsondecode(output.policies["${name}-replayer"]).Statement : statement.Resource if statement.Sid == "Write"
      ]), "arn:aws:kafka:eu-central-1:111122223333:topic/shop/0f1e2d3c-4b5a-6978-8796-a5b4c3d2e1f0-5/orders")
    ])
    error_message = "A replayer cannot write to the topic itself, which every group reads."
  }
}

run "a_cluster_without_its_uuid_is_refused" {
  command = plan

  module {
    source = "./modules/access"
  }

  variables {
    cluster_arn = "arn:aws:kafka:eu-central-1:111122223333:cluster/shop/*"
  }

  expect_failures = [var.cluster_arn]
}

run "a_pattern_for_a_topic_is_refused" {
  command = plan

  module {
    source = "./modules/access"
  }

  variables {
    services = { orders = { reads = [], writes = ["*"], groups = [], dead_letters = [], replays = [] } }
  }

  expect_failures = [var.services]
}

run "a_service_that_is_called_deployer_is_refused" {
  command = plan

  module {
    source = "./modules/access"
  }

  variables {
    services = { deployer = { reads = [], writes = ["orders"], groups = [], dead_letters = [], replays = [] } }
  }

  expect_failures = [var.services]
}
