module kubernaut.io/hack/definitions

go 1.26.0

require (
	github.com/argoproj/argo-cd/v3 v3.4.0
	github.com/cloudnative-pg/cloudnative-pg v1.28.0
	github.com/fluxcd/kustomize-controller v1.9.6
)
