# The same three images by `docker buildx bake --push`, as in a project without these tasks.
variable "REGISTRY" {}
variable "TAG" {}
variable "BUILD_CA" {}

group "default" {
  targets = ["base-image", "api-rest", "async-worker"]
}

target "base-image" {
  context = "base-image"
  tags    = ["${REGISTRY}/base-image:${TAG}"]
  secret  = ["id=build-ca,src=${BUILD_CA}"]
}

target "app" {
  name       = app
  matrix     = { app = ["api-rest", "async-worker"] }
  context    = app
  contexts   = { base-image = "target:base-image", ledger = "ledger" }
  tags       = ["${REGISTRY}/${app}:${TAG}"]
  secret     = ["id=build-ca,src=${BUILD_CA}"]
}
