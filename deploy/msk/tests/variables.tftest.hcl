# What the root module's variables refuse.

mock_provider "aws" {
  source = "./tests/mocks"
}

variables {
  region             = "eu-central-1"
  availability_zones = ["eu-central-1a", "eu-central-1b", "eu-central-1c"]
}

run "a_public_block_of_addresses_is_refused" {
  command = plan

  variables {
    vpc_cidr = "54.0.0.0/16"
  }

  expect_failures = [var.vpc_cidr]
}

run "two_zones_are_refused" {
  command = plan

  variables {
    availability_zones = ["eu-central-1a", "eu-central-1b", "eu-central-1b"]
  }

  expect_failures = [var.availability_zones]
}

run "a_tag_that_moves_is_refused" {
  command = plan

  variables {
    image_tag = "latest"
  }

  expect_failures = [var.image_tag]
}

run "a_secret_in_the_environment_is_refused" {
  command = plan

  variables {
    services = { orders = { command = ["true"], environment = { DATABASE_URL = "postgresql://orders:hunter2@db/orders" } } }
  }

  expect_failures = [var.services]
}

run "a_service_that_is_not_described_is_refused" {
  command = plan

  variables {
    services = { shipping = { command = ["true"] } }
  }

  expect_failures = [var.services]
}

run "a_drain_that_ecs_would_cut_short_is_refused" {
  command = plan

  variables {
    drain_s = 110
  }

  expect_failures = [var.drain_s]
}

run "an_api_that_is_open_to_the_internet_is_refused" {
  command = plan

  variables {
    eks = { enabled = true, api_cidrs = ["0.0.0.0/0"] }
  }

  expect_failures = [var.eks]
}

run "any_namespace_is_refused" {
  command = plan

  variables {
    eks = { enabled = true, namespace = "*" }
  }

  expect_failures = [var.eks]
}

run "kafka_before_3_8_is_refused" {
  command = plan

  variables {
    kafka = { version = "3.7.x" }
  }

  expect_failures = [var.kafka]
}

run "the_partition_of_china_is_refused" {
  command = plan

  variables {
    region = "cn-north-1"
  }

  expect_failures = [var.region]
}
