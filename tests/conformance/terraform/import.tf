# What another state has made is taken over.

variable "ids" {
  type = map(string)
}

import {
  to = aws_apprunner_auto_scaling_configuration_version.small
  id = var.ids["auto_scaling_configuration_version.small"]
}

import {
  to = aws_apprunner_auto_scaling_configuration_version.large
  id = var.ids["auto_scaling_configuration_version.large"]
}

import {
  to = aws_apprunner_default_auto_scaling_configuration_version.chosen
  id = var.ids["default_auto_scaling_configuration_version.chosen"]
}

import {
  to = aws_apprunner_connection.github
  id = var.ids["connection.github"]
}

import {
  to = aws_apprunner_observability_configuration.traces
  id = var.ids["observability_configuration.traces"]
}

import {
  to = aws_apprunner_vpc_connector.inside
  id = var.ids["vpc_connector.inside"]
}

import {
  to = aws_apprunner_service.image
  id = var.ids["service.image"]
}

import {
  to = aws_apprunner_service.private
  id = var.ids["service.private"]
}

import {
  to = aws_apprunner_service.code
  id = var.ids["service.code"]
}

import {
  to = aws_apprunner_custom_domain_association.shop
  id = var.ids["custom_domain_association.shop"]
}

import {
  to = aws_apprunner_custom_domain_association.api
  id = var.ids["custom_domain_association.api"]
}

import {
  to = aws_apprunner_vpc_ingress_connection.inward
  id = var.ids["vpc_ingress_connection.inward"]
}
