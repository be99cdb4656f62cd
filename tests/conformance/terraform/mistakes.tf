# Two services that cannot be created until `mended` says so. The provider's block is the one for
# a provider that knows of the emulator from nowhere else.

terraform {
  required_providers {
    aws = { source = "hashicorp/aws" }
  }
}

variable "endpoint" {
  type = string
}

variable "image" {
  type = string
}

variable "mended" {
  type = bool
}

provider "aws" {
  region                      = "us-east-1"
  access_key                  = "test"
  secret_key                  = "test"
  skip_credentials_validation = true
  skip_metadata_api_check     = true
  skip_region_validation      = true
  skip_requesting_account_id  = true

  endpoints {
    apprunner = var.endpoint
  }
}

resource "aws_apprunner_service" "ends" {
  service_name = "ends"

  source_configuration {
    authentication_configuration {
      access_role_arn = "arn:aws:iam::123456789012:role/ecr"
    }
    image_repository {
      image_identifier      = "${var.image}:1"
      image_repository_type = "ECR"
      image_configuration {
        start_command = var.mended ? "python3 server.py" : "false"
      }
    }
  }
}

resource "aws_apprunner_service" "misspelt" {
  service_name = "misspelt"

  source_configuration {
    authentication_configuration {
      access_role_arn = "arn:aws:iam::123456789012:role/ecr"
    }
    image_repository {
      image_identifier      = var.mended ? "${var.image}:2" : "${var.image}:nothing"
      image_repository_type = "ECR"
    }
  }
}
