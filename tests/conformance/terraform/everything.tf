# All of App Runner's resources, as a user writes them: where the emulator is comes from
# `apprunner env`, so the provider's block is empty. Another `stage` is a change in place.

terraform {
  required_providers {
    aws = { source = "hashicorp/aws" }
  }
}

provider "aws" {}

variable "image" {
  type = string
}

variable "repository" {
  type = string
}

variable "stage" {
  type = string
}

locals {
  tags    = { stage = var.stage }
  changed = var.stage == "2"
}

resource "aws_apprunner_auto_scaling_configuration_version" "small" {
  auto_scaling_configuration_name = "small"
  max_concurrency                 = 10
  max_size                        = 2
  tags                            = local.tags
}

resource "aws_apprunner_auto_scaling_configuration_version" "large" {
  auto_scaling_configuration_name = "large"
  max_size                        = 20
}

resource "aws_apprunner_default_auto_scaling_configuration_version" "chosen" {
  auto_scaling_configuration_arn = (
    local.changed
    ? aws_apprunner_auto_scaling_configuration_version.large.arn
    : aws_apprunner_auto_scaling_configuration_version.small.arn
  )
}

resource "aws_apprunner_connection" "github" {
  connection_name = "github"
  provider_type   = "GITHUB"
  tags            = local.tags
}

resource "aws_apprunner_observability_configuration" "traces" {
  observability_configuration_name = "traces"
  tags                             = local.tags

  trace_configuration {
    vendor = "AWSXRAY"
  }
}

resource "aws_apprunner_vpc_connector" "inside" {
  vpc_connector_name = "inside"
  subnets            = ["subnet-1", "subnet-2"]
  security_groups    = ["sg-1"]
  tags               = local.tags
}

resource "aws_apprunner_service" "image" {
  service_name                   = "from-image"
  auto_scaling_configuration_arn = aws_apprunner_auto_scaling_configuration_version.small.arn
  tags                           = local.tags

  source_configuration {
    auto_deployments_enabled = false
    authentication_configuration {
      access_role_arn = "arn:aws:iam::123456789012:role/ecr"
    }
    image_repository {
      image_identifier      = "${var.image}:${var.stage}"
      image_repository_type = "ECR"
      image_configuration {
        port                          = "8000"
        runtime_environment_variables = { STAGE = var.stage }
      }
    }
  }

  instance_configuration {
    cpu               = local.changed ? "512" : "0.25 vCPU"
    memory            = local.changed ? "1024" : "0.5 GB"
    instance_role_arn = "arn:aws:iam::123456789012:role/instance"
  }

  health_check_configuration {
    protocol = "HTTP"
    path     = "/healthz"
    interval = local.changed ? 2 : 1
  }

  network_configuration {
    egress_configuration {
      egress_type       = "VPC"
      vpc_connector_arn = aws_apprunner_vpc_connector.inside.arn
    }
  }

  observability_configuration {
    observability_enabled           = true
    observability_configuration_arn = aws_apprunner_observability_configuration.traces.arn
  }
}

resource "aws_apprunner_custom_domain_association" "shop" {
  service_arn = aws_apprunner_service.image.arn
  domain_name = "shop.localhost"
}

resource "aws_apprunner_custom_domain_association" "api" {
  service_arn          = aws_apprunner_service.image.arn
  domain_name          = "api.example.com"
  enable_www_subdomain = false
}

resource "aws_apprunner_service" "private" {
  service_name = "private"
  tags         = local.tags

  source_configuration {
    image_repository {
      image_identifier      = "public.ecr.aws/example/${split("/", var.image)[1]}:1"
      image_repository_type = "ECR_PUBLIC"
    }
    auto_deployments_enabled = false
  }

  network_configuration {
    ingress_configuration {
      is_publicly_accessible = false
    }
  }
}

resource "aws_apprunner_vpc_ingress_connection" "inward" {
  name        = "inward"
  service_arn = aws_apprunner_service.private.arn
  tags        = local.tags

  ingress_vpc_configuration {
    vpc_id          = "vpc-1"
    vpc_endpoint_id = "vpce-1"
  }
}

resource "aws_apprunner_service" "code" {
  service_name = "from-code"

  source_configuration {
    authentication_configuration {
      connection_arn = aws_apprunner_connection.github.arn
    }
    code_repository {
      repository_url = var.repository
      source_code_version {
        type  = "BRANCH"
        value = "main"
      }
      code_configuration {
        configuration_source = "API"
        code_configuration_values {
          runtime                       = "PYTHON_311"
          build_command                 = "pip3 install -r requirements.txt"
          start_command                 = "python3 app.py"
          runtime_environment_variables = { STAGE = var.stage }
        }
      }
    }
  }
}
