# The one resource that cannot be imported.

resource "aws_apprunner_deployment" "again" {
  service_arn = aws_apprunner_service.code.arn
}
